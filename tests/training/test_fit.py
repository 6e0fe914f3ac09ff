"""The training loop: it learns, resumes to the same weights, and never lets a weight become anything but a number."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import TrainerCallback

from unifusion.errors import CheckpointError, ConfigError, UniFusionError
from unifusion.training.fit import FitChoices, _factor, _groups, fit, load_trained
from unifusion.training.journal import logged
from unifusion.training.snapshot import newest, read_state


class Line(nn.Module):
    """y = w x, with a frozen part; `bad` makes the loss or only its gradient infinite at some calls."""

    def __init__(self, bad="", at=(3,)):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.frozen = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
        self.bad, self.at, self.calls = bad, at, 0

    def forward(self, x, y):
        self.calls += 1
        loss = ((self.layer(x) - y) ** 2).mean()
        if self.calls in self.at and self.bad == "loss":
            loss = loss * float("inf")
        if self.calls in self.at and self.bad == "gradient":
            loss = loss + (0.0 * self.layer.weight.sum()).sqrt()  # 0, with a gradient of 0 x infinity
        return {"loss": loss}


DATA = [(float(x), 3.0 * x) for x in range(-8, 8)]


def collate(rows):
    x, y = zip(*rows, strict=True)
    return {"x": torch.tensor(x)[:, None], "y": torch.tensor(y)[:, None]}


def choices(**changed):
    return FitChoices(**{"steps": 30, "batch_size": 8, "learning_rate": 0.3, "save_every": 5, "log_every": 1, **changed})


class Stop(TrainerCallback):
    """Ends a run in its middle, as a killed machine does after a checkpoint."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 12:
            raise KeyboardInterrupt


def test_it_learns_and_writes_its_log(tmp_path):
    model = Line()
    frozen = model.frozen.weight.clone()
    result = fit(model, DATA, choices(), tmp_path, collate=collate)
    assert result["steps"] == 30 and float(model.layer.weight.detach()) == pytest.approx(3.0, abs=0.6)
    assert torch.equal(model.frozen.weight, frozen)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"loss"' in line]
    assert len(losses) == 30 and losses[-1] < losses[0]
    assert (tmp_path / "loss.csv").read_text().startswith("step,loss\n1,")


def test_a_run_that_was_cut_ends_with_the_same_weights(tmp_path):
    whole, cut = Line(), Line()
    fit(whole, DATA, choices(), tmp_path / "whole", collate=collate)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, DATA, choices(), tmp_path / "cut", collate=collate, callbacks=[Stop()])
    again = Line()
    fit(again, DATA, choices(), tmp_path / "cut", collate=collate)
    assert again.calls == 20, "it went on from step 10"
    assert torch.equal(whole.layer.weight, again.layer.weight) and torch.equal(whole.layer.bias, again.layer.bias)


def test_a_run_that_came_to_its_end_takes_no_step_more(tmp_path):
    whole, again = Line(), Line()
    first = fit(whole, DATA, choices(), tmp_path, collate=collate)
    second = fit(again, DATA, choices(), tmp_path, collate=collate)
    assert again.calls == 0 and torch.equal(whole.layer.weight, again.layer.weight)
    assert (second["steps"], second["loss"]) == (30, pytest.approx(first["loss"]))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_left_out(tmp_path, bad):
    model, held = Line(bad, at=(3, 4)), []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            held.append(model.layer.weight.item())

    fit(model, DATA, choices(schedule="constant"), tmp_path, collate=collate, callbacks=[Watch()])
    assert held[1] == held[2] == held[3] and len(set(held)) == 28, "steps 3 and 4 change nothing, all others do"
    assert held[-1] == pytest.approx(3.0, abs=0.6)
    told = [r for r in logged(tmp_path) if "skipped" in r]
    assert [r["step"] for r in told] == [2, 3] and all(len(r["rows"]) == 8 for r in told)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_too_many_of_them_stop_the_run_and_leave_the_last_checkpoint_whole(tmp_path, bad):
    with pytest.raises(UniFusionError, match=r"not finite at step 9 \(3 in a row\); no weight was changed \(rows \["):
        fit(Line(bad, at=range(8, 30)), DATA, choices(max_skipped=2), tmp_path, collate=collate)
    last = newest(tmp_path)
    assert last.name == "checkpoint-5"
    again = Line()
    result = fit(again, DATA, choices(), tmp_path, collate=collate)
    whole = Line()
    fit(whole, DATA, choices(), tmp_path / "whole", collate=collate)
    assert result["steps"] == 30 and torch.equal(again.layer.weight, whole.layer.weight)
    assert [r["step"] for r in logged(tmp_path) if "loss" in r] == list(range(1, 31)), "one line a step, whatever was cut off"


def test_rates_and_decays_are_by_part_and_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="begins with 'layers'"):
        fit(Line(), DATA, choices(rates={"layers": 0.1}), tmp_path, collate=collate)
    groups = _groups(Line(), choices(rates={"layer": 0.1, "layer.bias": 0.2}, decays={"layer": 0.3}))
    assert groups == [
        {"params": ["layer.weight"], "lr": 0.1, "weight_decay": 0.3}, {"params": ["layer.bias"], "lr": 0.2, "weight_decay": 0.0}
    ]  # fmt: skip
    save_file({"other": torch.zeros(1)}, tmp_path / "trained.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \['layer.bias', 'layer.weight'\], unknown or of another shape \['other'\]"):
        load_trained(Line(), tmp_path)
    said_of = {"schedule": ("cosin", "did you mean 'cosine'"), "on_bad_media": ("ignore", "known: skip, stop"), "steps": (0, "take 1")}
    for wrong, said in (({key: value}, said) for key, (value, said) in said_of.items()):
        with pytest.raises(ConfigError, match=said):
            fit(Line(), DATA, choices(**wrong), tmp_path, collate=collate)


@pytest.mark.parametrize(("schedule", "first", "top", "last"), [
    ("cosine", 0.1, 1.0, 0.02), ("linear", 0.1, 1.0, 1 / 90), ("constant", 0.1, 1.0, 1.0), ("one_cycle", 0.04, 1.0, 4e-6)
])  # fmt: skip
def test_schedules(schedule, first, top, last):
    at = _factor(choices(steps=100, warmup=0.1, schedule=schedule))
    values = [at(s) for s in range(100)]
    assert values[0] == pytest.approx(first) and max(values) == pytest.approx(top) and values[-1] == pytest.approx(last, abs=1e-3)
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)


def test_one_cycle_is_that_of_pytorch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    wanted = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=101, pct_start=0.3, final_div_factor=1e4)
    at, peak = _factor(choices(steps=100, warmup=0.3, schedule="one_cycle")), []
    for step in range(100):
        peak.append((at(step), wanted.get_last_lr()[0]))
        optimizer.step()
        wanted.step()
    assert max(abs(own - theirs) for own, theirs in peak) < 0.03  # theirs reaches its top at step 29.3


def test_held_out_rows_keep_the_best_weights_and_end_a_run_that_learns_no_more(tmp_path):
    model = Line()
    result = fit(
        model, DATA, choices(steps=200, evaluate_every=5, patience=3, schedule="constant"), tmp_path, collate=collate,
        validation=[(x, 3.0 * x + 1.0) for x in (1.0, 2.0, 3.0)],
    )  # fmt: skip
    held = [r["eval_loss"] for r in logged(tmp_path) if "eval_loss" in r]
    assert result["steps"] < 200 and result["steps"] == 5 * len(held)
    best = min(range(len(held)), key=held.__getitem__)
    assert len(held) - 1 - best == 3
    state = read_state(tmp_path / "best")
    assert state["loss"] == held[best] and state["step"] == 5 * (best + 1)
    load_trained(model, tmp_path / "best")
    with torch.no_grad():
        loss = torch.stack([model(**collate([(x, 3.0 * x + 1.0)]))["loss"] for x in (1.0, 2.0, 3.0)]).mean()
    assert float(loss) == pytest.approx(held[best], rel=1e-5)
    with pytest.raises(ConfigError, match="no held-out rows"):
        fit(model, DATA, choices(evaluate_every=5), tmp_path, collate=collate)
