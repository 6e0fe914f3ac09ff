"""Windows that are nearly the same, or of files with the same bytes, as groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unifusion.retrieval.snapshot import Snapshot

__all__ = ["duplicate_groups", "groups_above"]

_BLOCK_BYTES = 64 * 1024**2


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
    overlap are not. All pairs are compared, in blocks: N^2 x D steps.

    Args:
        vectors_ND: float32 of length one.
        threshold: cosine.
        contents_N: number of the content of each window's file.
        clips_N: number of its clip.
        spans_N2: begin and end of each in its file, seconds.
    """
    parents = np.arange(len(vectors_ND))
    for group in _equal(contents_N, spans_N2):
        _join(parents, group)
    for i, j in _pairs(vectors_ND, threshold):
        overlap = clips_N[i] == clips_N[j] and spans_N2[i, 0] < spans_N2[j, 1] and spans_N2[j, 0] < spans_N2[i, 1]
        if not overlap:
            _join(parents, [i, j])
    found: dict[int, list[int]] = {}
    for position in range(len(parents)):
        found.setdefault(_root(parents, position), []).append(position)
    return sorted((g for g in found.values() if len(g) > 1), key=lambda g: (-len(g), g))


def _equal(contents_N: np.ndarray, spans_N2: np.ndarray) -> Iterator[list[int]]:
    """Positions of the same content and span."""
    met: dict[tuple[int, float, float], list[int]] = {}
    for position, (content, (start_s, end_s)) in enumerate(zip(contents_N, spans_N2, strict=True)):
        met.setdefault((int(content), float(start_s), float(end_s)), []).append(position)
    return (group for group in met.values() if len(group) > 1)


def _pairs(vectors_ND: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Positions i < j whose cosine is at least the threshold; of many equal vectors each is compared with the first alone."""
    if not len(vectors_ND):
        return
    _, firsts, which_N = np.unique(vectors_ND, axis=0, return_index=True, return_inverse=True)
    for j, i in enumerate(firsts[which_N.reshape(-1)]):
        if i != j:
            yield int(i), j
    firsts = np.sort(firsts)
    own_MD = vectors_ND[firsts]
    rows = max(1, _BLOCK_BYTES // (4 * len(own_MD)))
    for start in range(0, len(own_MD), rows):
        scores_RM = own_MD[start : start + rows] @ own_MD[start:].T
        for i, j in zip(*np.nonzero(scores_RM >= threshold), strict=True):
            if i < j:
                yield int(firsts[start + i]), int(firsts[start + j])


def _root(parents: np.ndarray, position: int) -> int:
    """The first of a group, with the way to it shortened."""
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = int(parents[position])
    return position


def _join(parents: np.ndarray, group: list[int]) -> None:
    """Make one group of several positions' groups."""
    first = min(_root(parents, position) for position in group)
    for position in group:
        parents[_root(parents, position)] = first
