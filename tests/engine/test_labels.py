"""Label scoring over a shared prefix equals a full prompt per label."""

import pytest
import torch

from tests.models.families import FAMILIES, HYBRID
from tests.toys import chat_model, mixed, talk
from unifusion.engine import Engine
from unifusion.engine.labels import label_ids, score_batch, score_labels, score_labels_slowly
from unifusion.errors import CheckpointError, ConfigError, MediaError

LABELS = ("happy", "sad", "a", "very very angry indeed", "", "é", "neutral")


@pytest.mark.parametrize("llm", [*FAMILIES, *HYBRID])
def test_equals_full_prompts(llm):
    engine = Engine(*chat_model(llm={**FAMILIES, **HYBRID}[llm], seed=1))
    for conversation in mixed()[:6]:
        row = engine.processor.row(conversation, generate=True)
        fast = score_labels(engine.model, engine.processor, row, LABELS)
        slow = score_labels_slowly(engine.model, engine.processor, row, LABELS)
        assert fast.log_probs == pytest.approx(slow.log_probs, abs=1e-4)
        assert sum(fast.probabilities) == pytest.approx(1.0)
        assert fast.best == LABELS[max(range(len(LABELS)), key=slow.log_probs.__getitem__)]


@pytest.mark.parametrize("most", [1, 300_000, 2**30])
@pytest.mark.parametrize("llm", [*FAMILIES, *HYBRID])
def test_a_batch_equals_full_prompts(llm, most):
    """Rows of all lengths with sets of labels of their own, in one pass, in several, and one row a pass."""
    engine = Engine(*chat_model(llm={**FAMILIES, **HYBRID}[llm], seed=1))
    rows = [engine.processor.row(conversation, generate=True) for conversation in mixed()[:6]]
    labels = [LABELS[: 2 + i % 6] for i in range(len(rows))]
    assert len({len(r.ids) for r in rows}) > 3
    found = score_batch(engine.model, engine.processor, rows, labels, most=most)
    for row, own, scores in zip(rows, labels, found, strict=True):
        assert scores.labels == own and scores.report == row.report
        assert scores.log_probs == pytest.approx(score_labels_slowly(engine.model, engine.processor, row, own).log_probs, abs=1e-4)


def test_a_score_is_the_likelihood_of_the_label_as_the_whole_answer(tiny_engine):
    """Against the loss of a training example: text, then the token that ends an answer."""
    processor, model = tiny_engine.processor, tiny_engine.model
    row = processor.row(talk([], "hi"), generate=True)
    scores = score_labels(model, processor, row, LABELS)
    for label, score in zip(scores.labels, scores.log_probs, strict=True):
        loss = model(**processor([talk([], "hi", label)])).loss
        assert -float(loss) * len(label_ids(processor, label)) == pytest.approx(score, abs=1e-3)


def test_all_two_token_answers_sum_to_one():
    """Likelihoods are normalised: over every single-byte answer and every other first token they make one."""
    engine = Engine(*chat_model())
    row = engine.processor.row(talk([], "hi"), generate=True)
    batch = engine.processor.collate([row])
    first = engine.model(**batch).logits[0, -1].softmax(-1)
    letters = [chr(c) for c in range(32, 127)]
    scores = score_labels(engine.model, engine.processor, row, letters)
    assert 0 < sum(torch.tensor(scores.log_probs).exp()) <= float(first.sum()) + 1e-6


def test_labels_alone_or_together_score_alike(tiny_engine):
    row = tiny_engine.processor.row(mixed()[0], generate=True)
    together = score_labels(tiny_engine.model, tiny_engine.processor, row, LABELS)
    for label, score in zip(LABELS, together.log_probs, strict=True):
        assert score_labels(tiny_engine.model, tiny_engine.processor, row, [label]).log_probs[0] == pytest.approx(score, abs=1e-4)


def test_engine_scores_each_conversation_with_its_labels(tiny_engine, tmp_path):
    from unifusion.conversation import Media

    bad = talk([Media(kind="video", source=tmp_path / "missing.mp4")])
    good = mixed()[0]
    out = tiny_engine.score_labels([good, bad], [("yes", "no"), ("a", "b")])
    assert out[0].labels == ("yes", "no") and out[0].report.streams["video"].present
    assert isinstance(out[1], MediaError)


def test_likelihoods_that_are_no_numbers_choose_nothing():
    """Of a training that broke, say."""
    engine = Engine(*chat_model(seed=1))
    with torch.no_grad():
        engine.model.language_model.get_output_embeddings().weight[0] = torch.nan
    told = engine.score_labels([talk((), "what?")], [("yes", "no")])
    assert isinstance(told[0], CheckpointError) and "NaN" in str(told[0])


@pytest.mark.parametrize("labels", [(), ("a", "a")])
def test_no_labels_or_equal_ones_are_refused(tiny_engine, labels):
    row = tiny_engine.processor.row(talk([], "hi"), generate=True)
    with pytest.raises(ConfigError, match="cannot score"):
        score_labels(tiny_engine.model, tiny_engine.processor, row, labels)
