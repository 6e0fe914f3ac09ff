"""lmms-eval: our models behind its command line, and tasks it lacks. Only lmms-eval itself imports what needs lmms-eval.

The entry point `lmms_eval.models` names `manifests`. lmms-eval is no dependency and no extra: it pins torchvision, which breaks a torch
without CUDA, and `av<16`. See docs/lmms_eval.md for an installation beside this package.
"""

from __future__ import annotations

from typing import Any

__all__ = ["manifests"]

_MODEL = "unifusion.integrations.lmms_eval.model"


def manifests() -> list[Any]:
    """What lmms-eval's registry of models asks of its entry points: one model, `unifusion`, for chat tasks and for simple ones."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(
            model_id="unifusion", chat_class_path=f"{_MODEL}.UniFusionChat", simple_class_path=f"{_MODEL}.UniFusionSimple",
            aliases=("unifusion_x",),
        )
    ]  # fmt: skip
