"""Windows that are nearly the same, or of files with the same bytes, as groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unifusion.retrieval.snapshot import Snapshot

__all__ = ["duplicate_groups", "groups_above"]

_BLOCK_BYTES = 64 * 1024**2
_ROUNDING = 1e-6
"""Equal vectors have a cosine of 1 within this, in float32."""


def duplicate_groups(snapshot: Snapshot, threshold: float, space: str) -> tuple[np.ndarray, list[list[tuple[int, float]]]]:
    """Ids (N,) of the windows of a space, and groups of positions among them, each with its cosine to the first of the group."""
    ids_N, vectors_ND = snapshot.vectors(space)
    windows = list(snapshot.windows(ids_N))
    numbers: dict[str, int] = {}
    contents = [numbers.setdefault(snapshot.entries[w.clip].sha256, len(numbers)) for w in windows]
    spans_N2 = np.array([(w.start_s, w.end_s) for w in windows], np.float64).reshape(-1, 2)
    groups = groups_above(vectors_ND, threshold, np.array(contents, np.int64), np.array([w.clip for w in windows], np.int64), spans_N2)
    return ids_N, [[(i, float(vectors_ND[i] @ vectors_ND[group[0]])) for i in group] for group in groups]


def groups_above(
    vectors_ND: np.ndarray, threshold: float, contents_N: np.ndarray, clips_N: np.ndarray, spans_N2: np.ndarray
) -> list[list[int]]:  # fmt: skip
    """Groups of two or more positions, each connected with another of its group; the largest first, ascending within.

    Two are connected where their cosine is at least `threshold`, or their files' contents and spans are equal; windows of one clip that
    overlap are not. All pairs are compared, N^2 x D steps, in blocks whose memory does not grow with N.

    Args:
        vectors_ND: float32 of length one.
        threshold: cosine; 1 is equal but for rounding.
        contents_N: number of the content of each window's file.
        clips_N: number of its clip.
        spans_N2: begin and end of each in its file, seconds.
    """
    labels_N = np.arange(len(vectors_ND))
    for group in _equal(contents_N, spans_N2):
        labels_N[group] = group[0]
    for i, near in _near(vectors_ND, min(threshold, 1.0 - _ROUNDING)):
        overlap = (clips_N[near] == clips_N[i]) & (spans_N2[near, 0] < spans_N2[i, 1]) & (spans_N2[i, 0] < spans_N2[near, 1])
        _join(labels_N, np.append(near[~overlap], i))
    found: dict[int, list[int]] = {}
    for position, label in enumerate(labels_N.tolist()):
        found.setdefault(label, []).append(position)
    return sorted((g for g in found.values() if len(g) > 1), key=lambda g: (-len(g), g))


def _equal(contents_N: np.ndarray, spans_N2: np.ndarray) -> Iterator[list[int]]:
    """Positions of the same content and span."""
    met: dict[tuple[int, float, float], list[int]] = {}
    for position, (content, (start_s, end_s)) in enumerate(zip(contents_N, spans_N2, strict=True)):
        met.setdefault((int(content), float(start_s), float(end_s)), []).append(position)
    return (group for group in met.values() if len(group) > 1)


def _near(vectors_ND: np.ndarray, threshold: float) -> Iterator[tuple[int, np.ndarray]]:
    """Positions i, and those behind each whose cosine with it is at least the threshold; i that have none are left out."""
    rows = max(1, _BLOCK_BYTES // (4 * max(1, len(vectors_ND))))
    for start in range(0, len(vectors_ND), rows):
        near_RM = vectors_ND[start : start + rows] @ vectors_ND[start:].T >= threshold
        here = len(near_RM)
        near_RM[:, :here] &= np.triu(np.ones((here, here), bool), 1)  # each pair once
        for row in np.flatnonzero(near_RM.any(axis=1)):
            yield start + int(row), start + np.flatnonzero(near_RM[row])


def _join(labels_N: np.ndarray, positions: np.ndarray) -> None:
    """Make one group of several positions' groups; its label is the least."""
    met = np.unique(labels_N[positions])
    if len(met) > 1:
        joined_N = np.zeros(len(labels_N), bool)
        joined_N[met] = True
        labels_N[joined_N[labels_N]] = met[0]
