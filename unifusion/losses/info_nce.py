"""InfoNCE: a query finds its key among others."""

from __future__ import annotations

import torch
from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.losses._contrast import contrast
from unifusion.losses._vectors import check_mask, check_rows, check_scale, cosines

__all__ = ["info_nce"]


def info_nce(
    queries_BD: Tensor, keys_ND: Tensor, *, temperature: float | Tensor = 0.07, negatives: Tensor | None = None, in_batch: bool = True,
    positives_BN: Tensor | None = None, candidates_BN: Tensor | None = None, form: str = "out",
) -> Tensor:  # fmt: skip
    """Return the mean over queries of -log(exp(s+ / t) / sum of exp(s / t)) (), s being cosines, in float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | queries_BD | (B, D) | of any norm |
    | keys_ND | (N, D) | key i is query i's and the others are its negatives, N = B; any N with `positives_BN` |
    | temperature | () | t, a number or learned |
    | negatives | (M, D) or (B, M, D) | further ones: hard negatives of all queries, or each query's own |
    | in_batch | | False: keys of other queries are no negatives, only `negatives` are |
    | positives_BN | (B, N) bool | which keys are right, where it is not one each: several captions of a clip, equal labels |
    | candidates_BN | (B, N) bool | False: neither right nor wrong (a likely false negative) |
    | form | | what several positives mean: `out`, `mil` (MIL-NCE) or `apart`, see `_contrast.FORMS` |

    A query without a positive is left out; without any the loss is 0, with a gradient of 0. A query without negatives (B = 1) costs 0 where
    it has one positive. A vector of norm 0 has cosine 0 with all and no gradient.

    van den Oord et al., "Representation learning with contrastive predictive coding" (2018), eq. 4; symmetric and over processes:
    `clip_loss`.

    Raises:
        ConfigError: the shapes do not fit, there is nothing to be told from, or the temperature is not above 0.
    """
    check_rows("info_nce", queries_BD, keys_ND, rows=positives_BN is None)
    check_scale("temperature", temperature)
    count, keys = len(queries_BD), len(keys_ND)
    if not in_batch and negatives is None:
        raise ConfigError("info_nce has neither the batch's keys nor others as negatives;", remedy="give negatives, or leave in_batch on.")
    if positives_BN is None:
        positives_BN = torch.eye(count, dtype=torch.bool, device=queries_BD.device)
    check_mask("positives_BN", positives_BN, count, keys)
    among_BN = torch.ones_like(positives_BN) if in_batch else positives_BN
    if candidates_BN is not None:
        check_mask("candidates_BN", candidates_BN, count, keys)
        among_BN = among_BN & candidates_BN
    logits_BN = cosines(queries_BD, keys_ND)
    if negatives is not None:
        more_BM = _further(queries_BD, negatives)
        logits_BN = torch.cat([logits_BN, more_BM], dim=1)
        positives_BN = torch.cat([positives_BN, torch.zeros_like(more_BM, dtype=torch.bool)], dim=1)
        among_BN = torch.cat([among_BN, torch.ones_like(more_BM, dtype=torch.bool)], dim=1)
    return contrast(logits_BN / temperature, positives_BN, among_BN, form=form)


def _further(queries_BD: Tensor, negatives: Tensor) -> Tensor:
    """Cosines (B, M) of queries with negatives that are all queries' or each one's own."""
    if negatives.ndim == 3 and len(negatives) == len(queries_BD) and negatives.shape[2] == queries_BD.shape[1]:
        return cosines(queries_BD[:, None], negatives)[:, 0]
    if negatives.ndim == 2 and negatives.shape[1] == queries_BD.shape[1]:
        return cosines(queries_BD, negatives)
    found = f"negatives of shape {tuple(negatives.shape)} for queries of shape {tuple(queries_BD.shape)};"
    raise ConfigError(found, remedy="give (M, D), or (B, M, D).")
