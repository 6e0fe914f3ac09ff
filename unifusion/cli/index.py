"""`unifusion index`: a folder of clips becomes a library that can be searched; the same command brings it up to date."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.retrieval.library import Library

__all__ = ["index", "loader"]


class _OnBad(StrEnum):
    """What a file that cannot be read does to the run."""

    note = "note"
    stop = "stop"


Data = Annotated[list[str] | None, typer.Argument(metavar="DIR..", help="Folders, clips, manifests (.jsonl).", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--out", "--index", metavar="INDEX", help="Folder of the index; made, or gone on with.")]
OfModel = Annotated[str, typer.Option("--model", metavar="NAME", help="Embedder: a name or folder (tiny-embed).", show_default=False)]
WindowS = Annotated[float | None, typer.Option("--window", metavar="S", help="Length of a window (6 s).", show_default=False)]
HopS = Annotated[float | None, typer.Option("--hop", metavar="S", help="From one window to the next (a window).", show_default=False)]
Precision = Annotated[str, typer.Option("--precision", metavar="NAME", help="Numbers on disk: float32 or float16.", show_default=False)]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="What searches; chosen by size unless told.", show_default=False)]
Config = Annotated[str, typer.Option("--backend-config", metavar="JSON", help="Its choices.", show_default=False)]
BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Windows embedded at once.")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Threads that decode ahead.")]
Bad = Annotated[_OnBad, typer.Option("--on-bad-media", help="Note a bad file in INDEX/quarantine.jsonl, or end there.")]
RetryBad = Annotated[bool, typer.Option("--retry-bad", help="Try files again that could not be read, though they have not changed.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove clips whose files are gone.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin again: all is embedded anew.")]
Repair = Annotated[bool, typer.Option("--repair", help="Set damaged parts aside and embed again what was in them.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Make what is searched again; with --backend, another one from now on.")]

DEFAULT = "tiny-embed"


def index(
    out: Out,
    data: Data = None,
    model: OfModel = "",
    window: WindowS = None,
    hop: HopS = None,
    precision: Precision = "",
    backend: Backend = "",
    backend_config: Config = "",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    on_bad_media: Bad = _OnBad.note,
    retry_bad: RetryBad = False,
    prune: Prune = False,
    overwrite: Overwrite = False,
    repair: Repair = False,
    rebuild: Rebuild = False,
    device: common.Device = "",
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    json: common.Json = False,
) -> None:
    """Make clips searchable: each is cut into windows, and each window becomes a vector.

    What has not changed since the last run is not embedded again. Killed at any moment, the same command goes on where it stopped.
    """
    if not data and not rebuild:
        raise typer.BadParameter("name folders, clips or manifests.")
    with common.quiet_stdout(), common.term_interrupts():
        from unifusion.retrieval.library import Library
        from unifusion.retrieval.summary import IndexOptions

        if repair:
            for wrong in Library.repair(out):
                common.note(f"set aside: {wrong}")
        load = loader(device, isolate, lenient)
        config = _choices(backend_config)
        made = {"window_s": window, "hop_s": hop, "precision": precision, "config": config, "backend": backend}
        library = _opened(data or [], out, model, load, overwrite, rebuild, made)
        if rebuild:
            library.rebuild(backend=backend, config=config)
        options = IndexOptions(
            batch_size=batch_size, workers=workers, on_bad=on_bad_media.value, retry_bad=retry_bad, prune=prune, isolate=isolate
        )
        summary = library.index(data, options) if data else None
    choice = library.manifest.backend
    if json:
        told = {"windows_there": len(library), "clips_there": library.clips, "backend": choice.name, "reason": choice.reason}
        common.print_json({"index": str(out), **told, **(summary.to_dict() if summary else {})})
    else:
        if summary:
            typer.echo(f"{out}: {summary.told()}")
        typer.echo(f"{library.clips} clips, {len(library)} windows, searched by {choice.name}: {choice.reason}")
    if summary and summary.bad and not len(library):
        raise typer.Exit(3)


def loader(device: str, isolate: bool, lenient: bool) -> Any:
    """What loads an embedder by name."""

    def load(source: str, was_strict: bool = True) -> Any:
        """Load it; one that took damaged files does so again."""
        common.quiet_libraries()
        from unifusion.retrieval import embedding

        return embedding.load_embedder(source, device=common.device_of(device), isolate=isolate, strict=was_strict and not lenient)

    return load


def _choices(text: str) -> dict[str, Any]:
    """Choices of a back end."""
    import json

    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise typer.BadParameter(f"--backend-config is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise typer.BadParameter('--backend-config wants an object, such as {"nprobe": 16}.')
    return found


def _opened(
    data: list[str], out: Path, model: str, load: Any, overwrite: bool, rebuild: bool, made: dict[str, Any]
) -> Library:  # fmt: skip
    """The library that is there, if it is as was asked for, or a new one.

    Raises:
        ConfigError: what is there has other windows or another embedder.
        DatasetError: there is nothing to index, so that no library is made.
    """
    from unifusion.retrieval.layout import EmbedderFacts, read_manifest
    from unifusion.retrieval.library import Library
    from unifusion.retrieval.scan import scan

    if (out / "manifest.json").exists() and not overwrite:
        facts = read_manifest(out).embedder
        # Another name may be the same model, which its key tells; the name that is known already costs no loading.
        named = load(model, facts.strict) if model and EmbedderFacts.place(model) != facts.source else None
        found = Library.open(out, named, load=lambda: load(facts.source, facts.strict))
        wanted = {name: made[name] for name in ("window_s", "hop_s", "precision")}
        found.expect(**wanted, backend="" if rebuild else made["backend"])
        return found
    if data and not scan(data, without=out.absolute())[0]:
        from unifusion.errors import DatasetError

        raise DatasetError(f"{', '.join(data)}: no clips;", remedy="name video, sound or pictures.")
    chosen = {**made, "precision": made["precision"] or "float32"}
    return Library.create(out, load(model or DEFAULT), source=model or DEFAULT, overwrite=overwrite, **chosen)
