"""LoRA folded into the weights it adapts, if that changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unifusion import checkpoint
from unifusion.errors import CheckpointError
from unifusion.models.lora import is_added, probe_batch
from unifusion.share import resolve_checkpoint

if TYPE_CHECKING:
    from unifusion.models.chat import UniFusionForConditionalGeneration

__all__ = ["merge"]

_MOST = 1e-4
"""By which logits may differ; features of an encoder, relative to their largest."""


def merge(folder: str | Path, out: str | Path) -> Path:
    """Fold LoRA in, compare, save with everything stored.

    What was tuned over a quantised language model goes into the whole one: that must be equal to the whole one with LoRA beside it; by how
    much it differs from the quantised one is written to provenance.json, since people have measured that one.

    Args:
        folder: a checkpoint with LoRA.
        out: where to.

    Raises:
        CheckpointError: no LoRA, or another model came out.
    """
    model, processor = checkpoint.load(folder, quantize=None)  # and stored whole below: the source has no LoRA in it
    if not model._hf_peft_config_loaded:
        raise CheckpointError(f"{folder} holds no LoRA weights;", remedy="nothing needs to be merged.")
    ids_BS = _probe_ids(model)
    probes = {s: probe_batch(model, s) for s, e in model.encoders.items() if any(is_added(n) for n, _ in e.named_parameters())}
    before = _outputs(model, ids_BS, probes)
    _merge_layers(model)
    after = _outputs(model, ids_BS, probes)
    differences = {name: float((before[name] - after[name]).abs().max()) for name in before}
    for name, difference in differences.items():
        allowed = _MOST if name == "logits" else _MOST * max(1.0, float(before[name].abs().max()))
        if not difference <= allowed:
            raise CheckpointError(f"merged {name} differ by {difference:.2e}; nothing was saved;", remedy="merge in fp32 and report this.")
    provenance = json.loads((resolve_checkpoint(folder) / "provenance.json").read_text(encoding="utf-8"))
    facts = {"merged_from": str(folder), "merge_max_difference": max(differences.values())}
    return checkpoint.save(
        model, processor, out, provenance={**provenance, **facts, **_beside_quantized(folder, ids_BS, after["logits"])}, self_contained=True
    )


def _probe_ids(model: UniFusionForConditionalGeneration) -> Tensor:
    """Ids (1, S): the first of the vocabulary, and control tokens whose rows may have been trained."""
    text: Any = model.config.text_config
    return torch.cat([torch.arange(16) % text.vocab_size, torch.tensor(model.config.new_tokens, dtype=torch.long)])[None]


@torch.no_grad()
def _outputs(model: UniFusionForConditionalGeneration, ids_BS: Tensor, probes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Logits (B, S, V) of `ids_BS`, and features (M, S, D) of each probed stream."""
    features = {f"features of {name}": model.features(name, batch).tokens_BSD for name, batch in probes.items()}
    return {"logits": model.language_model(input_ids=ids_BS).logits, **features}


def _beside_quantized(folder: str | Path, ids_BS: Tensor, whole_BSV: Tensor) -> dict[str, Any]:
    """How far the merged logits are from those of the quantised model that was tuned; nothing where it was not quantised."""
    raw = json.loads((resolve_checkpoint(folder) / "config.json").read_text(encoding="utf-8"))
    if not raw.get("quantized"):
        return {}
    tuned, _ = checkpoint.load(folder)
    quantised_BSV = _outputs(tuned, ids_BS, {})["logits"].float()
    difference = float((quantised_BSV - whole_BSV).abs().max())
    agree = float((quantised_BSV.argmax(-1) == whole_BSV.argmax(-1)).float().mean())
    return {
        "tuned_quantized": raw["quantized"], "quantized_max_difference": difference,
        "quantized_largest_logit": float(quantised_BSV.abs().max()), "quantized_same_choice": agree,
    }  # fmt: skip


def _merge_layers(model: UniFusionForConditionalGeneration) -> None:
    """Replace every layer of peft's by its merged base layer."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import TrainableTokensWrapper

    for kind in (TrainableTokensWrapper, BaseTunerLayer):  # the first hold one of the second
        for name, module in list(model.named_modules()):
            if isinstance(module, kind):
                parent_name, _, child = name.rpartition(".")
                layer = module.token_adapter if kind is TrainableTokensWrapper else module
                layer.merge()
                setattr(model.get_submodule(parent_name), child, layer.get_base_layer())
    model._hf_peft_config_loaded = False
    model.config.new_tokens = []
