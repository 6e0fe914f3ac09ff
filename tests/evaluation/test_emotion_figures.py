"""Every figure of a report against scikit-learn, numpy and the slow functions; odd inputs give figures or a plain refusal."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.told import LABELS, told
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.emotion_figures import emotion_figures, main_split
from unifusion.evaluation.emotion_sums import columns, in_order, labels_of
from unifusion.evaluation.emotion_units import Draws, units_of
from unifusion.evaluation.emotion_words import statement
from unifusion.evaluation.predictions import Prediction
from unifusion.metrics.bootstrap import bootstrap
from unifusion.metrics.ccc import ccc
from unifusion.metrics.ece import ece
from unifusion.metrics.macro_recall import macro_recall

FEW = Draws(resamples=200)
CONDITIONS = ("all", "only audio", "without audio")


@pytest.fixture(scope="module")
def rows():
    return told(90, seeds=(0, 1, 2), conditions=CONDITIONS)


@pytest.fixture(scope="module")
def split(rows):
    return emotion_figures(rows, FEW)["splits"]["test"]


def of(rows, condition="all", seed=0):
    own = [r for r in rows if r.condition == condition and r.seed == seed]
    return [r.answer for r in own], [r.truth for r in own], own


def test_figures_of_labels_are_sklearns(rows, split):
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support, recall_score

    for condition in CONDITIONS:
        found = split["conditions"][condition]
        wanted = {"accuracy": [], "uar": [], "weighted_f1": [], "macro_f1": [], "ece": []}
        classes = []
        for seed in range(3):
            said, true, own = of(rows, condition, seed)
            wanted["accuracy"].append(accuracy_score(true, said))
            wanted["uar"].append(recall_score(true, said, average="macro"))
            wanted["weighted_f1"].append(f1_score(true, said, average="weighted"))
            wanted["macro_f1"].append(f1_score(true, said, average="macro"))
            shares = np.array([[r.probabilities[k] for k in LABELS] for r in own])
            wanted["ece"].append(ece(shares, np.array([LABELS.index(t) for t in true])))
            classes.append(precision_recall_fscore_support(true, said, labels=LABELS, zero_division=0))
        for name, values in wanted.items():
            told_ = found["metrics"][name]
            assert told_["value"] == pytest.approx(np.mean(values), abs=1e-6), name
            assert told_["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            assert list(told_["by_seed"].values()) == pytest.approx(values, abs=1e-6)
            assert told_["low"] <= told_["value"] <= told_["high"]
        mean = np.mean(classes, axis=0)
        for i, c in enumerate(found["classes"]):
            assert (c["label"], c["support"]) == (LABELS[i], mean[3][i])
            assert [c[m]["value"] for m in ("precision", "recall", "f1")] == pytest.approx(mean[:3, i], abs=1e-6)


def test_the_confusion_and_the_bins_are_of_all_seeds(rows, split):
    from sklearn.metrics import confusion_matrix

    found = split["conditions"]["only audio"]
    pairs = [of(rows, "only audio", s) for s in range(3)]
    said, true = ([word for p in pairs for word in p[k]] for k in (0, 1))
    assert found["confusion"]["counts"] == confusion_matrix(true, said, labels=LABELS).tolist()
    assert found["confusion"]["shares"] == pytest.approx(confusion_matrix(true, said, labels=LABELS, normalize="true"), abs=1e-6)
    assert sum(b["count"] for b in found["reliability"]) == 270 == found["rows"]
    gap = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in found["reliability"] if b["count"]) / 270
    shares = np.array([[r.probabilities[k] for k in LABELS] for p in pairs for r in p[2]])
    assert gap == pytest.approx(ece(shares, np.array([LABELS.index(t) for t in true])), abs=1e-5)


def test_figures_of_valence_and_arousal_are_numpys(rows, split):
    for condition in CONDITIONS:
        for name in ("valence", "arousal"):
            pairs = []
            for seed in range(3):
                own = of(rows, condition, seed)[2]
                pairs.append((np.array([getattr(r, name) for r in own]), np.array([getattr(r, f"true_{name}") for r in own])))
            found = split["conditions"][condition]["metrics"]
            assert found[f"ccc_{name}"]["value"] == pytest.approx(np.mean([ccc(x, y) for x, y in pairs]), abs=1e-6)
            assert found[f"mae_{name}"]["value"] == pytest.approx(np.mean([np.abs(x - y).mean() for x, y in pairs]), abs=1e-6)
            assert found[f"mse_{name}"]["value"] == pytest.approx(np.mean([((x - y) ** 2).mean() for x, y in pairs]), abs=1e-6)


def present_uar(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return macro_recall(list(rows[:, 0]), list(rows[:, 1]))


@pytest.mark.parametrize("groups", [12, 0])
def test_intervals_are_those_of_the_slow_bootstrap(groups):
    rows = told(40, groups=groups)
    found = emotion_figures(rows, Draws(resamples=300, seed=4))["splits"]["test"]["conditions"]["all"]
    assert found["interval_over"] == "groups" and found["groups"] == (groups or 40)
    said, true, own = of(rows)
    pairs, names = np.array(list(zip(said, true, strict=True)), dtype=object), [r.group or r.id for r in own]
    wanted = bootstrap(pairs, names, statistic=present_uar, resamples=300, seed=4)
    assert [found["metrics"]["uar"][k] for k in ("value", "low", "high")] == pytest.approx(
        [wanted.estimate, wanted.low, wanted.high], abs=1e-6
    )
    numbers = np.array([(r.valence, r.true_valence) for r in own])
    wanted = bootstrap(numbers, names, statistic=lambda v: ccc(v[:, 0], v[:, 1]), resamples=300, seed=4)
    assert [found["metrics"]["ccc_valence"][k] for k in ("low", "high")] == pytest.approx([wanted.low, wanted.high], abs=1e-6)


def test_examples_are_drawn_within_few_groups():
    rows = told(60, groups=2)
    found = emotion_figures(rows, Draws(resamples=1500))["splits"]["test"]["conditions"]["all"]
    assert found["interval_over"] == "groups, and examples within each" and found["groups"] == 2
    said, true, own = of(rows)
    pairs = np.array(list(zip(said, true, strict=True)), dtype=object)
    wanted = bootstrap(pairs, [r.group for r in own], statistic=present_uar, within=True, resamples=1500, seed=1)
    assert [found["metrics"]["uar"][k] for k in ("low", "high")] == pytest.approx([wanted.low, wanted.high], abs=0.03)


def test_chance_and_the_most_frequent_label(rows, split):
    from sklearn.metrics import f1_score, recall_score

    found = split["conditions"]["all"]
    true = of(rows)[1]
    best = found["majority"]["label"]
    assert true.count(best) == max(true.count(k) for k in LABELS) and found["chance"] == 0.25
    always = [best] * len(true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["majority"]["uar"] == pytest.approx(recall_score(true, always, average="macro"), abs=1e-6)
        assert found["majority"]["weighted_f1"] == pytest.approx(f1_score(true, always, average="weighted"), abs=1e-6)
        assert found["majority"]["macro_f1"] == pytest.approx(f1_score(true, always, average="macro"), abs=1e-6)
    assert found["majority"]["accuracy"] == pytest.approx(true.count(best) / len(true), abs=1e-6)


def test_conditions_are_tested_against_all(split):
    assert list(split["conditions"]) == ["all", "only audio", "without audio"]
    assert "against" not in split["conditions"]["all"]
    whole = split["conditions"]["all"]["metrics"]
    for name in ("only audio", "without audio"):
        against = split["conditions"][name]["against"]
        assert (against["reference"], against["examples"], against["swapped"]) == ("all", 90, "groups")
        for metric in ("uar", "accuracy"):
            lost = against["metrics"][metric]
            assert lost["loss"] == pytest.approx(whole[metric]["value"] - split["conditions"][name]["metrics"][metric]["value"], abs=2e-6)
            assert lost["low"] <= lost["loss"] <= lost["high"] and lost["p"] <= lost["p_holm"] <= 1
    assert split["conditions"]["without audio"]["against"]["metrics"]["uar"]["p_holm"] < 0.05


def test_the_statement_says_it(split):
    lead = statement(split, {"examples": "clips", "groups": "speakers"})
    uar = split["conditions"]["all"]["metrics"]["uar"]
    assert lead[0].startswith(f"UAR {uar['value']:.2f}".replace("0.", ".")) and "mean of 3 seeds" in lead[0]
    assert "on 90 clips of 12 speakers; chance .25" in lead[0] and "CCC of valence" in lead[0]
    assert any("without audio UAR falls by" in text for text in lead)


def test_a_label_that_is_no_truth_is_wrong_and_no_class():
    rows = [
        Prediction(id="a", truth="sad", probabilities={"boredom": 0.9, "sad": 0.1}),
        Prediction(id="b", truth="sad", probabilities={"sad": 0.8, "happy": 0.2}),
        Prediction(id="c", truth="happy", probabilities={}),
    ]
    found = emotion_figures(rows, FEW)["splits"]["test"]["conditions"]["all"]
    assert found["confusion"]["answers"] == ["happy", "sad", "(another label)", "(no answer)"]
    assert found["confusion"]["counts"] == [[0, 0, 0, 1], [0, 1, 1, 0]]
    assert found["metrics"]["uar"]["value"] == 0.25 and found["unanswered"] == 1
    assert sum(b["count"] for b in found["reliability"]) == 2


def test_a_class_that_a_condition_lacks_is_left_out_of_its_mean():
    rows = told(40, conditions=("all",)) + [replace(r, condition="only text") for r in told(40) if r.truth != "sad"]
    found = emotion_figures(rows, FEW)["splits"]["test"]
    assert found["labels"] == list(LABELS)
    text = found["conditions"]["only text"]
    assert [c["label"] for c in text["classes"]] == ["angry", "happy", "neutral"] and text["chance"] == pytest.approx(1 / 3, abs=1e-6)
    assert text["metrics"]["uar"]["value"] == pytest.approx(np.mean([c["recall"]["value"] for c in text["classes"]]), abs=1e-6)
    assert found["conditions"]["only text"]["against"]["examples"] == len([r for r in told(40) if r.truth != "sad"])


def test_splits_stand_apart():
    found = emotion_figures(told(20, split="val") + told(30, split="train"), FEW)
    assert found["main_split"] == "val" and set(found["splits"]) == {"train", "val"}
    assert main_split(["b", "a"]) == "b" and main_split(["val", "test"]) == "test"


def test_valence_and_arousal_alone():
    rows = [replace(r, truth="", probabilities={}) for r in told(30)]
    found = emotion_figures(rows, FEW)["splits"]["test"]
    whole = found["conditions"]["all"]
    assert whole["classes"] is whole["confusion"] is whole["majority"] is None and "uar" not in whole["metrics"]
    assert whole["affect"] == {"examples": 30} and statement(found)[0].startswith("CCC of valence")


ODD = st.lists(
    st.builds(
        Prediction,
        id=st.sampled_from([f"e{i}" for i in range(6)]), group=st.sampled_from(["", "g", "<b>"]), split=st.sampled_from(["test", "val"]),
        truth=st.sampled_from(["", "sad", "sehr glücklich", "<script>", "喜び"]),
        probabilities=st.sampled_from([{}, {"sad": 1.0}, {"sad": 0.5, "<script>": 0.5}, {"喜び": 0.2, "other": 0.8}]),
        valence=st.sampled_from([None, 0.0, 0.5]), arousal=st.sampled_from([None, -1.0]),
        true_valence=st.sampled_from([None, 0.25]), true_arousal=st.sampled_from([None, 1.0]),
        condition=st.sampled_from(["all", "only audio", "noise"]), seed=st.integers(0, 2),
    ),
    min_size=1, max_size=25, unique_by=lambda r: (r.id, r.split, r.condition, r.seed),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(ODD)
def test_odd_inputs_give_figures_or_a_refusal(rows):
    try:
        found = emotion_figures(rows, Draws(resamples=20))
    except DatasetError as error:
        assert "truth" in str(error)
        return
    json.dumps(found, allow_nan=False)
    for split in found["splits"].values():
        statement(split)
        for condition in split["conditions"].values():
            for name, figure in condition["metrics"].items():
                assert figure["low"] <= figure["high"], name


def test_what_is_no_prediction_is_refused():
    good = told(4)
    for rows, words in [
        ([], "no predictions"),
        ([*good, good[0]], "twice"),
        ([*good, replace(good[0], seed=1, truth="other")], "truth or group"),
        ([replace(good[0], probabilities={"a": float("nan")})], "not shares"),
        ([replace(good[0], probabilities={"a": -0.5, "b": 1.5})], "not shares"),
        ([replace(good[0], valence=float("nan"))], "no number"),
    ]:
        with pytest.raises(DatasetError, match=words):
            emotion_figures(rows, FEW)
    with pytest.raises(ConfigError):
        Draws(resamples=0)


def test_groups_and_ids_do_not_mix():
    rows = [Prediction(id="a", group="b", truth="x"), Prediction(id="b", truth="x")]
    assert len(set(columns(rows, labels_of(rows)).groups)) == 2
    assert units_of(["g"] * 3).nested and not units_of(["a", "b"]).nested


def test_the_order_of_conditions():
    assert in_order(["noisy", "without b", "only c", "all", "only a"]) == ["all", "only a", "only c", "without b", "noisy"]


@pytest.mark.slow
def test_many_rows_are_fast():
    import time

    rows = told(10_000, seeds=(0, 1, 2), groups=0, conditions=["all", *(f"only s{i}" for i in range(9))])
    began = time.process_time()
    emotion_figures(rows)
    assert time.process_time() - began < 30
