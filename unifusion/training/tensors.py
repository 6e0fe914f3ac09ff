"""Weights and optimizer state of a run as files: whole tensors by name, however the run shards them, in safetensors."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unifusion.errors import CheckpointError
from unifusion.training.launch import is_first, rank

__all__ = [
    "load_optimizer", "load_random", "load_trained", "plain_name", "save_optimizer", "save_random", "save_trained", "trained_state",
]  # fmt: skip

_SHARD_BYTES = 2 * 1000**3
_WEIGHTS, _OPTIMIZER = "trained", "optimizer"


def plain_name(name: str) -> str:
    """A parameter's name without what torch.compile and DistributedDataParallel put before it."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, gathered from all processes where it is sharded (a collective then)."""
    value = tensor.detach()
    full = getattr(value, "full_tensor", None)
    if full is not None:
        return full().cpu().contiguous()  # type: ignore[no-any-return]
    if hasattr(tensor, "ds_id"):
        from deepspeed.utils import safe_get_full_fp32_param

        gathered: Tensor | None = safe_get_full_fp32_param(tensor)
        if gathered is not None:
            return gathered.detach().cpu().contiguous()
    return value.cpu().contiguous()


def trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Trainable parameters, and buffers that live beside them (BatchNorm's statistics), each tied weight once."""
    homes = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            homes.add(name.rpartition(".")[0])
            yield plain_name(name), parameter
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[0] in homes:
            yield plain_name(name), buffer


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What is trained, whole and by name; every process of a sharded run must call it."""
    return {name: whole(tensor).clone() for name, tensor in trained(model)}


def _write(tensors: Iterable[tuple[str, Tensor]], folder: Path, stem: str) -> None:
    """Write tensors into one file, or more where they are large; never holds more than one file's worth. The first process writes.

    Raises:
        CheckpointError: one is not finite.
    """
    shard: dict[str, Tensor] = {}
    size, number = 0, 0
    for name, tensor in tensors:
        value = whole(tensor)
        if not is_first():
            continue
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{name!r} is not finite; nothing was saved;", remedy="the checkpoint before it is whole: run again.")
        if size and size + value.nbytes > _SHARD_BYTES:
            save_file(shard, folder / f"{stem}-{number:03d}.safetensors")
            shard, size, number = {}, 0, number + 1
        shard[name] = value.clone()
        size += value.nbytes
    if is_first() and (shard or not number):
        save_file(shard, folder / (f"{stem}-{number:03d}.safetensors" if number else f"{stem}.safetensors"))


def read_tensors(folder: Path, stem: str) -> Iterator[tuple[str, Tensor]]:
    """Read what `_write` wrote, one tensor at a time."""
    for path in sorted(folder.glob(f"{stem}*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)


def save_trained(model: nn.Module, folder: Path) -> None:
    """Write what is trained to `trained.safetensors` (or numbered files of 2 GB)."""
    _write(trained(model), folder, _WEIGHTS)


def load_trained(model: nn.Module, folder: Path) -> None:
    """Put back what `save_trained` wrote.

    Raises:
        CheckpointError: the files hold other names than the model trains.
    """
    own, found = dict(trained(model)), dict[str, bool]()
    with torch.no_grad():
        for name, tensor in read_tensors(folder, _WEIGHTS):
            found[name] = name in own and own[name].shape == tensor.shape
            if found[name]:
                _put(own[name], tensor)
    missing, unknown = sorted(set(own) - set(found)), sorted(n for n, fits in found.items() if not fits)
    if missing or unknown:
        raise CheckpointError(
            f"{folder} does not fit the model (missing {missing[:5]}, unknown or of another shape {unknown[:5]});",
            remedy="resume with the choices it was made with.",
        )


def _put(own: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if hasattr(own, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        placed: Any = distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)  # type: ignore[attr-defined]
        own.copy_(placed)
    else:
        own.copy_(tensor)


def save_optimizer(optimizer: Any, model: nn.Module, folder: Path) -> None:
    """Write an optimizer's state by the names of the parameters: `exp_avg/<name>` .. in `optimizer.safetensors`."""
    names = {id(p): plain_name(n) for n, p in model.named_parameters()}

    def states() -> Iterator[tuple[str, Tensor]]:
        """Each state of each parameter, as the groups have them."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                for key, value in sorted(optimizer.state.get(parameter, {}).items()):
                    yield f"{key}/{names[id(parameter)]}", torch.as_tensor(value)

    _write(states(), folder, _OPTIMIZER)


def load_optimizer(optimizer: Any, model: nn.Module, folder: Path) -> None:
    """Put back what `save_optimizer` wrote, sharded as the parameters are."""
    named = {plain_name(n): p for n, p in model.named_parameters()}
    for name, tensor in read_tensors(folder, _OPTIMIZER):
        key, _, parameter = name.partition("/")
        own = named[parameter]
        state = optimizer.state[own]
        if tensor.shape == own.shape and key != "step":
            state[key] = torch.zeros_like(own, memory_format=torch.preserve_format)
            with torch.no_grad():
                _put(state[key], tensor)
        else:
            state[key] = tensor.to(own.device) if own.device.type != "cpu" else tensor


def save_random(folder: Path) -> None:
    """Write this process's random states: Python's, NumPy's and PyTorch's."""
    kind, keys, *rest = np.random.get_state()
    states = {
        "python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest], "torch": _text(torch.get_rng_state()),
        "cuda": [_text(torch.cuda.get_rng_state())] if torch.cuda.is_available() else [],
    }  # fmt: skip
    (folder / f"random-{rank()}.json").write_text(json.dumps(states), encoding="utf-8")


def load_random(folder: Path, seed: int) -> None:
    """Put back this process's random states; one that was not there then gets a state of its own from the seed."""
    path = folder / f"random-{rank()}.json"
    if not path.is_file():
        random.seed(seed + rank())
        np.random.seed(seed + rank())
        torch.manual_seed(seed + rank())
        return
    states = json.loads(path.read_text(encoding="utf-8"))
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(_bytes(states["torch"]))
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(states["cuda"][0]))


def _text(state: Tensor) -> str:
    """A state's bytes as base64."""
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _bytes(text: str) -> Tensor:
    """The other way."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
