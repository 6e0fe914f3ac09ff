"""The suite search_speed on few vectors: every arm is there, recalls are right, real vectors come from recordings."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import soundfile

from unifusion import share
from unifusion.errors import ConfigError

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def suite():
    spec = importlib.util.spec_from_file_location("search_speed", share.folder("eval") / "search_speed.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture()
def sounds(tmp_path):
    """Two seconds of noise each, under the names of the sets."""
    rng = np.random.default_rng(0)
    for name in ("emodb", "esc10"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "one.wav", 0.1 * rng.standard_normal(32_000), 16_000)
    return tmp_path


def test_all_arms_are_measured_and_compared(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "found.json"
    suite.main(["--out", str(out), "--count", "1200", "--width", "32", "--batches", "1,8", "--rounds", "2"])
    found = json.loads(out.read_text())["uniform"]
    names = {"exact", "faiss_flat", "faiss_sq8", "faiss_pq", "faiss_binary", "faiss_ivf", "faiss_hnsw"}
    more = {"FAISS tuned, over array", "FAISS flat as it comes", "torch topk"}
    assert {row["name"] for row in found} == {*names, suite.TUNED, "FAISS flat, tuned, again", *more}
    assert {row["batch"] for row in found} == {1, 8}
    exact = [row for row in found if row["name"] in ("exact", "faiss_flat", "torch topk") or row["name"].startswith("FAISS")]
    assert all(row["recall"] == 1.0 for row in exact) and all(0 < row["low"] <= row["ratio"] <= row["high"] for row in found)
    assert "x tuned FAISS" in capsys.readouterr().out


def test_many_vectors_are_built_searched_and_weighed(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "found.json"
    suite.main(["--out", str(out), "--many", "1500", "--width", "32", "--backends", "exact,faiss_sq8"])
    found = json.loads(out.read_text())["uniform"]
    assert [row["name"] for row in found] == ["exact", "faiss_sq8"]
    assert all(row["vectors"] == 1500 and row["recall"] > 0.99 and row["one_ms"] > 0 for row in found)


def test_real_vectors_are_windows_of_recordings(suite, sounds, tmp_path):
    choices = suite.Choices(data=str(sounds), width=64, kept=str(tmp_path / "kept.npy"))
    vectors = suite.real(choices)
    # 50 tokens a file, so windows of 25 begin at 0, 2 .. 24.
    assert vectors.shape == (2 * 13, 64) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(suite.real(choices), vectors)
    grown = suite.variations(vectors, 60)
    assert np.allclose(grown[:26], vectors, atol=1e-6) and np.allclose(np.linalg.norm(grown, axis=1), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="no recordings"):
        suite.real(suite.Choices(data=str(tmp_path / "nothing"), kept=str(tmp_path / "other.npy")))


def test_the_number_of_threads_must_be_said(suite, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS"):
        suite.main([])


def test_rows_equal_to_the_last_count_as_found(suite):
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    query = vectors[:1]
    assert suite.recall(np.array([[1, 2]]), query, vectors, np.array([0.0], np.float32)) == 1.0
    assert suite.recall(np.array([[1, 2]]), query, vectors, np.array([1.0], np.float32)) == 0.5
