"""`unifusion index` and `unifusion search`: what they print, exit codes, what they import, and how fast a second run is."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from tests.retrieval.toys import ToyEmbedder, picture, tone
from tests.test_readme import ROOT
from unifusion.retrieval import embedding
from unifusion.retrieval.library import Library


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "my clips"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        picture(folder / f"{colour}.png", colour)
    tone(folder / "long.wav", "low", "high", seconds=6.0)
    return folder


@pytest.fixture
def toy(monkeypatch):
    """The embedder that every name loads; `loads` counts."""
    loads = []

    def load(source, **options):
        loads.append(source)
        return ToyEmbedder(key=source, name=source)

    monkeypatch.setattr(embedding, "load_embedder", load)
    return loads


@pytest.fixture
def index(run, toy, clips, tmp_path):
    """Run the command over the clips."""
    return lambda *words: run("index", clips, "-o", tmp_path / "ix", *words)


def test_what_is_told(index, run, toy, clips, tmp_path):
    code, out, _ = index()
    assert code == 0 and "4 clips embedded as 5 windows" in out and "clips per second and core" in out
    assert "4 clips, 5 windows, searched by exact: exact: 5" in out
    code, out, _ = index("--json")
    told = json.loads(out)
    assert code == 0 and (told["clips"], told["there"], told["windows_there"], told["clips_there"]) == (0, 4, 5, 4)
    assert told["backend"] == "exact"
    assert {"decode_s", "encode_s", "write_s", "cpu_s", "clips_per_s", "clips_per_core_s", "media_s", "reason"} <= set(told)
    assert toy == ["tiny-embed"], "nothing to embed, nothing is loaded"
    code, out, _ = run("search", "high", "--index", tmp_path / "ix", "-k", "2", "--json")
    told = json.loads(out)
    assert code == 0 and told["query"] == "high" and told["index"] == str(tmp_path / "ix") and told["space"] == "clip"
    assert told["relevant"] is True
    best = told["results"][0]
    assert (best["path"], best["start_s"], best["end_s"]) == (str(clips / "long.wav"), 6.0, 12.0) and len(told["results"]) == 2
    code, out, _ = run("search", "high", "-i", tmp_path / "ix", "--by", "audio")
    assert code == 0 and f"{clips / 'long.wav'} @ 6.0-12.0 s" in out.splitlines()[0] and len(out.splitlines()) == 2
    code, out, err = run("search", "unknown words", "--index", tmp_path / "ix", "--json")
    assert code == 0 and json.loads(out)["relevant"] is False
    _, _, err = run("search", "unknown words", "--index", tmp_path / "ix")
    assert "none of it reaches the score" in err


def test_queries(index, run, clips, tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "my clips/red.png", "label": "warm"}) + "\n")
    index(tmp_path / "m.jsonl")

    def found(*words):
        code, out, err = run("search", *words, "--index", tmp_path / "ix", "--json", "-k", "9")
        assert code == 0, err
        return [os.path.basename(one["path"]) for one in json.loads(out)["results"]]

    assert found("blue", "--where", "label=warm") == ["red.png"] == found("blue", "--where", '{"label": "warm"}')
    assert found("low", "--where", "start_s>=6", "--where", "folder=my clips") == ["long.wav"]
    assert found("--media", clips / "green.png")[0] == "green.png"
    assert found("--media", clips / "long.wav", "--start", "6", "--end", "9", "--by", "audio")[0] == "long.wav"
    assert set(found("blue", "--media", clips / "red.png")[:2]) == {"blue.png", "red.png"}
    assert found("red", "--minus", "red green blue")[0] == "red.png"
    assert json.loads(run("search", "red", "--minus", "low", "--index", tmp_path / "ix", "--json")[1])["relevant"] is None


def test_duplicates(index, run, clips, tmp_path):
    shutil.copy(clips / "red.png", clips / "again.png")
    index()
    code, out, _ = run("search", "--duplicates", "--index", tmp_path / "ix", "--json")
    groups = json.loads(out)["groups"]
    assert code == 0 and [sorted(os.path.basename(one["path"]) for one in group) for group in groups] == [["again.png", "red.png"]]
    code, out, _ = run("search", "--duplicates", "--index", tmp_path / "ix", "--threshold", "0.9999")
    assert code == 0 and out.startswith("1 groups") and out.count("red.png") == 1


def test_exit_codes(index, run, toy, clips, tmp_path, caplog):
    code, _, err = run("search", "red", "--index", tmp_path / "ix")
    assert code == 2 and "make one: unifusion index DIR" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("index", tmp_path / "empty", "-o", tmp_path / "ix")
    assert code == 2 and "no clips" in err and not (tmp_path / "ix").exists() and not toy
    bad = tmp_path / "bad.mp4"
    bad.write_text("no clip")
    code, out, _ = run("index", bad, "-o", tmp_path / "bad")
    assert code == 3 and "1 bad" in out and "bad.mp4 is left out" in caplog.text
    assert run("index", bad, "-o", tmp_path / "bad", "--retry-bad", "--on-bad-media", "stop")[0] == 3
    assert index()[0] == 0 and run("index", "-o", tmp_path / "ix")[0] == 2
    code, _, err = index("--window", "3")
    assert code == 2 and f"unifusion index '{clips}' -o {tmp_path / 'ix'} --overwrite --window 3" in err
    code, _, err = index("--backend", "faiss_flat")
    assert code == 2 and "has backend exact" in err and "--rebuild" in err
    code, _, err = index("--model", "other")
    assert code == 2 and "holds vectors of the embedder tiny-embed" in err and f"'{clips}' -o {tmp_path / 'ix'} --overwrite" in err
    assert index("--model", "other", "--overwrite", "--window", "3")[0] == 0
    assert json.loads(index("--json")[1])["windows_there"] == 7
    for words in (["red"], ["--index", tmp_path / "ix"], ["red", "--index", tmp_path / "ix", "--by", "smell"]):
        assert run("search", *words)[0] == 2
    code, _, err = run("search", "red", "--index", tmp_path / "ix", "--where", "label")
    assert code == 2 and "compares nothing" in err
    (tmp_path / "ix" / "segments" / "00000001-00000001" / "clip.npy").write_bytes(b"")
    code, _, err = run("search", "red", "--index", tmp_path / "ix")
    assert code == 4 and "--repair" in err
    code, out, err = index("--repair")
    assert code == 0 and "set aside" in err and "4 clips embedded as 7 windows" in out
    assert run("index", "-o", tmp_path / "ix", "--rebuild", "--backend", "exact")[0] == 0
    assert "searched by exact: it was named" in index()[1]


def test_control_characters_of_a_name_do_not_reach_the_terminal(index, run, clips, tmp_path):
    picture(clips / "x\x1b[31m.png", "red")
    (clips / "red.png").unlink()
    index()
    code, out, _ = run("search", "red", "--index", tmp_path / "ix")
    assert code == 0 and "\x1b" not in out and "x\\x1b[31m.png" in out


QUIET = """
import sys
from unifusion.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "av", "faiss", "chromadb"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


def test_a_second_run_imports_neither_torch_nor_a_decoder(index, clips, tmp_path):
    index()
    words = [sys.executable, "-c", QUIET, "index", clips, "-o", tmp_path / "ix", "--json"]
    run = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0 and json.loads(run.stdout)["there"] == 4, run.stderr
    words = [sys.executable, "-c", QUIET, "search", "--duplicates", "-i", tmp_path / "ix"]
    run = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    """A saved embedding model with random weights over picture, sound and words."""
    from tests.models.test_aligner import model
    from unifusion.models.aligner_files import save_aligner

    return str(save_aligner(model(), tmp_path_factory.mktemp("models") / "embed", provenance={"recipe": "random"}))


@pytest.mark.alone
def test_the_second_run_is_fifty_times_faster(run, random_model, tmp_path):
    from tests.cli.films import frames, noise, write

    torch.set_num_threads(1)
    (tmp_path / "films").mkdir()
    for number in range(60):
        write(tmp_path / "films" / f"{number}.mp4", frames(6.0, seed=number), noise(6.0, seed=number))
    words = ("index", tmp_path / "films", "-o", tmp_path / "ix", "--model", random_model, "--json")
    code, out, err = run(*words)
    first = json.loads(out)
    assert code == 0 and first["clips"] == 60 and first["bad"] == 0, err
    assert first["decode_s"] > 0 and first["encode_s"] > 0 and first["write_s"] > 0
    assert json.loads(run(*words)[1])["there"] == 60
    seconds = []
    for _ in range(5):  # without the start of the command, which both have
        began = time.perf_counter()
        assert Library.open(tmp_path / "ix").index([tmp_path / "films"]).there == 60
        seconds.append(time.perf_counter() - began)
    assert first["seconds"] >= 50 * min(seconds)
    code, out, _ = run("search", "--media", tmp_path / "films" / "7.mp4", "--index", tmp_path / "ix", "--json")
    best = json.loads(out)["results"][0]
    assert best["path"].endswith("/7.mp4") and best["score"] > 0.9999 and set(best["streams"]) == {"frames", "motion", "audio"}
    assert run("search", "a dog", "--index", tmp_path / "ix", "--json")[0] == 0
