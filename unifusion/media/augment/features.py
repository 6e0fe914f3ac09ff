"""SpecAugment: runs of time and bands of features are hidden (Park et al., "SpecAugment", 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["spec_augment"]


def spec_augment(
    features_SD: Tensor, rng: np.random.Generator, *, time_masks: int = 0, time_width: float = 0.1, feature_masks: int = 0,
    feature_width: float = 0.1, fill: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return a copy of features (S, D), log-mels or an encoder's tokens, with masks over it; nothing is moved ("time warp" is left out).

    A mask is as wide as a number drawn evenly from 0 to its largest width, and lies anywhere; masks may overlap. 0.1 ms for 500 x 160.

    Args:
        features_SD: frames by bins, real ones alone.
        rng: draws widths and places.
        time_masks: how many runs of frames are hidden.
        time_width: largest width of one, as a part of S.
        feature_masks: how many bands of bins.
        feature_width: largest width of one, as a part of D.
        fill: what stands in their place; 0 is the mean of features that are normalised.
    """
    out_SD = features_SD.clone()
    for dim, count, part in ((0, time_masks, time_width), (1, feature_masks, feature_width)):
        size = out_SD.shape[dim]
        for width, place in rng.random((count, 2)):
            wide = int(width * (part * size + 1))
            out_SD.narrow(dim, int(place * (size - wide + 1)), wide).fill_(fill)
    return out_SD
