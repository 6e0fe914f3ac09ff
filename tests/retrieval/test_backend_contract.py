"""Every back end of the catalog keeps the contract: a new file is tested without touching this one."""

import threading

import numpy as np
import pytest

from tests.retrieval import stores
from tests.retrieval.stores import WIDTH, expected, rows, same, unit
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError

NAMES = catalog.names("backends")
LIBRARIES = {"chroma": "chromadb", "qdrant": "qdrant_client"}


def kind(name):
    """The class, where its library is installed."""
    pytest.importorskip("faiss" if name.startswith("faiss") else LIBRARIES.get(name, "numpy"))
    return catalog.load("backends", name)


def make(name, width, **choices):
    """An empty back end with its own choices, which need no server."""
    cls = kind(name)
    return cls(width, cls.Config(**choices))


@pytest.mark.parametrize("name", NAMES)
def test_filters(name):
    stores.check_filters(make(name, WIDTH))


@pytest.mark.parametrize("name", NAMES)
def test_adds_replaces_and_deletes(name):
    stores.check_changes(make(name, WIDTH))


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_the_contract_forbids(name):
    stores.check_refusals(make(name, WIDTH))


@pytest.mark.parametrize("name", NAMES)
def test_equal_scores_are_in_order_of_their_ids(name):
    store, vectors = make(name, WIDTH), unit(60)
    vectors[20:40] = vectors[20]
    ids = np.random.default_rng(1).permutation(600)[:60]
    store.add(ids, vectors, [{}] * 60)
    found = store.search(vectors[[20]], 12)
    assert found.ids_BK[0].tolist() == np.sort(ids[20:40])[:12].tolist()
    assert len(set(found.scores_BK[0].tolist())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_read_again(name, tmp_path):
    store, vectors, metadata, queries = make(name, WIDTH), unit(90), rows(90), unit(5, seed=4)
    ids = np.arange(90) * 3
    store.add(ids, vectors, metadata)
    store.delete(ids[:7])
    store.save(tmp_path)
    again = kind(name).load(tmp_path, WIDTH, store.config)
    assert len(again) == 83
    for where in (None, {"label": "cat"}, {"heard": True}, {"n": {"$gte": 30}}):
        same(again.search(queries, 9, where), expected(vectors[7:], metadata[7:], ids[7:], queries, 9, where))
    again.add(ids[:7], vectors[:7], metadata[:7])
    same(again.search(queries, 9), expected(vectors, metadata, ids, queries, 9))
    with pytest.raises(CheckpointError):
        kind(name).load(tmp_path, WIDTH + 1, store.config)
    with pytest.raises(CheckpointError):
        kind(name).load(tmp_path / "nowhere", WIDTH, store.config)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_back_end_is_saved_and_read(name, tmp_path):
    store = make(name, WIDTH)
    store.save(tmp_path)
    again = kind(name).load(tmp_path, WIDTH, store.config)
    assert len(again) == 0
    assert (again.search(unit(2), 3).ids_BK == -1).all()


@pytest.mark.parametrize("name", NAMES)
def test_threads_search_at_once(name):
    store, vectors, queries = make(name, WIDTH), unit(400), unit(30, seed=2)
    store.add(np.arange(400), vectors, [{}] * 400)
    wanted, wrong = store.search(queries, 5).ids_BK, []

    def look():
        for b in range(len(queries)):
            if not np.array_equal(store.search(queries[b : b + 1], 5).ids_BK[0], wanted[b]):
                wrong.append(b)

    crowd = [threading.Thread(target=look) for _ in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert wrong == []


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("faiss")])
def test_a_missing_library_is_named_with_its_extra(name, monkeypatch):
    cls = kind(name)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[retrieval\]"):
        cls(WIDTH, cls.Config())
