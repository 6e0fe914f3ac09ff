"""The training loop: it learns, resumes to the same weights, and never lets a weight become anything but a number."""

import json

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from unifusion.errors import CheckpointError, ConfigError, UniFusionError
from unifusion.training.fit import FitChoices, fit, load_trained


class Line(nn.Module):
    """y = w x, with a frozen part; `bad` makes the loss or only its gradient infinite at one step."""

    def __init__(self, bad="", at=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.frozen = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
        self.bad, self.at, self.calls = bad, at, 0

    def forward(self, x, y):
        self.calls += 1
        loss = ((self.layer(x) - y) ** 2).mean()
        if self.calls == self.at and self.bad == "loss":
            loss = loss * float("inf")
        if self.calls == self.at and self.bad == "gradient":
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


@pytest.mark.parametrize(("bad", "message"), [("loss", "loss at step 2 is inf"), ("gradient", "gradient at step 2 is nan")])
def test_what_is_not_finite_changes_no_weight(tmp_path, bad, message):
    good, model = Line(), Line(bad)
    fit(good, DATA, choices(steps=2, schedule="constant", warmup=0.0), tmp_path / "good", collate=collate)
    with pytest.raises(UniFusionError, match=message):
        fit(model, DATA, choices(schedule="constant", warmup=0.0), tmp_path / "bad", collate=collate)
    assert torch.equal(model.layer.weight, good.layer.weight)


def test_a_rate_for_no_parameter_and_foreign_weights_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="begins with 'layers'"):
        fit(Line(), DATA, choices(rates={"layers": 0.1}), tmp_path, collate=collate)
    from safetensors.torch import save_file

    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \['layer.bias', 'layer.weight'\], unknown \['other'\]"):
        load_trained(Line(), tmp_path / "w.safetensors")
