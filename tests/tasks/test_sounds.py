"""All sounds of a clip: which names an answer holds, what it earns, the closed set of a set."""

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.prompts.matching import find_labels
from unifusion.prompts.parsed import Unparsed
from unifusion.tasks.sounds import Sounds

KINDS = (
    "Speech", "Speech synthesizer", "Male speech, man speaking", "Bark, bow-wow", "Bow-wow", "Rain", "Rain on surface",
    "Bass (instrument role)", "A",
)  # fmt: skip
"""As AudioSet spells: commas within names, names within names."""


def row(*sounds, id="a"):
    return Example(id=id, labels={"sounds": list(sounds)})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Speech; Rain", ("Speech", "Rain")),
        ("rain, SPEECH and a bark.", ("Speech", "Bark, bow-wow", "Rain")),
        ("A speech synthesizer.", ("Speech synthesizer",)),
        ("Male speech, man speaking", ("Male speech, man speaking",)),
        ("a man speaking over rain on surface", ("Male speech, man speaking", "Rain on surface")),
        ("bow-wow", ("Bow-wow",)),
        ("There is rain but no speech.", ("Rain",)),
        ("Bass (instrument role); Rain", ("Rain", "Bass (instrument role)")),
        ("a", ("A",)),
    ],
)
def test_every_name_that_an_answer_holds(text, found):
    assert find_labels(text, KINDS) == found


@pytest.mark.parametrize("text", ["", " \n", "nothing at all", "no rain", "rainfall", "(("])
def test_an_answer_without_a_name_is_not_read(text):
    assert isinstance(find_labels(text, KINDS), Unparsed)


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    kinds = ("bell", "rain", "bark", "wind", "sea waves")
    task = Sounds(labels=kinds)
    truth = [tuple(rng.choice(kinds, rng.integers(1, 4), replace=False)) for _ in range(40)]
    said = [tuple(rng.choice(kinds, rng.integers(0, 4), replace=False)) for _ in range(40)]
    rows = [row(*t, id=str(n)) for n, t in enumerate(truth)]
    told = task.summarise([task.score("; ".join(s), r) for s, r in zip(said, rows, strict=True)], rows)
    binary = MultiLabelBinarizer(classes=kinds)
    y, x = binary.fit_transform(truth), binary.transform(said)
    assert told["f1"] == pytest.approx(f1_score(y, x, average="samples", zero_division=0))
    for kind in ("micro", "macro"):
        assert told[f"{kind}_f1"] == pytest.approx(f1_score(y, x, average=kind))
    assert told["unparsed"] == sum(not s for s in said) / 40


def test_one_sound_is_a_list_of_one_and_unknown_ones_are_refused():
    assert Sounds().target(Example(id="a", labels={"sound": "Rain"})) == ("rain",)
    for labels in ({}, {"sounds": []}, {"sounds": 3}, {"sounds": ["rain", "gong"]}):
        with pytest.raises(DatasetError, match="'a'"):
            Sounds().target(Example(id="a", labels=labels))


def test_a_long_list_is_not_shown():
    many = tuple(f"kind {n}" for n in range(61))
    asked = [Sounds(labels=labels, phrasing=0).conversation(row("kind 1")).messages[-1].text for labels in (many, many[:60])]
    assert "kind 3" not in asked[0] and "kind 3; kind 4" in asked[1]
