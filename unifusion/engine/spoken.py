"""The timed words of a clip, from wherever they are: a file of subtitles, the clip's own, or a recogniser of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unifusion.conversation import Line, Media
from unifusion.limits import Limits
from unifusion.media.embedded import embedded_lines
from unifusion.media.subtitles import read_subtitles

if TYPE_CHECKING:
    from unifusion.engine.speech import Transcriber

__all__ = ["AUTO", "EMBEDDED", "SpokenWords", "beside"]

AUTO = "auto"
EMBEDDED = "embedded"
_ENDINGS = (".srt", ".vtt")


def beside(path: str | Path) -> Path | None:
    """The file of subtitles of a clip: `X.srt` or `X.vtt` beside `X.mp4`, else the first of `X.*.srt` and `X.*.vtt` (`X.en.vtt`)."""
    path = Path(path)
    named = [path.with_suffix(ending) for ending in _ENDINGS]
    if not path.parent.is_dir():
        return None
    start = f"{path.stem}."
    others = sorted(p for p in path.parent.iterdir() if p.name.startswith(start) and p.suffix.lower() in _ENDINGS)
    return next((p for p in [*named, *others] if p.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class SpokenWords:
    """Finds the words of clips.

    Attributes:
        subtitles: a file; `auto` for one beside the clip, else a stream of subtitles in it; "" for neither.
        transcriber: recognises what no subtitles tell.
        isolate: decode in a child process.
        strict: a damaged frame is an error.
    """

    subtitles: str = ""
    transcriber: Transcriber | None = None
    isolate: bool = False
    strict: bool = True

    def of(self, media: Media, *, limits: Limits = Limits()) -> Media:
        """The clip with its words; one that has timed words, and a still, come back as they are.

        Raises:
            MediaError: subtitles or sound cannot be read.
        """
        if media.subtitles or media.kind == "image":
            return media
        lines, origin = self.find(media, limits=limits)
        return replace(media, subtitles=tuple(lines), words_from=origin) if lines else media

    def find(self, media: Media, *, limits: Limits = Limits()) -> tuple[Sequence[Line], str]:
        """The lines of a clip, in seconds of its file, and where they come from; none and "" where nothing tells them."""
        if self.subtitles and self.subtitles != AUTO:
            return read_subtitles(self.subtitles), Path(self.subtitles).name
        on_disk = isinstance(media.source, str | Path) and not str(media.source).startswith("clip-world://")
        if self.subtitles == AUTO and on_disk:
            file = beside(str(media.source))
            if file is not None:
                return read_subtitles(file), file.name
            if found := embedded_lines(str(media.source), limits=limits):
                return found, EMBEDDED
        if self.transcriber is None:
            return (), ""
        # What is muted is not shown to the chat model; it can be listened to all the same.
        heard = self.transcriber.hear(replace(media, mute=()), limits=limits, isolate=self.isolate, strict=self.strict)
        return (heard.lines, self.transcriber.name) if heard.lines else ((), "")
