"""Our metrics as modules of Hugging Face's `evaluate`, loaded from their folders without network."""

from __future__ import annotations

import socket
import sys

import numpy as np
import pytest

from unifusion import catalog, share
from unifusion.errors import ConfigError
from unifusion.evaluation import modules
from unifusion.evaluation.modules import MODULES
from unifusion.metrics.cider_d import cider_d
from unifusion.metrics.weighted_f1 import weighted_f1

FOLDER = share.folder("eval") / "metrics"
NO_MODULE = {
    "bootstrap", "paired_bootstrap", "paired_permutation", "ranking_chance", "retrieval_figures", "risk_coverage", "time_error",
    "zero_shot_accuracy",
}  # fmt: skip
"""Statistics over figures, and metrics of other shapes than predictions with references."""


def test_every_metric_has_a_module_or_a_reason():
    assert set(MODULES) | NO_MODULE == set(catalog.names("metrics")) and not set(MODULES) & NO_MODULE


def test_every_module_has_its_folder_and_all_files_are_alike():
    assert {p.name for p in FOLDER.iterdir() if p.is_dir() and not p.name.startswith("_")} == set(MODULES)
    assert len({(FOLDER / name / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}) == 1


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_takes_is_declared(name):
    pytest.importorskip("datasets")
    told = modules.information(f"evaluate_modules.metrics.{name}.hash.{name}")
    first = told["features"][0] if isinstance(told["features"], list) else told["features"]
    assert {"predictions", "references"} <= set(first) and told["description"] and told["citation"]


def test_they_can_be_copied_out(tmp_path):
    from unifusion.cli import main

    assert main(["copy", "eval/metrics", str(tmp_path)]) == 0
    assert (tmp_path / "metrics" / "cider_d" / "cider_d.py").is_file()


def test_a_metric_without_a_module_is_answered():
    with pytest.raises(ConfigError, match="did you mean 'rouge_l'"):
        modules.compute("rouge_m", {})


CALLS = {
    "accuracy": ({"predictions": ["a", "", "b"], "references": ["a", "a", "b"]}, 2 / 3),
    "accuracy_by_type": ({"predictions": [1, 2], "references": [1, 1], "types": ["x", "y"]}, 0.5),
    "bleu": ({"predictions": ["a b c d"], "references": [["a b c d", "x"]]}, 100.0),
    "brier": ({"predictions": [[0.5, 0.5]], "references": [0]}, 0.5),
    "ccc": ({"predictions": [1.0, 2.0], "references": [1.0, 2.0]}, 1.0),
    "chrf": ({"predictions": ["a dog"], "references": ["a dog"]}, 100.0),
    "cider_d": ({"predictions": ["a dog", "rain"], "references": [["a dog barks"], ["it rains", "rain"]]}, None),
    "classwise_ece": ({"predictions": [[1.0, 0.0]], "references": [1]}, 1.0),
    "confusion_matrix": ({"predictions": ["a", "x"], "references": ["a", "b"], "labels": ["a", "b"]}, [[1, 0, 0], [0, 0, 1]]),
    "ece": ({"predictions": [[1.0, 0.0]], "references": [1]}, 1.0),
    "emotion_wheel_f": ({"predictions": [["angry"], []], "references": [["furious"], ["happy"]]}, 0.5),
    "exact_match": ({"predictions": ["The dog.", "two"], "references": ["dog", "3"]}, 0.5),
    "hit_rate": ({"predictions": [["furious", "sad"]], "references": ["angry"]}, 1.0),
    "macro_f1": ({"predictions": ["", "b"], "references": ["a", "b"]}, 0.5),
    "macro_recall": ({"predictions": ["", "b"], "references": ["a", "b"]}, 0.5),
    "map_at_k": ({"predictions": [[0.2, 0.1]], "references": [[False, True]], "k": 16}, 0.5),
    "mean_rank": ({"predictions": [[0.2, 0.1]], "references": [[False, True]]}, 2.0),
    "mean_reciprocal_rank": ({"predictions": [[0.2, 0.1]], "references": [[False, True]]}, 0.5),
    "median_rank": ({"predictions": [[0.2, 0.1]], "references": [[False, True]]}, 2.0),
    "mse": ({"predictions": [1.0], "references": [3.0]}, 4.0),
    "ndcg_at_k": ({"predictions": [[0.2, 0.1]], "references": [[True, False]], "k": 1}, 1.0),
    "penalised_hit_rate": ({"predictions": [["furious", "happy"]], "references": ["angry"]}, 0.5),
    "per_class": ({"predictions": ["a"], "references": ["a"]}, {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}),
    "recall_at_iou": ({"predictions": [[0.0, 2.0], None], "references": [[0.0, 2.0], [0.0, 1.0]], "iou": 0.7}, 0.5),
    "recall_at_k": ({"predictions": [[0.2, 0.1]], "references": [[False, True]], "k": 1}, 0.0),
    "rouge": ({"predictions": ["a dog"], "references": [["a dog", "x"]], "types": ["rougeL"]}, 1.0),
    "rouge_l": ({"predictions": ["a dog", "x"], "references": ["a dog", "y"]}, 0.5),
    "sentiment_waf": ({"predictions": [1.0, 0.0], "references": [2.0, -1.0]}, 1.0),
    "temporal_iou": ({"predictions": [[0.0, 1.0]], "references": [[0.0, 2.0]]}, 0.5),
    "token_f1": ({"predictions": ["dog"], "references": [["dog", "cat"]]}, 1.0),
    "vqa_accuracy": ({"predictions": ["red"], "references": [["red", "red", "blue", "blue"]]}, 0.5),
    "weighted_f1": ({"predictions": ["a", "b"], "references": ["a", "a"]}, 2 / 3),
}
"""Inputs and the value under the metric's own name; of rouge and per_class under the kind and the class."""


def value_of(name, result):
    """What CALLS says of it."""
    return result["cider_d"] if name == "cider_d" else result[{"rouge": "rougeL", "per_class": "a"}.get(name, name)]


def test_every_module_is_called_below():
    assert set(CALLS) == set(MODULES)


@pytest.mark.parametrize("name", CALLS)
def test_a_module_computes_its_metric(name):
    inputs, wanted = CALLS[name]
    found = value_of(name, modules.compute(name, inputs))
    assert found == (wanted if isinstance(wanted, list | dict) else pytest.approx(found if wanted is None else wanted))


def test_published_wheels_are_named_by_their_folder(monkeypatch):
    from unifusion.evaluation import open_emotion
    from unifusion.metrics._wheels import Vocabulary

    asked = []
    monkeypatch.setattr(open_emotion, "read_wheels", lambda d: asked.append(d) or Vocabulary({"z": ("z",)}, {"w": {"z": "Z"}}))
    found = modules.compute("hit_rate", {"predictions": [["z"]], "references": ["z"], "wheels": "/some/dir"})
    assert asked == ["/some/dir"] and found["hit_rate"] == 1.0 and found["wheels"] == {"w": 1.0}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """All modules through the library, which may reach nothing but a cache of its own."""
    evaluate = pytest.importorskip("evaluate", reason="pip install 'unifusion-x[eval]'")
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a module reached for the network"))
        patch.setattr("evaluate.config.HF_MODULES_CACHE", home)
        patch.setattr(sys, "path", [str(home), *sys.path])  # before the cache that another test may have loaded from
        for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
            patch.delitem(sys.modules, name)
        yield {name: evaluate.load(str(FOLDER / name), cache_dir=str(home)) for name in CALLS}
        for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
            del sys.modules[name]


@pytest.mark.parametrize("name", CALLS)
def test_it_loads_from_its_path_and_computes_the_same(loaded, name):
    inputs, _ = CALLS[name]
    assert value_of(name, loaded[name].compute(**inputs)) == value_of(name, modules.compute(name, inputs))


def test_rows_may_come_one_by_one_and_modules_together(loaded):
    evaluate = pytest.importorskip("evaluate")
    one = loaded["cider_d"]
    one.add(prediction="a dog", reference=["a dog barks"])
    one.add_batch(predictions=["rain"], references=[["it rains", "rain"]])
    assert one.compute()["each"] == pytest.approx(cider_d(["a dog", "rain"], [["a dog barks"], ["it rains", "rain"]]).each)
    both = evaluate.combine([loaded["accuracy"], loaded["weighted_f1"]])
    said, true = ["a", "b", "b"], ["a", "a", "b"]
    assert both.compute(predictions=said, references=true) == {"accuracy": pytest.approx(2 / 3), "weighted_f1": weighted_f1(said, true)}


def test_signatures_come_with_the_score(loaded):
    found = loaded["bleu"].compute(predictions=["a b c d"], references=["a b c d"], max_order=1)
    assert found["bleu"] == pytest.approx(100.0) and "tok:13a" in found["signature"] and np.isfinite(found["bleu"])
