"""What ends a run, and what is left of it: kills, signals, bad rows, dead and stuck workers, a full disk."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.thorough import further
from tests.training import forks, ranks
from unifusion import atomic
from unifusion.errors import CheckpointError, ConfigError, DatasetError, UniFusionError
from unifusion.training import snapshot, tensors
from unifusion.training.journal import logged
from unifusion.training.launch import launch

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SHORT = {"steps": 12, "save_every": 4, "batch_size": 4}


def ended(folder, processes=1, **options):
    """Run to the end; returns exit code and what was written."""
    return forks.run("tests.training.ranks", str(folder), options, processes=processes, timeout_s=200)


def told_to_stop(folder, strategy, **options):
    """Begin with two processes, by torchrun itself for DDP, and tell the second to stop; returns exit code and what was written."""
    options = {"strategy": strategy, "slow_s": 0.5, **options}
    if strategy == "ddp":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += [str(HERE / "ranks.py"), str(folder), json.dumps(options)]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)

        def end():
            said = running.communicate(timeout=100)[1]
            return running.returncode, said
    else:
        end = forks.begin("tests.training.ranks", str(folder), options, processes=2, timeout_s=100)
    began, until = folder / "began1", time.monotonic() + 100
    while not (began.exists() and began.read_text()):
        if time.monotonic() > until:
            pytest.fail(f"it does not begin: {end()[1][-2000:]}")
        time.sleep(0.05)
    os.kill(int(began.read_text()), signal.SIGTERM)
    return end()


def steps_of(folder):
    keys = ("step", "loss", "grad_norm", "learning_rate", "rows")
    return [{k: r[k] for k in keys} for r in logged(folder / "run") if "loss" in r]


def weights_of(folder):
    return torch.load(folder / "kept.pt", weights_only=True)["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills", "in_save"), [further(0, 5, 3), (2, 3, 1)])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, workers, kills, in_save):
    asked = ["--kills", str(kills), "--in-save", str(in_save), "--workers", str(workers)]
    code, said = forks.run("tests.training.kills", str(tmp_path / "out"), *asked, timeout_s=400)
    assert code == 0, said[-2000:]
    figures = json.loads(said.splitlines()[-1])
    assert figures["kills"] == kills and figures["in_save"] == in_save and figures["exact"] >= 1
    assert figures["different"] == figures["unloadable"] == figures["litter"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", further("fsdp2"), further("zero2"), "zero3"])
def test_a_signal_to_one_of_two_processes_saves_both_and_they_go_on(tmp_path, strategy):
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs the extra deepspeed")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {"strategy": strategy, "steps": 14, "workers": 1}
    assert ended(whole, 2, **options)[0] == 0
    cut.mkdir()
    code, said = told_to_stop(cut, **options)
    assert code != 0 and "the run was told to stop and is saved at step" in said
    (saved,) = (cut / "run").glob("checkpoint-*")
    assert 0 < snapshot.step_of(saved) < 14 and not snapshot._damage(saved)
    code, said = ended(cut, 2, **options)
    assert code == 0, said[-2000:]
    assert steps_of(cut) == steps_of(whole) and len(steps_of(cut)) == 14
    assert all(torch.equal(w, weights_of(whole)[n]) for n, w in weights_of(cut).items())


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "precision"), [("ddp", "float32"), ("zero2", "bfloat16"), further("zero3", "float32")])
def test_a_step_that_is_not_finite_in_one_process_is_left_out_by_both(tmp_path, strategy, precision):
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs the extra deepspeed")
    code, said = ended(tmp_path, 2, strategy=strategy, precision=precision, spoiled=[3, 4], **SHORT)
    assert code == 0, said[-2000:]
    told = [r for r in logged(tmp_path / "run") if "skipped" in r]
    assert [r["step"] for r in told] == [2, 3] and len(steps_of(tmp_path)) == 12
    assert all(torch.isfinite(w).all() for w in weights_of(tmp_path).values())
    code, said = ended(tmp_path / "many", 2, strategy=strategy, precision=precision, spoiled=list(range(6, 20)), **SHORT)
    assert code == 1 and "not finite at step 8 (4 in a row); no weight was changed" in said
    assert snapshot.newest(tmp_path / "many" / "run").name == "checkpoint-8", "weights of step 5, as nothing changed since"


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_the_same_rows(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert ended(one, **SHORT)[0] == 0
    assert ended(two, 2, **{**SHORT, "strategy": "fsdp2"})[0] == 0
    for checkpoint in (two / "run").glob("checkpoint-12"):
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    code, said = ended(two, **SHORT)
    assert code == 0, said[-2000:]
    for own, alone in zip(steps_of(two), steps_of(one), strict=True):
        assert own["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert [r["rows"] for r in steps_of(two)][8:] == [r["rows"] for r in steps_of(one)][8:]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs the extra deepspeed")
def test_deepspeed_says_what_it_cannot_go_on_from(tmp_path):
    assert ended(tmp_path, 2, **{**SHORT, "strategy": "zero1", "steps": 4})[0] == 0
    code, said = ended(tmp_path, 1, **{**SHORT, "strategy": "zero1"})
    assert code == 4 and "was saved by 2 processes of strategy zero1" in said and "start as many as then" in said
    code, said = ended(tmp_path, 1, **SHORT)
    assert code == 4 and "was saved by DeepSpeed (zero1)" in said


@pytest.mark.slow
def test_bad_rows_are_left_out_when_asked_and_named_when_not(tmp_path, processes=2):
    bad = {"bad": [3, 17]}
    code, said = ended(tmp_path / "stop", processes, happens=bad, workers=1, **SHORT)
    assert code != 0 and "cannot be trained on: clip" in said and "--on-bad-media skip" in said
    options = {**SHORT, "steps": 20, "on_bad_media": "skip", "max_bad": 0.3}
    code, said = ended(tmp_path / "skip", processes, happens=bad, workers=1, **options)
    assert code == 0, said[-2000:]
    listed = [json.loads(line) for line in (tmp_path / "skip" / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert {r["row"] for r in listed} == {3, 17} and {r["name"] for r in listed} == {"clip3.mp4", "clip17.mp4"}
    assert all("is no clip; mend it." in r["reason"] for r in listed)
    read = {row for r in steps_of(tmp_path / "skip") for row in r["rows"]}
    assert not read & {3, 17} and len(steps_of(tmp_path / "skip")) == 20
    code, said = ended(tmp_path / "many", processes, happens={"bad": list(range(0, 40, 4))}, **{**options, "max_bad": 0.1})
    assert code != 0 and "rows tried cannot be read, more than 10%" in said


def test_the_share_of_bad_rows_is_counted_over_a_resume(tmp_path):
    options = {**SHORT, "on_bad_media": "skip", "max_bad": 0.3}
    for steps in (4, 8):
        ranks.run(tmp_path, happens={"bad": list(range(0, 40, 8))}, **{**options, "steps": steps})
        told = snapshot.read_state(snapshot.newest(tmp_path / "run"))
        read = [row for r in steps_of(tmp_path) for row in r["rows"]]
        assert told["tried"] == steps * ranks.QUICK["batch_size"] and told["tried"] - told["bad"] == len(read)
        assert told["bad"] > 0


@pytest.mark.slow
def test_a_batch_of_bad_rows_alone_is_a_step_of_all_processes(tmp_path):
    options = {**SHORT, "steps": 10, "batch_size": 2, "on_bad_media": "skip", "max_bad": 1.0}
    code, said = ended(tmp_path, 2, happens={"bad": list(range(0, 40, 2))}, **options)
    assert code == 0, said[-2000:]
    steps = steps_of(tmp_path)
    assert len(steps) == 10 and [] in [r["rows"] for r in steps]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "message"), [("dead", "a data worker died"), ("stuck", "no batch came from the 2 data workers for 4 s")])
def test_a_lost_worker_is_an_error_soon(tmp_path, what, message):
    for number in range(8 if what == "dead" else 1):  # a death may be met at any line
        began = time.monotonic()
        code, said = ended(tmp_path / str(number), happens={what: [7, 8, 9]}, workers=2, worker_timeout_s=4, **SHORT)
        assert code == 1 and message in said and "Traceback" not in said, said
        assert time.monotonic() - began < 60


@pytest.mark.parametrize("number", range(2, 10, 2))
def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, monkeypatch, number):
    ranks.run(tmp_path, **{**SHORT, "steps": 4})
    count = [0]

    def full(function):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] >= number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for place, name in ((tensors, "save_file"), (snapshot, "sync"), (atomic.os, "replace")):
            patched.setattr(place, name, full(getattr(place, name)))
        with pytest.raises((CheckpointError, OSError), match="No space left"):
            ranks.run(tmp_path, **SHORT)
    assert snapshot.newest(tmp_path / "run").name == "checkpoint-4"
    ranks.run(tmp_path, **SHORT)
    assert not list((tmp_path / "run").glob(".*")) and snapshot.newest(tmp_path / "run").name == "checkpoint-12"


def test_damaged_checkpoints_are_passed_over(tmp_path, caplog):
    ranks.run(tmp_path, **{**SHORT, "keep": 3})
    folder = tmp_path / "run"
    assert snapshot.newest(folder).name == "checkpoint-12"
    path = folder / "checkpoint-12" / "trained.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert snapshot.newest(folder).name == "checkpoint-8" and "trained.safetensors is not what was written" in caplog.text
    (folder / "checkpoint-8" / snapshot.MANIFEST).unlink()
    assert snapshot.newest(folder).name == "checkpoint-4" and "no manifest" in caplog.text
    (folder / "checkpoint-4" / "random-0.json").unlink()
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .* is whole \(checkpoint-12: .*checkpoint-4: random-0"):
        ranks.run(tmp_path, **SHORT)


def test_a_row_that_is_bad_in_this_process(tmp_path):
    with pytest.raises(DatasetError, match=r"row clip3.mp4 cannot be trained on: clip3.mp4 is no clip; mend it. Mend it, or"):
        ranks.run(tmp_path, happens={"bad": [3]}, **{**SHORT, "steps": 10})
    with pytest.raises(ConfigError, match="workers is -1"):
        ranks.run(tmp_path / "other", workers=-1, **SHORT)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    ranks.run(tmp_path, **{**SHORT, "steps": 4})
    write = tensors._write

    def spoiled(given, folder, stem):
        write(((n, t * float("nan")) for n, t in given), folder, stem)

    monkeypatch.setattr(tensors, "_write", spoiled)
    with pytest.raises(CheckpointError, match="is not finite; nothing was saved"):
        ranks.run(tmp_path, **SHORT)
    assert snapshot.newest(tmp_path / "run").name == "checkpoint-4"


def test_the_launcher_hands_the_exit_code_of_an_interrupted_run_on(tmp_path):
    recipe = tmp_path / "stopped.py"
    recipe.write_text("from unifusion.errors import Interrupted\n\n\ndef main(argv):\n    raise Interrupted('saved;', number=15)\n")
    before = signal.getsignal(signal.SIGTERM)
    assert launch([str(recipe)], 2) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(UniFusionError, match="saved;"):
        from unifusion.cli.train import run_script

        run_script(recipe, [])
