"""Chroma in a folder and in a server that really runs; its known faults are met by typed errors."""

import hashlib
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval import stores
from tests.retrieval.stores import WIDTH, expected, same, unit
from tests.toys import run_apart
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError

pytest.importorskip("chromadb")
Chroma = catalog.load("backends", "chroma")


@pytest.fixture()
def store():
    return Chroma(WIDTH, Chroma.Config())


def filled(count, **choices):
    store = Chroma(WIDTH, Chroma.Config(**choices))
    store.add(np.arange(count), unit(count), [{"n": n} for n in range(count)])
    return store


def test_filters(store):
    stores.check_filters(store)


def test_changes(store):
    stores.check_changes(store)


def test_refusals(store):
    stores.check_refusals(store)


def test_says_that_it_is_approximate_and_is_right_in_small_collections():
    assert Chroma.exact is False
    store, vectors, queries = filled(Chroma.Config().ef), unit(Chroma.Config().ef), unit(50, seed=3)
    found, (scores, ids) = store.search(queries, 10), expected(vectors, [{}] * len(vectors), np.arange(len(vectors)), queries, 10)
    assert np.allclose(found.scores_BK, scores, atol=1e-6)
    assert (found.ids_BK == ids).mean() > 0.99  # distances are rounded to 6e-8, and two scores may be nearer than that


def test_finds_again_above_a_thousand_vectors_after_reopening(tmp_path):
    """Chroma's issue 7090; and what is added, replaced and deleted after reopening leaves the saved folder as it is."""
    count = 2500
    store, vectors, queries = filled(count), unit(count), unit(20, seed=3)
    assert store._home.path.is_dir()
    store.save(tmp_path)
    before = store.search(queries, 10)
    same(store.search(vectors[[0, 1000, count - 1]], 1), (np.ones((3, 1), np.float32), np.array([[0], [1000], [count - 1]])))
    held = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    again = Chroma.load(tmp_path, WIDTH, Chroma.Config())
    assert len(again) == count and np.array_equal(again.search(queries, 10).ids_BK, before.ids_BK)
    more = unit(1200, seed=8)
    again.add(np.arange(count, count + 1200), more, [{}] * 1200)
    assert again.delete(np.arange(700)) == 700
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == held
    second = tmp_path / "second"
    second.mkdir()
    again.save(second)
    third = Chroma.load(second, WIDTH, Chroma.Config())
    assert len(third) == 3000
    same(third.search(more[[0, 1199]], 1), (np.ones((2, 1), np.float32), np.array([[count], [count + 1199]])))
    assert (third.search(vectors[:700], 1).ids_BK >= 700).all()
    homes = [s._home.path for s in (store, again, third)]
    del store, again, third
    assert not any(home.exists() for home in homes)


def test_a_forked_child_leaves_the_folder_to_its_parent():
    home = filled(3)._home
    held = filled(3)
    assert run_apart(lambda: held._home.remove()) == 0 and held._home.path.is_dir()
    assert not home.path.exists()


def test_what_was_lost_is_noticed(tmp_path):
    """Files that agree with themselves but not with what the collection held."""
    filled(300).save(tmp_path)
    stores.change_state(tmp_path / "chroma.json", count=301)
    with pytest.raises(CheckpointError, match="holds 300 vectors and had 301"):
        Chroma.load(tmp_path, WIDTH, Chroma.Config())
    other = tmp_path / "other"
    other.mkdir()
    store = Chroma(WIDTH, Chroma.Config())
    store.add(np.arange(300), unit(300, seed=1), [{}] * 300)
    store.save(other)
    shutil.copy(tmp_path / "sample.safetensors", other / "sample.safetensors")
    with pytest.raises(CheckpointError, match="lost or changed 64 of 64"):
        Chroma.load(other, WIDTH, Chroma.Config())


def test_damaged_files_never_reach_chroma(tmp_path):
    """Its issue 7238: on a truncated segment the process dies."""
    filled(1100).save(tmp_path)
    assert {"data_level0.bin", "header.bin", "chroma.sqlite3"} <= {p.name for p in tmp_path.rglob("*")}
    stores.check_files(Chroma, Chroma.Config(), tmp_path)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    """Also where the sums were made to fit it: Rust reads the file as plain data."""
    filled(1100).save(tmp_path)
    path = next(tmp_path.rglob("index_metadata.pickle"))
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    path.write_bytes(pickle.dumps(Payload()))
    files = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    sums = {p.relative_to(tmp_path / "store").as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    stores.change_state(tmp_path / "chroma.json", files=sums)
    code = (
        "import sys; from pathlib import Path; from unifusion import catalog; from unifusion.errors import CheckpointError\n"
        "C = catalog.load('backends', 'chroma')\n"
        f"try: C.load(Path(sys.argv[1]), {WIDTH}, C.Config())\n"
        "except CheckpointError as error: print('refused', error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert not canary.exists()
    assert "refused" in done.stdout, done.stderr


def test_another_name_or_a_missing_library_is_told(monkeypatch):
    with pytest.raises(ConfigError, match="3-512 characters"):
        Chroma(WIDTH, Chroma.Config(collection="ab"))
    monkeypatch.setitem(sys.modules, "chromadb", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[chroma\]"):
        Chroma(WIDTH, Chroma.Config())


def test_no_server_is_told(monkeypatch):
    with pytest.raises(ConfigError, match=r"no Chroma server answers at 127\.0\.0\.1:1"):
        Chroma(WIDTH, Chroma.Config(host="127.0.0.1", port=1))
    with pytest.raises(ConfigError, match="UNIFUSION_NO_TOKEN is not set"):
        Chroma(WIDTH, Chroma.Config(host="127.0.0.1", port=1, token_variable="UNIFUSION_NO_TOKEN"))
    with pytest.raises(ConfigError, match="token_header"):
        Chroma(WIDTH, Chroma.Config(host="127.0.0.1", port=1, token_header="Cookie"))


class Server:
    """`chroma run`, started and ended."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self):
        options = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        program = str(Path(sys.executable).with_name("chroma"))
        self.process = subprocess.Popen([program, "run", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise TimeoutError("chroma did not answer within a minute")

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("chroma"))
    yield running
    running.stop()


def remote(server, collection, **choices):
    return Chroma.Config(host="127.0.0.1", port=server.port, collection=collection, **choices)


@pytest.mark.parametrize("check", [stores.check_filters, stores.check_changes, stores.check_refusals])
def test_a_server_keeps_the_contract(server, check):
    store = Chroma(WIDTH, remote(server, check.__name__))
    assert store.remote and not store.exact
    check(store)


def test_a_server_is_found_again_after_it_was_killed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFUSION_TEST_TOKEN", "a secret")
    config = remote(server, "killed", token_variable="UNIFUSION_TEST_TOKEN")
    store, count = Chroma(WIDTH, config), 1500
    store.add(np.arange(count), unit(count), [{}] * count)
    store.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chroma.json", "sample.safetensors"]
    assert b"a secret" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    server.stop()
    with pytest.raises(ConfigError, match=r"'killed' at 127\.0\.0\.1"):
        store.search(unit(1), 1)
    with pytest.raises((CheckpointError, ConfigError), match="start"):
        Chroma.load(tmp_path, WIDTH, config)
    server.start()
    again = Chroma.load(tmp_path, WIDTH, config)
    same(again.search(unit(count)[[0, count - 1]], 1), (np.ones((2, 1), np.float32), np.array([[0], [count - 1]])))
    again.delete(np.arange(10))
    with pytest.raises(CheckpointError, match="holds 1490 vectors and had 1500"):
        Chroma.load(tmp_path, WIDTH, config)
    with pytest.raises(CheckpointError, match="not 17"):
        stores.change_state(tmp_path / "chroma.json", width=WIDTH + 1)
        Chroma.load(tmp_path, WIDTH + 1, config)


def test_a_server_collection_that_is_not_ours_is_not_overwritten(server):
    Chroma(WIDTH, remote(server, "kept")).add(np.arange(3), unit(3), [{}] * 3)
    with pytest.raises(ConfigError, match="holds 3 vectors"):
        Chroma(WIDTH, remote(server, "kept"))
    assert len(Chroma(WIDTH, remote(server, "kept", replace=True))) == 0
