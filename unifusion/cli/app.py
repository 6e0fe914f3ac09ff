"""The Typer application: which commands there are."""

from __future__ import annotations

from typing import Annotated

import typer

from unifusion.cli import (
    align,
    ask,
    card,
    chat,
    compare,
    data,
    demo,
    doctor,
    emotion,
    encode,
    eval,
    export,
    fuse,
    index,
    judge,
    listing,
    merge,
    paths,
    predict,
    search,
    table,
    train,
)

__all__ = ["app"]

app = typer.Typer(
    name="unifusion",
    help="Talk about clips with picture and sound, train what answers, and measure it.",
    epilog="Start with: unifusion chat clip.mp4 -q 'What happens?'",
    # Plain help: rich would double the start-up time and break an error over several lines.
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        import unifusion

        typer.echo(f"unifusion-x {unifusion.__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Hold the options of `unifusion` itself."""


app.command()(chat.chat)
app.command()(emotion.emotion)
app.command()(predict.predict)
app.command()(encode.encode)
app.command()(index.index)
app.command()(search.search)
app.command()(ask.ask)
app.command()(fuse.fuse)
app.command()(align.align)
app.command(context_settings=train.PASS_ON)(train.train)
app.command("eval", context_settings=train.PASS_ON)(eval.evaluate)
app.command()(compare.compare)
app.command()(judge.judge)
app.command()(table.table)
app.command("list")(listing.list_names)
app.command()(listing.copy)
app.command()(paths.paths)
app.add_typer(data.app, name="data")
app.command(context_settings=train.PASS_ON)(demo.demo)
app.command()(merge.merge)
app.command()(export.export)
app.command()(card.card)
app.command()(doctor.doctor)
