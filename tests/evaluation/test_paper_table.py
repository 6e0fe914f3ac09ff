"""Tables of several systems: what is marked, what is compared, what guessing gets, and that no name breaks a page or a paper."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from unifusion.cli.app import app
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.paper_results import Measured, read_results
from unifusion.evaluation.paper_table import paper_table
from unifusion.evaluation.paper_table_written import written


def figures(value, low=None, high=None, unparsed=0.0, **metrics):
    return {"value": value, "low": low, "high": high, "unparsed": unparsed, "metrics": metrics}


def part(value, metric="accuracy", direction="higher", n=100, **further):
    conditions = further.pop("conditions", {"all": {"likelihood": figures(value, value - 0.1, value + 0.1, macro_f1=value / 2)}})
    return {"task": "x", "metric": metric, "direction": direction, "n": n, "groups": 9, "conditions": conditions, **further}


def write(folder, name, parts, suite="small", **further):
    path = folder / name / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"suite": suite, "model": {"name": name, "weights": "ab"}, "parts": parts, **further}), encoding="utf-8")
    return str(path)


@pytest.fixture
def three(tmp_path):
    blind = {"all": {"likelihood": figures(0.7, 0.6, 0.8)}, "blind": {"likelihood": figures(0.25, 0.2, 0.3)}}
    return [
        write(tmp_path, "a", {"emotion": part(0.7, chance=0.2, majority=0.3, conditions=blind), "error": part(0.5, "mse", "lower")}),
        write(tmp_path, "b", {"emotion": part(0.8), "error": part(0.4, "mse", "lower")}),
        write(tmp_path, "c_1", {"emotion": part(0.6), "error": part(0.4, "mse", "lower")}),
    ]


def marks(table, column):
    return {line.name: line.cells[column].mark for line in table.lines if line.cells[column] is not None}


def test_the_best_and_the_second_follow_the_direction_and_guesses_do_not_contend(three):
    table = paper_table(read_results(three))
    assert [c.part for c in table.columns] == ["emotion", "error"] and [c.higher for c in table.columns] == [True, False]
    assert marks(table, 0) == {"a": "second", "b": "best", "c_1": "", "a, blind": "", "chance": "", "majority": ""}
    assert marks(table, 1) == {"a": "", "b": "best", "c_1": "best"}  # equals share the first place, then there is no second
    assert [line.contends for line in table.lines] == [True] * 3 + [False] * 3
    chance = table.lines[-2]
    assert chance.cells[0].text == "0.200" and chance.cells[1] is None


def test_numbers_that_look_equal_are_equal(tmp_path):
    two = [write(tmp_path, n, {"x": part(v)}) for n, v in (("a", 0.70004), ("b", 0.70001))]
    assert marks(paper_table(read_results(two)), 0) == {"a": "best", "b": "best"}
    assert marks(paper_table(read_results(two), decimals=5), 0) == {"a": "best", "b": "second"}
    assert marks(paper_table(read_results(two), mark=False), 0) == {"a": "", "b": ""}
    assert marks(paper_table(read_results(two[:1])), 0) == {"a": ""}  # of one system nothing is best


def test_columns_metrics_percent_and_mean(three):
    table = paper_table(read_results(three), columns=["emotion:macro_f1", "emotion"], percent=True, mean=True, conditions=())
    b = next(line for line in table.lines if line.name == "b")
    assert [c.text for c in b.cells] == ["40.0", "80.0", "60.0"] and b.cells[0].low == "" and b.cells[1].low == "70.0"
    a = next(line for line in table.lines if line.name == "a")
    assert a.cells[0] is None and a.cells[2] is None  # no mean of fewer columns than others have
    both = paper_table(read_results(three), columns=["error", "emotion:ece", "emotion"], percent=True)
    assert [c.higher for c in both.columns] == [False, False, True] and both.lines[0].cells[0].text == "0.500"
    with pytest.raises(ConfigError, match="no mean"):
        paper_table(read_results(three), mean=True)
    for columns, match in ((["emotions"], "emotion"), (["emotion:bleu"], "no system has a number")):
        with pytest.raises(ConfigError, match=match):
            paper_table(read_results(three), columns=columns)


def test_all_systems_of_a_column_are_scored_the_same_way_or_it_is_said(tmp_path):
    both = {"all": {"likelihood": figures(0.9), "generation": figures(0.5, unparsed=0.25)}}
    one = write(tmp_path, "a", {"x": part(0, conditions=both)})
    two = write(tmp_path, "server", {"x": part(0, conditions={"all": {"generation": figures(0.6)}})})
    table = paper_table(read_results([one, two]))
    assert [line.cells[0].text for line in table.lines] == ["0.500", "0.600"] and not any(line.cells[0].note for line in table.lines)
    assert table.notes == ("a, x: 25.0% of the answers could not be read and count as wrong",)
    assert paper_table(read_results([one])).lines[0].cells[0].text == "0.900"
    three = write(tmp_path, "third", {"x": part(0, conditions={"all": {"likelihood": figures(0.7)}})})
    mixed = paper_table(read_results([two, three]))
    assert [line.cells[0].note for line in mixed.lines] == ["generation", "likelihood"] and "not all was scored" in mixed.notes[0]
    alone = paper_table(read_results([two, three]), scoring="likelihood")
    assert [line.cells[0] and line.cells[0].text for line in alone.lines] == [None, "0.700"]
    with pytest.raises(ConfigError, match="likelihood"):
        paper_table(read_results([two]), scoring="likelyhood")


def test_results_as_suites_write_them(tmp_path):
    """The majority with its answer, what a part is judged by, failed items, and cells without a value."""
    cell = {**figures(0.5, 0.4, 0.6, every_turn=0.25), "n": 98, "errors": 2}
    empty = {"n": 0, "errors": 100, "value": None, "low": None, "high": None, "unparsed": None, "metrics": {}}
    conditions = {"all": {"likelihood": figures(0.9), "generation": cell}, "blind": {"generation": empty}}
    told = part(0, conditions=conditions, first="generation", chance=None, majority={"answer": "no", "value": 0.4})
    table = paper_table(read_results([write(tmp_path, "a", {"x": told})]), conditions=("blind", "text"))
    assert [(line.name, line.cells[0].text) for line in table.lines] == [("a", "0.500"), ("majority", "0.400")]
    assert table.notes == ("a, x: 2 items failed and are not counted",)


def test_files_that_cannot_be_compared_are_refused(tmp_path, three):
    other = write(tmp_path, "d", {"emotion": part(0.5, n=99)})
    with pytest.raises(DatasetError, match=r"100 items by accuracy .* 99 by accuracy"):
        paper_table(read_results([three[0], other]))
    same = {"emotion": part(0.5)}
    rows = [write(tmp_path, f"r{n}", same, rows={"emotion": mark}) for n, mark in enumerate(("abc", "abd", "abc"))]
    with pytest.raises(DatasetError, match=r"emotion has other rows in .*r0.* than in .*r1"):
        paper_table(read_results(rows))
    assert len(paper_table(read_results([rows[0], rows[2], write(tmp_path, "old", same)])).lines) == 3
    with pytest.raises(DatasetError, match="nan"):
        paper_table(read_results([write(tmp_path, "e", {"x": part(float("nan"))})]))
    with pytest.raises(DatasetError, match="two systems are called 'a'"):
        read_results([three[0], three[0]])
    assert [m.name for m in read_results([three[0], f"mine={three[0]}"])] == ["a", "mine"]
    for content, match in (("[]", "has no parts"), ("{", "cannot read"), ('{"parts": {"x": 3}}', "has no parts")):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(DatasetError, match=match):
            read_results([str(tmp_path)])
    with pytest.raises(DatasetError, match="cannot read"):
        read_results([str(tmp_path / "nowhere.json")])


def test_of_errors_less_is_better(tmp_path):
    """What rows tell beside their score, as the suites write it."""
    told = {n: {"all": {"generation": figures(0.5, mean_time_error_s=e, mean_token_f1=e)}} for n, e in (("a", 1.0), ("b", 2.0))}
    two = [write(tmp_path, n, {"when": part(0.5, "within_tolerance", conditions=c)}) for n, c in told.items()]
    table = paper_table(read_results(two), columns=["when:mean_time_error_s", "when:mean_token_f1"], percent=True)
    assert [c.higher for c in table.columns] == [False, True] and table.lines[1].cells[0].text == "2.000"
    assert marks(table, 0) == {"a": "best", "b": "second"} and marks(table, 1) == {"a": "second", "b": "best"}


def test_markdown(three):
    text = written(paper_table(read_results(three)), "markdown")
    assert text.splitlines()[0] == r"| system | emotion: accuracy ↑ | error: mse ↓ |"
    assert r"| b | **0.800** \[0.700, 0.900\] | **0.400** \[0.300, 0.500\] |" in text
    assert r"| a | <u>0.700</u> \[0.600, 0.800\] | 0.500 \[0.400, 0.600\] |" in text and r"c\_1" in text
    assert "| chance | 0.200 | – |" in text and "- emotion n = 100, error n = 100" in text


def test_latex_is_escaped_and_has_its_rules(tmp_path, three):
    evil = write(tmp_path, "50% $x_1$ & \\input{y} #^~", {"emotion": part(-0.2), "error": part(0.1, "mse", "lower")}, suite="small_&")
    text = written(paper_table(read_results([*three, evil])), "latex")
    assert r"50\% \$x\_1\$ \& \textbackslash{}input\{y\} \#\textasciicircum{}\textasciitilde{} & $-$0.200" in text
    assert r"\textbf{0.800} {\scriptsize[0.700, 0.900]}" in text and r"\underline{0.700}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert r"emotion: accuracy $\uparrow$ & error: mse $\downarrow$ \\" in text and r"\caption{small, small\_\&. emotion n = 100" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(line.replace(r"\&", "").count("&") == 2 for line in body)
    named = written(paper_table(read_results([f"[2pt] ours={three[0]}", f"*={three[1]}"])), "latex")
    assert "\n{[}2pt{]} ours &" in named and "\n{*} &" in named  # behind the end of a row these would be its options
    with pytest.raises(ConfigError, match="latex"):
        written(paper_table(read_results(three)), "latx")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=2, max_size=3, unique=True), st.text(min_size=1, max_size=8))
def test_no_name_of_a_system_or_a_part_breaks_a_row(names, named):
    systems = [Measured(name=n, path=Path("r.json"), suite=named, parts={named: part(0.5), "y": part(0.4)}) for n in names]
    table = paper_table(systems, mark=False)
    rows = [line for line in written(table, "markdown").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(table.lines) and {len(re.findall(r"(?<!\\)\|", row.replace("\\\\", ""))) for row in rows} == {4}
    tex = written(table, "latex")
    bare = re.sub(r"\\[{}&%$#_]", "", tex)
    assert bare.count("{") == bare.count("}") and not re.search(r"(?<!\\)[#^~_<>]", bare.replace(r"\label", ""))
    body = tex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(table.lines) and all(re.sub(r"\\&", "", line).count("&") == 2 for line in body)


def test_the_command(tmp_path, three):
    done = CliRunner().invoke(app, ["table", *three, "--columns", "emotion", "--percent", "--conditions", "none", "--no-intervals"])
    assert done.exit_code == 0 and "| b | **80.0** |" in done.output and "blind" not in done.output
    done = CliRunner().invoke(app, ["table", *three, "--format", "latex", "--best", "none", "-o", str(tmp_path / "papers" / "t.tex")])
    told = (tmp_path / "papers" / "t.tex").read_text()
    assert done.exit_code == 0 and told.endswith("\\end{table}\n") and "textbf" not in told
    assert isinstance(CliRunner().invoke(app, ["table", *three, "--best", "gold"]).exception, ConfigError)
