"""Figures of held-out rows: labels by their words and by a linear probe, as they can be computed by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.models.test_aligner import model
from tests.toys import clip
from unifusion import share
from unifusion.conversation import Example, Media
from unifusion.training import align_figures
from unifusion.training.align_figures import judge, labels_of, probe, told_by_labels, wordings
from unifusion.training.align_loss import AlignObjective
from unifusion.training.align_rows import AlignRows, collate_aligned
from unifusion.training.describe import Describer, facts_of

DESCRIBER = Describer(share.folder("train") / "phrasings" / "align.yaml")


def rows(labels, groups=None):
    """Rows of a set of sounds."""
    media = (Media(kind="audio", source=clip(picture=False)),)
    made = [Example(id=str(i), media=media, labels={"sound": x}, group=groups[i] if groups else "") for i, x in enumerate(labels)]
    return AlignRows(made, None, DESCRIBER)


def test_labels_that_are_rare_or_alone_sort_nothing():
    found = labels_of(rows(["bell"] * 12 + ["siren"] * 12 + ["rain"] * 2), 26)
    at, targets, classes = found["sound"]
    assert len(at) == 24 and [c.value for c in classes] == ["bell", "siren"] and targets == [0] * 12 + [1] * 12
    assert labels_of(rows(["bell"] * 30), 30) == {} and labels_of(rows(["bell", "siren"] * 5), 10) == {}


def test_a_probe_finds_what_is_linear_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 400)
    centres = rng.normal(size=(4, 16))
    groups = [str(i) for i in range(400)]
    assert probe(centres[targets] + 0.1 * rng.normal(size=(400, 16)), targets, groups) > 0.98
    assert probe(rng.normal(size=(400, 16)), targets, groups) == pytest.approx(0.25, abs=0.08)


def test_a_probe_is_ridge_regression_of_each_half_on_the_other():
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 3, 60)
    x = rng.normal(size=(60, 5)) + targets[:, None]
    groups = [str(i % 20) for i in range(60)]  # three rows of each speaker
    import random

    order = sorted(set(groups), key=lambda g: random.Random(g).random())
    side = np.array([order.index(g) % 2 for g in groups])
    right = 0
    for test in (0, 1):
        ones = np.concatenate([x, np.ones((60, 1))], axis=1)
        fitted = sklearn.Ridge(alpha=0.1, fit_intercept=False).fit(ones[side != test], np.eye(3)[targets[side != test]])
        right += (fitted.predict(ones[side == test]).argmax(axis=1) == targets[side == test]).sum()
    assert probe(x, targets, groups) == right / 60


def test_speakers_are_not_split_between_the_halves():
    rng = np.random.default_rng(2)
    people = rng.normal(size=(30, 64)) * 5
    who = np.repeat(np.arange(30), 10)
    labels = np.repeat(rng.integers(0, 2, 30), 10)  # of the speaker: nothing but who speaks tells it
    x = people[who] + 0.1 * rng.normal(size=(300, 64))
    assert probe(x, labels, [str(w) for w in who]) < 0.75
    assert probe(x, labels, [str(i) for i in range(300)]) > 0.95


def test_halves_that_do_not_know_each_others_classes_give_no_figure():
    groups = ["a"] * 20 + ["b"] * 20
    assert probe(np.eye(4)[np.repeat([0, 1], 20)], np.repeat([0, 1], 20), groups) is None


def test_rows_without_a_vector_are_left_out():
    own = rows(["bell", "siren"] * 15)
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]] * 15)
    assert told_by_labels(None, own, vectors) == {"sound_probe": 1.0}
    vectors[:12] = 0
    assert told_by_labels(None, own, vectors) == {}


def captions():
    """Rows of texts alone, with two captions each."""
    made = [Example(id=w, media=(), texts={"caption": w}, labels={"captions": [f"{w} x", f"{w} y"]}) for w in ("dog", "cow", "owl")]
    return AlignRows(made, None, DESCRIBER, wordings=True)


def test_rows_of_texts_alone_teach_how_they_are_worded():
    own, told = model(), captions()
    objective = AlignObjective(own, weights={"wordings": 1.0})
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(30):
        batch = collate_aligned([told[i] for i in range(3 * step, 3 * step + 3)], own, 0)
        optimizer.zero_grad()
        loss = objective(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.0 and losses[-1] < 0.1
    assert wordings(own, told, "captions", limit=3) == {"captions_wording_r1": 1.0}
    assert wordings(own, rows(["bell"] * 3), "sounds", limit=3) == {}
    found = judge({"captions": told}, SimpleNamespace(look_at=3), objective)
    assert found == {"captions_wording_r1": 1.0, "score": 0.0}


def test_the_threshold_is_passed_by_one_in_a_hundred_texts_that_do_not_fit(monkeypatch):
    rng = np.random.default_rng(0)
    own = rows(["bell", "siren", "rain", "dog bark"] * 60)
    kinds = ("bell", "siren", "rain", "dog")
    space = np.eye(8)[[0, 1, 2, 3] * 60] + 0.3 * rng.normal(size=(240, 8))
    space = space / np.linalg.norm(space, axis=1, keepdims=True)
    space[7] = 0.0  # nothing could be read of it
    words = {}

    def told(_, texts):
        for text in texts:
            hot = [k for k, word in enumerate(kinds) if word in text]
            words[text] = np.eye(8)[hot[0]] if hot else np.full(8, 8**-0.5)
        return np.stack([words[text] for text in texts])

    monkeypatch.setattr(align_figures, "look", lambda *_, **__: {"clip": space})
    monkeypatch.setattr(align_figures, "vectors_of_texts", told)
    found = align_figures.calibrate(None, own)
    said = [DESCRIBER.say(facts_of(e), "clip", f"calibrate/{i}") for i, e in enumerate(own.examples)]
    others = [
        words[s.text] @ space[j]
        for i, s in enumerate(said) if i != 7
        for j, e in enumerate(own.examples) if j != 7 and not s.facts <= set(facts_of(e))
    ]  # fmt: skip
    assert np.mean(np.array(others) > found["threshold"]) == pytest.approx(0.01, abs=2e-3)
    mine = [words[s.text] @ space[i] > found["threshold"] for i, s in enumerate(said) if i != 7]
    assert found["found"] == pytest.approx(np.mean(mine), abs=1e-3) and 0 < found["threshold"] < 1
    assert align_figures.calibrate(None, rows(["bell"] * 240)) == {}
