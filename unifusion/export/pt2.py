"""`.pt2`: a traced graph as torch.export saves it, and a door that opens such a file without unpickling or evaluating any of it.

`torch.export.load` of torch 2.13 is not safe by itself: it unpickles weights that the archive marks so, tensors of older archives and
example inputs, has sympy evaluate sizes, compiles guards that are Python text, writes names into Python, and calls what the graph names of
`torch`. Files that are written here hold none of these, and `load_pt2` refuses those that do before torch sees them.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unifusion.errors import CheckpointError

__all__ = ["load_pt2", "write_pt2"]

_PARTS = re.compile(
    r"(archive_format|archive_version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment|"
    r"models/model\.json|data/sample_inputs/model\.pt|data/weights/(weight_\d+|model_weights_config\.json)|"
    r"data/constants/(tensor_\d+|model_constants_config\.json))"
)
"""Of the archive; compiled code, files of another age and more models are none of them."""
_ARITHMETIC = r"_operator\.(add|sub|mul|floordiv|mod|neg|getitem|eq|ne|le|lt|ge|gt|and_|or_)|torch\.sym_(max|min|not)"
_TARGETS = re.compile(rf"torch\.ops\.aten\.\w+\.\w+|{_ARITHMETIC}")
_NAME = re.compile(r"[\w.+ -]*")
"""Of tensors, weights and versions; torch writes them into Python that it runs, so that they must be no more than names."""
_TREE = re.compile(r'[\w.\[\]{}":, \\]*')
_WORDS = {"target": _TARGETS, "in_spec": _TREE, "out_spec": _TREE}
_SIZES = {
    "Symbol", "Integer", "Add", "Mul", "Pow", "Min", "Max", "Mod", "FloorDiv", "CeilDiv", "CleanDiv", "PythonMod", "Eq", "Ne",
}  # fmt: skip
"""What sizes are made of; sympy evaluates them, and evaluates anything else too."""
_SYMBOL = re.compile(r"[suz]\d+")


def write_pt2(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a traced graph, without what it was traced with, guards in Python and the names of the machine's files."""
    program.example_inputs = None
    program._guards_code = []
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta = {k: v for k, v in node.meta.items() if k in ("val", "tensor_meta")}
    torch.export.save(program, path)


def load_pt2(path: str | Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Open a `.pt2` that `export_model` wrote: inputs by name to vectors (B, D).

    Of the archive the graph and the shapes of weights (JSON) and the weights (raw bytes) are read; nothing is unpickled or evaluated.

    Raises:
        CheckpointError: it is no such file, or it holds what would be unpickled or evaluated.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _hold(archive)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no .pt2 file: {error};", remedy="export the model again.") from error
    except CheckpointError as error:
        remedy = "export the model again; other programs' files may run code when torch opens them."
        raise CheckpointError(f"{path} {error.found}", remedy=remedy) from error
    module: Any = torch.export.load(str(path)).module(check_guards=False)

    def run(given: Mapping[str, Tensor]) -> Tensor:
        """Vectors of prepared inputs."""
        with torch.no_grad():
            found: Tensor = module(dict(given))
        return found

    return run


def _hold(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that holds more than a graph and raw tensors.

    Raises:
        CheckpointError: says what.
    """
    root = {n.split("/", 1)[0] for n in archive.namelist()}
    names = {n.split("/", 1)[-1]: n for n in archive.namelist()}
    odd = sorted(n for n in names if not _PARTS.fullmatch(n))
    if odd or len(root) != 1 or len(names) != len(archive.namelist()):
        raise CheckpointError(f"holds {odd[0] if odd else 'more than one archive'!r}, which no export has;")
    if archive.getinfo(names["data/sample_inputs/model.pt"]).file_size:
        raise CheckpointError("holds example inputs, which are unpickled;")
    for part in ("weights", "constants"):
        told = json.loads(archive.read(names[f"data/{part}/model_{part}_config.json"]))
        for weight, payload in told["config"].items():
            if payload["use_pickle"] is not False or f"data/{part}/{payload['path_name']}" not in names:
                raise CheckpointError(f"holds {weight!r} as a pickle, or not at all;")
    model = json.loads(archive.read(names["models/model.json"]))
    if model["guards_code"]:
        raise CheckpointError(f"holds Python text, {model['guards_code'][0]!r:.80};")
    for key, value in _strings(model):
        fits = _is_size(value) if key == "expr_str" else _WORDS.get(key, _NAME).fullmatch(value)
        if not fits:
            raise CheckpointError(f"says {value!r:.80} under {key!r}, which torch would call or evaluate;")


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings of nested JSON, keys too, with the keys that they stand under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield "", name
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


def _is_size(text: str) -> bool:
    """Whether an expression is of symbols, whole numbers and the functions of sizes alone."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in _SIZES and not _SYMBOL.fullmatch(node.id):
            return False
        if isinstance(node, ast.Constant) and not (isinstance(node.value, int) or _SYMBOL.fullmatch(str(node.value))):
            return False
        if not isinstance(node, ast.Expression | ast.Call | ast.Name | ast.Load | ast.Constant | ast.keyword | ast.UnaryOp | ast.USub):
            return False
    return True
