"""Pairs of modalities in one space, with modalities missing anywhere: each against an anchor, or all with all."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from unifusion.errors import ConfigError, nearest
from unifusion.losses._contrast import contrast, matches
from unifusion.losses._vectors import check_mask, check_rows, check_scale, choose, cosines

__all__ = ["anchored_pairs"]

_MODES = ("anchor", "pairs", "triplets")


def anchored_pairs(
    vectors: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None, *, scale: float | Tensor, anchor: str | None = None,
    mode: str = "anchor", groups_B: Tensor | None = None, form: str = "out",
) -> Tensor:  # fmt: skip
    """Return the mean over pairs of modalities of the symmetric contrastive loss (see `clip_loss`) of the rows that have both ().

    | input | shape | meaning |
    |---|---|---|
    | vectors | modality -> (B, D) | of any norm; what stands in a row that lacks the modality is not looked at, be it NaN |
    | present | modality -> (B,) bool | which rows have it; a modality that is not named is in all rows |
    | scale | () | 1 / temperature, a number or learned |
    | anchor | | the modality that all others are held against, in mode `anchor` |
    | mode | | `anchor`; `pairs`: all with all; `triplets`: all with all, in rows that have every modality |
    | groups_B | (B,) int64 | rows of one group go with each other (captions of one clip); without, each with itself |
    | form | | what several positives mean: `out`, `mil` or `apart`, see `_contrast.FORMS` |

    A row that lacks one of a pair is neither an answer nor a wrong one there; with `triplets` all pairs tell the same rows apart. A pair
    that fewer than two rows have is left out of the mean; where all are, the loss is 0, with a gradient of 0. Every modality is part of
    the graph always, so that processes of a parallel training agree on what has a gradient. A vector of norm 0 has cosine 0 with all and
    no gradient.

    Over processes: gather vectors, presence and groups (`_gather.gather_rows`) and take the loss of all rows in each process; counts of
    pairs differ between processes, so that a mean of their own means would be another loss.

    Girdhar et al., "ImageBind" (2023), eq. 1; all with all and triplets: Guzhov et al., "AudioCLIP" (2021).

    Raises:
        ConfigError: the shapes do not fit, there is no such modality or mode, there are fewer than two, or the scale is not above 0.
    """
    pairs = _pairs(vectors, anchor, mode)
    check_rows("anchored_pairs", *vectors.values())
    check_scale("scale", scale)
    count, device = len(next(iter(vectors.values()))), next(iter(vectors.values())).device
    there = _presence(vectors, present or {}, count, device)
    if mode == "triplets":
        whole_B = torch.stack(list(there.values())).all(dim=0)
        there = dict.fromkeys(there, whole_B)
    clean = {name: torch.where(there[name][:, None], v_BD, 0.0) for name, v_BD in vectors.items()}
    same_BB = matches(count, groups_B, None, total=count, offset=0, device=device)
    losses, told = [], []
    for one, other in pairs:
        both_B = there[one] & there[other]
        among_BB = both_B & both_B[:, None]
        logits_BB = scale * cosines(clean[one], clean[other])
        right_BB = same_BB & among_BB
        ways = [contrast(logits, right, among_BB, form=form) for logits, right in ((logits_BB, right_BB), (logits_BB.T, right_BB.T))]
        told.append(both_B.sum() > 1)
        losses.append(torch.where(told[-1], (ways[0] + ways[1]) / 2, 0.0))
    return torch.stack(losses).sum() / torch.stack(told).sum().clamp(min=1)


def _pairs(vectors: Mapping[str, Tensor], anchor: str | None, mode: str) -> list[tuple[str, str]]:
    """The pairs of modalities that a mode has."""
    choose("mode", mode, _MODES)
    if len(vectors) < 2 or (mode == "triplets" and len(vectors) < 3):
        raise ConfigError(f"{len(vectors)} modalities for mode {mode};", remedy="give two or more, three or more to triplets.")
    if (mode == "anchor") != (anchor is not None):
        raise ConfigError(f"the anchor is {anchor!r} in mode {mode};", remedy="name an anchor in mode anchor, and in no other.")
    if anchor is None:
        return list(combinations(vectors, 2))
    if anchor not in vectors:
        raise ConfigError(f"no modality {anchor!r} to be the anchor;", remedy=nearest(anchor, list(vectors)))
    return [(anchor, name) for name in vectors if name != anchor]


def _presence(vectors: Mapping[str, Tensor], present: Mapping[str, Tensor], count: int, device: torch.device) -> dict[str, Tensor]:
    """Which rows (B,) have each modality."""
    for name, mask_B in present.items():
        if name not in vectors:
            raise ConfigError(f"presence of {name!r}, which has no vectors;", remedy=nearest(name, list(vectors)))
        check_mask(f"presence of {name}", mask_B, count)
    return {name: present.get(name, torch.ones(count, dtype=torch.bool, device=device)) for name in vectors}
