"""Local back ends against brute force, with their coarse indexes at work; files that are cut, changed or made to harm."""

import io
import json
import logging
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.retrieval.stores import expected, holds, rows, same, unit
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError

WIDTH, COUNT = 20, 1500
COARSE = {
    "faiss_binary": {"shortlist": 200}, "faiss_hnsw": {"build_width": 24}, "faiss_ivf": {"lists": 12, "probes": 6},
    "faiss_pq": {"shortlist": 60, "sample": 1024}, "faiss_sq8": {"shortlist": 20},
}  # fmt: skip
"""With choices that put 1,500 vectors into the coarse index, and leave some of them out of each shortlist."""
LOCAL = ["exact", "faiss_flat", *COARSE]


def make(name, width=WIDTH, **choices):
    """An empty back end."""
    if name != "exact":
        pytest.importorskip("faiss")
    cls = catalog.load("backends", name)
    return cls(width, cls.Config(**{**COARSE.get(name, {}), **choices}))


def clusters(count, width=WIDTH, seed=0):
    """Vectors around thirty centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, width))
    vectors = (centres[rng.integers(0, 30, count)] + 0.3 * rng.normal(size=(count, width))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(name, vectors, metadata=None, **choices):
    """A back end with vectors numbered backwards."""
    store = make(name, vectors.shape[1], **choices)
    store.add(np.arange(len(vectors))[::-1], vectors, metadata or [{}] * len(vectors))
    return store


def recall(store, vectors, metadata, queries, where=None, k=10):
    """Share of the true ids that are found."""
    ids = np.arange(len(vectors))[::-1]
    truth = expected(vectors, metadata, ids, queries, k, where)[1]
    found = store.search(queries, k, where).ids_BK
    assert ((found >= 0) == (truth >= 0)).all(), "k are found wherever k match"
    return np.mean([np.isin(t[t >= 0], f).mean() for t, f in zip(truth, found, strict=True) if (t >= 0).any()])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["exact", "faiss_flat"]), st.integers(1, 300), st.integers(1, 40), st.integers(1, 70), st.integers(1, 12),
    st.integers(0, 10_000), st.booleans(),
)  # fmt: skip
def test_exact_back_ends_find_what_brute_force_finds(name, count, width, batch, k, seed, filtered):
    vectors = unit(count, width, seed)
    vectors[count // 2 :] = vectors[: count - count // 2]  # half of them twice
    metadata = rows(count)
    store = filled(name, vectors, metadata)
    where = {"$or": [{"label": "dog"}, {"n": {"$lt": count // 3}}]} if filtered else None
    queries = unit(batch, width, seed + 1)
    allowed = np.array([holds(row, where) for row in metadata])
    found = store.search(queries, k, where)
    ids = np.arange(count)[::-1]
    for query, scores, got in zip(queries.astype(float), found.scores_BK, found.ids_BK, strict=True):
        own = np.where(allowed, vectors.astype(float) @ query, -np.inf)
        n = min(k, int(allowed.sum()))
        assert (got[n:] == -1).all() and np.isneginf(scores[n:]).all() and len(set(got[:n].tolist())) == n
        assert np.allclose(scores[:n], np.sort(own)[::-1][:n], atol=1e-5)
        assert np.allclose(scores[:n], own[np.searchsorted(-ids, -got[:n])], atol=1e-5)
        order = list(zip((-scores[:n]).tolist(), got[:n].tolist(), strict=True))
        assert order == sorted(order)


@pytest.mark.parametrize("name", LOCAL)
def test_an_answer_does_not_depend_on_its_batch(name):
    vectors, queries = clusters(COUNT), clusters(90, seed=3)
    store = filled(name, vectors)
    whole = store.search(queries, 7)
    for size in (1, 2, 5, 33):
        parts = [store.search(queries[i : i + size], 7) for i in range(0, 90, size)]
        assert np.array_equal(np.concatenate([p.ids_BK for p in parts]), whole.ids_BK)
        assert np.array_equal(np.concatenate([p.scores_BK for p in parts]), whole.scores_BK)


@pytest.mark.parametrize("name", COARSE)
def test_coarse_back_ends_miss_little_and_score_exactly(name):
    vectors, queries, metadata = clusters(COUNT), clusters(50, seed=3), rows(COUNT)
    store = filled(name, vectors, metadata)
    assert recall(store, vectors, metadata, queries) > 0.93
    assert store._index is not None and store._indexed == COUNT, "the coarse index was at work"
    found, exact = store.search(queries, 10), filled("exact", vectors).search(queries, COUNT)
    known = [dict(zip(i.tolist(), s.tolist(), strict=True)) for i, s in zip(exact.ids_BK, exact.scores_BK, strict=True)]
    assert all(known[b][i] == s for b in range(50) for i, s in zip(found.ids_BK[b].tolist(), found.scores_BK[b].tolist(), strict=True))


@pytest.mark.parametrize("name", COARSE)
def test_filters_reach_the_coarse_index(name):
    vectors, queries, metadata = clusters(COUNT), clusters(40, seed=3), rows(COUNT)
    store = filled(name, vectors, metadata, shortlist=50, per_hit=4)
    asked = []
    inner = store._propose
    store._propose = lambda *a: asked.append(a[2]) or inner(*a)
    floor = 0.4 if name == "faiss_binary" else 0.93
    for where in ({"label": {"$ne": "dog"}}, {"heard": False}, {"n": {"$gte": 900}}):
        assert recall(store, vectors, metadata, queries, where) > floor
    assert len(asked) == 3 and all(a is not None for a in asked)
    assert recall(store, vectors, metadata, queries, {"n": {"$lt": 40}}) == 1.0
    assert len(asked) == 3, "few rows are compared one by one"


@pytest.mark.parametrize("name", LOCAL)
def test_deleted_and_replaced_vectors_are_not_found(name):
    vectors, queries = clusters(COUNT), clusters(40, seed=3)
    store = filled(name, vectors, rows(COUNT))
    store.search(queries, 3)
    ids = np.arange(COUNT)[::-1]
    assert store.delete(ids[:200]) == 200 and store.delete(ids[:200]) == 0
    metadata = [{} for _ in range(COUNT - 200)]
    found = store.search(queries, 10)
    assert not np.isin(found.ids_BK, ids[:200]).any() and (found.ids_BK >= 0).all()
    moved = clusters(100, seed=8)
    store.add(ids[200:300], moved, [{"moved": True}] * 100)
    held = np.concatenate([moved, vectors[300:]])
    truth = expected(held, metadata, ids[200:], queries, 10)[1]
    found = store.search(queries, 10).ids_BK
    assert np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)]) > 0.9
    assert set(store.search(queries, 10, {"moved": True}).ids_BK.ravel().tolist()) <= set(ids[200:300].tolist())
    store.delete(ids[300:1200])  # more than a quarter: slots are given back
    assert store._dead == 0 and len(store) == 400
    truth = expected(np.concatenate([moved, vectors[1200:]]), metadata[:400], np.r_[ids[200:300], ids[1200:]], queries, 10)[1]
    assert np.mean([np.isin(t, f).mean() for t, f in zip(truth, store.search(queries, 10).ids_BK, strict=True)]) > 0.9


def test_an_index_that_was_outgrown_is_trained_again():
    vectors = clusters(9000)
    store = make("faiss_ivf", lists=0, least=100)
    for begin in range(0, 9000, 500):
        store.add(np.arange(begin, begin + 500), vectors[begin : begin + 500], [{}] * 500)
        store.search(vectors[:1], 1)
    assert store._trained == 8000 and store._indexed == 9000 and store._index.nlist == round(2 * 8000**0.5)


def test_thousands_of_equal_vectors_are_cut_by_id():
    vectors = clusters(6000)
    vectors[1000:5000] = vectors[17]
    for name in ("exact", "faiss_flat"):
        found = filled(name, vectors).search(vectors[[17, 5500]], 50)
        assert found.ids_BK[0].tolist() == list(range(1000, 1050))  # numbered backwards: 5999 - 4999 is the least


@pytest.mark.parametrize("name", LOCAL)
def test_writers_and_searching_threads_keep_apart(name):
    vectors, queries = clusters(3000), clusters(30, seed=3)
    store, faults, done = filled(name, vectors[:1500]), [], threading.Event()

    def look():
        while not done.is_set():
            found = store.search(queries[:3], 5)
            if (found.ids_BK < 0).any() or not (np.diff(found.scores_BK, axis=1) <= 0).all():
                faults.append(found)

    crowd = [threading.Thread(target=look) for _ in range(3)]
    for one in crowd:
        one.start()
    for begin in range(1500, 3000, 250):
        store.add(np.arange(begin, begin + 250), vectors[begin : begin + 250], [{}] * 250)
        store.delete(np.arange(begin - 100, begin))
    done.set()
    for one in crowd:
        one.join()
    assert faults == [] and len(store) == 2400


def test_faiss_is_left_as_it_was():
    faiss = pytest.importorskip("faiss")
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    vectors = clusters(COUNT)
    for name in LOCAL:
        filled(name, vectors).search(vectors[:64], 5)
    assert (faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()) == before


@pytest.mark.parametrize("name", LOCAL)
def test_saved_files_are_read_again_as_they_were(name, tmp_path):
    vectors, queries, metadata = clusters(COUNT), clusters(40, seed=3), rows(COUNT)
    store = filled(name, vectors, metadata)
    store.delete(np.arange(100))
    store.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".npy", ".json", ".jsonl"}
    before = store.search(queries, 8), store.search(queries, 8, {"heard": False})
    for mapped in (False, True):
        again = type(store).load(tmp_path, WIDTH, type(store.config)(**{**vars(store.config), "mapped": mapped}))
        if name in COARSE:
            assert again._indexed == COUNT - 100, "the saved index is used"
        for old, new in zip(before, (again.search(queries, 8), again.search(queries, 8, {"heard": False})), strict=True):
            assert np.array_equal(old.ids_BK, new.ids_BK) and np.array_equal(old.scores_BK, new.scores_BK)
        again.add(np.array([7]), queries[:1], [{"label": "new"}])
        assert again.search(queries[:1], 1, {"label": "new"}).ids_BK.tolist() == [[7]]
    assert json.loads((tmp_path / "files.json").read_text())["count"] == COUNT - 100
    kept = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert kept == [{k: v for k, v in row.items() if v is not None} for row in metadata[: COUNT - 100]]
    assert all(type(value) is type(old[field]) for row, old in zip(kept, metadata, strict=False) for field, value in row.items())


@pytest.mark.parametrize("name", LOCAL)
def test_flipped_bits_and_cuts_give_an_error_or_right_answers(name, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    vectors, queries = clusters(COUNT), clusters(5, seed=3)
    store = filled(name, vectors, rows(COUNT))
    wanted = store.search(queries, 5, {"heard": False})
    store.save(tmp_path)
    rng = np.random.default_rng(0)
    files = sorted(p for p in tmp_path.iterdir())
    refused = 0
    for number in range(200):
        path = files[number % len(files)]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        if number % 4:
            place = int(rng.integers(0, min(len(whole), 200) if number % 2 else len(whole)))
            damaged[place] ^= 1 << int(rng.integers(0, 8))
        else:
            damaged = damaged[: int(rng.integers(0, len(whole)))]
        path.write_bytes(damaged)
        try:
            again = type(store).load(tmp_path, WIDTH, store.config)
            found = again.search(queries, 5, {"heard": False})
            if name != "faiss_hnsw":  # several threads may weave another graph
                assert np.array_equal(found.ids_BK, wanted.ids_BK)
            assert np.allclose(found.scores_BK, wanted.scores_BK, atol=1e-6) or name == "faiss_hnsw"
        except CheckpointError:
            refused += 1
        path.write_bytes(whole)
    assert refused >= 60
    type(store).load(tmp_path, WIDTH, store.config)


@pytest.mark.parametrize("name", COARSE)
def test_a_damaged_index_is_built_again_and_said(name, tmp_path, caplog):
    vectors, queries = clusters(COUNT), clusters(40, seed=3)
    store = filled(name, vectors)
    store.save(tmp_path)
    for change in ("cut", "gone", "version"):
        path = tmp_path / ("index_maker.npy" if change == "version" else "index_codes.npy")
        whole, told = path.read_bytes(), (tmp_path / "files.json").read_text()
        path.unlink() if change == "gone" else path.write_bytes(whole[:-1])
        if change == "version":
            rewritten(tmp_path, path.name, np.frombuffer(b"FaissPQ 0.0.1", np.uint8))
        caplog.clear()
        again = type(store).load(tmp_path, WIDTH, store.config)
        assert "the index is built again" in caplog.text
        assert again._index is None
        assert recall(again, vectors, [{}] * COUNT, queries) > 0.93
        path.write_bytes(whole)
        (tmp_path / "files.json").write_text(told)


def rewritten(folder, name, content):
    """Put other content into a file and its true hash into files.json, as whoever means harm would."""
    from unifusion.retrieval.backends import _files

    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        np.save(folder / name, content, allow_pickle=True)
    told = json.loads((folder / "files.json").read_text())
    told["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": _files._digest(folder / name)}
    (folder / "files.json").write_text(json.dumps(told))


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def npy(header, body=b""):
    """A .npy file with a header of one's own."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def hostile(folder):
    """Contents for vectors.npy that match their hash and are not what they should be."""
    trapped = io.BytesIO()
    np.save(trapped, np.array([Trap(folder / "sprung")] * COUNT, dtype=object), allow_pickle=True)
    pickled = pickle.dumps(Trap(folder / "sprung"))
    longer = np.ones((COUNT, WIDTH), np.float32)
    return {
        "objects": trapped.getvalue(), "pickle": pickled, "empty": b"", "text": b"no array", "zip": b"PK\x03\x04" + bytes(40),
        "another width": unit(COUNT, WIDTH + 1), "another length": unit(COUNT - 1, WIDTH), "doubles": unit(COUNT, WIDTH).astype(float),
        "columns first": np.asfortranarray(unit(COUNT, WIDTH)), "not of length one": longer, "nan": longer * np.nan,
        "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1500, 20000000000000000)}"),
        "promised": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1500, 20)}", bytes(40)),
        "code": npy("__import__('os').system('true')"), "deep": npy("(" * 100),
        "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1500, 20)}"),
    }  # fmt: skip


@pytest.mark.parametrize("mapped", [False, True])
def test_hostile_vectors_are_refused_and_run_nothing(tmp_path, mapped):
    folder = tmp_path / "store"
    folder.mkdir()
    store = filled("exact", clusters(COUNT), mapped=mapped)
    store.save(folder)
    for what, content in hostile(tmp_path).items():
        rewritten(folder, "vectors.npy", content)
        with pytest.raises(CheckpointError):
            type(store).load(folder, WIDTH, store.config)
        assert not (tmp_path / "sprung").exists(), what


@pytest.mark.parametrize(
    "name, content",
    [
        ("ids.npy", np.zeros(COUNT, np.int64)), ("ids.npy", np.arange(COUNT) - 5), ("ids.npy", np.arange(COUNT) / 1.0),
        ("rows.jsonl", b"[]\n" * COUNT), ("rows.jsonl", b"{}\n"), ("rows.jsonl", b'{"x": NaN}\n' * COUNT), ("rows.jsonl", b"\xff" * 9),
        ("rows.jsonl", b'{"x": [1]}\n' * COUNT), ("rows.jsonl", b"[" * 100_000), ("rows.jsonl", b'{"$x": 1}\n' * COUNT),
    ],
)  # fmt: skip
def test_hostile_ids_and_rows_are_refused(tmp_path, name, content):
    store = filled("exact", clusters(COUNT))
    store.save(tmp_path)
    rewritten(tmp_path, name, content)
    with pytest.raises(CheckpointError):
        type(store).load(tmp_path, WIDTH, store.config)


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"format": 1}', "[" * 100_000, '{"format": 1, "width": 20, "count": -1, "files": {}}'])
def test_a_hostile_list_of_files_is_refused(tmp_path, told):
    store = filled("exact", clusters(50))
    store.save(tmp_path)
    (tmp_path / "files.json").write_text(told)
    with pytest.raises(CheckpointError):
        type(store).load(tmp_path, WIDTH, store.config)


@pytest.mark.parametrize(
    "name, piece, change",
    [
        ("faiss_hnsw", "links", lambda a: np.full_like(a, 1 << 30)), ("faiss_hnsw", "links", lambda a: a - 2),
        ("faiss_hnsw", "links", lambda a: np.where(a >= 0, 1, a)), ("faiss_hnsw", "links", lambda a: a[:-1]),
        ("faiss_hnsw", "levels", lambda a: a + 1000), ("faiss_hnsw", "levels", lambda a: a * 0),
        ("faiss_hnsw", "entry", lambda a: a + (1 << 40)),
        ("faiss_hnsw", "codes", lambda a: a[:-1]), ("faiss_hnsw", "ranges", lambda a: a[:-1]),
        ("faiss_ivf", "lists", lambda a: a + 12), ("faiss_ivf", "lists", lambda a: a - 12), ("faiss_ivf", "centroids", lambda a: a[:0]),
        ("faiss_ivf", "centroids", lambda a: a[:, :-1]), ("faiss_ivf", "codes", lambda a: a[:, :-1]),
        ("faiss_ivf", "ranges", lambda a: a[:0]),
        ("faiss_pq", "codes", lambda a: a[:-1]), ("faiss_pq", "centroids", lambda a: a[:-1]), ("faiss_pq", "turn", lambda a: a[:-1]),
        ("faiss_sq8", "codes", lambda a: a[:-1]), ("faiss_sq8", "ranges", lambda a: a[:-1]),
        ("faiss_binary", "codes", lambda a: a[:-1]), ("faiss_binary", "turn", lambda a: a[:, :-1]),
        ("faiss_binary", "mean", lambda a: a[:-1]),
        ("faiss_sq8", "trained", lambda a: a * 0), ("faiss_sq8", "trained", lambda a: a + (1 << 40)),
        ("faiss_sq8", "maker", lambda a: np.full_like(a, 255)),
    ],
)  # fmt: skip
def test_a_hostile_index_is_never_followed(tmp_path, caplog, name, piece, change):
    """The hash matches; FAISS itself would read or write beyond its memory."""
    vectors, queries = clusters(COUNT), clusters(40, seed=3)
    store = filled(name, vectors)
    store.save(tmp_path)
    rewritten(tmp_path, f"index_{piece}.npy", change(np.load(tmp_path / f"index_{piece}.npy")))
    again = type(store).load(tmp_path, WIDTH, store.config)
    assert "the index is built again" in caplog.text
    assert recall(again, vectors, [{}] * COUNT, queries) > 0.93


def test_choices_that_cannot_be():
    for name, choices in (
        ("faiss_pq", {"shortlist": 0}), ("faiss_pq", {"least": 3}), ("faiss_ivf", {"probes": -1}), ("faiss_hnsw", {"links": 1}),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            make(name, **choices)
    with pytest.raises(ConfigError):
        make("exact", 0)
    deep = {"n": 1}
    for _ in range(5000):
        deep = {"$and": [deep]}
    store = filled("exact", unit(5))
    with pytest.raises(ConfigError, match="groups"):
        store.search(unit(1), 1, deep)
    with pytest.raises(ConfigError, match="at once at most"):
        store.search(unit(1), 10**10)
    with pytest.raises(ConfigError, match="1e6"):
        store.search(unit(1, 16) * 1e20, 1)


def test_queries_that_are_sums_or_zero_are_answered():
    vectors = unit(4000, 24)
    store = filled("exact", vectors)
    many = np.stack([vectors[3] * 40, np.zeros(24, np.float32), vectors[:5].sum(0)])
    same(store.search(many, 5), expected(vectors, [{}] * 4000, np.arange(4000)[::-1], many, 5))
