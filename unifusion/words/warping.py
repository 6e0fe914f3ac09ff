"""Two sequences laid over each other, each in its own order: the cheapest path through the cosine costs of their features (`losses.dtw`).

`align_sequences` takes features with times, whatever they are of: frames against the words said over them, sound against the sound of the
same words. The path is a choice and has no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unifusion.errors import ConfigError
from unifusion.losses.dtw import dtw

if TYPE_CHECKING:
    from unifusion.batch import Features

__all__ = ["align_sequences", "cosine_costs", "map_times"]


def cosine_costs(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """Return 1 - cosine (N, M), 0 to 2; a row of zeros is at 1 from everything."""
    a_ND, b_MD = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (a_ND, b_MD))
    costs: np.ndarray = 1.0 - a_ND @ b_MD.T
    return costs.clip(0.0, 2.0)


def align_sequences(
    features_a: Features, features_b: Features, *, subsequence: bool = False, band: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return how one clip's features lie against another's in one learned space: the path, and the seconds of both along it.

    Args:
        features_a: tokens (1, S, D) with mask and times: of frames, windows, sound, or words.
        features_b: tokens (1, S', D) of the same width.
        subsequence: `features_b` may go on before and after what `features_a` holds.
        band: as of `dtw`.

    Returns:
        path (P, 2): numbers of tokens among those that are real; times (P, 2): their seconds, by which `map_times` takes a time across.

    Raises:
        ConfigError: several clips at once, other widths, no real token, or tokens that are no numbers.
        LimitError: more pairs of tokens than `dtw` takes.
    """
    (a_ND, a_times_N), (b_MD, b_times_M) = (_real(f, name) for f, name in ((features_a, "first"), (features_b, "second")))
    if a_ND.shape[1] != b_MD.shape[1]:
        raise ConfigError(f"features of widths {a_ND.shape[1]} and {b_MD.shape[1]};", remedy="give both from one space.")
    path_P2, _ = dtw(cosine_costs(a_ND, b_MD), subsequence=subsequence, band=band)
    return path_P2, np.stack([a_times_N[path_P2[:, 0]], b_times_M[path_P2[:, 1]]], axis=1)


def _real(features: Features, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N, D) and times (N,) that are no padding."""
    if len(features.tokens_BSD) != 1 or not bool(features.mask_BS[0].any()):
        found = f"the {name} features hold {len(features.tokens_BSD)} clips, {int(features.mask_BS.sum())} real tokens;"
        raise ConfigError(found, remedy="give those of one clip, with a token at least.")
    mask_S = features.mask_BS[0].cpu()
    tokens_ND = features.tokens_BSD[0].detach().cpu()[mask_S].double().numpy()
    return tokens_ND, features.times_BS[0].cpu()[mask_S].double().numpy()


def map_times(times_s: np.ndarray, path_times_P2: np.ndarray) -> np.ndarray:
    """Take seconds of the first sequence to those of the second; where several tokens lie at one time, to their middle.

    Args:
        times_s: (N,) seconds; those outside the path are taken to its ends.
        path_times_P2: seconds of both along the path, as `align_sequences` gives them.
    """
    at_K, where_P, count_K = np.unique(path_times_P2[:, 0], return_inverse=True, return_counts=True)
    across_K = np.bincount(where_P, weights=path_times_P2[:, 1]) / count_K
    found_N: np.ndarray = np.interp(times_s, at_K, across_K)
    return found_N
