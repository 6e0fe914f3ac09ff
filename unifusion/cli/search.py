"""`unifusion search`: the moments of a library that fit words, a clip, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.retrieval.found import Found
    from unifusion.retrieval.library import Library

__all__ = ["search"]

Words = Annotated[str | None, typer.Argument(metavar="QUERY", help="What to find, in words.", show_default=False)]
Index = Annotated[Path, typer.Option("--index", "-i", metavar="INDEX", help="Folder that unifusion index wrote.")]
Count = Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many windows.")]
Space = Annotated[str, typer.Option("--space", "--by", metavar="NAME", help="What is compared: clip, or video, audio, text alone.")]
Filter = Annotated[list[str], typer.Option("--where", metavar="COND", help="label=dog, start_s>=3 or JSON; all hold.", show_default=False)]
Clip = Annotated[list[str], typer.Option("--media", metavar="CLIP", help="Like this clip, as well.", show_default=False)]
Minus = Annotated[list[str], typer.Option("--minus", metavar="TEXT", help="Away from these words.", show_default=False)]
Duplicates = Annotated[bool, typer.Option("--duplicates", help="List windows that are nearly the same instead.")]
Threshold = Annotated[float, typer.Option("--threshold", metavar="R", min=-1.0, max=1.0, help="Least cosine of --duplicates.")]


def search(
    index: Index,
    query: Words = None,
    k: Count = 5,
    space: Space = "clip",
    where: Filter = [],  # noqa: B006 - Typer copies it
    media: Clip = [],  # noqa: B006
    start: common.Start = None,
    end: common.End = None,
    minus: Minus = [],  # noqa: B006
    no_picture: common.NoPicture = False,
    no_sound: common.NoSound = False,
    duplicates: Duplicates = False,
    threshold: Threshold = 0.95,
    device: common.Device = "",
    isolate: common.Isolate = False,
    json: common.Json = False,
) -> None:
    """Find moments by words, by a clip (--media), or by both together.

    Scores are cosines. Of a clip of the query, what --no-picture and --no-sound leave is compared with what --space names.
    """
    if not duplicates and query is None and not media:
        raise typer.BadParameter("say what to find: words, or --media CLIP.")
    with common.quiet_stdout():
        from unifusion.cli.index import loader
        from unifusion.retrieval.layout import read_manifest
        from unifusion.retrieval.library import Library

        facts = read_manifest(index).embedder
        library = Library.open(index, load=lambda: loader(device, isolate, False)(facts.source, facts.strict))
        if duplicates:
            groups = library.duplicates(threshold, space)
        else:
            clips = common.open_media(media, start_s=start, end_s=end, no_picture=no_picture, no_sound=no_sound)
            found = _found(library, query, clips, minus, k=k, where=where, space=space)
            # What is relevant was calibrated for words against whole windows.
            relevant = library.relevant(found) if query is not None and not media and not minus and space == "clip" else None
    asked = {"query": query, "media": media, "minus": minus, "index": str(index), "space": space}
    if duplicates:
        _tell_groups(groups, index, space, threshold, json)
    elif json:
        common.print_json({**asked, "relevant": relevant, "results": [one.to_dict() for one in found]})
    else:
        _tell(found, relevant)


def _found(
    library: Library, query: str | None, clips: Sequence[Any], minus: Sequence[str], *, k: int, where: Sequence[str], space: str
) -> list[Found]:  # fmt: skip
    """Search by the sum of all that was named."""
    from unifusion.retrieval.filters import where_of

    parts = [*([] if query is None else [query]), *clips, *minus]
    weights = [1.0] * (len(parts) - len(minus)) + [-1.0] * len(minus)
    return library.search(parts, k, where_of(where), space, weights=weights)


def _tell(found: Sequence[Found], relevant: bool | None) -> None:
    """Print a table for people."""
    if not found:
        typer.echo("nothing found")
        return
    for number, one in enumerate(found, 1):
        typer.echo(common.visible(f"{number:3}  {one.score:6.3f}  {_where(one)}{_known(one)}"))
    if relevant is False:
        common.note("none of it reaches the score from which a window was found to fit words: the index may hold nothing of the kind")


def _where(one: Found) -> str:
    """Path and span of a window."""
    return one.path if one.end_s <= one.start_s else f"{one.path} @ {one.start_s:.1f}-{one.end_s:.1f} s"


def _known(one: Found) -> str:
    """What is known of a window, on one line."""
    known = [f"{name}={value}" for name, value in one.metadata.items() if isinstance(value, str | int | float)][:4]
    said = " ".join(one.texts.get("transcript", "").split())
    return "".join(f"  {part}" for part in [*known, *([f'"{said[:60]}"'] if said else [])])


def _tell_groups(groups: Sequence[Sequence[Found]], index: Path, space: str, threshold: float, json: bool) -> None:
    """Print groups of duplicates."""
    if json:
        told = [[one.to_dict() for one in group] for group in groups]
        common.print_json({"index": str(index), "space": space, "threshold": threshold, "groups": told})
        return
    typer.echo(f"{len(groups)} groups of windows with a cosine of at least {threshold:g}")
    for number, group in enumerate(groups, 1):
        for one in group:
            typer.echo(common.visible(f"{number:3}  {one.score:6.3f}  {_where(one)}"))
