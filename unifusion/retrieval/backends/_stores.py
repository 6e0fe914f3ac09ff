"""What back ends over another library's store share: arguments checked, answers ordered, and a sample by which a store is known again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from unifusion.errors import CheckpointError, ConfigError, UniFusionError
from unifusion.retrieval.backends._conditions import is_scalar
from unifusion.retrieval.backends.backend import Matches, Row

__all__ = ["REBUILD", "TIES", "Sample", "batches", "checked", "checked_queries", "ranked", "read_state", "secret", "speaking"]

REBUILD = "the vectors of a library are kept beside it: index the folder again."
TIES = 16
"""So many more than k are asked for, so that equal scores at the border are cut by id."""
_KEPT = 64
_TOLERANCE = 1e-3


def checked(
    width: int, ids_N: np.ndarray, vectors_ND: np.ndarray, rows: Sequence[Row]
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:  # fmt: skip
    """Ids (N,) int64, vectors (N, D) float32 and rows without unknown values.

    Raises:
        ConfigError: as `Backend.add`; or a value of a row that is no text, finite number or truth value.
    """
    ids_N, vectors_ND = np.asarray(ids_N), np.ascontiguousarray(vectors_ND, dtype=np.float32)
    if vectors_ND.ndim != 2 or vectors_ND.shape[1] != width or ids_N.shape != (len(vectors_ND),) or len(rows) != len(vectors_ND):
        raise ConfigError(
            f"{ids_N.shape} ids, {vectors_ND.shape} vectors and {len(rows)} rows;", remedy=f"give N ids, (N, {width}) vectors, N rows."
        )
    if len(ids_N) and (ids_N.dtype.kind not in "iu" or int(ids_N.min()) < 0 or len(np.unique(ids_N)) != len(ids_N)):
        raise ConfigError("ids are whole numbers from 0, each given once;", remedy="number the vectors anew.")
    lengths_N = np.linalg.norm(vectors_ND, axis=1)
    if not np.all(np.abs(lengths_N - 1.0) <= _TOLERANCE):  # false for what is not finite, too
        wrong = int(np.argmax(~(np.abs(lengths_N - 1.0) <= _TOLERANCE)))
        raise ConfigError(f"vector {ids_N[wrong]} has length {lengths_N[wrong]:.4g};", remedy="divide vectors by their length.")
    return ids_N.astype(np.int64), vectors_ND, [_row(row) for row in rows]


def checked_queries(width: int, queries_BD: np.ndarray, k: int) -> np.ndarray:
    """Queries (B, D) float32.

    Raises:
        ConfigError: as `Backend.search`.
    """
    queries_BD = np.ascontiguousarray(queries_BD, dtype=np.float32)
    if queries_BD.ndim != 2 or queries_BD.shape[1] != width or not np.isfinite(queries_BD).all():
        raise ConfigError(f"queries have the shape {queries_BD.shape};", remedy=f"give finite (B, {width}) vectors.")
    if k < 1:
        raise ConfigError(f"{k} results are asked for;", remedy="ask for one or more.")
    return queries_BD


def ranked(found: Sequence[tuple[Sequence[int], Sequence[float]]], k: int) -> Matches:
    """The k best of what each of B queries found as (ids, scores); equal scores by ascending id."""
    scores_BK = np.full((len(found), k), -np.inf, np.float32)
    ids_BK = np.full((len(found), k), -1, np.int64)
    for b, (ids, scores) in enumerate(found):
        own_N, scores_N = np.asarray(ids, np.int64), np.asarray(scores, np.float32)
        best = np.lexsort((own_N, -scores_N))[:k]
        ids_BK[b, : len(best)], scores_BK[b, : len(best)] = own_N[best], scores_N[best]
    return Matches(scores_BK=scores_BK, ids_BK=ids_BK)


def batches(total: int, most: int) -> Iterator[slice]:
    """Cut `total` items into pieces of at most `most`."""
    return (slice(start, start + most) for start in range(0, total, max(1, most)))


def secret(variable: str) -> str:
    """The token that an environment variable holds; empty where none is named.

    Raises:
        ConfigError: the variable is not set.
    """
    if variable and variable not in os.environ:
        raise ConfigError(f"the environment variable {variable} is not set;", remedy="put the server's token into it.")
    return os.environ[variable] if variable else ""


@contextmanager
def speaking(faults: tuple[type[Exception], ...], kind: type[UniFusionError], where: str, remedy: str) -> Iterator[None]:
    """Turn a store's own errors into one of ours that names the store."""
    try:
        yield
    except faults as error:
        said = str(error).strip().splitlines()
        raise kind(f"{where}: {said[0] if said else type(error).__name__};", remedy=remedy) from error


def read_state(path: Path, width: int) -> dict[str, Any]:
    """What was written about a store beside it.

    Raises:
        CheckpointError: the file is missing, damaged, or of another width.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        own, count = int(state["width"]), int(state["count"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error};", remedy=REBUILD) from error
    if own != width or count < 0:
        raise CheckpointError(f"{path} is of {count} vectors of width {own}, wanted is {width};", remedy=REBUILD)
    return dict(state)


class Sample:
    """Some vectors of a store, drawn by a mix of their ids, so that the same ids give the same sample in any order.

    Args:
        kept: id -> vector (D,).
    """

    def __init__(self, kept: Mapping[int, np.ndarray] | None = None) -> None:
        self.kept = dict(kept or {})

    def add(self, ids_N: np.ndarray, vectors_ND: np.ndarray) -> None:
        """Take new vectors into account; one whose id is there already takes its place."""
        mixed_N = np.asarray([_mix(i) for i in ids_N.tolist()], np.uint64)
        for n in np.argsort(mixed_N)[:_KEPT].tolist():
            self.kept[int(ids_N[n])] = vectors_ND[n].copy()
        self.kept = {i: self.kept[i] for i in sorted(self.kept, key=_mix)[:_KEPT]}

    def drop(self, ids_N: np.ndarray) -> None:
        """Forget vectors."""
        for i in ids_N.tolist():
            self.kept.pop(i, None)

    def save(self, path: Path) -> None:
        """Write the sample as safetensors."""
        ids = np.asarray(sorted(self.kept), np.int64)
        vectors = np.stack([self.kept[i] for i in ids.tolist()]) if len(ids) else np.zeros((0, 0), np.float32)
        save_file({"ids": ids, "vectors": vectors}, path)

    @classmethod
    def load(cls, path: Path) -> Sample:
        """Read it again.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        try:
            held = load_file(path)
            return cls(dict(zip(held["ids"].tolist(), held["vectors"], strict=True)))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error};", remedy=REBUILD) from error

    def verify(
        self, name: str, count: int, wanted: int, fetch: Callable[[list[int]], dict[int, np.ndarray]],
        search: Callable[[np.ndarray], Matches],
    ) -> None:  # fmt: skip
        """Compare a store that was opened again with what it held.

        Args:
            name: of the store, for the message.
            count: vectors it says it has.
            wanted: vectors it had.
            fetch: ids -> their vectors.
            search: queries (B, D) -> the best row of each.

        Raises:
            CheckpointError: vectors are missing or others, or more than one in ten are there and not found.
        """
        if count != wanted:
            raise CheckpointError(f"{name} holds {count} vectors and had {wanted};", remedy=REBUILD)
        if not self.kept:
            return
        ids = sorted(self.kept)
        there = fetch(ids)
        truth_ND = np.stack([self.kept[i] for i in ids])
        wrong = [i for i in ids if i not in there or not np.allclose(there[i], self.kept[i], atol=1e-4)]
        if wrong:
            raise CheckpointError(f"{name} lost or changed {len(wrong)} of {len(ids)} vectors looked at (id {wrong[0]});", remedy=REBUILD)
        lost = int((search(truth_ND).scores_BK[:, 0] < 1.0 - 2 * _TOLERANCE).sum())
        if lost > len(ids) // 10:  # an approximate search may miss one
            raise CheckpointError(f"{name} holds {lost} of {len(ids)} vectors looked at and does not find them;", remedy=REBUILD)


def _mix(number: int) -> int:
    """A number of 64 bits whose order has nothing to do with that of the ids (the finaliser of splitmix64)."""
    x = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)


def _row(row: Row) -> dict[str, Any]:
    """A row's metadata without what is unknown."""
    for field, value in row.items():
        named = isinstance(field, str) and field and not field.startswith(("$", "#", "chroma:"))
        if not named or not (value is None or is_scalar(value)):
            raise ConfigError(
                f"metadata {field!r}: {value!r};", remedy="name fields by plain words; take texts, numbers up to 2^53 or truth values."
            )
    return {field: value for field, value in row.items() if value is not None}
