"""The command line: `unifusion chat | emotion | predict | encode | index | search | ask | align | export | train | fuse | eval |
compare | judge | table | list | copy | paths | doctor | data | demo | merge`.

Each command is one file of this package and imports what it needs when it runs, so `unifusion --help` costs no torch.

Exit codes: 0 fine, 1 something else failed, 2 wrong usage, 3 bad media, 4 bad checkpoint, 5 a server that does not answer, 130
interrupted. A mistake of the user or of a file is one line on stderr with the remedy; a crash (our mistake) keeps its traceback.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["main", "script"]

_OF_FOLDERS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
"""What an operating system says of places that cannot be written: their owner's business, not a fault of the program."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: words after `unifusion`; None takes those of the process.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:  # while the commands are still being imported, or at any time after
        return _fail("interrupted.", 130)


def _run(argv: Sequence[str] | None) -> int:
    """See `main`."""
    import typer

    from unifusion.cli.app import app
    from unifusion.errors import UniFusionError

    _speak_utf8()
    _hush()
    command = typer.main.get_command(app)
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        return int(command.main(args=words, prog_name="unifusion", standalone_mode=False) or 0)
    except UniFusionError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}. See: {_help_of(error)}", 2)
    except typer.Abort:
        return _fail("interrupted.", 130)
    except BrokenPipeError:
        # The reader (head, less) went away; silence the flush at exit as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _OF_FOLDERS:
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}; make room or give rights there, or name another place.", 1)


def script(run: Callable[[], Any]) -> None:
    """Run a script of the project's (a suite of eval/) as a command: an error is one line and an exit code.

    Raises:
        SystemExit: with the code, where it failed.
    """
    from unifusion.errors import UniFusionError

    try:
        run()
    except UniFusionError as error:
        raise SystemExit(_fail(str(error), error.exit_code)) from error


def _fail(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code."""
    print(f"unifusion: {' '.join(message.split())}", file=sys.stderr)
    return code


def _help_of(error: Exception) -> str:
    """The help command that explains the command in which a usage error arose."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'unifusion'} --help"


def _hush() -> None:
    """Keep back what libraries say of themselves when they are imported: which kernels they lack, that there is no GPU."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())


def _speak_utf8() -> None:
    """Never fail on a character that the terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
