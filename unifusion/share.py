"""Where the shared files are: prompts, recipes, suites, default checkpoints.

In a wheel they lie in `unifusion/_share/<folder>`; in a checkout (and an editable install) beside the package.
"""

from __future__ import annotations

from pathlib import Path

from unifusion.errors import ConfigError

__all__ = ["FOLDERS", "folder", "resolve_checkpoint"]

FOLDERS = ("prompts", "train", "eval", "demo", "deepspeed_configs", "checkpoints")


def folder(name: str) -> Path:
    """Return the path of one shared folder.

    Raises:
        ConfigError: `name` is not a shared folder, or this installation lacks it.
    """
    if name not in FOLDERS:
        raise ConfigError(f"no shared folder {name!r};", remedy=f"there are {', '.join(FOLDERS)}.")
    package = Path(__file__).resolve().parent
    for candidate in (package / "_share" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise ConfigError(f"the shared folder {name!r} is missing from this installation;", remedy="reinstall unifusion-x.")


def resolve_checkpoint(name_or_path: str | Path) -> Path:
    """Return the folder of a checkpoint given as a path or as the name of one that ships with the package.

    `checkpoints/tiny-chat` is found from any working directory. A name that is neither is returned unchanged: the
    caller may treat it as a name on a model hub.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    parts = path.parts
    shipped = folder("checkpoints") / (Path(*parts[1:]) if len(parts) == 2 and parts[0] == "checkpoints" else path)
    return shipped if len(parts) <= 2 and shipped.is_dir() else path
