"""Media: path and seconds in, arrays with presentation times out.

`read_clip` gives the picture and the sound of one span in one pass over the file; `probe` reads the header only.
Names resolve on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unifusion.media.info import MediaInfo
    from unifusion.media.probing import probe
    from unifusion.media.read import read_audio, read_clip, read_image, read_video
    from unifusion.media.sampling import Sampling

__all__ = ["MediaInfo", "Sampling", "probe", "read_audio", "read_clip", "read_image", "read_video"]

_HOMES = {
    "MediaInfo": "info",
    "Sampling": "sampling",
    "probe": "probing",
    "read_audio": "read",
    "read_clip": "read",
    "read_image": "read",
    "read_video": "read",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
