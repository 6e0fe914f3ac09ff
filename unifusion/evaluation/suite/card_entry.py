"""The `model-index` of a model card, from a suite's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["card_entry"]


def card_entry(results: Mapping[str, Any]) -> str:
    """Return YAML for the front matter of a card, as `huggingface_hub` reads it (`ModelCardData`).

    Every figure says by its metric's `name` how it was scored; chance and the blind figure stand beside it under the same data.
    """
    entries = []
    for name, part in results["parts"].items():
        cells = {c: part["conditions"].get(c, {}).get(part["first"]) for c in ("all", "blind")}
        metrics = [
            {"type": part["metric"], "value": cell["value"], "name": f"{part['metric']} ({condition}, {part['first']})"}
            for condition, cell in cells.items()
            if cell is not None and cell["value"] is not None
        ]
        if part["chance"] is not None:
            metrics.append({"type": part["metric"], "value": part["chance"], "name": f"{part['metric']} (chance)"})
        if metrics:
            data = {"name": f"{results['suite']}: {name}", "type": part["dataset"], "split": part["split"]}
            entries.append({"task": {"type": part["task"], "name": part["task"]}, "dataset": data, "metrics": metrics})
    index = {"model-index": [{"name": results["model"]["name"], "results": entries}]}
    text: str = yaml.safe_dump(index, sort_keys=False, allow_unicode=True)
    return text
