"""Two processes train as one does: the same losses, gradients and weights, whatever streams their rows have, by every strategy."""

import importlib.util
import json

import pytest
import torch

from tests.thorough import further
from tests.training import forks
from unifusion.errors import ConfigError
from unifusion.training.strategy import STRATEGIES, deepspeed_config

SHARDED = [s for s in STRATEGIES if s.startswith("zero")]


def trained(folder, processes=1, **options):
    """Run the script; returns its log, its weights and gradients."""
    code, said = forks.run("tests.training.ranks", str(folder), options, processes=processes)
    assert code == 0, said[-3000:]
    assert json.loads((folder / "told.json").read_text())["world_size"] == processes
    steps = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    kept = torch.load(folder / "kept.pt", weights_only=True)
    return {r["step"]: r for r in steps if "loss" in r}, kept["weights"], kept["gradients"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process gives, by the parts that are trained and the number of steps."""
    made = {}

    def of(part, steps):
        if (part, steps) not in made:
            made[part, steps] = trained(tmp_path_factory.mktemp("alone") / part, part=part, steps=steps)
        return made[part, steps]

    return of


def equal(one, two, **tolerance):
    assert set(one) == set(two)
    for name in one:
        torch.testing.assert_close(two[name], one[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "part"), [("ddp", "adapters"), ("ddp", "all"), ("fsdp2", "adapters")])
def test_two_processes_train_as_one(tmp_path, alone, strategy, part):
    check(tmp_path, alone, strategy, part)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "part"),
    [*((s, "adapters") if s in ("zero2", "zero3") else further(s, "adapters") for s in SHARDED), ("zero3", "all")],
)
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs the extra deepspeed")
def test_deepspeed_trains_as_one_process_does(tmp_path, alone, strategy, part):
    check(tmp_path, alone, strategy, part)


def check(folder, alone, strategy, part):
    steps = 100 if strategy in ("ddp", "fsdp2", "zero2", "zero3") and part == "adapters" else 15
    log, weights, gradients = alone(part, steps)
    own_log, own_weights, own_gradients = trained(folder, 2, strategy=strategy, part=part, steps=steps)
    assert len(log) == len(own_log) == steps
    for step, record in log.items():
        assert own_log[step]["loss"] == pytest.approx(record["loss"], rel=1e-5, abs=1e-6), f"step {step}"
        assert own_log[step]["learning_rate"] == record["learning_rate"]
        assert set(own_log[step]["rows"]) < set(record["rows"])
    equal(gradients, own_gradients, rtol=1e-5, atol=1e-7)
    equal(weights, own_weights, rtol=1e-3, atol=1e-4)
    assert log[steps]["loss"] < 0.95 * log[1]["loss"]


def test_a_strategy_is_a_name_or_a_file(tmp_path):
    assert deepspeed_config("ddp") is None and deepspeed_config("fsdp2") is None
    assert {deepspeed_config(s).name for s in SHARDED} == {f"{s}.json" for s in SHARDED}
    with pytest.raises(ConfigError, match="no strategy 'zero4'; did you mean 'zero"):
        deepspeed_config("zero4")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(ConfigError, match="says nothing of zero_optimization"):
        deepspeed_config(str(tmp_path / "mine.json"))
    with pytest.raises(ConfigError, match="cannot read the DeepSpeed configuration"):
        deepspeed_config(str(tmp_path / "none.json"))
