"""A checkpoint taken apart into the folders of the stages, so that training goes on from it, with one encoder changed if wanted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unifusion import checkpoint
from unifusion.atomic import atomic_folder

__all__ = ["unpack"]


def unpack(folder: str | Path, out: str | Path) -> None:
    """Write `ground/<stream>` (encoder, adapter, spec), `language` (model, tokenizer) and `adapt/weights.safetensors` below `out`.

    What the checkpoint says of its own making goes to `before`.

    Args:
        folder: a checkpoint.
        out: like the folder of a run; weights are float32, as the stages leave them.

    Raises:
        CheckpointError: the checkpoint does not load.
    """
    model, processor = checkpoint.load(folder)
    base = Path(out)
    for name, spec in model.specs.items():
        with atomic_folder(base / "ground" / name) as part:
            save_file(_whole(model.encoders[name]), part / "encoder.safetensors")
            save_file(_whole(model.adapters[name]), part / "adapter.safetensors")
            (part / "spec.json").write_text(json.dumps(spec.to_dict(), indent=1), encoding="utf-8")
    with atomic_folder(base / "before") as part:
        for name in ("provenance.json", "training_log.csv"):
            if (Path(folder) / name).is_file():
                shutil.copyfile(Path(folder) / name, part / name)
    with atomic_folder(base / "language") as part:
        model.language_model.float().save_pretrained(part)
        processor.tokenizer.save_pretrained(part)
    with atomic_folder(base / "adapt") as part:
        state = {n: p for n, p in model.named_parameters() if not n.startswith("encoders.")}
        save_file({n: _plain(p) for n, p in state.items()}, part / "weights.safetensors")


def _whole(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights in float32."""
    return {n: _plain(t) for n, t in module.state_dict().items()}


def _plain(tensor: Tensor) -> Tensor:
    """A copy of its own; numbers in float32, counters as they are."""
    tensor = tensor.detach().to(torch.float32) if tensor.is_floating_point() else tensor.detach()
    return tensor.contiguous().clone()
