"""The demo page: talk about a clip, read the emotion in it, and see what the model really saw and heard.

`python demo/app.py`, `unifusion demo` and `make demo` are the same. It uses UniFusion-X only through `unifusion.Engine`
and, for what is searched, `unifusion.retrieval`.
The folder is not a package (nothing but `unifusion` may appear in site-packages), so its other files are imported under
the name `unifusion_demo` from wherever this file lies; `sys.path` stays as it is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

    from unifusion import Engine

__all__ = ["build", "main", "part"]

HERE = Path(__file__).resolve().parent
PACKAGE = "unifusion_demo"


def part(name: str) -> ModuleType:
    """Import another file of this folder, for example `part("page")`."""
    if PACKAGE not in sys.modules:
        spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(HERE)]
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{PACKAGE}.{name}")


def build(engine: Engine, *, examples: Path | None = None, model: str = "", shelf: Any = None) -> gr.Blocks:
    """Return the page over an engine, not yet served.

    Args:
        engine: answers; decode in a child process (`isolate=True`) where strangers may upload.
        examples: folder of .mp4 clips to offer; None takes those that ship.
        model: name shown under the title.
        shelf: indexes to search (`part("shelf").Shelf.open`); None offers none.
    """
    part("settings").private_folder()
    page: gr.Blocks = part("page").build(engine, examples=examples or HERE / "examples", model=model, shelf=shelf)
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Load the model and serve the page until interrupted; returns the exit code.

    Raises:
        ConfigError: unsafe or impossible settings.
        CheckpointError: the model cannot be loaded.
    """
    args = _parser().parse_args(argv)
    settings = part("settings")
    auth = settings.check_access(args.host, args.auth, share=args.share)
    folder = settings.private_folder()
    import unifusion

    engine = unifusion.Engine.from_pretrained(args.model, limits=settings.LIMITS, isolate=True)
    model = Path(args.model).name
    shelf = part("shelf").Shelf.open(args.index, engine, model=model) if args.index else None
    page = build(engine, examples=args.examples, model=model, shelf=shelf)
    settings.serve(page, folder=folder, host=args.host, port=args.port, auth=auth, share=args.share, log=print)
    return 0


def _port(text: str) -> int:
    """A port that can be listened on; 0 is none, since Gradio asks itself at the number it was given."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unifusion demo", description="Open the demo page in a browser on this machine.")
    parser.add_argument(
        "--model", default="checkpoints/tiny-chat", metavar="DIR",
        help="folder of a checkpoint, one that ships, or a name on the hub (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; any but loopback needs --auth (default %(default)s)")
    parser.add_argument("--port", type=_port, metavar="N", default=None, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--auth", default=None, metavar="USER:PASSWORD", help="ask for a login; UNIFUSION_DEMO_AUTH in the environment does the same unseen"
    )
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio's servers (off by default; needs --auth)")
    parser.add_argument(
        "--examples", type=Path, default=None, metavar="DIR", help="folder of .mp4 clips to offer (default: those that ship)"
    )
    parser.add_argument(
        "--index", type=Path, action="append", default=[], metavar="DIR",
        help="an index to search and to ask over, made by unifusion index; more than one may be given",
    )  # fmt: skip
    return parser


def _run() -> int:
    """`main`, with an expected error as one line on stderr."""
    from unifusion.errors import UniFusionError

    try:
        return main()
    except UniFusionError as error:
        print(f"unifusion demo: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_run())
