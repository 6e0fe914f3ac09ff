"""Gradient checkpointing of a frozen language model, which transformers does in training mode alone."""

from __future__ import annotations

from torch import nn

__all__ = ["recompute_frozen"]


def recompute_frozen(language_model: nn.Module) -> bool:
    """Let the blocks of a model in eval mode recompute their activations; returns whether they do.

    Adapters are trained through a frozen language model, whose activations are most of what such a step holds. Only the blocks' own flag
    is set, not their parts', so that no dropout comes back; a model with dropout of its own in the blocks stays as it is.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer  # above, it would import models/chat.py, which imports this file

    config = getattr(language_model, "config", None)
    known = config.get_text_config().to_dict() if config is not None else {}
    if any(isinstance(v, float) and v > 0 for k, v in known.items() if "drop" in k):
        return False
    blocks = [m for m in language_model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]
    for block in blocks:
        block.training = True
    return bool(blocks)
