"""Vectors as losses take them: checked, of unit norm, compared in float32 or better whatever the autocast."""

from __future__ import annotations

import torch
from torch import Tensor

from unifusion.errors import ConfigError

__all__ = ["check_mask", "check_rows", "check_scale", "choose", "cosines", "full", "unit"]


def full(x: Tensor) -> Tensor:
    """The same numbers in float32, or in float64 where they are."""
    return x if x.dtype == torch.float64 else x.float()


def unit(x_BD: Tensor) -> Tensor:
    """Vectors (.., D) of norm 1. One of norm 0 stays what it is and gets no gradient: it has no direction to be turned in."""
    x_BD = full(x_BD)
    norms_B1 = torch.linalg.vector_norm(x_BD, dim=-1, keepdim=True)
    there_B1 = norms_B1 > 0
    return torch.where(there_B1, x_BD / torch.where(there_B1, norms_B1, 1.0), 0.0)


def cosines(a_BD: Tensor, b_ND: Tensor) -> Tensor:
    """Cosines (B, N) of each row with each; (.., B, N) where both have more axes. Autocast would multiply in bfloat16, 3 digits."""
    with torch.autocast(a_BD.device.type, enabled=False):
        return unit(a_BD) @ unit(b_ND).to(full(a_BD).dtype).transpose(-1, -2)


def check_rows(what: str, *vectors: Tensor, rows: bool = True) -> None:
    """Refuse what is not (B, D) float with B > 0 each, of one width, and with `rows` of one B.

    Raises:
        ConfigError: see above.
    """
    shapes = [tuple(v.shape) for v in vectors]
    flat = all(len(s) == 2 and s[0] > 0 and v.is_floating_point() for s, v in zip(shapes, vectors, strict=True))
    if not flat or len({s[1] for s in shapes}) > 1 or (rows and len(set(shapes)) > 1):
        wanted = "the same (B, D)" if rows and len(vectors) > 1 else "(B, D) of one width D"
        raise ConfigError(f"{what} of shapes {', '.join(map(str, shapes))};", remedy=f"give float vectors {wanted}, one row or more.")


def check_mask(what: str, mask: Tensor, *shape: int) -> None:
    """Refuse a mask that is not bool, or not of the shape.

    Raises:
        ConfigError: see above.
    """
    if mask.dtype != torch.bool or tuple(mask.shape) != shape:
        raise ConfigError(f"{what} is {mask.dtype} of shape {tuple(mask.shape)};", remedy=f"give bool of shape {shape}.")


def check_scale(what: str, value: float | Tensor) -> None:
    """Refuse a fixed temperature or scale that is not above 0. A learned one is not looked at: that would wait for the device.

    Raises:
        ConfigError: see above.
    """
    if not isinstance(value, Tensor) and not 0 < value < float("inf"):
        raise ConfigError(f"{what} is {value};", remedy="take a number above 0.")


def choose(what: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is none of the known.

    Raises:
        ConfigError: see above.
    """
    if value not in known:
        raise ConfigError(f"{what} is {value!r};", remedy=f"take one of {', '.join(known)}.")
