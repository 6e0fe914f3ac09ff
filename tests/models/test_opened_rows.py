"""Examples as an emotion model opens them: which clip gives which stream, words, history, and what a batch holds."""

import pytest
import torch

from tests.models.test_affect import ROWS, config, example, model, stream
from tests.toys import clip
from unifusion.conversation import Example, Media
from unifusion.errors import DatasetError, MediaError, NoStreamError
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.opened_rows import RowOpener, collate_rows, encoders_of, history_text, media_of, to_device
from unifusion.training.affect_data import store_features


def media(**shown):
    return Media(kind="video", source=clip(**shown))


def test_the_words_of_a_row_are_said_in_its_first_clip():
    silent, other = media(sound=False), media(seed=1)
    first, second = media_of(Example(id="r", media=(silent, other), texts={"transcript": "Hello"}))
    assert (first.transcript, second.transcript) == ("Hello", None)
    told = Media(kind="video", source=clip(), transcript="Good bye")
    assert media_of(Example(id="r", media=(told,), texts={"transcript": "Hello"}))[0].transcript == "Good bye"


def test_what_was_said_long_before_is_left_out():
    turns = [{"speaker": "AB"[i % 2], "text": f"line {i}"} for i in range(20)]
    told = history_text(Example(id="r", labels={"history": turns})).splitlines()
    assert told[-1] == "B: line 19" and told[0] == "A: line 8" and len(told) == 12
    assert history_text(Example(id="r", labels={"history": None})) == ""


def test_clips_of_one_row_give_the_streams_they_have():
    own = model()
    row = RowOpener(own).open(Example(id="r", media=(media(picture=False, seconds=2.0), media(sound=False, seed=1))))
    assert set(row.streams) == {"audio", "video"} and row.duration_s == 2.0
    assert row.reports["audio"].present and row.reports["text"].reason == "nobody told what is said (Media.transcript)"
    assert list(row.report.streams) == list(own.config.streams)


def test_of_two_clips_with_sound_the_first_is_heard():
    own = model()
    opener = RowOpener(own)
    both = opener.open(Example(id="r", media=(media(seed=1, picture=False), media(seed=2, picture=False))))
    alone = opener.open(Example(id="r", media=(media(seed=1, picture=False),)))
    assert all(torch.equal(v, alone.streams["audio"].tensors[k]) for k, v in both.streams["audio"].tensors.items())


def test_why_nothing_fits_is_said_once():
    deaf = model(streams={"audio": stream("whisper"), "loud": stream("whisper")})
    with pytest.raises(NoStreamError) as told:
        RowOpener(deaf).open(example(9, sound=False))
    assert str(told.value).startswith("row 9: no stream of the model is in this row") and str(told.value).count("can use this file") == 1


def test_a_clip_that_is_not_stored_says_what_is_wrong_with_it(tmp_path):
    own = model(streams={"audio": stream("whisper")})
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    broken = Example(id="bad", media=(Media(kind="audio", source=str(tmp_path / "broken.wav")),))
    said = []
    store_features(own, [ROWS[0], ROWS[1], broken], tmp_path / "f", on_bad=lambda media, error: said.append(type(error)))
    assert sorted(kind.__name__ for kind in said) == ["MediaError", "NoStreamError"]
    opener = RowOpener(own, stores=tmp_path / "f")
    assert opener.open(ROWS[0]).streams["audio"].tokens_SD is not None
    with pytest.raises(NoStreamError):
        opener.open(ROWS[1])
    with pytest.raises(MediaError, match="no known format"):
        opener.open(broken)
    with pytest.raises(DatasetError, match="no features of stream 'audio'"):
        opener.open(example(7))  # sound, and never encoded


def test_a_batch_holds_each_stream_of_the_rows_that_have_it():
    own = model(metadata=MetadataFields.of([{"speaker_age": "young"}, {"speaker_age": "old"}]))
    rows = [RowOpener(own).open(row) for row in ROWS]
    batch = collate_rows(rows, own.streams, own.config.metadata)
    assert int(batch["rows"]) == 5 and {n: s["rows"].tolist() for n, s in batch["streams"].items()} == {
        "video": [0, 1, 3], "audio": [0, 2, 3], "text": [0, 1, 2, 4], "before": [0, 1, 3, 4],
    }  # fmt: skip
    assert batch["metadata"]["values"].tolist() == [[0]] * 5  # nobody's age is known
    assert "metadata" not in collate_rows(rows, config().streams, config().metadata)


def test_a_batch_moves_as_a_whole():
    moved = to_device({"a": {"b": torch.ones(2)}, "c": "word"}, torch.device("meta"))
    assert moved["a"]["b"].device.type == "meta" and moved["c"] == "word"


def test_taking_encoders_leaves_those_that_are_trained_as_they_are():
    own = model(streams={"audio": stream("whisper"), "text": stream("bert", trained=1)}).train()
    before = {n: (e.training, [p.requires_grad for p in e.parameters()]) for n, e in own.encoders.items()}
    held = encoders_of(own, "clip", only=["audio", "text"])
    assert set(held.encoders) == {"audio", "text"} and encoders_of(own, "history", only=["text"]) is None
    assert {n: (e.training, [p.requires_grad for p in e.parameters()]) for n, e in own.encoders.items()} == before
    assert before["text"][0] and any(before["text"][1]) and not before["audio"][0]
