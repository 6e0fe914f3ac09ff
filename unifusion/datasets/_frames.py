"""Folders of numbered frames (`00001.jpg`, `00002.jpg` ..), as sets that may not give out their videos give them out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from unifusion.conversation import Media
from unifusion.errors import DatasetError

__all__ = ["FrameFolders", "numbered"]

_FIRST = "00001.jpg"
_VIDEO = (".mp4", ".mkv", ".webm", ".avi", ".mov")
_FRAME = re.compile(r"([0-9]{5})\.jpg")
_DEPTH = 4


class FrameFolders:
    """Folders of frames by their names, and videos beside them; frames are put together into a video when their row is asked for.

    Args:
        root: looked through down to four folders below, which finds `frames_hq/bbt_frames/s01e01_seg01_clip_00`; None has nothing.
        rate_hz: frames a second that were cut out; the first is at 0.

    Raises:
        DatasetError: two folders of frames have one name.
    """

    def __init__(self, root: Path | None, rate_hz: int = 3) -> None:
        self.rate_hz = rate_hz
        self._folders: dict[str, str] = {}
        self.videos: list[Path] = []
        """Videos that lie in folders without frames."""
        if root is not None:
            self._look(str(root), _DEPTH)

    def _look(self, folder: str, depth: int) -> None:
        """Take a folder with frames; look into one without, whose files are never listed one by one."""
        if os.path.isfile(os.path.join(folder, _FIRST)):
            if known := self._folders.get(name := os.path.basename(folder)):
                raise DatasetError(f"{known} and {folder} have one name;", remedy="keep one of them below the folder.")
            self._folders[name] = folder
        elif depth:
            with os.scandir(folder) as entries:
                there = sorted((e.path, e.is_dir()) for e in entries if not e.name.startswith("."))
            for path, is_folder in there:
                if is_folder:
                    self._look(path, depth - 1)
                elif path.lower().endswith(_VIDEO):
                    self.videos.append(Path(path))

    def find(self, name: str, span: tuple[float, float] | None) -> tuple[Media, ...]:
        """The clip of that name, without its bytes; nothing where there is none."""
        start_s, end_s = span or (None, None)
        return (Media(kind="video", source=b"", start_s=start_s, end_s=end_s),) if name in self._folders else ()

    def video(self, name: str) -> bytes:
        """The frames of a clip as a video."""
        from unifusion.media.frames import frames_to_video

        return frames_to_video(numbered(Path(self._folders[name])), self.rate_hz)


def numbered(folder: Path) -> dict[int, Path]:
    """Number of a frame, from 0 -> its file."""
    return {int(m[1]) - 1: folder / m[0] for name in os.listdir(folder) if (m := _FRAME.fullmatch(name)) and int(m[1]) > 0}
