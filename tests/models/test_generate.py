"""`generate` of transformers over media: every decoding strategy, one at a time or in a batch."""

import pytest
import torch

from tests.models.families import FAMILIES
from tests.toys import chat_model, mixed, talk, until_end, video


@pytest.fixture(scope="module")
def toy():
    return chat_model()


def generated(model, processor, conversations, *, side="left", **options):
    """New ids of each conversation, up to its end."""
    batch = processor(conversations, generate=True, side=side)
    out = model.generate(**batch, **{"max_new_tokens": 10, "do_sample": False, **options})
    return [until_end(row, processor.end_ids) for row in out[:, batch["input_ids"].shape[1] :].tolist()]


@pytest.mark.parametrize("llm", FAMILIES)
def test_batch_of_eight_is_one_at_a_time(llm):
    model, processor = chat_model(llm=FAMILIES[llm])
    alone = [generated(model, processor, [c])[0] for c in mixed()]
    assert len({tuple(a) for a in alone}) > 3, "answers that are all alike would prove nothing"
    for side in ("left", "right"):
        assert generated(model, processor, mixed(), side=side) == alone


def test_cache_changes_nothing(toy):
    model, processor = toy
    assert generated(model, processor, mixed(), use_cache=False) == generated(model, processor, mixed())


def test_media_are_encoded_once(toy, monkeypatch):
    model, processor = toy
    calls = []
    features = model.features
    monkeypatch.setattr(model, "features", lambda stream, batch: calls.append(stream) or features(stream, batch))
    generated(model, processor, [talk([video(seed=1)])], num_beams=3)
    assert sorted(calls) == ["audio", "video"]


def test_beams_find_a_likelier_answer(toy):
    model, processor = toy

    def log_prob(ids, batch):
        out = model(input_ids=torch.cat([batch["input_ids"], torch.tensor([ids])], 1), media=batch["media"]).logits
        start = batch["input_ids"].shape[1] - 1
        return float(out[0, start:-1].log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).sum())

    batch = processor([talk([video(seed=1)])], generate=True)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    greedy = model.generate(**batch, **options)[0, batch["input_ids"].shape[1] :].tolist()
    beams = model.generate(**batch, **options, num_beams=6)[0, batch["input_ids"].shape[1] :].tolist()
    assert len(beams) == len(greedy) == 6
    assert log_prob(beams, batch) >= log_prob(greedy, batch)


def test_sampling_gives_several_sequences(toy):
    model, processor = toy
    batch = processor(mixed()[:2], generate=True)
    torch.manual_seed(0)
    out = model.generate(**batch, max_new_tokens=8, do_sample=True, temperature=2.0, num_return_sequences=3)
    assert out.shape[0] == 6
    assert len({tuple(r) for r in out[:, batch["input_ids"].shape[1] :].tolist()}) > 2


@pytest.mark.parametrize("options", [{"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 3}])
def test_other_ways_of_greedy_decoding_agree(toy, options):
    model, processor = toy
    for conversation in mixed()[:4]:
        assert generated(model, processor, [conversation], **options) == generated(model, processor, [conversation])


def test_placeholders_are_never_generated():
    """A model that wants nothing but a placeholder says something else, with and without media, beside the caller's own bans."""
    model, processor = chat_model(llm={**FAMILIES["llama"], "tie_word_embeddings": False})
    wanted = processor.placeholder_ids["video"]
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    model.get_output_embeddings().register_forward_hook(lambda _m, _a, out: out.index_fill(-1, torch.tensor([wanted, 65]), 50.0))
    for conversation in (talk([video(seed=1)]), talk([], "hi")):
        batch = processor([conversation], generate=True)
        assert model.generate(**batch, max_new_tokens=3, do_sample=False)[0, -3:].tolist() == [65] * 3
        assert wanted not in model.generate(**batch, max_new_tokens=3, do_sample=False, suppress_tokens=[65])[0, -3:].tolist()
        assert 65 not in model.generate(**batch, max_new_tokens=3, do_sample=False, suppress_tokens=[65])[0, -3:].tolist()


def test_a_streamer_gets_every_token(toy):
    from transformers import TextIteratorStreamer

    model, processor = toy
    batch = processor([talk([video(seed=1)])], generate=True)
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, timeout=10.0)
    out = model.generate(**batch, max_new_tokens=6, do_sample=False, streamer=streamer)
    assert "".join(streamer) == processor.tokenizer.decode(out[0, batch["input_ids"].shape[1] :])
