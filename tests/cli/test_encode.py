"""`unifusion encode`: what it prints, exit codes, and that the other commands read what it stored."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.features.test_job import stored_keys
from tests.test_readme import ROOT
from unifusion import media
from unifusion.errors import MediaError

SCRIPT = ROOT / "train" / "slurm" / "encode.sbatch"


@pytest.fixture
def encode(run, toy_folder, tmp_path):
    return lambda *words: run("encode", *words, "-o", tmp_path / "store", "--model", toy_folder)


def test_what_is_told(encode, clip, sound):
    code, out, _ = encode(clip, sound)
    assert code == 0 and "2 clips encoded (2." in out and "0 were there already" in out
    code, out, _ = encode(clip, sound, clip, "--json")
    told = json.loads(out)
    assert code == 0 and (told["clips"], told["there"], told["bad"]) == (0, 2, 0) and set(told["streams"]) == {"video", "audio"}


def test_exit_codes(encode, clip, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no clip")
    code, _, err = encode(bad, clip)
    assert code == 3 and err.startswith("unifusion: ") and "bad.mp4" in err
    code, out, _ = encode(bad, "--on-bad-media", "skip")
    assert code == 3 and "1 bad" in out
    code, out, _ = encode(bad, clip, "--on-bad-media", "skip", "--max-bad", "0.5")
    assert code == 0 and "1 clips encoded" in out
    assert encode(clip, "--shard", "2/2")[0] == 2
    assert encode(clip, "--encoder", "whisper")[0] == 2
    assert encode(clip, "--stream", "smell")[0] == 2


def test_a_place_that_cannot_be_written_is_one_line(run, toy_folder, clip, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("encode", clip, "-o", tmp_path / "file" / "store", "--model", toy_folder)
    assert code == 1 and "Traceback" not in err and f"{tmp_path / 'file'}" in err and "name another place" in err


def test_chat_emotion_and_predict_read_it(encode, run, toy_folder, clip, tmp_path, rows_of, monkeypatch):
    encode(clip)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"id": "a", "path": clip}) + "\n")

    def fail(*_args, **_options):
        raise MediaError("the decoder was called;")

    monkeypatch.setattr(media, "read_clip", fail)
    stored = ("--model", toy_folder, "--features", tmp_path / "store")
    code, out, _ = run("chat", clip, "-q", "What?", "--json", "--max-new-tokens", "4", *stored)
    assert code == 0 and json.loads(out)["report"]["streams"]["video"]["present"]
    assert run("emotion", clip, "--json", *stored)[0] == 0
    assert run("emotion", manifest, "-o", tmp_path / "e.jsonl", *stored)[0] == 0 and "error" not in rows_of(tmp_path / "e.jsonl")[0]
    assert run("predict", manifest, "--task", "emotion", "-o", tmp_path / "o.jsonl", *stored)[0] == 0
    assert "error" not in rows_of(tmp_path / "o.jsonl")[0]
    assert run("predict", manifest, "--task", "emotion", "-o", tmp_path / "o.jsonl", "--model", toy_folder)[0] == 2, "another run"
    assert run("chat", clip, "-q", "What?", "--model", toy_folder)[0] == 3
    code, _, err = run("chat", clip, "-q", "What?", "--model", toy_folder, "--features", tmp_path / "none")
    assert code == 2 and "holds no features" in err


def as_slurm(tmp_path, unifusion):
    """The environment of a task of an array, with `unifusion` and a `scontrol` that notes what is asked in the PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "unifusion").write_text(f"#!/bin/bash\n{unifusion}\n")
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    array = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "8"}
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **array}


@pytest.mark.slow
def test_the_slurm_array_encodes_everything_once(toy_folder, tmp_path):
    env = as_slurm(tmp_path, f'exec "{sys.executable}" -m unifusion "$@"')
    told = []
    for task in range(2):
        words = ["bash", SCRIPT, ROOT / "demo" / "examples", tmp_path / "store", "--model", toy_folder, "--json"]
        run = subprocess.run(words, env=env | {"SLURM_ARRAY_TASK_ID": str(task)}, capture_output=True, text=True, check=True)
        told.append(json.loads(run.stdout))
    assert sum(t["clips"] for t in told) == 3 and all(t["clips"] + t["elsewhere"] == 3 for t in told)
    assert not (tmp_path / "asked").exists()


def test_a_slurm_task_whose_time_is_up_is_queued_again(tmp_path):
    env = as_slurm(tmp_path, f"touch {tmp_path}/running; trap 'echo stored >> {tmp_path}/asked; exit 130' TERM; sleep 60 & wait $!")
    run = subprocess.Popen(["bash", SCRIPT, "data", tmp_path / "store"], env=env)
    wait_for(tmp_path / "running")
    run.send_signal(signal.SIGUSR1)
    assert run.wait(20) == 0
    assert (tmp_path / "asked").read_text().splitlines() == ["stored", "requeue 7_0"]


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


SLOWLY = """
import sys, time, pathlib
from unifusion.cli import main
from unifusion.features.source import Encoders
plain = Encoders.features
def slowly(*args):
    pathlib.Path(sys.argv[1], "encoding").touch()
    time.sleep(0.3)
    return plain(*args)
Encoders.features = slowly
sys.exit(main(sys.argv[2:]))
"""


def test_sigterm_stores_what_is_encoded(toy_folder, tmp_path, clip):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(20):
        (data / f"{number}.mp4").write_bytes(Path(clip).read_bytes() + b"\0\0\0\x08free" * number)
    words = ["encode", data, "-o", tmp_path / "store", "--model", toy_folder, "--batch-size", "1"]
    run = subprocess.Popen([sys.executable, "-c", SLOWLY, tmp_path, *words], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for(tmp_path / "encoding")
    time.sleep(1.5)
    run.terminate()
    assert run.wait(30) == 130
    assert 0 < len(stored_keys(tmp_path / "store")) < 20
