"""Temperature against a grid, thresholds against their meaning."""

import numpy as np
import pytest

from tests.toys import chat_model, clip
from unifusion.conversation import Conversation, Media, Message
from unifusion.engine import Engine
from unifusion.errors import ConfigError
from unifusion.evaluation.calibrate import calibrate, fit_scaling, measure_calibration
from unifusion.metrics.risk_coverage import risk_coverage


def rows(temperature, count=3000, labels=5, seed=0):
    """Logits whose targets were drawn at another temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, labels))
    chances = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
    return logits, [int(rng.choice(labels, p=p)) for p in chances]


def records(logits, targets, **more):
    return [
        {"log_probs": dict(zip("abcde", row, strict=True)), "truth": "abcde"[t], **more} for row, t in zip(logits, targets, strict=True)
    ]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_targets_were_drawn_at_is_found(temperature):
    logits, targets = rows(temperature)
    found, biases = fit_scaling(records(logits, targets), deviation=0)
    assert found == pytest.approx(temperature, rel=0.08) and biases == {}

    def loss(t):
        return np.mean(np.logaddexp.reduce(logits / t, axis=1) - (logits / t)[np.arange(len(targets)), targets])

    assert loss(found) <= min(loss(t) for t in np.linspace(0.1, 10, 400)) + 1e-6
    again, biases = fit_scaling(records(logits, targets))
    assert again == pytest.approx(found, rel=0.05) and max(map(abs, biases.values())) < 0.15


def test_biases_that_targets_were_drawn_with_are_found_and_few_rows_hardly_move_them():
    logits, targets = rows(2.0, count=4000)
    shifted = logits - 2.0 * np.array([1.0, -0.5, 0.0, 0.0, -0.5])
    temperature, biases = fit_scaling(records(shifted, targets))
    assert temperature == pytest.approx(2.0, rel=0.1)
    assert [biases[k] for k in "abcde"] == pytest.approx([1.0, -0.5, 0.0, 0.0, -0.5], abs=0.15)
    _, few = fit_scaling(records(shifted[:12], targets[:12]))
    assert 0 < max(map(abs, few.values())) < 0.3


def test_sets_count_alike_and_may_lack_labels():
    first, second = rows(1.0, count=1000), rows(1.0, count=100, seed=1)
    large = records(first[0] - np.array([1.0, 0.0, 0.0, 0.0, 0.0]), first[1], probe="large")
    kept = [r for r in records(*second) if r["truth"] != "e"]
    small = [{**r, "log_probs": {k: v for k, v in r["log_probs"].items() if k != "e"}} for r in kept]
    as_one, as_two = (fit_scaling([*large, *({**r, "probe": name} for r in small)])[1]["a"] for name in ("large", "small"))
    assert as_two < as_one - 0.15  # the small set knows nothing of a bias, and half of what is said is its own


def test_calibration_lowers_the_error_and_keeps_the_answers():
    fitted = calibrate(records(*rows(2.5, count=800)))
    logits, targets = rows(2.5, count=800, seed=1)
    told = measure_calibration(records(logits, targets), **fitted)
    assert told["ece_after"] < 0.06 < told["ece_before"] and told["coverage"] == pytest.approx(0.8, abs=0.05)
    scaled = logits / fitted["temperature"] + np.array([fitted["biases"][k] for k in "abcde"])
    right = scaled.argmax(1) == np.array(targets)
    assert told["risk"] < told["risk_of_all"] == pytest.approx(1 - right.mean())
    assert told["risk_before"] == pytest.approx(np.mean(logits.argmax(1) != np.array(targets)))
    assert told["risk_coverage"]["risk"][-1] == pytest.approx(1 - right.mean())
    own = measure_calibration(records(*rows(2.5, count=800)), 1.0, 0.0)
    assert own["coverage"] == 1.0 and own["ece_before"] == own["ece_after"] == pytest.approx(told["ece_before"], abs=0.05)


def test_risk_coverage_by_hand():
    curve = risk_coverage([0.9, 0.5, 0.5, 0.2], [True, False, True, False])
    assert curve == {"threshold": [0.9, 0.5, 0.2], "coverage": [0.25, 0.75, 1.0], "risk": [0.0, pytest.approx(1 / 3), 0.5]}


@pytest.mark.parametrize("call", [lambda: fit_scaling([]), lambda: risk_coverage([], []), lambda: risk_coverage([0.5], [True, False])])
def test_nothing_to_fit_is_an_error(call):
    with pytest.raises(ConfigError):
        call()


def test_a_checkpoints_temperature_and_biases_scale_its_tasks_scores():
    engine = Engine(*chat_model())
    talk = Conversation(messages=(Message(role="user", parts=(Media(kind="video", source=clip()), "how?")),))
    (plain,) = engine.score_labels([talk], [("happy", "sad")], task="emotion")
    engine.model.config.calibration = {"emotion": {"temperature": 4.0, "threshold": 0.9}}
    (scaled,) = engine.score_labels([talk], [("happy", "sad")], task="emotion")
    (other,) = engine.score_labels([talk], [("happy", "sad")], task="sound")
    assert other == plain and plain.sure and scaled.best == plain.best and scaled.log_probs == plain.log_probs
    engine.model.config.calibration = {"emotion": {"temperature": 1.0, "biases": {"sad": 100.0, "bored": -100.0}, "threshold": 0.0}}
    (biased,) = engine.score_labels([talk], [("happy", "sad")], task="emotion")
    assert biased.best == "sad" and biased.probabilities[1] > 0.99 and biased.log_probs == plain.log_probs
    ratio = [np.log(s.probabilities[0] / s.probabilities[1]) for s in (plain, scaled)]
    assert ratio[0] == pytest.approx(4 * ratio[1], rel=1e-6) and scaled.sure == (max(scaled.probabilities) >= 0.9)
