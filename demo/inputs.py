"""Upload fields that take files only, and look into none of them: the engine does, in a killable child.

Gradio's own picture field opens what was uploaded in the server's process, and any field fetches an address that stands in
place of a file. The methods are replaced on the object: a subclass makes Gradio write a .pyi beside the source.
"""

from __future__ import annotations

from typing import Any, TypeVar

import gradio as gr

from unifusion.errors import ConfigError

__all__ = ["files_only"]

Field = TypeVar("Field", gr.Video, gr.Audio, gr.Image)


def files_only(field: Field) -> Field:
    """Return the field, handing on the path of what was uploaded and nothing else."""
    original = field.async_move_resource_to_block_cache

    async def guarded(path: str | None) -> str | None:
        """Hand a path on, refuse an address."""
        if path and "://" in str(path):
            raise ConfigError("an address was sent in place of a file;", remedy="upload the file.")
        moved: str | None = await original(path)
        return moved

    field.async_move_resource_to_block_cache = guarded
    field.preprocess = path_of
    return field


def path_of(payload: Any) -> str | None:
    """The server's path of an upload, None where there is none."""
    return str(payload.path) if payload is not None and payload.path else None
