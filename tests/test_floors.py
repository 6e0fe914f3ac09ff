"""A module imports only from floors below its own; siblings of a floor meet only in their contract file; there are no import cycles."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "unifusion"
FLOORS = (
    ("conversation", "batch", "catalog", "share", "atomic", "quarantine", "rows", "limits", "errors", "wire"),
    ("cav_mae", "media", "prompts", "layers", "losses", "metrics", "world"),
    ("encoders", "adapters", "datasets", "tasks", "processor", "words"),
    ("models", "features", "checkpoint"),
    ("training", "engine", "instructing"),
    ("evaluation", "curation", "retrieval", "hub", "export", "integrations"),
    ("cli", "server"),
    ("__main__", "_auto"),
)
CONTRACTS = {"encoders": "encoder", "adapters": "adapter", "datasets": "dataset", "tasks": "task"}
# Sideways arrows inside a floor that are meant: floor 0 is the ground all stand on; a model is built, saved and loaded together
# (checkpoint <-> models, the latter's from inside functions), and features are those of a checkpoint's encoders; the command line
# starts the server; other projects' interfaces are interfaces of the library, too; what is found in data is drawn and told as figures are.
SIDEWAYS = {
    ("checkpoint", "models"), ("models", "checkpoint"), ("models", "features"), ("cli", "server"), ("features", "models"),
    ("features", "checkpoint"), ("integrations", "retrieval"),
    ("curation", "evaluation"),
}  # fmt: skip


def modules():
    """Every module of the package by its dotted name below `unifusion`, with its syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = (ast.parse(path.read_text(encoding="utf-8"), str(path)), parts[-1] == "__init__")
    return found


def type_checking_nodes(tree):
    """All nodes under `if TYPE_CHECKING`: they are never executed."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")]
    return {id(n) for block in blocks for statement in block.body for n in ast.walk(statement)}


def imports(tree, name, is_package, known, *, deferred=True, typing=True):
    """Dotted names below `unifusion` that a module imports; a name imported from a package counts as that package's module if it is one."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    skipped = (set() if deferred else inside) | (set() if typing else type_checking_nodes(tree))
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("unifusion.") for a in node.names if a.name.startswith("unifusion.")}
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + base
            elif base[:1] == ["unifusion"]:
                base = base[1:]
            else:
                continue
            for alias in node.names:
                deeper = ".".join([*base, alias.name])
                found.add(deeper if deeper in known else ".".join(base))
    return found - {""}


def floor_of(name):
    """The floor of a module, by the first part of its name."""
    return next((i for i, areas in enumerate(FLOORS) if name.split(".")[0] in areas), None)


def violations(known):
    """Arrows that the design forbids, as readable lines."""
    bad = []
    for name, (tree, is_package) in known.items():
        if not name:
            continue
        area, own = name.split(".")[0], floor_of(name)
        for target in sorted(imports(tree, name, is_package, known)):
            other, there = target.split(".")[0], floor_of(target)
            if there is None or own is None:
                continue
            if there > own:
                bad.append(f"{name} (F{own}) imports {target} (F{there}): upward")
            elif there == own and other != area and own > 0 and (area, other) not in SIDEWAYS:
                if target != f"{other}.{CONTRACTS.get(other, '')}":
                    bad.append(f"{name} (F{own}) imports {target}: sideways, outside a contract file")
            elif other == area and area in CONTRACTS and is_entry(name, area) and is_entry(target, area):
                bad.append(f"{name} imports its sibling {target}; they may meet in {area}.{CONTRACTS[area]}")
    return bad


def is_entry(name, area):
    """Whether a module is an entry of the catalog: not the contract, not a helper whose name begins with _."""
    parts = name.split(".")
    return len(parts) == 2 and parts[1] != CONTRACTS[area] and not parts[1].startswith("_")


def cycles(graph):
    """Strongly connected groups of more than one module (Tarjan)."""
    index, low, stack, found, on = {}, {}, [], [], set()

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for after in graph.get(node, ()):
            if after not in index:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in on:
                low[node] = min(low[node], index[after])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
                on.discard(group[-1])
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_every_module_is_on_a_floor():
    homeless = [name for name in modules() if name and floor_of(name) is None]
    assert not homeless, f"name a floor for {homeless} in FLOORS and in the architecture"


def test_no_upward_and_no_sideways_arrow():
    assert violations(modules()) == []


def test_no_import_cycle():
    known = modules()
    graph = {
        name: {t for t in imports(tree, name, package, known, deferred=False, typing=False) if t in known and t != name}
        for name, (tree, package) in known.items()
    }
    assert cycles(graph) == []


@pytest.mark.parametrize(
    ("name", "source", "part"),
    [
        ("media.probe", "from unifusion.engine import Engine", "upward"),
        ("encoders.siglip", "def f():\n    import unifusion.models.chat", "upward"),
        ("adapters.mlp", "from unifusion.encoders.whisper import Whisper", "sideways"),
        ("encoders.siglip", "from unifusion.encoders.whisper import Whisper", "sibling"),
        ("encoders.siglip", "from ..cli import main", "upward"),
        ("tasks.caption", "from unifusion.tasks import sound", "sibling"),
    ],
)
def test_the_test_sees_a_forbidden_arrow(name, source, part):
    others = ("engine", "models.chat", "encoders.whisper", "encoders.encoder", "cli", "tasks.sound", "tasks")
    known = {n: (ast.parse(""), False) for n in others}
    known[name] = (ast.parse(source), False)
    assert len(violations(known)) == 1
    assert part in violations(known)[0]


def test_the_test_allows_what_is_meant():
    source = (
        "from unifusion.encoders.encoder import Encoder\nfrom unifusion.media import probe\nfrom unifusion import catalog\n"
        "from unifusion.encoders._vision import Patches\nimport torch"
    )
    known = {n: (ast.parse(""), False) for n in ("encoders.encoder", "media", "catalog", "encoders._vision")}
    known["encoders.siglip"] = (ast.parse(source), False)
    assert violations(known) == []


def test_the_test_sees_a_cycle():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b"}, "b": set()}) == []
