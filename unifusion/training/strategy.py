"""How several processes hold one model: a copy each (DistributedDataParallel), FSDP2, or DeepSpeed's ZeRO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unifusion import share
from unifusion.errors import ConfigError, nearest
from unifusion.models.targets import repeated_blocks
from unifusion.training.launch import world_size

__all__ = ["STRATEGIES", "deepspeed_config", "frozen_aside", "shard_fsdp2"]

STRATEGIES = ("ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload")
"""Names of ways of training; a DeepSpeed configuration of one's own is named by its path."""


def deepspeed_config(strategy: str) -> Path | None:
    """The file of a DeepSpeed configuration; None for a strategy of PyTorch's own.

    Raises:
        ConfigError: there is no such strategy, or the file does not hold a configuration.
    """
    if strategy in ("ddp", "fsdp2"):
        return None
    if not strategy.endswith(".json"):
        if strategy not in STRATEGIES:
            raise ConfigError(f"no strategy {strategy!r};", remedy=nearest(strategy, list(STRATEGIES)) + ", or a DeepSpeed file.json")
        return share.folder("deepspeed_configs") / f"{strategy}.json"
    try:
        raw = json.loads(Path(strategy).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the DeepSpeed configuration {strategy}: {error};", remedy="give a JSON file.") from error
    if not isinstance(raw, dict) or "zero_optimization" not in raw:
        raise ConfigError(f"{strategy} says nothing of zero_optimization;", remedy="begin with a copy of deepspeed_configs/zero2.json.")
    return Path(strategy)


class _Aside(nn.Module):
    """A frozen module that no engine sees: it has no parameters of its own when a model is walked, and computes what it always did."""

    def __init__(self, inner: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.__dict__["inner"] = inner.to(device).eval()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives; ZeRO-3 counts modules by their hooks, which must be the same in every process, so there are none here."""
        return self.inner(*args, **kwargs)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The module's, for those that ask it for its type and place."""
        return self.inner.parameters(recurse)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Everything else is the module's."""
        return getattr(self.__dict__["inner"], name)


@contextmanager
def frozen_aside(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep frozen encoders out of the sight of an engine that shards: each process holds them whole.

    A process whose rows lack a stream does not run its encoder. Sharded, the others would wait for its part for ever.
    """
    encoders = getattr(model, "encoders", None)
    if not isinstance(encoders, nn.ModuleDict):
        yield
        return
    frozen = {n: m for n, m in encoders.items() if not any(p.requires_grad for p in m.parameters())}
    for name, module in frozen.items():
        encoders[name] = _Aside(module, device)
    try:
        yield
    finally:
        for name, module in frozen.items():
            encoders[name] = module


def shard_fsdp2(model: nn.Module, device: torch.device, *, bfloat16: bool) -> None:
    """Shard a model in place by `fully_shard`: each repeated block of the language model is a group, all the rest another.

    What several processes may run in different order, or not at all (adapters, trained encoders), is gathered whole when the model
    begins its pass.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (world_size(),))
    kind = torch.bfloat16 if bfloat16 else None
    policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32 if bfloat16 else None, output_dtype=None)
    for block in repeated_blocks(getattr(model, "language_model", model)):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    model._is_accelerate_prepared = True  # type: ignore[assignment]  # accelerate would wrap it once more


def local(tensor: Tensor) -> Tensor:
    """A figure that every process knows whole: a sharded one is gathered."""
    full = getattr(tensor, "full_tensor", None)
    return full() if full is not None else tensor
