"""Published wheels read from their files, the table of MER-UniBench, and the task of open emotions."""

from __future__ import annotations

import csv
import zipfile

import pytest

from unifusion.conversation import Example
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.open_emotion import UNIBENCH, emotions_in, mer_unibench, read_wheels
from unifusion.metrics.emotion_wheel_f import emotion_wheel_f
from unifusion.tasks.emotions_open import EmotionsOpen

LEVELS = ("level1", "level2", "level3")
WHEEL = [LEVELS, (" Mad ", "Angry", "Furious"), ("", "", "Irritated"), ("", "Hurt", "Jealous"), ("Sad", "Lonely", "Hurt")]
FORMATS = [("name", "format"), ("furious", "furious,furiously,fury"), ("mad", "['mad', 'madly']"), ("lonely", "loneliness")]
FORMATS += [("wild", "wildly")]
RUNS = [f"{kind}_run{run}" for run in range(1, 9) for kind in ("word", "synonym")]


def as_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)


def as_xlsx(path, rows):
    """The least that a spreadsheet is: one sheet of texts; empty cells are not there, as programs write it."""
    cells = [
        "".join(f'<c r="{chr(65 + k)}{n}" t="inlineStr"><is><t>{text}</t></is></c>' for k, text in enumerate(row) if text)
        for n, row in enumerate(rows, 1)
    ]
    sheet = "".join(f'<row r="{n}">{row}</row>' for n, row in enumerate(cells, 1))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="m"><sheetData>{sheet}</sheetData></worksheet>')


@pytest.fixture
def folder(tmp_path):
    """A folder laid out as the published one."""
    furious = ["Furious", "mad, wild", *["Furious", "Enraged, livid"] * 7]
    as_csv(tmp_path / "synonym.csv", [RUNS, furious, ["lonely", ""] * 8, ["mad", "Cross"] * 8])
    as_csv(tmp_path / "format.csv", FORMATS)
    for k in range(1, 6):
        (as_xlsx if k % 2 else as_csv)(tmp_path / f"wheel{k}.{'xlsx' if k % 2 else 'csv'}", WHEEL)
    return tmp_path


def test_published_wheels_lead_from_forms_over_synonyms_to_rings(folder):
    known = read_wheels(folder)
    assert list(known.wheels) == [f"wheel{k}" for k in range(1, 6)]
    assert known.words["fury"] == ("furious",) and known.words["wildly"] == ("furious",)
    assert known.words["madly"] == ("furious", "mad"), "mad stands for itself and, by a synonym, for furious"
    assert "enraged" not in known.words, "a form that no line of format.csv leads to"
    for wheel in known.wheels:
        assert known.ring("Fury ", wheel) == known.ring("madly", wheel) == "mad" and known.ring("loneliness", wheel) == "sad"
        assert known.wheels[wheel]["hurt"] == "sad", "a word that stands in two rings is in the later one"
        assert known.wheels[wheel]["irritated"] == "mad", "an empty cell is the one above it"
    assert emotion_wheel_f([["fury"]], [["madly"]], vocabulary=known).value == 1.0
    assert emotions_in("not furious, loneliness", known) == ("lonely",)


def test_the_middle_ring(folder):
    known = read_wheels(folder, level=2)
    assert known.ring("fury", "wheel1") == "angry" and known.ring("loneliness", "wheel2") == "lonely"
    assert known.wheels["wheel1"]["mad"] == "angry", "an inner word stands for the first middle one"


def test_a_file_that_is_missing_or_lacks_a_column_is_named(folder):
    (folder / "wheel3.xlsx").unlink()
    with pytest.raises(DatasetError, match=r"no wheel3\.xlsx and no wheel3\.csv"):
        read_wheels(folder)
    as_csv(folder / "wheel3.csv", [("level1", "level2")])
    with pytest.raises(DatasetError, match=r"wheel3\.csv has no column 'level3'"):
        read_wheels(folder)
    (folder / "wheel3.csv").unlink()
    (folder / "wheel3.xlsx").write_bytes(b"PK no zip")
    with pytest.raises(DatasetError, match=r"no readable \.xlsx"):
        read_wheels(folder)


# Lian et al. 2025, table 2: AffectGPT and Emotion-LLaMA, in percent.
PAPER = {
    "AffectGPT": ((78.54, 78.80, 55.65, 60.54, 81.30, 80.90, 88.49, 86.18, 62.52), 74.77),
    "Emotion-LLaMA": ((59.38, 73.62, 46.76, 55.47, 66.13, 67.66, 78.32, 77.23, 52.97), 64.17),
}


@pytest.mark.parametrize("model", PAPER)
def test_the_mean_of_nine_is_the_papers(model):
    values, mean = PAPER[model]
    found = mer_unibench({name: v / 100 for name, v in zip(UNIBENCH, values, strict=True)})
    assert 100 * found.mean == pytest.approx(mean, abs=0.006) and found.missing == ()
    assert f"| mean of nine | | {mean:.2f} |" in found.markdown() and "| MELD | hit_rate | " in found.markdown()


def test_a_table_that_is_not_whole_has_no_mean():
    found = mer_unibench({"meld": {"hit_rate": 0.5, "accuracy": 0.9}, "cmu_mosi": {"sentiment_waf": 0.8}, "ovmerd+": 0.6})
    assert found.values == {"MELD": 0.5, "CMU-MOSI": 0.8, "OV-MERD+": 0.6}
    assert found.mean is None and len(found.missing) == 6 and "| MER2023 | hit_rate | - |" in found.markdown()


@pytest.mark.parametrize(
    ("results", "words"),
    [({"MELD2": 0.5}, "did you mean 'MELD'"), ({"MOSI": 0.5, "CMU-MOSI": 0.5}, "is given twice"), ({"MELD": 50.0}, "hit_rate 50.0"),
     ({"MELD": {"accuracy": 0.5}}, "hit_rate None"), ({"SIMS": float("nan")}, "sentiment_waf nan")],
)  # fmt: skip
def test_what_is_no_figure_of_it_is_refused(results, words):
    with pytest.raises(ConfigError, match=words):
        mer_unibench(results)


def row(**labels):
    return Example(id="e", labels=labels)


def test_open_emotions_are_asked_without_a_list_and_scored_on_wheels():
    task = EmotionsOpen()
    example = row(emotions=("angry", "sad"))
    taught = task.conversation(example, with_answer=True)
    assert taught.messages[-1].text == "angry, sad" and "angry" not in taught.messages[0].text
    score = task.score("He is furious, not happy.", example)
    assert score.parsed == ("furious",) and score.value == pytest.approx(2 / 3), "P 1, R 1/2 on every wheel that parts the two"
    assert score.details["precision"] == 1.0 and score.details["size"] == 1.0 and not score.unparsed
    assert task.score("A man in a car.", example).unparsed and task.score("A man in a car.", example).value == 0.0
    assert task.score("happy", row(emotions=["unheard-of"])).details["skipped"] == 1.0
    assert task.choices(example) == ()


def test_over_a_set_f_is_no_mean_of_scores_and_hits_are_told_where_labels_are():
    task = EmotionsOpen()
    examples = [row(emotion=label) for label in ("angry", "happy", "sad")]
    scores = [task.score(said, e) for said, e in zip(("angry, sad", "happy", ""), examples, strict=True)]
    numbers = task.summarise(scores, examples)
    assert numbers["precision"] == pytest.approx(1 / 2) and numbers["recall"] == pytest.approx(2 / 3)
    assert numbers["emotion_wheel_f"] == pytest.approx(4 / 7) and sum(s.value for s in scores) / 3 == pytest.approx(5 / 9)
    assert numbers["hit_rate"] == pytest.approx(2 / 3) and numbers["penalised_hit_rate"] == pytest.approx(1 / 2)
    assert numbers["unparsed"] == pytest.approx(1 / 3) and numbers["mean_size"] == 1.0 and numbers["skipped"] == 0.0
    assert "hit_rate" not in task.summarise(scores, [row(emotions=["angry"])] * 3)
    with pytest.raises(DatasetError, match="'e' has no 'emotions' or 'emotion'"):
        task.score("angry", row())


def test_what_was_said_before_is_shown_and_held_out_phrasings_are_others():
    said = {"history": [{"speaker": "Ann", "text": "You broke it."}]}
    example = Example(id="e", labels={"emotions": ["angry"], **said})
    text = EmotionsOpen().conversation(example).messages[-1].text
    assert text.startswith("What was said before:\nAnn: You broke it.\n")
    asked = {EmotionsOpen(seed=k).conversation(example).messages[-1].text for k in range(40)}
    held = {EmotionsOpen(seed=k, held_out=True).conversation(example).messages[-1].text for k in range(40)}
    assert len(asked) == 6 and len(held) == 2 and not asked & held


@pytest.mark.parametrize("words", [["angry"], ("joy", "relief"), ["fear", "disgust", "surprise"]])
def test_the_truth_itself_earns_everything_whatever_its_order(words):
    task, example = EmotionsOpen(), row(emotions=words)
    for answer in (", ".join(words), " and ".join(reversed(words)), f"This person shows {' as well as '.join(words)}."):
        score = task.score(answer, example)
        assert score.value == pytest.approx(1.0) and len(score.parsed) == len(words), answer


def test_long_lists_cost_precision_where_the_hit_rate_does_not_mind():
    task = EmotionsOpen()
    examples = [row(emotion=label) for label in ("angry", "happy", "sad", "fear")]
    short = [task.score(e.labels["emotion"], e) for e in examples]
    long = [task.score("angry, happy, sad, afraid, disgusted, surprised, neutral", e) for e in examples]
    one, other = task.summarise(short, examples), task.summarise(long, examples)
    assert one["hit_rate"] == other["hit_rate"] == 1.0 and other["mean_size"] == 7.0
    assert other["emotion_wheel_f"] < 0.4 < one["emotion_wheel_f"] == 1.0
    assert other["penalised_hit_rate"] < 0.25 < one["penalised_hit_rate"] == 1.0
