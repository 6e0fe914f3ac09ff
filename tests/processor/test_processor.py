"""Conversations to batches: layout, labels, padding, limits, and the doors of Hugging Face."""

import pytest
import torch

from tests.toys import byte_tokenizer, chat_model, mixed, streams, talk, video
from unifusion.conversation import Conversation, Media, Message
from unifusion.errors import ConfigError, LimitError
from unifusion.limits import Limits
from unifusion.processor import UniFusionProcessor
from unifusion.processor.processor import IGNORED

V, A = "<|video|>", "<|audio|>"


@pytest.fixture
def processor():
    return UniFusionProcessor(byte_tokenizer(), streams=streams(), window_s=0.5)


def written(processor, row):
    return processor.tokenizer.decode(row.ids)


def test_windows_interleave_on_one_clock(processor):
    text = written(processor, processor.row(talk([video(seed=1)], "hi"), generate=True))
    window = V * 2 + A * 4
    assert text == f"<|user|>t=0.0s{window}t=0.5s{window}hi<|end|><|assistant|>"


def test_a_stream_that_is_absent_is_named(processor):
    assert written(processor, processor.row(talk([video(seed=1, sound=False)], "hi"))).startswith(f"<|user|>no audio. t=0.0s{V * 2}t=0.5s")
    muted = written(processor, processor.row(talk([video(seed=1).muted("video", "audio")], "hi")))
    assert muted == "<|user|>no video. no audio. hi"


def test_several_clips_are_numbered_and_parts_keep_their_order(processor):
    parts = ("first ", video(seed=1, sound=False), " then ", video(seed=2, picture=False), " which?")
    text = written(processor, processor.row(Conversation(messages=(Message(role="user", parts=parts),))))
    places = [text.index(t) for t in ("first ", "clip 1: no audio. ", V, " then ", "clip 2: no video. ", A, " which?")]
    assert places == sorted(places)


@pytest.mark.parametrize("adapter", ["qformer", "perceiver"])
def test_tokens_for_the_whole_clip_come_in_one_block(adapter):
    processor = UniFusionProcessor(byte_tokenizer(), streams=streams(adapter))
    row = processor.row(talk([video(seed=1, seconds=3.0)], "hi"))
    counts = [row.media[0].reports[n].tokens for n in ("video", "audio")]
    assert written(processor, row) == f"<|user|>{V * counts[0]}{A * counts[1]}hi"


def test_order_of_streams_is_theirs_and_survives_saving(tmp_path):
    """JSON is written with sorted keys: without care, picture before sound becomes sound before picture."""
    for names in (("video", "audio"), ("audio", "video")):
        both = streams()
        processor = UniFusionProcessor(byte_tokenizer(), streams={n: both[n] for n in names})
        processor.save_pretrained(tmp_path / names[0])
        again = UniFusionProcessor.from_pretrained(tmp_path / names[0])
        assert list(again.specs) == list(names)
        conversation = talk([video(seed=1)], "hi", "yes")
        assert again.row(conversation).ids == processor.row(conversation).ids
        assert again.row(conversation).labels == processor.row(conversation).labels
        assert (again.window_s, again.max_seconds, again.format) == (processor.window_s, processor.max_seconds, processor.format)


def test_labels_are_the_answer_and_its_end(processor):
    conversation = Conversation(
        messages=(
            Message(role="user", parts=(video(seed=1), "a?")), Message(role="assistant", parts=("not this",)),
            Message(role="user", parts=("b?",)), Message(role="assistant", parts=("this", " and this"), supervised=True),
        )
    )  # fmt: skip
    row = processor.row(conversation)
    assert len(row.ids) == len(row.labels)
    assert processor.tokenizer.decode([i for i in row.labels if i != IGNORED]) == "this and this<|end|>"
    assert all(label in (IGNORED, i) for i, label in zip(row.ids, row.labels, strict=True))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(processor, side):
    rows = [processor.row(c) for c in mixed("yes")]
    batch = processor.collate(rows, side=side)
    for i, row in enumerate(rows):
        kept = batch["attention_mask"][i].bool()
        assert batch["input_ids"][i][kept].tolist() == row.ids
        assert batch["labels"][i][kept].tolist() == row.labels
        assert (batch["labels"][i][~kept] == IGNORED).all()
        assert bool(kept[-1 if side == "left" else 0])
    assert len(batch.reports) == len(rows) and batch.reports[1].streams["audio"].reason


def test_media_of_a_batch_know_their_rows(processor):
    batch = processor(mixed())
    assert batch["media"]["video"]["rows"].tolist() == [0, 1, 3, 5, 6, 7]
    assert batch["media"]["audio"]["rows"].tolist() == [0, 2, 5, 5, 7]
    moved = batch.to("cpu")
    assert moved["media"]["video"]["pixel_values"].dtype == torch.float32 and moved.reports is batch.reports
    assert "media" in batch and processor([talk([], "hi")])["media"] == {}


def test_limits_name_the_conversation(processor):
    processor.use(limits=Limits(max_media=1, max_text_chars=10, max_tokens=40))
    with pytest.raises(LimitError, match="2 clips"):
        processor.row(talk([video(), video()], "hi"))
    with pytest.raises(LimitError, match="11 characters"):
        processor.row(talk([], "x" * 11))
    with pytest.raises(LimitError, match=r"conversation seven has \d+ tokens"):
        processor.row(talk([video(seconds=3.0)], "hi", name="seven"))


@pytest.mark.parametrize("roles", [("assistant",), ("user", "user"), ("user", "system"), ("system", "system"), ("system", "assistant")])
def test_roles_that_do_not_follow_are_refused(processor, roles):
    with pytest.raises(ConfigError, match="conversation x"):
        processor.row(Conversation(messages=tuple(Message(role=r, parts=("a",)) for r in roles), id="x"))


def test_clips_from_a_store_and_clips_that_are_not_do_not_mix():
    from unifusion.engine import Engine
    from unifusion.errors import UniFusionError

    engine = Engine(*chat_model())
    rows = [engine.processor.row(talk([video(seed=i)], "hi")) for i in range(2)]
    rows[0].media[0] = engine.encode(rows[0].media[0])
    with pytest.raises(UniFusionError, match="some do not"):
        engine.processor.collate(rows)


def test_apply_chat_template_is_the_same_row(processor):
    source = video(seed=1).source
    messages = [{"role": "user", "content": [{"type": "video", "video": source}, {"type": "text", "text": "hi"}]}]
    row = processor.row(talk([Media(kind="video", source=source)], "hi"), generate=True)
    out = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert out["input_ids"][0].tolist() == row.ids and set(out) == {"input_ids", "attention_mask", "media"}
    assert processor.apply_chat_template(messages, add_generation_prompt=True, return_dict=False).tolist() == row.ids
    assert processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == written(processor, row)
    assert processor.apply_chat_template([messages, messages])["input_ids"].shape[0] == 2
    with pytest.raises(ConfigError, match="cannot be given at call time"):
        processor.apply_chat_template(messages, "{{ messages }}")


def test_assistant_masks_mark_what_is_supervised(processor):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    out = processor.apply_chat_template(messages, return_assistant_tokens_mask=True)
    assert processor.tokenizer.decode(out["input_ids"][out["assistant_masks"].bool()]) == "yes<|end|>"


def test_dotted_names_and_odd_streams_in_a_file_are_refused(tmp_path):
    import json

    from unifusion.errors import CheckpointError

    UniFusionProcessor(byte_tokenizer(), streams=streams()).save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "processor_config.json").read_text())
    for bad in (
        {"video": {**raw["streams"]["video"], "encoder": "os:system"}},
        {"video": {**raw["streams"]["video"], "adapter": "a.b"}},
        ["video"],
        {"video": 1},
    ):
        (tmp_path / "processor_config.json").write_text(json.dumps({**raw, "streams": bad}))
        with pytest.raises(CheckpointError):
            UniFusionProcessor.from_pretrained(tmp_path)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'whisper'"):
        UniFusionProcessor(byte_tokenizer(), streams={"audio": {"encoder": "wisper"}})
    with pytest.raises(ConfigError, match="did you mean 'encoder_config'"):
        UniFusionProcessor(byte_tokenizer(), streams={"audio": {"encoder": "whisper", "encoder_confg": {}}})
