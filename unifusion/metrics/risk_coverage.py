"""Risk against coverage: how often answers are wrong when only the surest share of them is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["risk_coverage"]


def risk_coverage(confidence_N: Sequence[float], right_N: Sequence[bool]) -> dict[str, list[float]]:
    """Return `threshold`, `coverage` and `risk`, one point for each different confidence, the surest first.

    An answer is given when its confidence is at least the threshold; coverage is the share of answers given, risk the share of those
    that are wrong (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    | input | shape | meaning |
    |---|---|---|
    | `confidence_N` | (N,) | probability of each answer |
    | `right_N` | (N,) | whether it is right |

    Raises:
        ConfigError: the lengths differ or are zero.
    """
    confidence, right = np.asarray(confidence_N, np.float64), np.asarray(right_N, bool)
    if confidence.shape != right.shape or confidence.ndim != 1 or not len(right):
        raise ConfigError(f"risk_coverage of shapes {confidence.shape} and {right.shape};", remedy="give one number and one truth a row.")
    order = np.argsort(-confidence, kind="stable")
    given_N, wrong_N = np.arange(1, len(right) + 1), np.cumsum(~right[order])
    last_N = np.append(np.diff(confidence[order]) != 0, True)  # of equally sure answers all are given or none
    return {
        "threshold": confidence[order][last_N].tolist(),
        "coverage": (given_N[last_N] / len(right)).tolist(),
        "risk": (wrong_N[last_N] / given_N[last_N]).tolist(),
    }
