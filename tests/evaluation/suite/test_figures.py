"""Figures by hand: values, intervals, chance, the most frequent answer, what was not parsed, what failed, kinds."""

import pytest

from tests.evaluation.suite.doubles import KINDS, part, row
from unifusion.conversation import Example
from unifusion.evaluation.suite.figures import part_figures, suite_figures


def record(row, answer, *, condition="all", scoring="likelihood", **more):
    base = {"part": "toy", "row": row.id, "group": row.group, "condition": condition, "scoring": scoring, "truth": row.labels.get("sound")}
    return {**base, "answer": answer, "score": float(answer == row.labels.get("sound")), **more}


ROWS = [row(i, k) for i, k in enumerate(("bark", "bark", "bark", "bell", "rain"))]


def test_values_chance_and_majority_by_hand():
    answers = ["bark", "bark", "bell", "bell", "bark"]
    records = [record(r, a) for r, a in zip(ROWS, answers, strict=True)]
    records += [record(r, "bark", condition="blind") for r in ROWS]
    told = part_figures(part(ROWS), records, can_score=True)
    whole = told["conditions"]["all"]["likelihood"]
    assert (told["n"], told["groups"], told["first"], told["metric"]) == (5, 5, "likelihood", "accuracy")
    assert whole["value"] == pytest.approx(0.6) and whole["low"] <= 0.6 <= whole["high"] and whole["n"] == 5 and whole["errors"] == 0
    assert told["chance"] == pytest.approx(1 / 3, abs=1e-6) and told["majority"] == {"answer": "bark", "value": 0.6}
    assert told["conditions"]["blind"]["likelihood"]["value"] == pytest.approx(0.6)


def test_what_is_not_parsed_is_wrong_and_counted():
    records = [record(r, a, scoring="generation") for r, a in zip(ROWS, ["bark", "bark", "what?", "dunno", "rain"], strict=True)]
    cell = part_figures(part(ROWS), records, can_score=True)["conditions"]["all"]["generation"]
    assert cell["value"] == pytest.approx(0.6) and cell["unparsed"] == pytest.approx(0.4)


def test_errors_are_counted_apart_and_are_not_wrong():
    records = [record(r, r.labels["sound"]) for r in ROWS[:4]]
    bad = {k: v for k, v in record(ROWS[4], "").items() if k not in ("answer", "score")}
    records.append({**bad, "error": "broken", "error_kind": "MediaError"})
    told = part_figures(part(ROWS), records, can_score=True)
    cell = told["conditions"]["all"]["likelihood"]
    assert (cell["value"], cell["n"], cell["errors"]) == (1.0, 4, 1) and told["failed"] == {"r4": "MediaError"}
    only = part_figures(part(ROWS), [records[-1]], can_score=True)["conditions"]["all"]["likelihood"]
    assert (only["value"], only["n"], only["errors"]) == (None, 0, 1)


def test_few_groups_still_have_an_interval():
    rows = [row(i, KINDS[i % 3], group="one") for i in range(9)]
    records = [record(r, r.labels["sound"] if i % 2 else "bark") for i, r in enumerate(rows)]
    cell = part_figures(part(rows), records, can_score=True)["conditions"]["all"]["likelihood"]
    assert cell["low"] < cell["value"] < cell["high"]


def test_a_figure_that_is_no_mean_has_an_interval_of_its_own():
    rows = [Example(id=f"e{i}", media=ROWS[0].media, labels={"emotion": "happy" if i % 4 else "sad"}, group=f"g{i}") for i in range(40)]
    records = [{**record(r, "happy"), "truth": r.labels["emotion"]} for r in rows]
    told = part_figures(part(rows, task="emotion", labels=("happy", "sad")), records, can_score=True)
    whole = told["conditions"]["all"]["likelihood"]
    assert told["metric"] == "macro_recall" and whole["value"] == pytest.approx(0.5) == told["chance"] == told["majority"]["value"]
    assert whole["metrics"]["accuracy"] == pytest.approx(0.75) and whole["high"] <= 1.0


def test_what_is_no_mean_is_drawn_as_itself_where_it_equals_the_mean():
    rows = [Example(id=f"e{i}", media=ROWS[0].media, labels={"emotion": "happy" if i % 2 else "sad"}, group=f"g{i}") for i in range(40)]
    records = [{**record(r, "happy"), "truth": r.labels["emotion"]} for r in rows]
    whole = part_figures(part(rows, task="emotion", labels=("happy", "sad")), records, can_score=True)["conditions"]["all"]["likelihood"]
    assert whole["metrics"]["accuracy"] == whole["value"] == whole["low"] == whole["high"] == 0.5  # recalls are 0 and 1 in every draw


def test_conditions_stand_in_one_order_whatever_was_asked_first():
    records = [record(r, "bark", condition=c) for c in ("text", "other sound", "blind", "all") for r in ROWS]
    assert list(part_figures(part(ROWS), records, can_score=True)["conditions"]) == ["all", "blind", "text", "other sound"]


def test_no_option_that_is_named_at_any_turn_is_not_one_option():
    some = Example(id="o", media=ROWS[0].media, texts={"question": "?"}, labels={"options": ("x", "y"), "option": 0}, group="g")
    told = {"part": "toy", "row": "o", "group": "g", "condition": "all", "scoring": "rotated", "answer": [], "truth": "A", "score": 0.0}
    cell = part_figures(part([some], task="multiple_choice"), [{**told, "turns": [{"parsed": None, "score": 0.0}] * 2}], can_score=True)
    assert cell["conditions"]["all"]["rotated"]["metrics"]["same_option"] == 0.0 and cell["conditions"]["all"]["rotated"]["unparsed"] == 1.0


def test_turned_options():
    rows = [
        Example(id=f"o{i}", media=ROWS[0].media, texts={"question": "?"}, labels={"options": ("x", "y"), "option": i % 2}, group=f"g{i}")
        for i in range(4)
    ]
    turns = [[("A", 1.0), ("A", 0.0)], [("B", 1.0), ("B", 1.0)], [("A", 1.0), (None, 0.0)], [("B", 1.0), ("B", 1.0)]]
    records = [
        {"part": "toy", "row": r.id, "group": r.group, "condition": "all", "scoring": "rotated", "answer": [], "truth": "A",
         "score": sum(s for _, s in own) / 2, "turns": [{"parsed": p, "score": s} for p, s in own]}
        for r, own in zip(rows, turns, strict=True)
    ]  # fmt: skip
    cell = part_figures(part(rows, task="multiple_choice"), records, can_score=True)["conditions"]["all"]["rotated"]
    assert cell["value"] == pytest.approx(0.75) and cell["unparsed"] == pytest.approx(1 / 8)
    assert cell["metrics"] == {"every_turn": 0.5, "same_option": 0.75}


def test_kinds_of_question_have_lines_of_their_own():
    rows = [
        Example(id=f"q{i}", media=ROWS[0].media, texts={"question": "?", "answer": "yes"}, labels={"type": "ab"[i % 2]}, group=f"g{i}")
        for i in range(6)
    ]
    records = [{**record(r, "yes" if r.labels["type"] == "a" else "no", scoring="generation"), "truth": "yes"} for r in rows]
    kinds = part_figures(part(rows, task="open_qa"), records, can_score=True)["kinds"]
    assert (kinds["a"]["value"], kinds["b"]["value"], kinds["a"]["n"]) == (1.0, 0.0, 3) and kinds["a"]["majority"] == 1.0


def test_free_answers_have_no_chance():
    rows = [Example(id=f"c{i}", media=ROWS[0].media, texts={"caption": f"a dog {i}"}, group=f"g{i}") for i in range(3)]
    records = [{**record(r, r.texts["caption"], scoring="generation"), "truth": r.texts["caption"], "score": 1.0} for r in rows]
    told = part_figures(part(rows, task="caption"), records, can_score=True)
    assert (
        told["chance"] is None and told["first"] == "generation" and told["conditions"]["all"]["generation"]["value"] == pytest.approx(1.0)
    )


def test_records_of_other_parts_and_rows_do_not_count():
    stray = {**record(ROWS[0], "bell"), "row": "gone"}
    other = {**record(ROWS[0], "bell"), "part": "another"}
    told = suite_figures("s", [part(ROWS)], [record(r, r.labels["sound"]) for r in ROWS] + [stray, other], can_score=True)
    assert told["suite"] == "s" and told["parts"]["toy"]["conditions"]["all"]["likelihood"]["value"] == 1.0
