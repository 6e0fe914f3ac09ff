"""Cross-entropy of finding the right among many, with one right answer or several: the ground of the contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses._vectors import check_mask, choose

__all__ = ["FORMS", "classes", "contrast", "matches"]

FORMS = ("out", "mil", "apart")
"""What several positives of a row mean; with one they are the same:

- `out`: the mean over positives of -log softmax, all candidates below the line (Khosla et al. 2020, L_out; UniCL);
- `mil`: -log of the positives' common share of the softmax: one of them found is enough (Miech et al., MIL-NCE, 2020);
- `apart`: the mean over positives, each against the negatives alone, so that positives do not push each other away.
"""


def contrast(logits_BN: Tensor, positives_BN: Tensor, candidates_BN: Tensor | None = None, *, form: str = "out") -> Tensor:
    """Return the mean loss () over rows that have a positive; 0 where none has.

    | input | shape | meaning |
    |---|---|---|
    | logits_BN | (B, N) | finite |
    | positives_BN | (B, N) bool | right answers of each row |
    | candidates_BN | (B, N) bool | answers that are there at all; a positive that is not is none |
    | form | | see FORMS |

    Raises:
        ConfigError: no such form.
    """
    choose("form", form, FORMS)
    candidates_BN = torch.ones_like(positives_BN) if candidates_BN is None else candidates_BN
    positives_BN = positives_BN & candidates_BN
    count_B = positives_BN.sum(dim=1)
    if form == "mil":
        losses_B = _log_sum(logits_BN, candidates_BN) - _log_sum(logits_BN, positives_BN)
    else:
        if form == "out":
            each_BN = _log_sum(logits_BN, candidates_BN)[:, None] - logits_BN
        else:
            negatives_BN = candidates_BN & ~positives_BN
            against_BN = _log_sum(logits_BN, negatives_BN)[:, None] - logits_BN
            each_BN = -functional.logsigmoid(-against_BN) * negatives_BN.any(dim=1, keepdim=True)
        losses_B = torch.where(positives_BN, each_BN, 0.0).sum(dim=1) / count_B.clamp(min=1)
    told_B = count_B > 0
    return torch.where(told_B, losses_B, 0.0).sum() / told_B.sum().clamp(min=1)


def _log_sum(logits_BN: Tensor, chosen_BN: Tensor) -> Tensor:
    """log of the sum of exp (B,) over the chosen; 0 without gradient where none is, as the gradient of log 0 is no number."""
    some_B1 = chosen_BN.any(dim=1, keepdim=True)
    left_BN = torch.where(some_B1, logits_BN.masked_fill(~chosen_BN, -torch.inf), 0.0)
    return torch.where(some_B1[:, 0], torch.logsumexp(left_BN, dim=1), 0.0)


def classes(
    what: str, rows: Tensor, labels_B: Tensor | None, positives_BB: Tensor | None, candidates_BB: Tensor | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Which of the same rows go with each row, and which are there for it at all, itself never (B, B) bool.

    Args:
        what: the loss.
        rows: (B, ..).
        labels_B: rows of one label go together.
        positives_BB: or which do.
        candidates_BB: False: neither right nor wrong.

    Raises:
        ConfigError: labels and positives are both given, or neither, or do not fit the rows.
    """
    count = len(rows)
    if (labels_B is None) == (positives_BB is None):
        raise ConfigError(f"{what} has labels and positives, or neither;", remedy="give one of them.")
    if labels_B is not None:
        if labels_B.shape != rows.shape[:1] or labels_B.is_floating_point():
            found = f"{what} has labels {labels_B.dtype} of shape {tuple(labels_B.shape)} for {count} rows;"
            raise ConfigError(found, remedy="give a whole number to each row.")
        positives_BB = labels_B[:, None] == labels_B
    other_BB = ~torch.eye(count, dtype=torch.bool, device=rows.device)
    for name, mask in (("positives_BB", positives_BB), ("candidates_BB", candidates_BB)):
        if mask is not None:
            check_mask(name, mask, count, count)
    among_BB = other_BB if candidates_BB is None else other_BB & candidates_BB
    return positives_BB & among_BB if positives_BB is not None else among_BB, among_BB


def matches(
    count: int, groups_B: Tensor | None, all_groups_N: Tensor | None, *, total: int, offset: int, device: torch.device
) -> Tensor:  # fmt: skip
    """Which of all rows (B, N) bool go with each local one: those of its group, or without groups the one at its place.

    Raises:
        ConfigError: numbers of groups do not fit the rows, or the local rows do not lie within all.
    """
    if not 0 <= offset <= total - count:
        raise ConfigError(f"{count} rows at {offset} of {total};", remedy="let offset be the place of the first local row among all rows.")
    if groups_B is None:
        if all_groups_N is not None:
            raise ConfigError("all_groups_N is given and groups_B is not;", remedy="give both or neither.")
        return torch.arange(offset, offset + count, device=device)[:, None] == torch.arange(total, device=device)
    others_N = groups_B if all_groups_N is None else all_groups_N
    if groups_B.shape != (count,) or others_N.shape != (total,) or groups_B.is_floating_point():
        found = f"groups {groups_B.dtype} of shapes {tuple(groups_B.shape)} and {tuple(others_N.shape)} for {count} of {total} rows;"
        raise ConfigError(found, remedy="give a whole number to each row, and all_groups_N with gathered rows.")
    return groups_B[:, None] == others_N
