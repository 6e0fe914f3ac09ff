"""`unifusion align`: when each of the words that are said in a clip is said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common

__all__ = ["align"]

_WORDS = "What is said in the clip, in order; @FILE reads it from a text file."
_LANGUAGE = "english, german, spanish, french, or a code of espeak-ng such as it, nl, pt-BR."
_UNLIKELY = 0.5
"""One in twenty of clip world's sentences scores less, and three of four wrong ones do (docs/aligning_words.md)."""

Clip = Annotated[str, typer.Argument(metavar="CLIP", help="Video or sound file.", show_default=False)]
Words = Annotated[str, typer.Option("--words", metavar="TEXT", help=_WORDS, show_default=False)]
Language = Annotated[str, typer.Option("--language", metavar="NAME", help=_LANGUAGE)]
Srt = Annotated[Path | None, typer.Option("--srt", metavar="OUT", help="Write subtitles as well.", show_default=False)]


def align(
    clip: Clip,
    words: Words,
    language: Language = "english",
    json: common.Json = False,
    srt: Srt = None,
    start: common.Start = None,
    end: common.End = None,
    lenient: common.Lenient = False,
) -> None:
    """Tell when each known word is said in a clip: start, end and score of each.

    The words are read out by espeak-ng (extra `world`) and laid over the sound by dynamic time warping; no model is needed. Nothing is
    recognised: words that are not said get places as well, with low scores.
    """
    from unifusion.atomic import write_text
    from unifusion.words.align import align_words, to_srt

    media = common.open_media([clip], start_s=start, end_s=end)[0]
    found = align_words(media, _text(words), language=language, strict=not lenient)
    if srt is not None:
        write_text(srt, to_srt(found.words))
    if json:
        common.print_json({"path": clip, **found.to_dict()})
    else:
        for word in found.words:
            typer.echo(common.visible(f"{word.start_s:8.2f} {word.end_s:8.2f}  {word.score:4.2f}  {word.word}"))
    if found.score < _UNLIKELY:
        common.note(f"the words fit badly (score {found.score:.2f}): are they what is said?")


def _text(words: str) -> str:
    """The words, or those of the file that is named."""
    if not words.startswith("@"):
        return words
    try:
        return Path(words[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--words {words}: {error}") from error
