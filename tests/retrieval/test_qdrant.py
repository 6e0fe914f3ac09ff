"""Qdrant's client: its local mode, and what is said where no server is."""

import http.server
import json
import sys
import threading

import numpy as np
import pytest

from tests.retrieval import stores
from tests.retrieval.stores import WIDTH, unit
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError

pytest.importorskip("qdrant_client")
Qdrant = catalog.load("backends", "qdrant")


@pytest.fixture()
def store():
    return Qdrant(WIDTH, Qdrant.Config())


@pytest.mark.parametrize("check", [stores.check_filters, stores.check_changes, stores.check_refusals])
def test_the_contract(store, check):
    assert store.exact and not store.remote
    check(store)


def test_saving_and_loading_without_pickle(store, tmp_path):
    vectors, metadata, queries = unit(200), stores.rows(200), unit(5, seed=3)
    store.add(np.arange(200), vectors, metadata)
    store.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["qdrant.json", "rows.json", "vectors.safetensors"]
    again = Qdrant.load(tmp_path, WIDTH, Qdrant.Config())
    assert len(again) == 200
    for where in stores.FILTERS:
        stores.same(again.search(queries, 5, where), stores.expected(vectors, metadata, np.arange(200), queries, 5, where))
    stores.check_files(Qdrant, Qdrant.Config(), tmp_path)


def test_an_empty_index_is_saved_too(store, tmp_path):
    store.save(tmp_path)
    assert len(Qdrant.load(tmp_path, WIDTH, Qdrant.Config())) == 0


def test_a_field_with_a_quotation_mark_cannot_be_filtered_on(store):
    with pytest.raises(ConfigError, match="quotation marks"):
        store.search(unit(1), 1, {'a"b': 1})


def test_a_missing_library_or_server_is_told(monkeypatch):
    with pytest.raises(ConfigError, match=r"no Qdrant server answers at http://127\.0\.0\.1:1"):
        Qdrant(WIDTH, Qdrant.Config(url="http://127.0.0.1:1"))
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[qdrant\]"):
        Qdrant(WIDTH, Qdrant.Config())


class Recorder(http.server.BaseHTTPRequestHandler):
    """Keeps what a server would be asked, and answers as an empty one."""

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, self.headers.get("api-key"), json.loads(body or b"null")))
        results = {"/collections": {"collections": []}, "/collections/own/exists": {"exists": False}}
        result = [{"points": []}] if self.path.endswith("/query/batch") else {"count": 0} if self.path.endswith("/count") else True
        said = json.dumps({"result": results.get(self.path, result), "status": "ok", "time": 0.0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, *args):
        pass


@pytest.fixture()
def recorder():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize(("exact", "params"), [(True, {"exact": True}), (False, {"hnsw_ef": 256})])
def test_a_server_is_asked_as_its_protocol_says(recorder, tmp_path, monkeypatch, exact, params):
    """There is no server package on PyPI; requests are compared with Qdrant's REST interface."""
    monkeypatch.setenv("UNIFUSION_TEST_KEY", "a secret")
    url = f"http://127.0.0.1:{recorder.server_address[1]}"
    config = Qdrant.Config(url=url, api_key_variable="UNIFUSION_TEST_KEY", collection="own", exact=exact)
    store = Qdrant(WIDTH, config)
    assert store.remote and store.exact is exact
    store.search(unit(1), 3, {"label": "dog", "n": {"$gt": 4}})
    assert {key for _, _, key, _ in recorder.seen} == {"a secret"}
    made = next(body for verb, path, _, body in recorder.seen if verb == "PUT" and path == "/collections/own")
    assert made["vectors"] == {"size": WIDTH, "distance": "Dot"}
    (asked,) = next(body["searches"] for _, path, _, body in recorder.seen if path.endswith("/query/batch"))
    shown = {k: v for k, v in asked["params"].items() if v not in (None, False)}
    assert shown == params and len(asked["query"]["nearest"]) == WIDTH and asked["limit"] >= 3
    assert '{"label"' not in json.dumps(asked["filter"]) and '"gt": 4' in json.dumps(asked["filter"])
    store.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["qdrant.json", "sample.safetensors"]
    with pytest.raises(CheckpointError):
        Qdrant.load(tmp_path, WIDTH, config)
