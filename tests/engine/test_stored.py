"""Answers about clips that are stored: nothing is decoded or encoded, the report is the stored one; other clips are as before."""

import pytest
import torch

from tests.toys import chat_model, talk
from unifusion import checkpoint, media
from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Media
from unifusion.engine import Engine
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.clips import named_clips
from unifusion.features.job import EncodeJob, run_job
from unifusion.features.source import EncoderSource


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A checkpoint, two clips, and a store that holds the first."""
    root = tmp_path_factory.mktemp("stored")
    model, processor = chat_model(seed=1)
    folder = checkpoint.save(model, processor, root / "toy", provenance={}, self_contained=True)
    for name in ("a.mp4", "b.mp4"):
        make_clip(root / name, "libx264", "aac")
    (root / "b.mp4").write_bytes((root / "b.mp4").read_bytes() + b"\0\0\0\x08free")  # the same picture and sound, another content
    job = EncodeJob(source=EncoderSource(model=str(folder)), out=root / "store")
    assert run_job(named_clips([root / "a.mp4"])[0], job).clips == 1
    return folder, root


def clip(root, name="a.mp4", **span):
    return Media(kind="video", source=str(root / name), **span)


@pytest.fixture
def no_decoder(monkeypatch):
    """Reading any clip fails."""

    def fail(*_args, **_options):
        raise MediaError("the decoder was called;")

    monkeypatch.setattr(media, "read_clip", fail)


def rounded(engine):
    """Make an engine without a store round what its encoders give, as a store does."""
    encode = engine.encode

    def round_off(opened):
        found = encode(opened)
        for item in found.streams.values():
            item.tokens_SD.copy_(item.tokens_SD.to(torch.bfloat16))
        return found

    engine.encode = round_off
    return engine


def test_a_stored_clip_is_answered_with_the_decoder_gone(world, monkeypatch, no_decoder):
    folder, root = world
    engine = Engine.from_pretrained(folder, features=root / "store")
    monkeypatch.setattr(engine.model, "features", lambda name, batch, own=engine.model.features: _stored_only(own, name, batch))
    session = engine.session()
    report = session.add(clip(root))
    answer = session.ask("What happens?", max_new_tokens=8)
    assert report.streams["video"].frames > 0 and answer.report.streams["audio"].samples > 0
    with pytest.raises(MediaError, match="the decoder was called"):
        engine.open(clip(root, "b.mp4"))
    with pytest.raises(MediaError, match="the decoder was called"):
        engine.open(clip(root, end_s=0.5))


def _stored_only(own, name, batch):
    assert "tokens" in batch, "the encoder was called"
    return own(name, batch)


def test_answers_are_those_of_the_rounded_features(world):
    """Equal without a store but for the rounding to bf16, and exactly equal to answers from features that are rounded as well."""
    folder, root = world
    stored, plain = Engine.from_pretrained(folder, features=root / "store"), rounded(Engine.from_pretrained(folder))
    talks = [talk([clip(root)], q) for q in ("What happens?", "Who speaks?")] + [talk([clip(root, "b.mp4")], "And here?"), talk([], "hi")]
    alone = [Engine.from_pretrained(folder)._row(t) for t in talks]
    for engine_row, fresh in zip([stored._row(t) for t in talks], alone, strict=True):
        assert engine_row.ids == fresh.ids and engine_row.report == fresh.report
    with torch.no_grad():
        near, exact = (e.model.embed(**_inputs(e, talks[0])) for e in (stored, Engine.from_pretrained(folder)))
        assert torch.allclose(near, exact, rtol=0.05, atol=0.05) and not torch.equal(near, exact)
    one, other = (e.score_labels(talks[:2], [["yes", "no"]] * 2) for e in (stored, plain))
    for a, b in zip(one, other, strict=True):
        assert a.log_probs == pytest.approx(b.log_probs, abs=1e-4)
    batched = stored.answer([talks[0], talks[2], talks[3]], max_new_tokens=8)
    assert [a.ids for a in batched] == [stored.answer([t], max_new_tokens=8)[0].ids for t in (talks[0], talks[2], talks[3])]


def _inputs(engine, conversation):
    batch = engine.processor.collate([engine._row(conversation)])
    return {"input_ids": batch["input_ids"], "media": batch["media"]}


def test_muting_a_stored_clip(world, no_decoder):
    folder, root = world
    engine = Engine.from_pretrained(folder, features=root / "store")
    opened, _ = engine.open(clip(root).muted("audio"))
    assert list(opened.streams) == ["video"] and opened.reports["audio"].reason == "muted on request"


def test_a_store_of_nothing_is_refused(world, tmp_path):
    folder, root = world
    with pytest.raises(ConfigError, match="holds no features of this model's encoders"):
        Engine.from_pretrained(folder, features=tmp_path)
    with pytest.raises(ConfigError, match="--lenient"):
        Engine.from_pretrained(folder, features=root / "store", strict=False)
    assert not list(tmp_path.iterdir())
