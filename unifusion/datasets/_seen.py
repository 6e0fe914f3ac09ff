"""What VGGSound and AVQA share: ten seconds of YouTube that are shown, or only heard."""

from __future__ import annotations

from pathlib import Path

from unifusion.conversation import Media
from unifusion.datasets._captioned import VIDEO, Captioned, Downloads, cut_names
from unifusion.datasets._files import SOUND
from unifusion.errors import DatasetError, nearest

__all__ = ["Seen"]

_LENGTH_S = 10


class Seen(Captioned):
    """Clips of YouTube that are shown, or only heard.

    Args:
        path: the folder.
        split: one of the parts, or None for all that are there.
        take: video, which has the sound too, or audio.
        only_downloaded: leave out rows without a clip.
        as_published: see `Captioned`.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, take: str = "video", only_downloaded: bool = False, as_published: bool = False
    ) -> None:  # fmt: skip
        if take not in ("video", "audio"):
            raise DatasetError(f"take is {take!r};", remedy=nearest(take, ["audio", "video"]))
        self._take = take
        super().__init__(path, split=split, only_downloaded=only_downloaded, as_published=as_published)

    def look(self, root: Path | None) -> Downloads:
        """Videos, else sounds; or sounds, else the sound of videos."""
        return Downloads(root, (*VIDEO, *SOUND)) if self._take == "video" else Downloads(root, (*SOUND, *VIDEO), "audio")

    def clip(self, row: str, name: str, start_s: int) -> tuple[tuple[Media, ...], tuple[float, float]]:
        """The ten seconds of a recording from a start on, if they are there, and their span in it."""
        span = float(start_s), float(start_s + _LENGTH_S)
        return self.downloads.find(row, cut=cut_names(name, *span), whole=[name], source=name, span=span), span
