"""Names of files that must not lead out of a folder."""

from __future__ import annotations

from pathlib import Path

from unifusion.errors import DatasetError

__all__ = ["Within"]


class Within:
    """Where the files lie that rows name.

    Args:
        base: folder that relative names follow.
        root: folder that every file must lie in, once links are followed; None lets them lie anywhere.
    """

    def __init__(self, base: Path, root: str | Path | None = None) -> None:
        self.base = base
        self.root = None if root is None else Path(root).resolve()

    def __call__(self, name: str, where: str) -> str:
        """The path of a named file.

        Raises:
            DatasetError: it leads out of `root`.
        """
        path = self.base / name
        if self.root is not None and name and not name.startswith("clip-world://") and (led := leads_out(path, self.root)):
            found = f"{where}: {name!r} leads out of {self.root} ({led});"
            raise DatasetError(found, remedy="keep clips inside of it, or name a wider root.")
        return str(path)


def leads_out(path: Path, root: Path) -> str:
    """Where a path leads, if that is outside of a folder; "" inside.

    Args:
        path: of a file that need not be there.
        root: absolute, links followed.
    """
    try:
        found = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        return str(error)
    return "" if found.is_relative_to(root) else str(found)
