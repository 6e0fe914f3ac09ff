"""A report's folder: what is in it, the same bytes twice, a sound page, hostile names as text, and no pictures without matplotlib."""

import csv
import importlib.util
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.pages import looked_at, words_of
from tests.evaluation.told import LABELS, told
from unifusion.errors import DatasetError
from unifusion.evaluation import emotion_report
from unifusion.evaluation.drawing import label
from unifusion.evaluation.emotion_report import write_report
from unifusion.evaluation.emotion_units import Draws
from unifusion.evaluation.page import Page, Section, Table, number, p_value, signed, visible
from unifusion.evaluation.predictions import Prediction, read_predictions

FEW = Draws(resamples=60)
HOSTILE = ("<script>alert(1)</script>", "sehr glücklich", "\"&amp;' $x_{$ \\frac", "a|b*c")
ALL = {"confusion", "classes", "reliability", "conditions", "affect", "circumplex", "seeds"}


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "run.json"}


@pytest.fixture(scope="module")
def rows():
    return told(40, seeds=(0, 1), conditions=("all", "only audio", "without audio"))


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    return write_report(rows, tmp_path_factory.mktemp("reports") / "one", "One", {"examples": "clips", "model": "toy"}, draws=FEW)


def test_everything_is_there(page, rows):
    found = files(page.parent)
    tables = {"predictions.jsonl", "results.json", "results.csv", "per_class.csv", "confusion.csv", "index.html"}
    assert set(found) == tables | {f"pictures/{name}.{kind}" for name in ALL for kind in ("png", "svg")}
    assert read_predictions(page.parent / "predictions.jsonl") == rows
    run = json.loads((page.parent / "run.json").read_text())
    assert run["versions"]["unifusion-x"] and run["made"] and run["command"]


def test_made_twice_it_is_the_same_byte_for_byte(page, rows, tmp_path):
    again = write_report(rows, tmp_path / "two", "One", {"examples": "clips", "model": "toy"}, draws=FEW)
    assert files(again.parent) == files(page.parent)
    write_report(rows, tmp_path / "two", "One", {"examples": "clips", "model": "toy"}, draws=FEW)
    assert files(again.parent) == files(page.parent), "over an earlier report"


def test_the_page_is_sound_and_says_what_was_found(page):
    root = looked_at(page)
    text = words_of(root)
    results = json.loads((page.parent / "results.json").read_text())
    for sentence in results["statement"]:
        assert " ".join(sentence.split()) in text
    assert len(list(root.iter("img"))) == len(ALL) and "model: toy" in text and "40 clips" in text
    assert {h.text for h in root.iter("h2")} >= {"Figures", "When streams are missing", "Labels", "Valence and arousal"}


def test_the_tables_hold_the_results(page):
    results = json.loads((page.parent / "results.json").read_text())["splits"]["test"]["conditions"]
    lines = list(csv.DictReader((page.parent / "results.csv").open(encoding="utf-8")))
    assert len(lines) == sum(len(c["metrics"]) for c in results.values())
    for line in lines:
        wanted = results[line["condition"]]["metrics"][line["metric"]]
        assert (float(line["value"]), float(line["low"]), float(line["sd"])) == (wanted["value"], wanted["low"], wanted["sd"])
        assert (line["loss"] == "") == (line["condition"] == "all")
    classes = list(csv.DictReader((page.parent / "per_class.csv").open(encoding="utf-8")))
    assert len(classes) == 3 * len(LABELS) and all(0 <= float(c["f1_low"]) <= float(c["f1_high"]) <= 1 for c in classes)
    cells = list(csv.DictReader((page.parent / "confusion.csv").open(encoding="utf-8")))
    assert sum(int(c["count"]) for c in cells) == 3 * 2 * 40


def test_pictures_hold_no_date(page):
    from PIL import Image

    for path in (page.parent / "pictures").iterdir():
        content = path.read_bytes()
        assert b"<dc:date>" not in content and b"Software" not in content
        if path.suffix == ".png":
            assert min(Image.open(path).size) > 400


def test_hostile_names_are_text(tmp_path):
    names = dict(zip(LABELS, HOSTILE, strict=True))
    rows = [
        replace(r, truth=names[r.truth], probabilities={names[k]: p for k, p in r.probabilities.items()}, condition=c, group="<b>")
        for c in ("all", "<i>none</i>")
        for r in told(24)
    ]
    root = looked_at(write_report(rows, tmp_path, "<title> & \x1b[31m", {"data": "<u>"}, draws=FEW))
    assert len(list(root.iter("script"))) == 1
    assert all(visible(name) in "".join(root.itertext()) for name in HOSTILE) and "\\x1b" in words_of(root)


def test_without_matplotlib_all_but_the_pictures_is_written_and_said(rows, page, tmp_path, monkeypatch, caplog):
    write_report(rows, tmp_path, "One", {"examples": "clips", "model": "toy"}, draws=FEW)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    bare = write_report(rows, tmp_path, "One", {"examples": "clips", "model": "toy"}, draws=FEW)
    assert set(files(tmp_path)) == {n for n in files(page.parent) if not n.startswith("pictures/")}, "old pictures are not left behind"
    assert "unifusion-x[plots]" in words_of(looked_at(bare)) and "unifusion-x[plots]" in caplog.text
    assert (tmp_path / "results.json").read_bytes() == (page.parent / "results.json").read_bytes()


@pytest.mark.parametrize(
    "rows",
    [
        [Prediction(id="a", truth="sad", probabilities={"sad": 1.0})],
        [Prediction(id="a", truth="sad", valence=0.5, true_valence=0.25)],
        [Prediction(id="a", truth="", probabilities={"sad": 1.0})],
        [replace(r, truth="sad") for r in told(12)],
        [replace(r, arousal=None) for r in told(12)],
        [replace(r, truth="", probabilities={}) for r in told(12)],
        [replace(r, condition="only audio") for r in told(12, affect=False)],
    ],
    ids=["one row", "one valence", "no truth", "one class", "no arousal", "no labels", "no all"],
)
def test_odd_reports_are_sound(rows, tmp_path):
    looked_at(write_report(rows, tmp_path, draws=Draws(resamples=20)))


def test_nothing_is_refused_before_a_file_is_written(tmp_path):
    with pytest.raises(DatasetError):
        write_report([], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), min_size=1, max_size=4))
def test_any_text_makes_a_sound_table(tmp_path_factory, cells):
    table = Table(caption="c", columns=["a", "b"], rows=cells, best=frozenset({(0, 1)}))
    path = tmp_path_factory.mktemp("pages") / "index.html"
    path.write_text(Page(title="t", lead=["l"], sections=[Section(title="s", tables=[table])]).html(), encoding="utf-8")
    shown = [["".join(cell.itertext()) for cell in row] for row in looked_at(path).find(".//tbody")]
    assert shown == [[visible(c) for c in row] for row in cells]
    assert len(table.text().split("\n")) == 2 + len(cells) == len(table.markdown().split("\n"))


def test_numbers_as_papers_have_them():
    assert [number(v) for v in (0.714, 1.0, -0.204, 0.0, -0.001, None)] == [".71", "1.00", "-.20", ".00", ".00", "–"]
    assert [signed(v) for v in (0.0432, -0.02, 0.0)] == ["+.043", "-.020", "+.000"]
    assert [p_value(p) for p in (0.003, 0.0004, 1.0)] == ["p = .003", "p < .001", "p = 1.000"]
    assert label("a$b") == r"a\$b" and label("x" * 30) == "x" * 17 + "…"


def test_a_names_wide_set_is_drawn(tmp_path):
    labels = tuple(f"label {i:02d}" for i in range(24))
    page = write_report(told(60, labels=labels, affect=False), tmp_path, draws=Draws(resamples=20))
    looked_at(page)
    assert emotion_report.can_draw() and (tmp_path / "pictures" / "confusion.svg").is_file()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_columns_sort_and_nothing_is_fetched(page, tmp_path, scheme):
    from tests.demo.test_browser import CHROMIUM, FLAGS

    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab, asked, complaints = browser.new_page(color_scheme=scheme), [], []
        tab.on("request", lambda r: asked.append(r.url))
        tab.on("console", lambda m: complaints.append(m.text))
        tab.on("pageerror", lambda e: complaints.append(str(e)))
        tab.goto(page.as_uri())
        tab.click("thead th:nth-child(2) button")
        cells = tab.locator("table").first.locator("tbody tr td:nth-child(2)").all_inner_texts()
        assert [float(c.split()[0]) for c in cells] == sorted(float(c.split()[0]) for c in cells)
        assert tab.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        tab.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        browser.close()
    assert complaints == [] and [u for u in asked if not u.startswith(("file:", "data:"))] == []
