"""Encoding by actors of Ray: one is killed in the middle, and everything is there exactly once with the values of the local engine."""

import logging
import os
import re
import signal
import threading
import time

import pytest
import torch

from tests.features.test_job import stored_keys, write_wav
from tests.toys import chat_model
from unifusion import checkpoint
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.clips import named_clips
from unifusion.features import EncodeOptions
from unifusion.features.job import EncodeJob, run_job
from unifusion.features.source import EncoderSource

CLIPS = 64


def clips_and_job(tmp_path, **options):
    """64 sounds of 4 s, and a run of 2 workers whose pieces are 4 clips."""
    model, processor = chat_model(seed=1)
    folder = checkpoint.save(model, processor, tmp_path / "toy", provenance={}, self_contained=True)
    for number in range(CLIPS):
        write_wav(tmp_path / "clips" / f"{number:02}.wav", number, seconds=4.0)
    options = {"options": EncodeOptions(batch_size=1), "engine": "ray", "workers": 2, **options}
    job = EncodeJob(source=EncoderSource(model=str(folder)), out=tmp_path / "ray", **options)
    return named_clips([tmp_path / "clips"])[0], job


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_worker_loses_nothing_and_doubles_nothing(tmp_path, caplog):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'unifusion-x[ray]'")
    clips, job = clips_and_job(tmp_path)
    caplog.set_level(logging.INFO, logger="unifusion.features.on_ray")
    killed = []

    def kill_one():
        """Kill a worker as soon as something is stored."""
        while len(stored_keys(tmp_path / "ray")) < 8:
            time.sleep(0.005)
        workers = [int(n) for n in re.findall(r"a worker is process (\d+)", caplog.text)]
        os.kill(workers[0], signal.SIGKILL)
        killed.append((workers[0], len(stored_keys(tmp_path / "ray"))))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found = run_job(clips, job)
    killer.join(10)
    assert killed and killed[0][1] < CLIPS, "the worker was killed in the middle"
    assert "a worker died" in caplog.text
    assert found.clips == CLIPS
    for stream in ("audio", "video"):
        keys = stored_keys(tmp_path / "ray", stream)
        assert len(keys) == len(set(keys)) == CLIPS
    local = EncodeJob(source=job.source, out=tmp_path / "local")
    assert run_job(clips, local).clips == CLIPS
    by_ray, here = (job.source.load().stores(tmp_path / name) for name in ("ray", "local"))
    for _, make in clips:
        media = make()
        one, other = (opener.open(media) for opener in (by_ray, here))
        assert one.reports == other.reports
        for name, item in other.streams.items():
            assert torch.equal(one.streams[name].times_S, item.times_S)
            assert torch.allclose(one.streams[name].tokens_SD.float(), item.tokens_SD.float(), rtol=2**-7, atol=1e-4)
    assert run_job(clips, job).there == CLIPS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_bad_clips_are_told_as_by_the_local_engine(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'unifusion-x[ray]'")
    clips, job = clips_and_job(tmp_path, on_bad="skip", max_bad=0.5)
    path = tmp_path / "clips" / "05.wav"
    named = [(name, make) for name, make in clips if name == str(path)]
    media = named[0][1]()
    path.unlink()
    path.write_bytes(b"ID3" + b"\0" * 5000)  # looks like a sound, holds none
    found = run_job([(str(path), lambda: media), *clips[:2]], job)
    assert (found.bad, found.clips) == (1, 2)
    assert "05.wav" in (job.out / "quarantine.jsonl").read_text()
    with pytest.raises(MediaError, match=r"05\.wav"):
        run_job([(str(path), lambda: media)], EncodeJob(source=job.source, out=job.out, engine="ray"))


def test_without_ray_it_is_said_what_to_install(tmp_path, monkeypatch):
    clips, job = clips_and_job(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[ray\]"):
        run_job(clips[:2], job)
