"""UniFusion-X: an instruction-tuned chat model over video, audio and text, and what is around it.

Importing this package imports neither torch nor transformers. Its names resolve on first use. The Auto classes of
transformers learn of UniFusion at the moment they are imported, or at once when they were imported before.
"""

from __future__ import annotations

import importlib
from typing import Any

from unifusion import _auto

__version__ = "0.1.0"

_HOMES = {
    "Clip": "conversation",
    "Conversation": "conversation",
    "Engine": "engine",
    "Example": "conversation",
    "FusedSpec": "processor",
    "Limits": "limits",
    "LoraChoices": "models.lora",
    "Media": "conversation",
    "Message": "conversation",
    "ModalityReport": "batch",
    "StreamSpec": "processor",
    "UniFusionConfig": "models.config",
    "UniFusionError": "errors",
    "UniFusionForConditionalGeneration": "models.chat",
    "UniFusionProcessor": "processor",
    "add_lora": "models.lora",
    "build_chat_model": "models.build",
}
"""Public name -> module that holds it."""

__all__ = [*_HOMES, "__version__"]

_auto.install()


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unifusion' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"unifusion.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names that `dir(unifusion)` shows."""
    return sorted(__all__)
