"""The house keeps its budgets: length of files and functions, types, docstrings, shapes, no assert or bare except in the library."""

import ast
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "unifusion").rglob("*.py"))
CODE = LIBRARY + [p for folder in ("demo", "train", "eval") for p in sorted((ROOT / folder).rglob("*.py"))]
SHAPE = re.compile(r"\b\w*_?[A-Z]{2,5}\b|\([A-Z](, ?[A-Za-z0-9*/+ ]+)+\)|\[[A-Z](, ?[A-Za-z0-9*/+ ]+)+\]")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def trees():
    return {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in CODE}


def functions(trees):
    nodes = [(name, node) for name, tree in trees.items() for node in ast.walk(tree) if isinstance(node, FUNCTION)]
    return [(f"{name}:{node.lineno} {node.name}", node) for name, node in nodes]


def body_lines(node):
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def untyped(node):
    spec = node.args
    named = [a for a in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs] if a.arg not in ("self", "cls")]
    named += [a for a in (spec.vararg, spec.kwarg) if a]
    return any(a.annotation is None for a in named) or (node.returns is None and node.name != "__init__")


def share(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def test_files_are_short(trees):
    lengths = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8").count("\n") for p in CODE}
    assert {name: n for name, n in lengths.items() if n > 450} == {}
    assert median(lengths.values()) <= 120
    assert share(lengths.values(), 0.95) <= 300


def test_functions_are_short(trees):
    sizes = {where: body_lines(node) for where, node in functions(trees)}
    assert {where: n for where, n in sizes.items() if n > 80} == {}
    assert median(sizes.values()) <= 10
    assert share(sizes.values(), 0.95) <= 40


def test_everything_is_typed(trees):
    assert [where for where, node in functions(trees) if untyped(node)] == []


def test_everything_public_says_what_it_is(trees):
    missing = [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    for name, tree in trees.items():
        for node in ast.walk(tree):
            named = isinstance(node, FUNCTION | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node) and (isinstance(node, ast.ClassDef) or body_lines(node) > 2):
                missing.append(f"{name}:{node.lineno} {node.name}")
    assert missing == []


def test_forward_states_shapes(trees):
    bare = []
    for path in CODE:
        text = path.read_text(encoding="utf-8")
        for where, node in functions({path.name: ast.parse(text)}):
            if node.name == "forward" and not SHAPE.search(ast.get_source_segment(text, node)):
                bare.append(where)
    assert bare == []


def test_constructors_take_at_most_eight(trees):
    wide = [w for w, n in functions(trees) if n.name == "__init__" and len([*n.args.args, *n.args.kwonlyargs]) - 1 > 8]
    assert wide == []


def test_no_bare_except_and_no_assert_in_the_library(trees):
    bad = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                bad.append(f"{name}:{node.lineno} bare except")
            if isinstance(node, ast.Assert) and name.startswith("unifusion/"):
                bad.append(f"{name}:{node.lineno} assert: a check is a raise, since -O removes asserts")
    assert bad == []


def test_there_are_enough_tests():
    library = sum(p.read_text(encoding="utf-8").count("\n") for p in LIBRARY)
    tests = sum(p.read_text(encoding="utf-8").count("\n") for p in (ROOT / "tests").rglob("*.py"))
    assert tests >= 0.6 * library, f"{tests} lines of tests for {library} of library"
