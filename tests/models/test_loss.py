"""The loss: equal to the full one, on supervised positions only, whatever the head of the language model does."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.models.families import FAMILIES, SCALED
from tests.toys import chat_model, mixed, talk, video
from unifusion.models.build import set_trainable
from unifusion.models.recompute import recompute_frozen
from unifusion.processor.processor import IGNORED


def full_loss(model, batch):
    """Mean cross-entropy from logits for every position, as transformers computes it."""
    logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    return cross_entropy(logits[:, :-1].float().transpose(1, 2), batch["labels"][:, 1:], ignore_index=IGNORED)


@pytest.fixture(scope="module")
def toy():
    return chat_model()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("llm", [*SCALED, "llama", "gpt2", "phi"])
def test_loss_is_the_full_one(llm, side):
    model, processor = chat_model(llm={**FAMILIES, **SCALED}[llm])
    batch = processor(
        [talk([video(seed=1)], answer="a longer answer"), talk([], "hi", "yes"), talk([video(seed=2)], "x" * 30, "no")], side=side
    )
    out = model(**batch)
    assert out.logits is None
    assert int(out.n_targets) == int((batch["labels"] != IGNORED).sum())
    assert float(out.loss) == pytest.approx(float(full_loss(model, batch)), abs=2e-6)


@pytest.mark.parametrize("llm", SCALED)
def test_a_small_cap_or_scale_is_seen_before_logits_are_large(llm):
    """Right after initialisation a cap changes logits by less than rounding; the loss must not be decided then for ever."""
    torch.manual_seed(0)
    model, processor = chat_model(llm={**SCALED[llm], "final_logit_softcapping": 30.0})
    with torch.no_grad():
        for p in model.language_model.parameters():
            if p.dim() > 1:
                p.mul_(0.05)
    batch = processor([talk([], "hi", "yes")])
    model(**batch)
    with torch.no_grad():
        for p in model.language_model.parameters():
            if p.dim() > 1:
                p.mul_(160.0)
    assert float(model(**batch).loss) == pytest.approx(float(full_loss(model, batch)), rel=1e-5)


def test_only_supervised_positions_count(toy):
    model, processor = toy
    batch = processor(mixed("answer "))
    labels = batch["labels"]
    for row, label in zip(batch["input_ids"], labels, strict=True):
        kept = label != IGNORED
        assert torch.equal(row[kept], label[kept])
        text = processor.tokenizer.decode(row[kept])
        assert text.replace("answer ", "") == "<|end|>" and text.startswith("answer")
    changed = {**batch, "labels": labels.clone()}
    changed["labels"][labels == IGNORED] = IGNORED
    before = float(model(**changed).loss)
    changed["labels"][labels != IGNORED] = (labels[labels != IGNORED] + 1) % 256
    assert float(model(**changed).loss) != before


def test_no_gradient_from_unsupervised_targets(toy):
    """The head sees supervised positions alone: two batches that differ in an unsupervised label have one gradient."""
    model, processor = toy
    batch = processor([talk([], "hi there", "yes")])
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[0]))
    model(**batch)  # the probe of the head may come first
    seen.clear()
    model(**batch)
    hook.remove()
    assert seen == [int((batch["labels"] != IGNORED).sum())]


def test_sum_over_num_items_in_batch(toy):
    model, processor = toy
    one, two = (processor([c]) for c in mixed("word ")[:2])
    both = processor(mixed("word ")[:2])
    items = int((both["labels"] != IGNORED).sum())
    parts = sum(float(model(**b, num_items_in_batch=torch.tensor(items)).loss) for b in (one, two))
    assert parts == pytest.approx(float(model(**both).loss), abs=1e-5)


def test_batch_without_targets_has_zero_loss_and_a_graph(toy):
    model, processor = toy
    batch = processor([talk([video(seed=1)], answer="yes")])
    batch["labels"] = torch.full_like(batch["labels"], IGNORED)
    loss = model(**batch).loss
    assert float(loss) == 0.0 and loss.requires_grad


@pytest.mark.parametrize("llm", ["llama", "gemma2"])
def test_a_few_steps_of_training_lower_the_loss(llm):
    model, processor = chat_model(llm={**FAMILIES, **SCALED}[llm])
    model.train()
    batch = processor([talk([video(seed=1)], answer="yes")])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_gradient_checkpointing_gives_the_same_gradient():
    gradients = []
    for checkpointing in (False, True):
        model, processor = chat_model()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**processor([talk([video(seed=1)], answer="yes")])).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for n, p in sorted(model.named_parameters()) if p.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_a_frozen_language_model_is_recomputed_too_and_drops_nothing():
    """Transformers checkpoints in training mode alone; adapters are trained through a language model in eval mode."""
    gradients, calls = [], []
    for checkpointing in (False, True):
        model, processor = chat_model()
        set_trainable(model, {"language_model": False, "encoders": False, "adapters": True})
        if checkpointing:
            model.activation_checkpointing_enable()
        model.train()
        count = [0]
        layer = model.language_model.model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))  # recomputing ends within it
        batch = processor([talk([video(seed=1)], answer="yes")])
        model(**batch)  # the probe of the head is behind us
        count[0] = 0
        model(**batch).loss.backward()
        calls.append(count[0])
        gradients.append(torch.cat([p.grad.flatten() for n, p in sorted(model.named_parameters()) if p.grad is not None]))
        assert not any(m.training for m in model.language_model.modules() if not isinstance(m, GradientCheckpointingLayer))
    assert torch.allclose(*gradients, atol=1e-6) and calls == [1, 2]
    model.language_model.config.attention_dropout = 0.1
    assert not recompute_frozen(model.language_model)


def test_ids_and_media_that_do_not_fit_are_refused(toy):
    from unifusion.errors import ConfigError

    model, processor = toy
    batch = processor([talk([video(seed=1)])], generate=True)
    with pytest.raises(ConfigError, match="'video' gave 4 tokens for 2 placeholders"):
        at = int((batch["input_ids"][0] == processor.placeholder_ids["video"]).nonzero()[1]) + 1
        model(input_ids=batch["input_ids"][:, :at], media=batch["media"])
    with pytest.raises(ConfigError, match="'video' gave 0 tokens for 4"):
        model(input_ids=batch["input_ids"])
    with pytest.raises(ConfigError, match="neither input_ids nor inputs_embeds"):
        model()
