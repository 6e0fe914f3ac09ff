"""A whole encoding run: what is whose, what is there, bad clips, and a kill at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
import torch

from tests.sources import save_encoders, sourced_model
from tests.toys import chat_model
from unifusion import checkpoint
from unifusion.conversation import Media
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.clips import named_clips
from unifusion.features import EncodeOptions, encoder_key, media_key, stored_opener
from unifusion.features.job import EncodeJob, part_of, run_job
from unifusion.features.shard import Shard
from unifusion.features.source import EncoderSource
from unifusion.processor import MediaOpener, Row


def write_wav(path, seed, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9000, 9000, int(seconds * 16_000), dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def stored_keys(store, stream="audio"):
    """Every key of a stream on disk, one that stands in two shards twice."""
    return sorted(key for path in store.glob(f"{stream}-*/*.safetensors") for key in Shard(path).keys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model, processor = chat_model(seed=1)
    target = tmp_path_factory.mktemp("models") / "toy"
    return checkpoint.save(model, processor, target, provenance={}, self_contained=True)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for number in range(24):
        write_wav(root / f"{number % 3}" / f"{number}.wav", number)
    return root


@pytest.fixture
def job(folder, tmp_path):
    def make(**options):
        source = EncoderSource(model=str(folder), streams=options.pop("streams", ()))
        return EncodeJob(source=source, out=tmp_path / "store", options=EncodeOptions(batch_size=4, workers=2), **options)

    return make


def test_everything_once(job, sounds, tmp_path):
    shutil.copy(sounds / "0" / "0.wav", tmp_path / "copy.wav")
    clips, _ = named_clips([sounds, tmp_path / "copy.wav"])
    found = run_job(clips, job())
    assert (found.clips, found.there, found.bad) == (24, 0, 0) and found.media_s == pytest.approx(12.0)
    assert found.n_bytes == sum(p.stat().st_size for p in (tmp_path / "store").rglob("*.safetensors"))
    assert len(set(stored_keys(tmp_path / "store"))) == len(stored_keys(tmp_path / "store")) == 24
    again = run_job(clips, job())
    assert (again.clips, again.there, again.n_bytes) == (0, 24, 0)


def test_the_store_is_the_one_that_the_whole_model_reads(job, folder, sounds, tmp_path):
    """The encoders alone, read out of the checkpoint, have the key of those of the loaded model, and the same outputs."""
    clips, _ = named_clips([sounds / "0"])
    run_job(clips, job())
    model, processor = checkpoint.load(folder)
    opener = stored_opener(processor, model, tmp_path / "store")
    media = Media(kind="audio", source=str(sounds / "0" / "0.wav"))
    fresh = processor.open(media)
    opened = processor.with_opener(opener).open(media)
    assert opened.reports == fresh.reports and opened.duration_s == fresh.duration_s
    batch = processor.collate([Row(media=[fresh])])["media"]
    with torch.no_grad():
        wanted = model.features("audio", batch["audio"]).tokens_BSD[0]
    assert torch.allclose(opened.streams["audio"].tokens_SD.float(), wanted, rtol=2**-7, atol=1e-3)


def test_parts_are_everything_exactly_once(job, sounds, tmp_path):
    clips, _ = named_clips([sounds])
    parts = [run_job(clips, job(part=(i, 3))) for i in range(3)]
    assert sum(p.clips for p in parts) == 24 and all(p.clips for p in parts)
    assert all(p.clips + p.elsewhere == 24 for p in parts)
    keys = stored_keys(tmp_path / "store")
    assert len(keys) == len(set(keys)) == 24
    assert part_of("2/3") == (2, 3)
    for wrong in ("3/3", "1", "-1/2", "a/b", "0/0"):
        with pytest.raises(ConfigError, match="shard"):
            part_of(wrong)


def test_one_stream_alone_is_as_with_all(job, folder, tmp_path):
    clips, _ = named_clips(["demo/examples"])
    assert run_job(clips, job(streams=("audio",))).clips == 3
    assert not list((tmp_path / "store").glob("video-*"))
    assert run_job(clips, job(streams=("audio",))).there == 3
    assert run_job(clips, job(streams=("video",))).clips == 3
    found = run_job(clips, job())
    assert (found.clips, found.there) == (0, 3)
    model, processor = checkpoint.load(folder)
    opener = stored_opener(processor, model, tmp_path / "store")
    for _, make in clips:
        fresh, opened = processor.open(make()), opener.open(make())
        assert opened.reports == fresh.reports and list(opened.streams) == list(fresh.streams)
        assert all(torch.equal(opened.streams[n].times_S, fresh.streams[n].times_S) for n in fresh.streams)


def test_a_clip_without_the_stream_is_stored_as_absent(job, sounds, folder, tmp_path):
    clips, _ = named_clips([sounds / "0" / "0.wav"])
    assert run_job(clips, job(streams=("video",))).clips == 1
    model, processor = checkpoint.load(folder)
    opener = stored_opener(processor, model, tmp_path / "store", streams=("video",))
    with pytest.raises(MediaError, match="no stream of the model"):
        opener.open(clips[0][1]())
    assert opener.open(clips[0][1]().muted("audio")).reports["video"].reason == "only the sound was asked for"


def test_an_encoder_without_a_checkpoint_fills_the_same_store(sounds, tmp_path):
    """The place of the weights is not part of the key: a copy elsewhere, and a model over them, read what was stored."""
    here, there = save_encoders(tmp_path / "here"), tmp_path / "there"
    shutil.copytree(here, there)
    clips = named_clips([sounds / "0"])[0]
    found = []
    for root in (here, there):
        source = EncoderSource(encoder="whisper", weights=str(root / "whisper"))
        found.append(run_job(clips, EncodeJob(source=source, out=tmp_path / "store")))
    assert [f.clips for f in found] == [8, 0] and found[1].there == 8 and found[0].streams == found[1].streams
    model, processor = sourced_model(there)
    assert len(stored_opener(processor, model, tmp_path / "store").stores["audio"]) == 8
    referenced = checkpoint.save(model, processor, tmp_path / "model", provenance={})
    assert run_job(clips, EncodeJob(source=EncoderSource(model=str(referenced), streams=("audio",)), out=tmp_path / "store")).there == 8
    with pytest.raises(ConfigError, match="no weights"):
        EncoderSource(encoder="whisper").load()
    with pytest.raises(ConfigError, match="no stream 'sound'"):
        EncoderSource(model=str(referenced), streams=("sound",)).load()


def test_a_store_under_the_key_of_earlier_versions_is_gone_on_with(folder, tmp_path):
    model, processor = checkpoint.load(folder)
    new = encoder_key(processor, model, "audio")
    processor.specs["audio"].encoder_choices.source = "somewhere"
    try:
        assert encoder_key(processor, model, "audio") == new
        (earlier,) = {stored_opener(processor, model, tmp_path).keys["audio"]}
        assert earlier == new
        from unifusion.features.keys import encoder_keys

        old = encoder_keys(processor.specs["audio"], model.encoders["audio"], processor.max_seconds, True)[1]
        (tmp_path / f"audio-{old[:16]}").mkdir()
        opener = stored_opener(processor, model, tmp_path)
        assert opener.keys["audio"] == old != new and opener.stores["audio"].folder.name == f"audio-{old[:16]}"
    finally:
        processor.specs["audio"].encoder_choices.source = None


@pytest.fixture
def spoiled(sounds, tmp_path):
    """Four good files, one that is text, one cut off in its header, and one that is not there."""
    root = tmp_path / "spoiled"
    for name in ("0", "3", "6", "9"):
        root.mkdir(exist_ok=True)
        shutil.copy(sounds / "0" / f"{name}.wav", root)
    (root / "text.mp4").write_text("no clip")
    (root / "cut.wav").write_bytes((root / "0.wav").read_bytes()[:30])
    (root / "notes.txt").write_text("passed over")
    rows = "".join(json.dumps({"path": p.name}) + "\n" for p in sorted(root.glob("*.wav")))
    (root / "rows.jsonl").write_text(rows + json.dumps({"path": "missing.wav"}) + "\n")
    return root


def test_a_bad_clip_ends_the_run_or_is_put_aside(job, spoiled, tmp_path):
    clips, passed_over = named_clips([spoiled, spoiled / "rows.jsonl"])
    assert passed_over == 2
    with pytest.raises(MediaError, match=r"text\.mp4|cut\.wav"):
        run_job(clips, job())
    for _ in range(2):
        found = run_job(clips, job(on_bad="skip"))
        assert found.clips + found.there == 4
        lines = [json.loads(line) for line in (tmp_path / "store" / "quarantine.jsonl").read_text().splitlines()]
        assert {line["name"].rpartition("/")[2] for line in lines} == {"text.mp4", "cut.wav", "missing.wav"}
        assert len(lines) == 3 and all(line["name"] in line["reason"] for line in lines)


def test_parts_tell_a_missing_file_once(job, spoiled, tmp_path):
    clips, _ = named_clips([spoiled / "rows.jsonl"])
    assert sum(run_job(clips, job(on_bad="skip", part=(i, 4))).bad for i in range(4)) == 2


@pytest.mark.parametrize("seen", ["in its header", "when it is decoded"])
def test_too_many_bad_clips_end_a_run_that_skips_them(job, tmp_path, monkeypatch, seen):
    folder = tmp_path / "mixed"
    for number in range(24):
        write_wav(folder / f"{number:02}.wav", 100 + number, seconds=0.3 + 0.01 * number)
    bad = [folder / "03.wav", folder / "07.wav"]
    for path in bad:
        if seen == "in its header":
            path.write_bytes(path.read_bytes()[:44])
    decode = MediaOpener.open

    def fail(opener, media):
        if seen == "when it is decoded" and str(media.source) in map(str, bad):
            raise MediaError(f"{media.name}: cannot be decoded;")
        return decode(opener, media)

    monkeypatch.setattr(MediaOpener, "open", fail)
    clips, _ = named_clips([folder])
    with pytest.raises(MediaError, match=r"2 of 2\d clips tried cannot be read, more than 5%"):
        run_job(clips, job(on_bad="skip"))
    assert run_job(clips, job(on_bad="skip", max_bad=0.2)).bad == 2
    few, _ = named_clips([folder / f"{n:02}.wav" for n in range(3, 8)])
    assert run_job(few, job(on_bad="skip")).bad == 2, "too few were tried to tell"


SCRIPT = """
import sys, time
from unifusion.evaluation.clips import named_clips
from unifusion.features import EncodeOptions
from unifusion.features.job import EncodeJob, run_job
from unifusion.features.source import EncoderSource, Encoders
plain = Encoders.features
Encoders.features = lambda *args: (time.sleep(0.1), plain(*args))[1]
options = EncodeOptions(batch_size=2, workers=1, flush_s=0.3)
run_job(named_clips([sys.argv[2]])[0], EncodeJob(source=EncoderSource(model=sys.argv[1]), out=sys.argv[3], options=options))
"""


def test_killed_and_gone_on_with(job, folder, sounds, tmp_path):
    """kill -9 in the middle of a run: what was flushed is not done again, leftovers are swept, in the end all is there once."""
    store = tmp_path / "store"
    script = SCRIPT.replace("out=sys.argv[3]", "out=__import__('pathlib').Path(sys.argv[3])")
    run = subprocess.Popen([sys.executable, "-c", script, folder, sounds, store], env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        until = time.monotonic() + 60
        while len(list(store.glob("audio-*/*.safetensors"))) < 2 and time.monotonic() < until and run.poll() is None:
            time.sleep(0.02)
    finally:
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    before = stored_keys(store)
    assert 0 < len(before) < 24
    (next(store.glob("audio-*")) / ".x.abc.part").write_bytes(b"left by a killed run")
    found = run_job(named_clips([sounds])[0], job())
    assert found.swept >= 1 and found.there == len(before) and found.clips == 24 - len(before)
    keys = stored_keys(store)
    assert len(keys) == len(set(keys)) == 24 and not list(store.rglob("*.part"))


def test_a_file_is_hashed_once_and_anew_when_it_changes(tmp_path, monkeypatch):
    write_wav(tmp_path / "a.wav", 1)
    media = Media(kind="audio", source=str(tmp_path / "a.wav"))
    first = media_key(media)
    import unifusion.media.source as source

    opened = []
    real = source.open_source
    monkeypatch.setattr(source, "open_source", lambda *args: opened.append(args) or real(*args))
    assert media_key(media) == first and not opened
    write_wav(tmp_path / "a.wav", 2)
    assert media_key(media) != first and len(opened) == 1
