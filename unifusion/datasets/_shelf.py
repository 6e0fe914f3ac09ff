"""Files that lie in a folder or in the tars of webdataset, read by name."""

from __future__ import annotations

import tarfile
from pathlib import Path

__all__ = ["Shelf"]


class Shelf:
    """Files in a folder and inside its tars (webdataset shards), read by name; a tar's members are found once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._members: dict[str, tuple[Path, int, int]] = {}
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                self._members.update({m.name: (path, m.offset_data, m.size) for m in tar if m.isfile()})

    def names(self) -> list[str]:
        """Members of the tars, in order."""
        return list(self._members)

    def source(self, name: str) -> str | bytes | None:
        """A path, the bytes of a member of a tar, or None where there is neither."""
        if (self.folder / name).is_file():
            return str(self.folder / name)
        if name not in self._members:
            return None
        path, offset, size = self._members[name]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
