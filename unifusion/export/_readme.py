"""The README.md of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.models.aligner import CLIP

__all__ = ["readme"]

_ONNX = """```python
import json

import numpy as np
import onnxruntime

told = json.load(open("export.json"))
for name, graph in told["graphs"].items():
    given = dict(np.load(graph["example"]))
    wanted = given.pop("vector")
    session = onnxruntime.InferenceSession(graph["file"], providers=["CPUExecutionProvider"])
    vector = session.run(["vector"], given)[0]
    print(name, vector.shape, bool(np.abs(vector - wanted).max() < 1e-4))
```
"""
_PT2 = """```python
import json

import numpy as np
import torch

told = json.load(open("export.json"))
for name, graph in told["graphs"].items():
    given = dict(np.load(graph["example"]))
    wanted = given.pop("vector")
    run = torch.export.load(graph["file"]).module(check_guards=False)
    vector = run({k: torch.from_numpy(v) for k, v in given.items()}).detach().numpy()
    print(name, vector.shape, bool(np.abs(vector - wanted).max() < 1e-4))
```

`torch.export.load` unpickles and evaluates what a file asks it to. These files ask for nothing of the kind; open those of others by
`unifusion.export.load_pt2`, which refuses what does.
"""


def readme(told: Mapping[str, Any]) -> str:
    """Write it from what export.json says."""
    rows = [
        f"| `{g['file']}` | {', '.join(g['streams'])} | {g['space']} | {g['bytes'] / 1e6:.1f} MB{_int8(g)} | {g['parity']['max_abs']:.0e} |"
        for g in told["graphs"].values()
    ]
    inputs = [
        f"| `{g['file']}` | `{i['name']}` | {i['dtype']} | {', '.join(map(str, i['shape']))} |"
        for g in told["graphs"].values()
        for i in g["inputs"]
    ]
    return "\n".join(
        [
            f"# {told['model']}, exported\n",
            f"Graphs of an embedding model: prepared inputs in, vectors of length one out (width {told['width']}, float32).\n",
            "| file | streams | space | size | farthest from PyTorch |", "|---|---|---|---|---|", *rows, "",
            "Run each on the example beside it:\n", _ONNX if told["format"] == "onnx" else _PT2,
            "## What goes in\n", "| file | input | type | shape |", "|---|---|---|---|", *inputs, "",
            "A clip is one row, cut into chunks as the encoder's `preprocess` of UniFusion-X cuts it:",
            f"`unifusion.export.prepare(folder, Embedder.load({told['model']!r}), media)` gives these arrays. `times` are the",
            "seconds of the tokens of each chunk, `mask` says which are real; a clip of fewer chunks than others of its batch, or",
            "without the stream, is filled up with zeros and False. A row without anything real gives zeros. Where there is an axis",
            "`tokens`, padding may be cut off, down to 2.\n",
            _clip(told),
            f"Cosines are products of vectors. The learned scale, {told['scale']:.4g}, is not in them.",
            f"Key of the model: `{told['key']}`.\n",
        ]
    )  # fmt: skip


def _int8(graph: Mapping[str, Any]) -> str:
    """The size of an int8 file."""
    return f", int8 {graph['int8']['bytes'] / 1e6:.1f} MB" if "int8" in graph else ""


def _clip(told: Mapping[str, Any]) -> str:
    """How the vector of a whole clip is made."""
    spaces = list(told[CLIP])
    if len(spaces) < 2:
        return ""
    return f"The vector of a whole clip is the sum of {' and '.join(spaces)}, divided by its length.\n"
