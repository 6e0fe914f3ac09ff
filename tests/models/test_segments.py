"""Packed conversations: each one's loss and gradient are what it has alone, by every way a language model can take them."""

import pytest
import torch

from tests.models.families import FAMILIES, SCALED
from tests.models.flash import run_by_flash
from tests.toys import chat_model, mixed, talk, video
from unifusion.errors import ConfigError
from unifusion.models.segments import NAME, packed_attention, separates
from unifusion.processor import FusedSpec
from unifusion.processor.packing import collate_packed
from unifusion.processor.processor import IGNORED

TALKS = [
    *mixed("word ")[:6],
    talk([video(seed=9)], "a question " * 6, "a longer answer " * 3),
    talk([], "a question " * 6, "a longer answer " * 3),
]


def gradient(model, loss):
    """Of everything that is trained, one vector; what has none counts as zeros."""
    model.zero_grad()
    loss.backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters() if p.requires_grad])


def only(batch, number):
    """The batch with the labels of one conversation alone."""
    ends = batch["segments"].edges
    labels = torch.full_like(batch["labels"], IGNORED)
    labels[:, ends[number] : ends[number + 1]] = batch["labels"][:, ends[number] : ends[number + 1]]
    return {**batch, "labels": labels}


def separate(model, processor, talks):
    """Loss and gradient of each conversation alone, on plain attention."""
    for conversation in talks:
        loss = model(**processor([conversation])).loss
        yield loss.detach(), gradient(model, loss)


def hold(model, batch, wanted):
    """Compare a packed batch with its conversations, one after the other."""
    for number, (loss, expected) in enumerate(wanted):
        found = model(**only(batch, number)).loss
        torch.testing.assert_close(found.detach(), loss, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient(model, found), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", ["segments", "positions"])
@pytest.mark.parametrize("llm", [*FAMILIES, "gemma2"])
def test_each_loss_and_gradient_is_that_of_the_conversation_alone(llm, way):
    model, processor = chat_model(llm={**FAMILIES, **SCALED}[llm])
    if llm == "gemma2":
        model.language_model.config.attn_logit_softcapping = 5.0
    wanted = list(separate(model, processor, TALKS))
    batch = collate_packed(processor, [processor.row(c) for c in TALKS])
    assert batch["input_ids"].shape[1] > 400
    if way == "positions":
        hold(model, batch, wanted)
        return
    with packed_attention(model.language_model) as found:
        assert found == "segments"
        hold(model, batch, wanted)


@pytest.mark.parametrize("llm", ["llama", "gemma3_text"])
def test_the_whole_batch_has_the_loss_and_gradient_of_the_padded_one(llm):
    model, processor = chat_model(llm=FAMILIES[llm], fused={"both": FusedSpec(of=["video", "audio"])})
    rows = [processor.row(c) for c in TALKS]
    padded = model(**processor.collate(rows))
    expected = gradient(model, padded.loss)
    with packed_attention(model.language_model):
        found = model(**collate_packed(processor, rows))
        assert int(found.n_targets) == int(padded.n_targets)
        torch.testing.assert_close(found.loss, padded.loss, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient(model, found.loss), expected, atol=1e-5, rtol=1e-4)


def test_gradient_checkpointing_keeps_them_apart_too():
    model, processor = chat_model(llm=FAMILIES["mistral"])
    model.train()
    batch = collate_packed(processor, [processor.row(c) for c in TALKS])
    with packed_attention(model.language_model):
        expected = gradient(model, model(**batch).loss)
        model.gradient_checkpointing_enable()
        torch.testing.assert_close(gradient(model, model(**batch).loss), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("llm", ["llama", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_and_answers_are_as_ever_meanwhile(llm, side):
    model, processor = chat_model(llm=FAMILIES[llm])
    batch, prompts = processor(TALKS, side=side), processor(TALKS[:3], generate=True)
    loss, ids = model(**batch).loss, model.generate(**prompts, max_new_tokens=4)
    before = model.language_model.config._attn_implementation
    with packed_attention(model.language_model):
        assert model.language_model.config._attn_implementation == NAME
        torch.testing.assert_close(model(**batch).loss, loss, atol=1e-5, rtol=1e-5)
        assert torch.equal(model.generate(**prompts, max_new_tokens=4), ids)
    assert model.language_model.config._attn_implementation == before


def test_one_conversation_alone_is_a_pack_too():
    model, processor = chat_model(llm=FAMILIES["mistral"])
    alone = model(**processor(TALKS[-1:])).loss
    with packed_attention(model.language_model):
        torch.testing.assert_close(model(**collate_packed(processor, [processor.row(TALKS[-1])])).loss, alone)


def test_what_the_first_conversation_says_never_reaches_the_next():
    model, processor = chat_model(llm=FAMILIES["qwen3"])
    with packed_attention(model.language_model), torch.no_grad():
        said = [
            model(**only(collate_packed(processor, [processor.row(c) for c in (a, TALKS[6])]), 1)).loss
            for a in (TALKS[7], talk([], "?", "x"))
        ]
    torch.testing.assert_close(*said, atol=1e-6, rtol=1e-6)


def test_a_recurrent_model_is_refused_with_and_without_the_context():
    llm = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    model, processor = chat_model(llm=llm)
    batch = collate_packed(processor, [processor.row(talk([], "a", "b")), processor.row(talk([], "c", "d"))])
    with pytest.raises(ConfigError, match="MambaForCausalLM lets what stands before in a sequence leak"):
        model(**batch)
    with pytest.raises(ConfigError, match="padded batches"), packed_attention(model.language_model):
        pass


@pytest.mark.parametrize(("llm", "way"), [("gptj", "positions"), ("opt", "segments")])
def test_other_ways(llm, way):
    """GPT-J does not let its attention be replaced; OPT does, and makes masks that know nothing of positions."""
    more = {"gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "rotary_dim": 4}}
    opt = {"hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "dropout": 0.0}
    model, processor = chat_model(llm={"model_type": llm, **more.get(llm, {**opt, "max_position_embeddings": 1024})})
    wanted = list(separate(model, processor, TALKS[-2:]))
    with packed_attention(model.language_model) as found:
        assert found == way
        hold(model, collate_packed(processor, [processor.row(c) for c in TALKS[-2:]]), wanted)


def test_positions_alone_are_not_enough_inside():
    model, processor = chat_model()
    batch = collate_packed(processor, [processor.row(c) for c in TALKS[-2:]])
    with packed_attention(model.language_model), pytest.raises(ConfigError, match="no segments were given"):
        model(**{k: v for k, v in batch.items() if k != "segments"})


def test_flash_attention_is_told_where_conversations_begin(monkeypatch):
    """Its kernel needs a GPU; what it would be called with does not."""
    from unifusion.models import segments

    model, processor = chat_model()
    batch = collate_packed(processor, [processor.row(c) for c in TALKS[-2:]])
    monkeypatch.setattr(segments, "_is_flash", lambda _: True)
    told = segments.packed_inputs(model.language_model, batch["segments"])
    first, second = batch["segments"].lengths
    assert told["cu_seq_lens_q"].tolist() == told["cu_seq_lens_k"].tolist() == [0, first, first + second]
    assert told["max_length_q"] == told["max_length_k"] == max(first, second)


@pytest.mark.parametrize("llm", ["llama", "mistral", "gemma2", "gemma3_text", "qwen3"])
def test_by_flash_attention_each_loss_is_that_of_the_conversation_alone(llm, monkeypatch):
    model, processor = chat_model(llm={**FAMILIES, **SCALED}[llm])
    model.to(torch.bfloat16)
    rows = [processor.row(c) for c in TALKS]
    with torch.no_grad():
        wanted = [float(model(**processor.collate([row])).loss) for row in rows]
        run_by_flash(monkeypatch, model.language_model)
        with packed_attention(model.language_model) as way:
            assert way == "varlen"
            found = [float(model(**only(collate_packed(processor, rows), i)).loss) for i in range(len(rows))]
    assert found == pytest.approx(wanted, rel=0.05)


def test_whole_weights_run_by_flash_attention_under_autocast(monkeypatch):
    model, processor = chat_model(llm=FAMILIES["mistral"])
    batch = collate_packed(processor, [processor.row(c) for c in TALKS])
    wanted = float(model(**batch).loss.detach())
    run_by_flash(monkeypatch, model.language_model)
    with packed_attention(model.language_model) as way, torch.autocast("cpu", torch.bfloat16):
        assert way == "varlen"
        loss = model(**batch).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(wanted, rel=0.05)


def test_half_precision_is_tried_with_its_own_rounding():
    model, _ = chat_model()
    assert separates(model.language_model.to(torch.bfloat16))
