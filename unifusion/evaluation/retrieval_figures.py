"""Figures of retrieval between two spaces, with intervals and chance, and what each query found."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import ConfigError
from unifusion.evaluation.retrieval_spaces import Entries, relevance_of
from unifusion.metrics._ranking import Ranking, cosines, join, rank, values_of
from unifusion.metrics._resampling import group_draws
from unifusion.metrics.ranking_chance import ranking_chance

__all__ = ["WAYS", "Draws", "direction", "intervals"]

WAYS = {"dual_softmax": 2.0, "inverted_softmax": 1.0}
"""Ways to score that need all queries at once -> how often the scaled cosine counts against the item's share of all queries."""
_BLOCK = 4_000_000
"""Scores at a time: 32 MB."""
_BINS = 100
"""Of cosines from -1 to 1."""
_TOP = 5


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How figures are made.

    Attributes:
        ks: cut-offs of recall.
        k: cut-off of mAP and nDCG.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    ks: tuple[int, ...] = (1, 5, 10)
    k: int = 10
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if min((*self.ks, self.k, self.resamples)) < 1 or not self.ks:
            found = f"cut-offs {self.ks} and {self.k} with {self.resamples} resamples;"
            raise ConfigError(found, remedy="give whole numbers from 1, and at least one cut-off.")


def intervals(values: Mapping[str, np.ndarray], groups: Sequence[Hashable], draws: Draws) -> dict[str, dict[str, float]]:
    """Mean (of `median_rank` the median) of each figure with its 95 % interval from drawing whole groups of queries.

    One set of draws serves all figures; it is that of `metrics.bootstrap`, and so are the intervals. The things that are searched stay
    as they are.

    Args:
        values: figure -> its number (Q,) for each query.
        groups: of each query.
        draws: resamples and seed.
    """
    places = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    group_Q = np.array([places[g] for g in groups])
    sizes_G = np.bincount(group_Q).astype(np.float64)
    means = [name for name in values if name != "median_rank"]
    sums_GF = np.stack([np.bincount(group_Q, values[name]) for name in means], axis=1)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for times_RG in group_draws(len(sizes_G), draws.resamples, draws.seed):
        of_R = times_RG @ sizes_G
        for name, own in zip(means, ((times_RG @ sums_GF) / of_R[:, None]).T, strict=True):
            drawn[name].append(own)
        if "median_rank" in values:
            drawn["median_rank"].append(_medians(values["median_rank"], group_Q, times_RG))
    out = {}
    for name, own in values.items():
        low, high = np.quantile(np.concatenate(drawn[name]), [0.025, 0.975])
        value = np.median(own) if name == "median_rank" else own.mean()
        out[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return out


def _medians(values_Q: np.ndarray, group_Q: np.ndarray, times_RG: np.ndarray) -> np.ndarray:
    """Median (r,) of each resample."""
    order = np.argsort(values_Q, kind="stable")
    sorted_Q, group_Q = values_Q[order], group_Q[order]
    out = []
    for times_G in times_RG:  # one at a time: groups may be few and queries many
        reached_Q = np.cumsum(times_G[group_Q])
        middle = np.searchsorted(reached_Q, [np.floor((reached_Q[-1] - 1) / 2), np.floor(reached_Q[-1] / 2)], side="right")
        out.append(sorted_Q[middle].mean())
    return np.array(out)


def direction(
    queries: Entries, things: Entries, groups: Sequence[str], draws: Draws, *, scale: float = 0.0
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:  # fmt: skip
    """Search one space from another.

    Args:
        queries: what is searched with; those that nothing belongs to are left out and counted.
        things: what is searched.
        groups: of the items.
        draws: cut-offs and resamples.
        scale: above 0: also score by `WAYS`, with cosines times this.

    Returns:
        `queries`, `things`, `without` (queries that were left out), `relevant` (the mean number of things that belong to a query),
        `groups`, `figures` (each with `value`, `low`, `high`, `chance`), `cosines` (counts of pairs that belong together and that do not)
        and perhaps `rescored` (way -> figures); and a record for each query. None where nothing belongs together.
    """
    relevance = relevance_of(queries, things)
    kept = np.flatnonzero(relevance.any(axis=1))
    if not len(kept):
        return None
    relevance, vectors_QD = relevance[kept], queries.vectors_ND[kept]
    own = [groups[queries.owners[i][0]] for i in kept]
    parts, best, counts = [], [], np.zeros((2, _BINS), dtype=np.int64)
    for rows, scores in _blocks(vectors_QD, things.vectors_ND):
        parts.append(rank(scores, relevance[rows]))
        best += _best(scores, things.names)
        counts += _histogram(scores, relevance[rows])
    ranking = join(parts)
    told: dict[str, Any] = {
        "from": queries.space, "to": things.space, "queries": len(kept), "things": len(things), "without": len(queries) - len(kept),
        "relevant": float(ranking.relevant_Q.mean()), "groups": len(set(own)),
        "figures": _figures(ranking, relevance, own, draws), "cosines": _spread(counts),
    }  # fmt: skip
    if scale > 0:
        shares_N = _share_of_all(vectors_QD, things.vectors_ND, scale)
        told["rescored"] = {}
        for way, times in WAYS.items():
            again = [rank(times * scale * s - shares_N, relevance[rows]) for rows, s in _blocks(vectors_QD, things.vectors_ND)]
            told["rescored"][way] = _figures(join(again), relevance, own, draws)
    records = [
        {"from": queries.space, "to": things.space, "query": queries.names[i], "rank": int(first), "relevant": int(of), "best": top}
        for i, first, of, top in zip(kept, ranking.first_Q, ranking.relevant_Q, best, strict=True)
    ]
    return told, records


def _blocks(queries_QD: np.ndarray, things_ND: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosines of some queries at a time."""
    step, wide = max(1, _BLOCK // len(things_ND)), things_ND.astype(np.float64)
    for start in range(0, len(queries_QD), step):
        rows = slice(start, start + step)
        yield rows, cosines(queries_QD[rows], wide)


def _figures(ranking: Ranking, relevance: np.ndarray, groups: Sequence[str], draws: Draws) -> dict[str, Any]:
    """Each figure with its interval and chance."""
    chance = ranking_chance(relevance, ks=draws.ks, k=draws.k)
    found = intervals(values_of(ranking, draws.ks, draws.k), groups, draws)
    return {name: {**one, "chance": chance[name]} for name, one in found.items()}


def _share_of_all(queries_QD: np.ndarray, things_ND: np.ndarray, scale: float) -> np.ndarray:
    """Log of the sum (N,) over all queries of exp(scale x cosine): high for a thing that is near to every query (a hub)."""
    total_N = np.full(len(things_ND), -np.inf)
    for _, scores in _blocks(queries_QD, things_ND):
        total_N = np.logaddexp(total_N, np.logaddexp.reduce(scale * scores.astype(np.float64), axis=0))
    return total_N


def _best(scores_QN: np.ndarray, names: Sequence[str]) -> list[list[list[Any]]]:
    """The first things of each query with their cosines."""
    order = np.argsort(-scores_QN, axis=1, kind="stable")[:, :_TOP] if scores_QN.shape[1] <= _TOP else _partial(scores_QN)
    return [[[names[i], round(float(row[i]), 4)] for i in own] for row, own in zip(scores_QN, order, strict=True)]


def _partial(scores_QN: np.ndarray) -> np.ndarray:
    """The first few columns in order of each row."""
    some = np.sort(np.argpartition(-scores_QN, _TOP, axis=1)[:, :_TOP], axis=1)
    inner = np.argsort(-np.take_along_axis(scores_QN, some, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(some, inner, axis=1))


def _histogram(scores_QN: np.ndarray, relevance_QN: np.ndarray) -> np.ndarray:
    """Pairs (2, bins) that do not belong together, and that do, by their cosine."""
    place = np.clip(((scores_QN + 1) * (_BINS / 2)).astype(np.int64), 0, _BINS - 1) + _BINS * relevance_QN
    return np.bincount(place.ravel(), minlength=2 * _BINS).reshape(2, _BINS)


def _spread(counts: np.ndarray) -> dict[str, Any]:
    """Counts as plain numbers, with means by the bins' centres."""
    centres = (np.arange(_BINS) + 0.5) * (2 / _BINS) - 1
    out: dict[str, Any] = {"bins": _BINS}
    for name, own in zip(("negative", "positive"), counts, strict=True):
        mean = float((own * centres).sum() / own.sum()) if own.sum() else None
        out[name] = {"counts": own.tolist(), "mean": mean}
    return out
