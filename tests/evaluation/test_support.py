"""Support and its control: a model that looks where it says beats random windows, one that points anywhere does not."""

from dataclasses import replace

import pytest
import torch

from tests import toys
from unifusion.conversation import Example
from unifusion.engine import EmotionAnswer, LabelScores
from unifusion.engine.explain import AskedChat
from unifusion.errors import DatasetError
from unifusion.evaluation import support
from unifusion.evaluation.support import evaluate_support, support_table

LABELS = ("sad", "happy")


class Looks(AskedChat):
    """Hears one half second only; claims it, or another one."""

    claims = (1.0, 1.5)

    def __init__(self, engine, media, labels):
        item = engine.processor.open(media[0]).streams["audio"]
        times = torch.arange(0.0, 4.0, 0.05)
        tokens = torch.zeros(len(times), 4)
        tokens[(times >= 1.0) & (times < 1.5)] = 5.0
        self.clips = [{"audio": replace(item, times_S=times, mask_S=times >= 0, tokens_SD=tokens, tensors={})}]
        self.modality, self.clocked = {"audio": "audio"}, frozenset({"audio"})

    def answer(self):
        start, end = self.claims
        piece = {"stream": "sound", "start_s": start, "end_s": end, "text": "a laugh"}
        evidence = [piece] if end > start else []
        return EmotionAnswer(label="happy", probabilities={}, valence=None, arousal=None, rationale="", evidence=evidence, report=None)

    def probabilities(self, variants):
        loud = [float(c["audio"].tokens_SD.sum(1)[20:30].mean()) for (c,) in variants]
        scored = [LabelScores(labels=LABELS, log_probs=(0.0, x / 10), report=None) for x in loud]
        return [dict(zip(s.labels, s.probabilities, strict=True)) for s in scored]


def rows(count=6):
    return [Example(id=str(i), media=(toys.video(),), group=f"speaker {i // 2}") for i in range(count)]


def measured(tiny_engine, monkeypatch, claims, **options):
    monkeypatch.setattr(support, "ask_about", type("Claims", (Looks,), {"claims": claims}))
    return evaluate_support(tiny_engine, rows(), labels=LABELS, **options)


def test_a_model_that_looks_where_it_says(tiny_engine, monkeypatch):
    told = measured(tiny_engine, monkeypatch, (1.0, 1.5), draws=40)
    figures = told["figures"]
    assert figures["support"]["value"] == 1.0 and figures["drop"]["value"] == pytest.approx(0.38, abs=0.01)
    # A window of half a second at random touches the one that counts with a chance of about 1 in 3.5.
    assert 0.2 < figures["control"]["value"] < 0.4 and figures["gain"]["low"] > 0.4
    assert figures["control_drop"]["value"] < 0.2 < figures["drop_gain"]["low"]
    assert (told["rows"], told["groups"], told["claims"], told["whole_clip"], told["without_evidence"]) == (6, 3, 6, 0, 0)
    assert "| support | 1.000 | 1.000 to 1.000 |" in support_table(told)


def test_a_model_that_points_elsewhere(tiny_engine, monkeypatch):
    told = measured(tiny_engine, monkeypatch, (3.0, 3.5))
    assert told["figures"]["support"]["value"] == 0.0 and told["figures"]["gain"]["value"] < 0.0


def test_evidence_of_the_whole_clip_has_no_other_place(tiny_engine, monkeypatch):
    told = measured(tiny_engine, monkeypatch, (0.0, 4.0))
    assert told["whole_clip"] == 6 and told["figures"]["gain"]["value"] == pytest.approx(0.0, abs=1e-9)


def test_draws_follow_the_seed(tiny_engine, monkeypatch):
    one, same, other = (measured(tiny_engine, monkeypatch, (1.0, 1.5), seed=seed) for seed in (1, 1, 2))
    assert one == same and one["predictions"] != other["predictions"]


def test_no_evidence_at_all_is_told(tiny_engine, monkeypatch):
    with pytest.raises(DatasetError, match="none of 6 rationales"):
        measured(tiny_engine, monkeypatch, (0.0, 0.0))


def test_an_unreadable_clip_is_named(tiny_engine):
    with pytest.raises(DatasetError, match="row 9"):
        evaluate_support(tiny_engine, [Example(id="row 9", media=(replace(toys.video(), source="missing.mp4"),))])
