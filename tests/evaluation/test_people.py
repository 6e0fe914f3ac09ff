"""Probes of real sets: which rows are asked, what counts as true, and that the figures are those of the predictions."""

import random
from dataclasses import replace

import pytest

from tests.people import write_people
from tests.toys import chat_model
from unifusion import share
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.evaluation.people import MUTED, PROBES, SINGLE, WHICH, Probe, _slots, _truth, evaluate_people, people_table
from unifusion.metrics.macro_recall import macro_recall
from unifusion.training.grammar import Grammar

GRAMMAR = Grammar(share.folder("train") / "questions" / "people.yaml")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    data = write_people(tmp_path_factory.mktemp("people"))
    return Mixture(data / "mix.yaml", data=data)


@pytest.fixture(scope="module")
def results(mixture):
    probes = {
        "voices": Probe(parts=("voices",), key="emotion", metric="macro_recall"),
        "faces": Probe(parts=("faces",), key="emotion"),
        "lines": Probe(parts=("lines",), key="emotion", family="text_emotion", metric="weighted_f1"),
        "loudness": Probe(parts=("voices",), key="level_db", family="level_db"),
        "conflict": Probe(parts=("together",), key="voice_emotion", family="voice_emotion", where=PROBES["conflict, voice"].where),
        "conflict, muted": Probe(parts=("together",), key="voice_emotion", family="voice_emotion", mute=("audio",)),
        "absent": Probe(parts=("elsewhere",), key="emotion"),
    }
    return evaluate_people(Engine(*chat_model()), mixture, GRAMMAR, probes=probes, most=6)


def test_rows_are_asked_with_the_labels_of_their_set(results, mixture):
    by = {name: [r for r in results["predictions"] if r["probe"] == name] for name in results["probes"]}
    assert set(by) == {"voices", "faces", "lines", "loudness", "conflict", "conflict, muted"}
    assert {tuple(r["probabilities"]) for r in by["voices"]} == {("angry", "happy", "neutral")}
    assert {r["truth"] for r in by["loudness"]} == {"loud"} and {tuple(r["probabilities"]) for r in by["loudness"]} == {
        ("soft", "normal", "loud")
    }
    truths = {row.id: row.labels for row in mixture.parts["together"]}
    assert by["conflict"] and all(
        "emotion" not in truths[r["id"]] and r["truth"] == truths[r["id"]]["voice_emotion"] for r in by["conflict"]
    )
    assert len(by["faces"]) <= 6 and all(sum(r["probabilities"].values()) == pytest.approx(1, abs=1e-3) for r in results["predictions"])


def test_figures_are_those_of_the_predictions(results):
    own = [r for r in results["predictions"] if r["probe"] == "voices"]
    figures = results["probes"]["voices"]
    assert figures["value"] == pytest.approx(macro_recall([r["answer"] for r in own], [r["truth"] for r in own]))
    assert figures["low"] <= figures["value"] <= figures["high"] and figures["groups"] == len({r["group"] for r in own})
    table = people_table(results)
    assert len(table.splitlines()) == 2 + len(results["probes"]) and f"| voices | macro_recall | {figures['value']:.3f} |" in table


def test_a_muted_stream_is_not_heard(results):
    """Whatever voice is in the clip, without its sound only the picture and the question can make a difference."""
    muted = [r for r in results["predictions"] if r["probe"] == "conflict, muted"]
    heard = {r["id"]: r["probabilities"] for r in results["predictions"] if r["probe"] == "conflict"}
    both = [r for r in muted if r["id"] in heard]
    assert both and all(r["probabilities"] != heard[r["id"]] for r in both)


def test_probes_name_parts_and_questions_that_ship():
    shipped = Grammar(share.folder("train") / "questions" / "people.yaml")
    for probe in PROBES.values():
        assert not probe.family or shipped.ask(probe.family, random.Random(0))


def test_both_streams_are_compared_with_the_best_of_one_on_the_same_rows(mixture):
    probes = {
        name: replace(PROBES[name], key="voice_emotion", family="voice_emotion", where=lambda labels: True)
        for name in ("composed", *SINGLE["composed"])
    }
    told = evaluate_people(Engine(*chat_model()), mixture, GRAMMAR, probes=probes, most=6)
    found = told["paired"]["composed"]
    best = max(told["probes"][name]["value"] for name in SINGLE["composed"])
    assert (
        found["difference"] == pytest.approx(told["probes"]["composed"]["value"] - best) and found["n"] == told["probes"]["composed"]["n"]
    )
    assert 0 < found["p"] <= 1 and f"over {found['over']} on the same {found['n']} rows" in people_table(told)


def test_which_stream_shows_an_emotion_is_asked_of_face_and_voice_alike(mixture):
    rows = [r for r in mixture.parts["together"] if "emotion" not in r.labels]
    asked = [(_truth(r, WHICH), _slots(r, WHICH), r.labels) for r in rows]
    assert {a for a, _, _ in asked} == {"the face", "the voice"}
    assert all(slots["e"] == labels["face_emotion" if answer == "the face" else "voice_emotion"] for answer, slots, labels in asked)
    told = evaluate_people(Engine(*chat_model()), mixture, GRAMMAR, probes={"which stream": PROBES["which stream"]}, most=20)
    assert 0 < told["probes"]["which stream"]["n"] <= 20
    assert {tuple(sorted(r["probabilities"])) for r in told["predictions"]} == {("the face", "the voice")}


def test_labels_that_no_measured_row_has_are_offered_where_training_had_them(mixture, tmp_path):
    class Fewer:
        split, parts = mixture.split, {"voices": [r for r in mixture.parts["voices"] if r.labels["emotion"] != "angry"]}

    probes = {"voices": Probe(parts=("voices",), key="emotion", metric="macro_recall")}
    engine = Engine(*chat_model())
    few, all_ = (evaluate_people(engine, Fewer, GRAMMAR, known=known, probes=probes)["predictions"] for known in (None, mixture))
    assert {tuple(r["probabilities"]) for r in few} == {("happy", "neutral")}
    assert {tuple(r["probabilities"]) for r in all_} == {("angry", "happy", "neutral")}


def test_the_best_constant_is_measured_as_the_model_is_and_muting_on_the_same_rows(mixture):
    probes = {n: p for n, p in PROBES.items() if n.startswith("conflict, face")}
    probes["voices"] = Probe(parts=("voices",), key="emotion", metric="macro_recall")
    told = evaluate_people(Engine(*chat_model()), mixture, GRAMMAR, probes=probes, most=12)
    assert told["probes"]["voices"]["most frequent"] == pytest.approx(1 / 3)
    rows = {(r["probe"], r["id"]): float(r["answer"] == r["truth"]) for r in told["predictions"]}
    for kind, other in zip(("needed", "other"), MUTED["conflict, face"], strict=True):
        ids = [i for p, i in rows if p == "conflict, face"]
        lost = sum(rows["conflict, face", i] - rows[other, i] for i in ids) / len(ids)
        assert told["muting"]["conflict, face"][kind]["lost"] == pytest.approx(lost)
    assert "conflict, face, against nothing muted on the same rows: picture muted" in people_table(told)
