"""The gradient of a loss over a large batch in the memory of a small one, by going over each part of the batch twice.

Gao et al., "Scaling deep contrastive learning batch size under memory limited setup" (2021): a contrastive loss needs the vectors of all
rows at once, but not what made them. The vectors are made part by part without a graph, the loss gives the gradient of each vector, and
then each part is made again with a graph and takes its vectors' gradient back to the weights. Twice the forward pass of the parts is the
price; the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unifusion.errors import ConfigError

__all__ = ["cached_loss"]

C = TypeVar("C")
_TOLERANCE = 0.05
"""Of the greatest value: kernels with and without a graph differ by 1e-2 in bfloat16, another dropout by more."""


def cached_loss(
    embed: Callable[[C], Mapping[str, Tensor]], chunks: Sequence[C], loss: Callable[[dict[str, Tensor]], Tensor], *,
    parameters: Iterable[Tensor],
) -> Tensor:  # fmt: skip
    """Return `loss` of what `embed` makes of all chunks (), whose backward gives the parameters the gradient of the whole batch.

    It stands where `loss(together(embed(c) for c in chunks))` would, in a model's `forward` too, and returns what may be scaled, added to
    and sent backward like any loss:

        def forward(self, **batch):
            chunks = rows_of(batch, self.chunk)
            return {"loss": cached_loss(self.embed, chunks, self.contrast, parameters=self.parameters())}

    All of the work is done here, so that the backward pass only hands the gradients out, each parameter's once: what DDP waits for. Under
    DDP `loss` may gather rows of other processes (`unifusion.losses._gather.gather_rows`). Random numbers of torch's own generators are the
    same both times, and autocast is as it is outside. One chunk alone is not made twice.

    Memory: the graph of one chunk, the rows and their gradients, and up to three times the gradients of the parameters.

    Args:
        embed: rows (b, ..) by name, of one chunk; a function of the chunk and the parameters. Rows without a gradient (masks, labels)
            are passed on as they are. Buffers that it changes (batch norm) are changed twice.
        chunks: parts of the batch, in the order of its rows.
        loss: of all rows (B, ..) by name; it may use parameters too, such as a learned temperature.
        parameters: all that learn, of `embed` and `loss`; those that are frozen may be among them.

    Raises:
        ConfigError: there is no chunk, chunks have rows of different names, parameters are sharded, something learns that is not among
            them, or a chunk is not the same the second time.
    """
    learning = [p for p in parameters if p.requires_grad]
    if not chunks:
        raise ConfigError("there is no chunk;", remedy="give one part of the batch or more.")
    if any(hasattr(p, "device_mesh") or hasattr(p, "ds_id") for p in learning):
        raise ConfigError("the parameters are sharded (FSDP or ZeRO-3);", remedy="take strategy ddp, or one chunk.")
    if len(chunks) == 1:
        return loss(dict(embed(chunks[0])))
    with _without_cache(learning):
        states, made = [], []
        with torch.no_grad():
            for chunk in chunks:
                states.append(_random_state(learning))
                made.append(dict(embed(chunk)))
        rows = _together(made)
        if not torch.is_grad_enabled() or not learning:
            return loss(rows)
        for name, row in rows.items():
            rows[name] = row.requires_grad_(row.is_floating_point())
        gradients = _Sum(learning)
        value = loss(rows)
        slopes = dict(zip(rows, gradients.add([value], [None], extra=list(rows.values())), strict=True))
        start = 0
        for chunk, state, before in zip(chunks, states, made, strict=True):
            with _replayed(state):
                again = dict(embed(chunk))
            _check_same(before, again)
            count = len(next(iter(before.values())))
            told = {n: s[start : start + count] for n, s in slopes.items() if s is not None and again[n].requires_grad}
            gradients.add([again[n] for n in told], list(told.values()))
            start += count
            del again  # its graph is freed, its rows are not needed while the next chunk is made
    result: Tensor = _HandedOut.apply(value.detach(), gradients.total, *learning)
    return result


class _Sum:
    """Gradients of parameters, summed up over calls."""

    def __init__(self, learning: list[Tensor]) -> None:
        self.learning = learning
        self.total: list[Tensor | None] = [None] * len(learning)

    def add(self, outputs: list[Tensor], slopes: Sequence[Tensor | None], extra: list[Tensor] | None = None) -> list[Tensor | None]:
        """Add what outputs with these slopes give the parameters; returns what they give to others."""
        extra = extra or []
        wanted = [*self.learning, *(t for t in extra if t.requires_grad)]
        if not outputs or not any(o.requires_grad for o in outputs):
            return [None] * len(extra)
        _check_leaves(outputs, wanted)
        found = torch.autograd.grad(outputs, wanted, slopes, allow_unused=True)
        for i, gradient in enumerate(found[: len(self.learning)]):
            total = self.total[i]
            if gradient is not None:
                self.total[i] = gradient if total is None else total + gradient  # not in place: two parameters may be given one tensor
        left = iter(found[len(self.learning) :])
        return [next(left) if t.requires_grad else None for t in extra]


class _HandedOut(torch.autograd.Function):
    """A value () whose backward gives each parameter the gradient that was found for it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        """The value () of a loss over rows (B, D)."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The slope () of the value times each gradient; a parameter that took no part gets none."""
        return (None, None, *(None if g is None else g * slope.to(g.dtype) for g in ctx.gradients))


def _together(made: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of all chunks (B, ..) by name."""
    for rows in made:
        if not rows or set(rows) != set(made[0]) or len({len(row) for row in rows.values()}) > 1:
            told = [{name: tuple(row.shape) for name, row in some.items()} for some in (made[0], rows)]
            raise ConfigError(f"chunks have rows {told[0]} and {told[1]};", remedy="give the same names in each, equally many rows of all.")
    return {name: torch.cat([rows[name] for rows in made]) for name in made[0]}


def _check_leaves(outputs: list[Tensor], known: list[Tensor]) -> None:
    """Refuse outputs that depend on something that learns and is not known: its gradient would be lost without a word."""
    there = {id(t) for t in known}
    left, seen = [o.grad_fn for o in outputs], set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in there:
            found = f"a tensor of shape {tuple(leaf.shape)} learns and is not among the parameters of cached_loss;"
            raise ConfigError(found, remedy="name it there, or detach what comes into the chunks.")
        left += [after for after, _ in node.next_functions]


def _check_same(before: Mapping[str, Tensor], again: Mapping[str, Tensor]) -> None:
    """Refuse a chunk whose second pass is another one: its gradient would be wrong without a word."""
    for name, first in before.items():
        second = again[name].detach()
        off = (first.double() - second.double()).abs().max() if first.numel() and first.shape == second.shape else first.new_zeros(())
        if first.shape != second.shape or off > _TOLERANCE * first.double().abs().max() + 1e-12:
            raise ConfigError(
                f"rows {name!r} of a chunk differ by {float(off):.3g} the second time that they are made;",
                remedy="draw random numbers from torch's own generators, and let embed depend on nothing that changes.",
            )


def _devices(learning: list[Tensor]) -> list[torch.device]:
    """The GPUs that have random states of their own."""
    return sorted({p.device for p in learning if p.device.type == "cuda"}, key=str)


def _random_state(learning: list[Tensor]) -> tuple[Tensor, dict[torch.device, Tensor]]:
    """torch's random states: of the CPU, and of each GPU that the parameters lie on."""
    return torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in _devices(learning)}


@contextmanager
def _replayed(state: tuple[Tensor, dict[torch.device, Tensor]]) -> Iterator[None]:
    """Random numbers as they were drawn from a state; after it they go on as before."""
    with torch.random.fork_rng(devices=list(state[1])):
        torch.set_rng_state(state[0])
        for device, there in state[1].items():
            torch.cuda.set_rng_state(there, device)
        yield


@contextmanager
def _without_cache(learning: list[Tensor]) -> Iterator[None]:
    """Autocast as it is, but for its cache: weights that were cast without a graph stay without one (mended in pytorch's #165068)."""
    kind = learning[0].device.type if learning else "cpu"
    with torch.autocast(kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False):
        yield
