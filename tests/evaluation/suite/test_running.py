"""A suite from its choices to its files: the same bytes again, more rows later, wrong choices, the page, the card."""

import json
from dataclasses import replace

import pytest
import yaml

from tests.evaluation.suite.doubles import Rule
from tests.evaluation.suite.test_parts import manifest
from unifusion.errors import ConfigError
from unifusion.evaluation.suite.conditions import CONDITIONS
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.report import suite_table, tampering_tables
from unifusion.evaluation.suite.running import SuiteChoices, chosen_sources, run_suite

PARTS = {"world": Source.world("open_qa", 12, "object_colour", "sound_kind"), "which": Source.world("which_of", 40, "which_of")}
FILES = ("results.json", "predictions.jsonl", "results.csv", "results.md", "model_index.yaml", "index.html")


def choices(folder, **changes):
    return SuiteChoices(out=str(folder), resamples=50, **changes)


def first_option(conversation):
    return "A"


def blue(conversation):
    return "blue"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    results, page = run_suite("toy", PARTS, choices(folder), Rule(first_option))
    return folder, results, page


def test_everything_is_written(made):
    folder, results, page = made
    assert page == folder / "index.html" and all((folder / name).stat().st_size for name in (*FILES, "run.json"))
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["model"] == {"name": "rule", "weights": "w1"} and set(results["parts"]) == {"world", "which"} and results["absent"] == {}
    assert "versions" in json.loads((folder / "run.json").read_text()) and "versions" not in results


def test_again_gives_the_same_bytes(made, tmp_path):
    folder, _, _ = made
    run_suite("toy", PARTS, choices(tmp_path), Rule(first_option))
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in FILES)


def test_what_a_kill_left_is_swept(made):
    folder, _, _ = made
    (folder / ".pictures-x.tmp").mkdir()
    run_suite("toy", PARTS, choices(folder), Rule(first_option))
    assert sorted(p.name for p in folder.iterdir() if p.name.endswith(".tmp")) == []


def test_the_table_has_what_makes_a_figure_comparable(made):
    _, results, _ = made
    table = suite_table(results)
    line = dict(zip(table.columns, next(r for r in table.rows if r[0] == "which"), strict=True))
    which = results["parts"]["which"]
    assert float(line["chance"]) == pytest.approx(which["chance"], abs=0.006) and line["rotated"] == ".33" and line["unparsed"] == ".00"
    assert line["value (95 %)"].startswith(f".{round(100 * which['conditions']['all']['likelihood']['value']):02d} (")
    assert which["conditions"]["all"]["rotated"]["metrics"]["every_turn"] == 0.0
    assert tampering_tables(results) == []


def test_the_card_holds_every_figure_with_its_baselines(made):
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results

    folder, results, _ = made
    told = yaml.safe_load((folder / "model_index.yaml").read_text())
    name, entries = model_index_to_eval_results(told["model-index"])
    assert name == "rule" and ModelCardData(model_name=name, eval_results=entries).to_dict()["model-index"]
    values = {(e.dataset_name, e.metric_name): e.metric_value for e in entries}
    which = results["parts"]["which"]
    assert values["toy: which", "accuracy (all, likelihood)"] == which["conditions"]["all"]["likelihood"]["value"]
    assert values["toy: which", "accuracy (chance)"] == which["chance"] and ("toy: which", "accuracy (blind, likelihood)") in values


def test_more_conditions_later_ask_only_what_is_new(made):
    folder, _, _ = made
    system = Rule(first_option)
    results, page = run_suite("toy", PARTS, choices(folder, conditions=("other sound",), parts=("world",)), system)
    lent = results["parts"]["world"]["tampering"]["other sound"]
    assert lent["n"] > 0 and len(system.asked) == lent["n"] and "follows" in lent
    assert set(results["parts"]["world"]["conditions"]) == {"all", "other sound"}
    assert "What tampering with a stream costs" in page.read_text() and len(tampering_tables(results)) == 1


def test_another_model_does_not_go_on_in_the_same_folder(made):
    folder, _, _ = made
    other = Rule(first_option)
    other.weights = "w2"
    with pytest.raises(ConfigError, match="another run"):
        run_suite("toy", PARTS, choices(folder), other)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"conditions": ("deaf",)}, "no condition 'deaf'"), ({"parts": ("wrld",)}, "no part 'wrld'.*world"),
        ({"dataset": "esc10"}, "no task to ask it by"), ({"task": "sound"}, "of a set of your own"),
        ({"options": {"a": 1}}, "of a set of your own"),
    ],
)  # fmt: skip
def test_wrong_choices(tmp_path, changes, found):
    with pytest.raises(ConfigError, match=found):
        run_suite("toy", PARTS, choices(tmp_path, **changes), Rule(first_option))


def test_a_set_of_ones_own(tmp_path):
    rows = [{"id": str(i), "audio": "x.wav", "question": "Colour?", "answer": "blue" if i < 3 else "red"} for i in range(4)]
    path = manifest(tmp_path / "data", rows)
    given = choices(tmp_path / "out", data=str(path), dataset="messages", task="open_qa")
    results, _ = run_suite("toy", PARTS, given, Rule(blue, can_score=False))
    part = results["parts"]["messages"]
    assert part["conditions"]["all"]["generation"]["value"] == 0.75 and part["majority"] == {"answer": "blue", "value": 0.75}


def test_the_order_of_the_rows_of_a_set_changes_nothing(tmp_path):
    rows = [
        {"id": f"r{i}", "group": f"g{i // 2}", "video": f"clip-world://1000/{i}?split=test_iid", "question": "Colour?", "answer": answer}
        for i, answer in enumerate(("blue", "red", "blue", "green", "red", "blue"))
    ]
    for name, some in (("a", rows), ("b", rows[::-1])):
        path = manifest(tmp_path / name, some)
        given = choices(tmp_path / f"out_{name}", data=str(path), dataset="messages", task="open_qa", conditions=CONDITIONS)
        run_suite("toy", PARTS, given, Rule(blue, can_score=False))
    assert all((tmp_path / "out_a" / name).read_bytes() == (tmp_path / "out_b" / name).read_bytes() for name in FILES)
    assert '"lender"' in (tmp_path / "out_a" / "predictions.jsonl").read_text()


def test_parts_of_ones_own(tmp_path):
    manifest(tmp_path, [{"id": "a", "audio": "x.wav", "sound": "bark"}, {"id": "b", "audio": "y.wav", "sound": "bell"}])
    (tmp_path / "parts.yaml").write_text("mine: {dataset: messages, task: sound, path: rows.jsonl}\n")
    sources, place = chosen_sources(choices(tmp_path, data=str(tmp_path / "parts.yaml")), PARTS)
    assert list(sources) == ["mine"] and place == tmp_path
    named = chosen_sources(replace(choices(tmp_path), parts=("which",)), PARTS)
    assert list(named[0]) == ["which"]
