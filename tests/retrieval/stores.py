"""Vectors, a filter's meaning in plain Python, and what any back end must do with them."""

import json

import numpy as np
import pytest

from unifusion.errors import CheckpointError, ConfigError

WIDTH = 16
COMPARE = {
    "$eq": lambda a, b: a == b, "$gt": lambda a, b: a > b, "$gte": lambda a, b: a >= b, "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b, "$in": lambda a, b: a in b,
}  # fmt: skip
FILTERS = [
    None, {}, {"label": "dog"}, {"label": {"$ne": "dog"}}, {"label": {"$in": ["dog", "cat"]}}, {"label": {"$nin": ["dog"]}},
    {"label": "no such"}, {"start_s": {"$gte": 3}}, {"start_s": {"$gt": 3, "$lt": 7.5}}, {"start_s": 4}, {"start_s": 4.0}, {"n": 8.0},
    {"n": {"$in": [1, 2.0, "x"]}}, {"n": {"$nin": [1, 2.0, "x"]}}, {"n": {"$in": []}}, {"n": {"$nin": []}}, {"heard": True},
    {"heard": {"$ne": True}}, {"absent": 1}, {"absent": {"$ne": 1}}, {"absent": {"$nin": [1]}}, {"label": "dog", "heard": False},
    {"$and": [{"label": "dog"}]}, {"$or": [{"label": "dog"}, {"start_s": {"$lte": 2}}]},
    {"$and": [{"$or": [{"label": "cat"}, {"heard": True}]}, {"n": {"$lt": 40}}]}, {"$or": [{"n": {"$in": []}}, {"label": "cat"}]},
    {"$and": [{"n": {"$in": []}}, {"label": "cat"}]}, {"$or": [{"n": {"$nin": []}}, {"label": "cat"}]}, {"a.b c": 3}, {"rare": "é"},
]  # fmt: skip


def unit(count, width=WIDTH, seed=0):
    """Random vectors of length one."""
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(count):
    """Metadata of every kind; some fields are missing, some rows are empty."""
    found = []
    for n in range(count):
        row = {"label": ("dog", "cat", "hen")[n % 3], "start_s": n % 10 if n % 2 else float(n % 10), "n": n, "heard": n % 4 == 0}
        if n % 5 == 0:
            row |= {"rare": "é", "a.b c": n % 4}
        found.append({} if n % 17 == 0 else {"label": row["label"], "unknown": None} if n % 11 == 0 else row)
    return found


def holds(row, where):
    """Whether a row matches a filter."""
    for field, wanted in (where or {}).items():
        if field in ("$and", "$or"):
            if not (all if field == "$and" else any)(holds(row, part) for part in wanted):
                return False
        else:
            wanted = wanted if isinstance(wanted, dict) else {"$eq": wanted}
            for operator, value in wanted.items():
                denied = {"$ne": "$eq", "$nin": "$in"}.get(operator)
                same = row.get(field) is not None and COMPARE[denied or operator](row[field], value)
                if same == bool(denied):
                    return False
    return True


def expected(vectors, metadata, ids, queries, k, where=None):
    """Scores and ids (B, K) by brute force."""
    allowed = np.asarray([holds(row, where) for row in metadata], bool)
    scores, found = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for b, query in enumerate(queries):
        own = np.where(allowed, vectors @ query, -np.inf)
        best = np.lexsort((ids, -own))[: min(k, int(allowed.sum()))]
        scores[b, : len(best)], found[b, : len(best)] = own[best], ids[best]
    return scores, found


def same(matches, truth):
    """Compare what a back end found with the truth."""
    scores, ids = truth
    assert matches.scores_BK.dtype == np.float32 and matches.ids_BK.dtype == np.int64
    assert np.array_equal(matches.ids_BK, ids)
    assert np.allclose(matches.scores_BK, scores, atol=1e-5)


def check_filters(store):
    """Every filter finds what brute force finds."""
    count = 300
    vectors, metadata, ids = unit(count), rows(count), np.arange(count) * 7 + 3
    store.add(ids, vectors, metadata)
    queries = unit(4, seed=9)
    for where in FILTERS:
        same(store.search(queries, 5, where), expected(vectors, metadata, ids, queries, 5, where))


def check_changes(store):
    """Adding, replacing, deleting; equal scores by id; more asked for than is there."""
    vectors, queries = unit(40), unit(3, seed=5)
    empty = store.search(queries, 3)
    assert len(store) == 0 and (empty.ids_BK == -1).all() and np.isneginf(empty.scores_BK).all()
    store.add(np.arange(40), vectors, [{"n": n, "old": True} for n in range(40)])
    store.add(np.array([5, 99]), vectors[[6, 6]], [{"n": 500}, {"n": 990}])
    held = np.concatenate([vectors, vectors[[6]]])
    held[5] = vectors[6]
    ids, metadata = np.r_[np.arange(40), 99], [{"n": n, "old": True} for n in range(40)] + [{"n": 990}]
    metadata[5] = {"n": 500}
    assert len(store) == 41
    same(store.search(vectors[[6]], 2), (np.ones((1, 2), np.float32), np.array([[5, 6]])))
    for where in (None, {"old": True}, {"old": {"$ne": True}}):
        same(store.search(queries, 50, where), expected(held, metadata, ids, queries, 50, where))
    assert store.delete(np.array([5, 6, 7, 1000])) == 3
    assert store.delete(np.array([], np.int64)) == 0
    kept = ~np.isin(ids, [5, 6, 7])
    left = expected(held[kept], [m for m, k in zip(metadata, kept, strict=True) if k], ids[kept], queries, 4)
    same(store.search(queries, 4), left)
    store.add(np.array([], np.int64), np.zeros((0, WIDTH), np.float32), [])
    assert len(store) == 38


def check_refusals(store):
    """What the contract forbids is refused, and nothing of it is added."""
    vectors = unit(2)
    bad = [
        (np.array([1, 1]), vectors, [{}, {}]), (np.array([-1, 2]), vectors, [{}, {}]), (np.array([1.5, 2.5]), vectors, [{}, {}]),
        (np.array([1]), vectors, [{}, {}]), (np.array([1, 2]), vectors, [{}]), (np.array([1, 2]), vectors[:, :5], [{}, {}]),
        (np.array([1, 2]), vectors * 2, [{}, {}]), (np.array([1, 2]), vectors * np.nan, [{}, {}]),
        (np.array([1, 2]), vectors, [{"x": [1]}, {}]), (np.array([1, 2]), vectors, [{"x": float("nan")}, {}]),
        (np.array([1, 2]), vectors, [{"chroma:x": 1}, {}]),
    ]  # fmt: skip
    for ids, wrong, metadata in bad:
        with pytest.raises(ConfigError):
            store.add(ids, wrong, metadata)
    assert len(store) == 0
    for queries, k in ((unit(1), 0), (unit(1, width=5), 1), (unit(1)[0], 1), (unit(1) * np.nan, 1)):
        with pytest.raises(ConfigError):
            store.search(queries, k)
    wrong = (
        {"x": {"$near": 1}}, {"$not": [{"x": 1}]}, {"$and": []}, {"$or": "x"}, {"x": {}}, {"x": {"$in": 3}}, {"x": [1]}, {"x": None},
        {"x": {"$gt": "a"}}, {"x": float("inf")}, ["x"], {"x": {"$eq": {"y": 1}}},
    )  # fmt: skip
    for where in wrong:
        with pytest.raises(ConfigError):
            store.search(unit(1), 1, where)


def check_files(cls, config, folder):
    """Whatever single file of a saved index is cut short, changed or gone: a typed error."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], None, b"\x80\x04cos\nsystem\n"):
            if damaged == whole:
                continue
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="index the folder again"):
                cls.load(folder, WIDTH, config)
        path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="width"):
        cls.load(folder, WIDTH + 1, config)
    cls.load(folder, WIDTH, config)


def change_state(path, **changes):
    """Write other values into a state file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
