"""The feature store: what is read is what was written, keys follow content, and a kill loses nothing but what was being written."""

import json
import os
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from tests.toys import chat_model, clip, run_apart, talk, video
from unifusion.conversation import Clip, Media, Mix, Take
from unifusion.engine import Engine
from unifusion.errors import DatasetError, MediaError
from unifusion.features import FeatureStore, encode_all, encoder_key, media_key, shard, stored_opener
from unifusion.features import store as store_module


@pytest.fixture(scope="module")
def toy():
    return chat_model()


def items(n, offset=0):
    """Keys, random features and records."""
    generator = torch.Generator().manual_seed(offset)
    return [(f"key{offset + i}", torch.randn(3 + i, 4, generator=generator), {"times": [0.5], "n": offset + i}) for i in range(n)]


def test_round_trip_in_bf16(tmp_path):
    store = FeatureStore(tmp_path)
    for key, tokens, record in items(5):
        store.put(key, tokens, record)
    assert len(store) == 5 and not list(tmp_path.iterdir())
    for reader in (store, _flushed(store), FeatureStore(tmp_path)):
        for key, tokens, record in items(5):
            found = reader.get(key)
            assert found.tokens_SD.dtype == torch.bfloat16 and torch.equal(found.tokens_SD, tokens.to(torch.bfloat16))
            assert found.record == record
    assert "key9" not in store
    with pytest.raises(DatasetError, match="encode the data first"):
        store.get("key9")


def _flushed(store):
    store.flush()
    return store


def test_putting_twice_costs_nothing(tmp_path):
    store = FeatureStore(tmp_path)
    for _ in range(2):
        for key, tokens, record in items(3):
            store.put(key, tokens, record)
        store.flush()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_shard_is_written_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_SHARD_ITEMS", 4)
    store = FeatureStore(tmp_path)
    for key, tokens, record in items(10):
        store.put(key, tokens, record)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 and len(FeatureStore(tmp_path)) == 8 and len(store) == 10


def test_a_shard_is_never_written_in_place(tmp_path):
    first, second = FeatureStore(tmp_path), FeatureStore(tmp_path)
    tokens = torch.ones(3, 4)
    first.put("a", tokens, {})
    first.flush()
    reading = first.get("a").tokens_SD
    (data,) = tmp_path.glob("*.safetensors")
    before = data.stat().st_ino
    second.put("a", tokens, {})
    second.flush()
    assert data.stat().st_ino != before and torch.equal(first.get("a").tokens_SD, reading)
    assert not list(tmp_path.glob(".*"))


def test_absent_streams_alone_can_be_read(tmp_path):
    store = FeatureStore(tmp_path)
    store.put("silent", torch.zeros(0, 1), {"absent": True})
    store.flush()
    assert FeatureStore(tmp_path).get("silent").tokens_SD.shape == (0, 1)


@pytest.mark.parametrize("at", ["while writing data", "before the sync", "at the rename"])
def test_a_killed_writer_leaves_what_was_whole(tmp_path, at):
    store = FeatureStore(tmp_path)
    for item in items(4):
        store.put(*item)
    store.flush()

    def die(*_args, **_options):
        os.kill(os.getpid(), signal.SIGKILL)

    def write():
        for item in items(4, offset=4):
            store.put(*item)
        if at == "while writing data":
            shard.np.ascontiguousarray = lambda piece: piece if piece.dtype != np.int16 else die()
        elif at == "before the sync":
            shard.os.fsync = die
        else:
            shard.os.replace = die
        store.flush()

    assert run_apart(write) == -signal.SIGKILL
    again = FeatureStore(tmp_path)
    assert len(again) == 4 and len(list(tmp_path.glob(".*.part"))) == 1
    assert again.sweep() == 1 and not list(tmp_path.glob(".*"))
    for key, tokens, _ in items(4):
        assert torch.equal(again.get(key).tokens_SD, tokens.to(torch.bfloat16))
    for item in items(4, offset=4):
        again.put(*item)
    again.flush()
    assert len(FeatureStore(tmp_path)) == 8


def test_what_another_process_is_writing_is_not_swept(tmp_path):
    store = FeatureStore(tmp_path)
    with shard._part(tmp_path, "x") as (file, part):
        file.write(b"half")
        file.flush()
        assert store.sweep() == 0 and part.exists()
    (tmp_path / ".y.1.part").touch()
    assert store.sweep() == 0, "its writer may be about to lock it"
    os.utime(tmp_path / ".y.1.part", (0, 0))
    assert store.sweep() == 1


def test_a_shard_is_a_safetensors_file(tmp_path):
    store = FeatureStore(tmp_path)
    times, mask = torch.tensor([0.25, 0.75, 1.25]), torch.tensor([True, True, False])
    store.put("a", torch.arange(6.0).reshape(3, 2), {"n": 1}, times, mask)
    store.put("b", torch.zeros(0, 1), {"n": 2})
    store.flush()
    tensors = load_file(next(tmp_path.iterdir()))
    assert tensors["tokens"].dtype == torch.bfloat16 and tensors["tokens"].tolist() == [0, 1, 2, 3], "padding is not stored"
    assert tensors["shapes"].tolist() == [[3, 2, 2], [0, 1, 0]] and bytes(tensors["keys"].tolist()) == b"a\nb"
    found = FeatureStore(tmp_path).get("a")
    assert torch.equal(found.times_S, times) and torch.equal(found.mask_S, mask)
    assert found.tokens_SD.tolist() == store.get("a").tokens_SD.tolist() == [[0, 1], [2, 3], [0, 0]]


def test_a_store_of_an_earlier_version_is_read(tmp_path):
    """Two files a shard: `.bf16`, and `.json` with keys, shapes, offsets and records."""
    tokens = torch.randn(6, 4).to(torch.bfloat16)
    (tmp_path / "old.bf16").write_bytes(tokens.view(torch.int16).numpy().tobytes())
    record = {"report": {}, "times": [0.5, 1.5], "mask": [True, False], "repeat": 3}
    absent = {"report": {}, "times": [], "mask": [], "repeat": 1}
    index = {"keys": ["a", "b"], "shapes": [[6, 4], [0, 1]], "offsets": [0, 24, 24], "records": [record, absent]}
    (tmp_path / "old.json").write_text(json.dumps(index))
    store = FeatureStore(tmp_path)
    store.put("c", torch.ones(1, 4), {})
    store.flush()
    again = FeatureStore(tmp_path)
    assert len(again) == 3
    found = again.get("a")
    assert torch.equal(found.tokens_SD, tokens) and found.record == {"report": {}}
    assert found.times_S.tolist() == [0.5] * 3 + [1.5] * 3 and found.mask_S.tolist() == [True] * 3 + [False] * 3
    assert again.get("b").tokens_SD.shape == (0, 1)
    (tmp_path / "old.bf16").write_bytes(b"")
    with pytest.raises(DatasetError, match="its index says 48"):
        FeatureStore(tmp_path)


def test_what_others_have_written_since_is_taken_in(tmp_path):
    reader, writer = FeatureStore(tmp_path), FeatureStore(tmp_path)
    for item in items(3):
        writer.put(*item)
    writer.flush()
    assert "key1" not in reader
    reader.refresh()
    assert "key1" in reader and len(reader) == 3
    copied = pickle.loads(pickle.dumps(reader))
    assert torch.equal(copied.get("key1").tokens_SD, reader.get("key1").tokens_SD)


def test_a_shard_that_was_cut_is_refused(tmp_path):
    store = FeatureStore(tmp_path)
    for item in items(3):
        store.put(*item)
    store.flush()
    data = next(tmp_path.glob("*.safetensors"))
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(DatasetError, match="its index says"):
        FeatureStore(tmp_path)


def test_keys_follow_content_not_names(tmp_path):
    one = clip(seed=1)
    soundfile.write(tmp_path / "a.wav", one.waveform_N, 16_000)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    a, b = (Media(kind="audio", source=tmp_path / n) for n in ("a.wav", "b.wav"))
    assert media_key(a) == media_key(b) != media_key(replace(a, start_s=0.5))
    assert media_key(a) != media_key(replace(a, kind="video")) and media_key(a) != media_key(a.muted("audio"))
    assert media_key(a) != media_key(replace(a, at_least_db=-18.0)) != media_key(replace(a, at_least_db=-12.0))
    wide = Clip(frames_THWC=one.frames_THWC.reshape(len(one.frames_THWC), 20, 80, 3), frame_times_s=one.frame_times_s, duration_s=1.0)
    tall = replace(wide, frames_THWC=one.frames_THWC)
    assert media_key(Media(kind="video", source=wide)) != media_key(Media(kind="video", source=tall)), "equal bytes in another shape"
    late = replace(one, waveform_start_s=0.25)
    assert media_key(Media(kind="video", source=one)) != media_key(Media(kind="video", source=late)), "the same sound at another time"
    assert media_key(Media(kind="video", source=one)) == media_key(Media(kind="video", source=clip(seed=1)))
    mixes = [Media(kind="audio", source=Mix(voice=a, take=take)) for take in (Take(), Take(speed=1.1), Take(gain_db=1.1))]
    assert len({media_key(m) for m in mixes}) == 3
    with pytest.raises(MediaError, match=r"missing\.wav"):
        media_key(Media(kind="audio", source=tmp_path / "missing.wav"))


def test_keys_follow_weights_and_preprocessing(toy, monkeypatch):
    model, processor = toy
    key = encoder_key(processor, model, "video")
    assert key == encoder_key(processor, model, "video") != encoder_key(processor, model, "audio")
    with torch.no_grad():
        weight = next(model.encoders["video"].parameters())
        before = weight.clone()
        weight.add_(1e-3)
        assert encoder_key(processor, model, "video") != key
        weight.copy_(before)
    spec = processor.specs["video"]
    rate = spec.encoder_choices.rate_hz
    spec.encoder_choices.rate_hz = rate * 2
    assert encoder_key(processor, model, "video") != key
    spec.encoder_choices.rate_hz = rate
    assert encoder_key(processor, model, "video") == key
    processor.max_seconds, before = 10.0, processor.max_seconds
    assert encoder_key(processor, model, "video") != key
    processor.max_seconds = before
    monkeypatch.setattr(spec.encoder_class, "preprocessing", spec.encoder_class.preprocessing + 1)
    assert encoder_key(processor, model, "video") != key


@pytest.fixture(scope="module")
def encoded(toy, tmp_path_factory):
    """Four clips in the store, one silent, one of another length."""
    model, processor = toy
    media = [video(seed=1), video(seed=2, sound=False), video(seed=3, seconds=2.0), video(seed=4, picture=False)]
    folder = tmp_path_factory.mktemp("store")
    opener = stored_opener(processor, model, folder)
    assert encode_all(model, processor, media, opener, batch_size=3) == 4
    return model, processor, media, opener, folder


def test_stored_clips_are_the_fresh_ones(encoded):
    model, processor, media, opener, _ = encoded
    engine = Engine(model, processor)
    stored = processor.with_opener(opener)
    for clip_ in media:
        fresh, found = engine.encode(processor.open(clip_)), stored.open(clip_)
        assert found.reports == fresh.reports
        for name, item in fresh.streams.items():
            other = found.streams[name]
            assert torch.equal(item.times_S, other.times_S) and torch.equal(item.mask_S, other.mask_S)
            assert torch.equal(item.token_times_Q, other.token_times_Q)
            assert torch.allclose(item.tokens_SD, other.tokens_SD.float(), rtol=2**-7, atol=1e-3)


def test_batches_and_logits_from_the_store(encoded):
    model, processor, media, opener, _ = encoded
    talks = [talk([m], "what?", "this") for m in media] + [talk([], "hi", "yes")]
    fresh, stored = processor(talks), processor.with_opener(opener)(talks)
    for key in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(fresh[key], stored[key])
    assert set(stored["media"]["video"]) == {"rows", "times", "mask", "tokens"}
    with torch.no_grad():
        rounded = {n: {**s, "tokens": model.features(n, s).tokens_BSD.to(torch.bfloat16)} for n, s in fresh["media"].items()}
        near = model(**{**fresh, "media": rounded}).loss
        assert float(model(**stored).loss) == pytest.approx(float(near), rel=0.02)
        assert float(model(**stored).loss) == pytest.approx(float(model(**fresh).loss), rel=0.05)


def test_mutes_are_applied_when_reading(encoded):
    _, processor, media, opener, _ = encoded
    opened = processor.with_opener(opener).open(media[0].muted("audio"))
    assert set(opened.streams) == {"video"} and opened.reports["audio"].reason == "muted on request"


def test_encoding_goes_on_where_it_stopped(toy, tmp_path, monkeypatch):
    model, processor = toy
    media = [video(seed=i) for i in range(5)]
    opener = stored_opener(processor, model, tmp_path)

    def broken(steps):
        for n, step in enumerate(steps):
            if n == 2:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        encode_all(model, processor, media, opener, batch_size=2, progress=broken)
    again = stored_opener(processor, model, tmp_path)
    assert len(again.stores["video"]) == 4
    opened = []
    open_clip = processor.opener.open
    monkeypatch.setattr(processor.opener, "open", lambda m: opened.append(m) or open_clip(m))
    assert encode_all(model, processor, media, again, batch_size=2) == 1
    assert opened == media[4:]
    assert encode_all(model, processor, media, again) == 0


def test_another_encoder_of_one_stream_leaves_the_others_alone(toy, tmp_path, monkeypatch):
    model, processor = toy
    media = [video(seed=i) for i in range(3)]
    encode_all(model, processor, media, stored_opener(processor, model, tmp_path), batch_size=2)
    parameter, *_ = model.encoders["audio"].parameters()
    run, before = [], parameter.detach().clone()
    monkeypatch.setattr(model, "features", lambda name, batch, own=model.features: run.append(name) or own(name, batch))
    try:
        with torch.no_grad():
            parameter.add_(0.1)
        assert encode_all(model, processor, media, stored_opener(processor, model, tmp_path), batch_size=2) == 3
    finally:
        parameter.data.copy_(before)
    assert set(run) == {"audio"}


def test_a_bad_clip_keeps_what_came_before(toy, tmp_path):
    model, processor = toy
    media = [video(seed=1), video(seed=2), video(picture=False, sound=False)]
    opener = stored_opener(processor, model, tmp_path)
    with pytest.raises(MediaError, match="no stream of the model"):
        encode_all(model, processor, media, opener, batch_size=2)
    assert len(stored_opener(processor, model, tmp_path).stores["audio"]) == 2


def test_what_was_never_encoded_is_refused(encoded):
    _, processor, _, opener, folder = encoded
    with pytest.raises(DatasetError, match="encode the data first"):
        processor.with_opener(opener).open(video(seed=99))
    assert {p.name.split("-")[0] for p in folder.iterdir()} == {"video", "audio"}
    assert all(shard.Shard(p).keys for p in folder.rglob("*.safetensors"))
