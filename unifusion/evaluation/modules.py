"""Our metrics as modules of Hugging Face's `evaluate`: what a module takes, and how it is computed.

The folders `eval/metrics/<name>` hold one small file each, all alike, that asks here what the metric of its name needs. They load without
network: `evaluate.load(str(share.folder("eval") / "metrics" / "cider_d"))`, or from where `unifusion copy eval/metrics DIR` put them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from unifusion import catalog
from unifusion.errors import ConfigError, nearest

__all__ = ["MODULES", "compute", "information"]

Columns = Sequence[Mapping[str, Any]]

_LABELS: Columns = [{"predictions": "string", "references": "string"}, {"predictions": "int64", "references": "int64"}]
_TEXTS: Columns = [{"predictions": "string", "references": ["string"]}, {"predictions": "string", "references": "string"}]
_NUMBERS: Columns = [{"predictions": "float64", "references": "float64"}]
_SPANS: Columns = [{"predictions": ["float64"], "references": ["float64"]}]
_PROBABILITIES: Columns = [{"predictions": ["float64"], "references": "int64"}]
_RANKINGS: Columns = [{"predictions": ["float64"], "references": ["bool"]}]
_WORDS: Columns = [{"predictions": ["string"], "references": ["string"]}]
_WORDS_OF_LABEL: Columns = [{"predictions": ["string"], "references": "string"}]
_TYPED: Columns = [{**columns, "types": "string"} for columns in _LABELS]

MODULES: Mapping[str, tuple[str, Columns]] = {
    **{name: ("labels", _LABELS) for name in ("accuracy", "confusion_matrix", "macro_f1", "macro_recall", "per_class", "weighted_f1")},
    "accuracy_by_type": ("labels", _TYPED),
    **{name: ("set", _TEXTS) for name in ("bleu", "chrf", "cider_d", "rouge", "vqa_accuracy")},
    **{name: ("each", _TEXTS) for name in ("exact_match", "rouge_l", "token_f1")},
    **{name: ("set", _NUMBERS) for name in ("ccc", "mse", "sentiment_waf")},
    "temporal_iou": ("each", _SPANS),
    "recall_at_iou": ("set", _SPANS),
    **{name: ("arrays", _PROBABILITIES) for name in ("brier", "classwise_ece", "ece")},
    **{
        name: ("arrays", _RANKINGS)
        for name in ("map_at_k", "mean_rank", "mean_reciprocal_rank", "median_rank", "ndcg_at_k", "recall_at_k")
    },
    "emotion_wheel_f": ("wheels", _WORDS),
    **{name: ("wheels", _WORDS_OF_LABEL) for name in ("hit_rate", "penalised_hit_rate")},
}
"""Name -> how it is called, and the columns it takes, one set of them or another.

labels: "" is an unparsed prediction; set: all rows at once; each: row by row, the mean is told; arrays: scores or probabilities (N, V) as
predictions; wheels: words, and `wheels=DIR` names the published files.
"""


def information(module: str) -> dict[str, Any]:
    """What `evaluate.MetricInfo` wants: description, citation, columns.

    Args:
        module: dotted name of the module that asks; its last part is the metric's name.

    Raises:
        ConfigError: there is no such metric.
    """
    import datasets

    def feature(kind: Any) -> Any:
        """A column."""
        return datasets.Sequence(feature(kind[0])) if isinstance(kind, list) else datasets.Value(kind)

    name, (_, columns) = _entry(module)
    metric = catalog.load("metrics", name)
    features = [datasets.Features({key: feature(kind) for key, kind in one.items()}) for one in columns]
    text = inspect.getdoc(metric) or ""
    return {
        "description": text, "citation": text.partition("\n")[0], "inputs_description": str(inspect.signature(metric)),
        "features": features if len(features) > 1 else features[0],
    }  # fmt: skip


def compute(module: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The metric of some columns.

    Args:
        module: as in `information`.
        inputs: columns, and the metric's own options.

    Returns:
        The value under the metric's name, and what else it tells.

    Raises:
        ConfigError: what the metric refuses.
    """
    name, (how, columns) = _entry(module)
    metric: Callable[..., Any] = catalog.load("metrics", name)
    taken = [inputs[key] for key in columns[0]]
    options = {key: value for key, value in inputs.items() if key not in columns[0]}
    if how == "each":
        said, true = taken
        values = [metric(a, b, **options) for a, b in zip(said, true, strict=True)]
        return {name: float(np.mean(values))}
    if how == "labels":
        taken[0] = [None if value == "" else value for value in taken[0]]
    elif how == "arrays":
        taken = [np.asarray(column) for column in taken]
    elif "wheels" in options:
        from unifusion.evaluation.open_emotion import read_wheels

        options["vocabulary"] = read_wheels(options.pop("wheels"))
    return _told(name, metric(*taken, **options))


def _entry(module: str) -> tuple[str, tuple[str, Columns]]:
    """A metric's name and its line of the table."""
    name = module.rpartition(".")[2]
    if name not in MODULES:
        raise ConfigError(f"no module of evaluate for a metric {name!r};", remedy=nearest(name, list(MODULES)))
    return name, MODULES[name]


def _told(name: str, result: Any) -> dict[str, Any]:
    """A result as `evaluate` has it: plain data by name, the value first."""
    if is_dataclass(result) and not isinstance(result, type):
        told = asdict(result)
        return {name: told.pop("value"), **told}
    if isinstance(result, Mapping):
        return dict(result)
    return {name: result.tolist() if isinstance(result, np.ndarray) else result}
