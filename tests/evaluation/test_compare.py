"""Systems side by side: common examples only, Holm over the right family, and no winner that no test shows."""

import csv
import json
from dataclasses import replace

import pytest

from tests.evaluation.pages import looked_at, words_of
from tests.evaluation.told import told
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.compare import compare, read_systems
from unifusion.evaluation.compare_report import differences_table, figures_table, scope, write_comparison
from unifusion.evaluation.emotion_figures import emotion_figures
from unifusion.evaluation.emotion_pairs import compare_pair
from unifusion.evaluation.emotion_sums import columns, labels_of
from unifusion.evaluation.emotion_units import Draws
from unifusion.evaluation.predictions import write_predictions
from unifusion.metrics._resampling import holm

DRAWS = Draws(resamples=400)


@pytest.fixture(scope="module")
def systems():
    return {
        "weak": told(90, skill=0.5, draw=1, conditions=("all", "only audio")),
        "strong": told(90, skill=3.5, draw=2, seeds=(0, 1)),
        "middle": told(90, skill=1.6, draw=3),
    }


@pytest.fixture(scope="module")
def found(systems):
    return compare(systems, draws=DRAWS)


def test_the_best_wins_where_tests_show_it(found, systems):
    assert found["order"] == ["strong", "middle", "weak"] and found["reference"] == found["winner"] == "strong"
    values = {n: s["metrics"]["uar"]["value"] for n, s in found["systems"].items()}
    gain = f"+{values['strong'] - values['middle']:.3f}".replace("0.", ".")
    assert found["verdict"].startswith(f"strong wins: {gain} UAR over middle (p ") and found["verdict"].endswith("the next best.")
    alone = emotion_figures(systems["middle"], DRAWS)["splits"]["test"]["conditions"]["all"]
    assert found["systems"]["middle"]["metrics"] == alone["metrics"]


def test_against_the_best_p_is_adjusted_over_all_pairs(found, systems):
    laid = {n: columns([r for r in rows if r.condition == "all"], labels_of(rows)) for n, rows in systems.items()}
    names = [("weak", "strong"), ("weak", "middle"), ("strong", "middle")]
    p = [compare_pair(laid[a], laid[b], DRAWS).tested["uar"].p for a, b in names]
    adjusted = dict(zip(names, holm(p), strict=True))
    assert found["tests"]["weak"]["p_holm"] == pytest.approx(adjusted["weak", "strong"], abs=1e-6)
    assert found["tests"]["middle"]["p_holm"] == pytest.approx(adjusted["strong", "middle"], abs=1e-6)
    first = compare(systems, against="first", draws=DRAWS)
    assert first["reference"] == "weak" and first["winner"] == "" and first["better"] == {"strong": True, "middle": True}
    assert [first["tests"][n]["p_holm"] for n in ("strong", "middle")] == pytest.approx(holm([p[0], p[1]]), abs=1e-6)
    assert first["tests"]["strong"]["difference"] == pytest.approx(-found["tests"]["weak"]["difference"])
    assert first["tests"]["strong"]["low"] == pytest.approx(-found["tests"]["weak"]["high"])
    assert "strong is better than weak: +" in first["verdict"]


def test_equals_have_no_winner():
    rows = told(40)
    found = compare({"a": rows, "b": rows}, draws=DRAWS)
    assert found["winner"] == "" and found["tests"]["b"]["p"] == 1.0 and found["better"] == {"b": None}
    assert found["verdict"] == "No system is shown to be better: b +.000 UAR (p = 1.000) against a."


def test_some_are_beaten_and_some_are_not(systems):
    found = compare({**systems, "twin": systems["strong"]}, draws=DRAWS)
    assert found["winner"] == "" and found["verdict"].startswith("No system is shown to be the best.")
    assert "no difference between strong and twin is shown" in found["verdict"]


def test_of_errors_the_smallest_is_best():
    rough = [replace(r, valence=-r.valence) for r in told(60)]
    found = compare({"rough": rough, "fine": told(60)}, metric="mae_valence", draws=DRAWS)
    assert found["winner"] == "fine" and found["tests"]["rough"]["difference"] > 0 and found["better"]["rough"] is False
    assert found["verdict"].startswith("fine wins: -.")


def test_only_common_examples_count(systems):
    fewer = [r for r in systems["middle"] if r.id not in ("e1", "e2")]
    found = compare({"weak": systems["weak"], "fewer": fewer}, draws=DRAWS)
    assert found["examples"] == 88 and found["systems"]["weak"]["left_out"] == 2 and found["systems"]["fewer"]["left_out"] == 0
    assert "88 examples" in scope(found) and "2 of weak" in scope(found)


def test_what_cannot_be_compared(systems):
    weak = systems["weak"]
    for other, options, words in [
        (told(20, split="val"), {}, "no split is in all"),
        (weak, {"condition": "only video"}, "has nothing of split 'test' under 'only video'"),
        ([replace(r, id=f"x{r.id}") for r in weak], {}, "no example of split 'test' is in all"),
        ([replace(r, valence=None) for r in weak], {"metric": "ccc_valence"}, "tells nothing that has CCC valence"),
        ([replace(r, truth="sad") for r in weak], {}, "another truth or group"),
    ]:
        with pytest.raises(DatasetError, match=words):
            compare({"weak": weak, "other": other}, draws=DRAWS, **options)
    with pytest.raises(ConfigError, match="did you mean 'uar'"):
        compare(systems, metric="uars")
    with pytest.raises(ConfigError, match="did you mean 'best'"):
        compare(systems, against="bset")


def test_systems_are_read_by_folder_file_and_name(systems, tmp_path):
    write_predictions(tmp_path / "report" / "predictions.jsonl", systems["weak"])
    write_predictions(tmp_path / "strong.jsonl", systems["strong"])
    read = read_systems([str(tmp_path / "report"), str(tmp_path / "strong.jsonl"), f"my own={tmp_path}/report/predictions.jsonl"])
    assert list(read) == ["report", "strong", "my own"] and read["report"] == systems["weak"]
    with pytest.raises(ConfigError, match="two systems are named"):
        read_systems([str(tmp_path / "strong.jsonl")] * 2)
    with pytest.raises(ConfigError, match="1 system to compare"):
        read_systems([str(tmp_path / "strong.jsonl")])
    with pytest.raises(DatasetError, match="cannot read"):
        read_systems([str(tmp_path / "report"), str(tmp_path / "absent")])


def test_what_is_written(found, tmp_path):
    page = write_comparison(found, tmp_path / "one")
    again = write_comparison(found, tmp_path / "two")
    names = {"index.html", "compare.md", "compare.json", "compare.csv", "tests.csv", "run.json"}
    names |= {"pictures/forest.png", "pictures/forest.svg"}
    assert {p.relative_to(page.parent).as_posix() for p in page.parent.rglob("*") if p.is_file()} == names
    assert all((page.parent / n).read_bytes() == (again.parent / n).read_bytes() for n in names - {"run.json"})
    text = words_of(looked_at(page))
    assert found["verdict"] in text and "Forest plot" in page.read_text(encoding="utf-8")
    assert json.loads((page.parent / "compare.json").read_text())["winner"] == "strong"
    lines = list(csv.DictReader((page.parent / "compare.csv").open(encoding="utf-8")))
    assert {line["system"] for line in lines} == set(found["systems"])
    assert [line["system"] for line in csv.DictReader((page.parent / "tests.csv").open(encoding="utf-8"))] == ["weak", "middle"]


def test_the_tables(found):
    table = figures_table(found)
    strong = list(found["systems"]).index("strong")
    assert (strong, 1) in table.best and f"| strong | **{table.rows[strong][1]}** |" in table.markdown()
    assert "*" in table.text().splitlines()[2 + strong]
    assert [row[-1] for row in differences_table(found).rows] == ["worse", "worse"]


def test_hostile_names_are_text(systems, tmp_path):
    found = compare({"<script>x</script>": systems["weak"], "a|b $y_{$": systems["strong"]}, draws=Draws(resamples=50))
    root = looked_at(write_comparison(found, tmp_path))
    assert "<script>x</script>" in words_of(root) and r"a\|b" in (tmp_path / "compare.md").read_text()
