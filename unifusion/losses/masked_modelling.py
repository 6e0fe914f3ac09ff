"""Masked modelling: what was hidden of a stream is told from what is left of it and from the other streams."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses._contrast import contrast
from unifusion.losses._vectors import check_mask, check_scale, choose, cosines, full, unit

__all__ = ["masked_modelling"]

_FORMS = ("regression", "cosine", "contrast", "pixels", "tokens")
_LEAST = 1e-6


def masked_modelling(
    predictions_BSD: Tensor, targets: Tensor, masked_BS: Tensor, *, form: str = "regression", temperature: float | Tensor = 0.1,
    within_rows: bool = False,
) -> Tensor:  # fmt: skip
    """Return the mean over masked tokens of how far what was told is from what was there (), in float32 or better; 0 without any.

    | input | shape | meaning |
    |---|---|---|
    | predictions_BSD | (B, S, D) | what the model tells of each token; (B, S, V) logits in form `tokens` |
    | targets | (B, S, D), or (B, S) int64 in form `tokens` | what was there; no gradient goes into it |
    | masked_BS | (B, S) bool | tokens that were hidden; of others neither side is looked at |
    | form | | see below |
    | temperature | () | of `contrast`, a number or learned |
    | within_rows | | `contrast` among the masked tokens of the same row only |

    | form | what |
    |---|---|
    | regression | mean squared error (data2vec, Baevski et al. 2022) |
    | cosine | 1 - cosine (EVA, Fang et al. 2023) |
    | contrast | cross-entropy of finding the own target among those of all masked tokens by cosine: no codebook (wav2vec 2.0, eq. 3) |
    | pixels | mean squared error, each patch's numbers at mean 0 and variance 1 (MAE, He et al. 2022; CAV-MAE, Gong et al. 2023, eq. 6) |
    | tokens | cross-entropy of numbers of words or of a codebook (FLAVA, Singh et al. 2022; BEiT-3, Wang et al. 2022) |

    In `contrast` targets that are equal (two silent windows) are not each other's negatives, and a token that has no other costs 0. A patch
    of one value has the target 0. One loss for each stream: what is told from other streams alone, or from the rest of its own too, is the
    model's choice of what it shows.

    Raises:
        ConfigError: the shapes do not fit, there is no such form, or the temperature is not above 0.
    """
    choose("form", form, _FORMS)
    check_scale("temperature", temperature)
    shape = tuple(predictions_BSD.shape)
    wanted = shape[:2] if form == "tokens" else shape
    if len(shape) != 3 or tuple(targets.shape) != wanted or targets.is_floating_point() == (form == "tokens"):
        found = f"predictions of shape {shape} and targets {targets.dtype} of shape {tuple(targets.shape)} in form {form};"
        raise ConfigError(found, remedy="give (B, S, D) of both, or whole numbers (B, S) in form tokens.")
    check_mask("masked_BS", masked_BS, *shape[:2])
    told_MD, there_M = full(predictions_BSD[masked_BS]), targets.detach()[masked_BS]
    if not len(told_MD):
        return told_MD.sum()  # 0, and part of the graph
    if form == "tokens":
        return functional.cross_entropy(told_MD, there_M)
    there_MD = full(there_M).to(told_MD.dtype)
    if form == "contrast":
        return _contrast(told_MD, there_MD, masked_BS.nonzero()[:, 0] if within_rows else None, temperature)
    if form == "cosine":
        return (1 - (unit(told_MD) * unit(there_MD)).sum(dim=-1)).mean()
    if form == "pixels":
        there_MD = _normalised(there_MD)
    return (told_MD - there_MD).square().mean()


def _contrast(told_MD: Tensor, there_MD: Tensor, row_M: Tensor | None, temperature: float | Tensor) -> Tensor:
    """Cross-entropy () of each token's own target among those of all, or of its row."""
    number_M = torch.unique(there_MD, dim=0, return_inverse=True)[1]
    own_MM = torch.eye(len(told_MD), dtype=torch.bool, device=told_MD.device)
    among_MM = (number_M[:, None] != number_M) | own_MM
    if row_M is not None:
        among_MM = among_MM & (row_M[:, None] == row_M)
    return contrast(cosines(told_MD, there_MD) / temperature, own_MM, among_MM)


def _normalised(patches_MD: Tensor) -> Tensor:
    """Each patch's numbers with mean 0 and variance 1, as the published code of MAE has it (variance over D - 1)."""
    off_MD = patches_MD - patches_MD.mean(dim=-1, keepdim=True)
    return off_MD / (off_MD.square().sum(dim=-1, keepdim=True) / max(patches_MD.shape[-1] - 1, 1) + _LEAST).sqrt()
