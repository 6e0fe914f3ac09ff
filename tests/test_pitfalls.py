"""Pitfalls of the libraries below, each where this code could fall into it. Garbage from the meta device: test_checkpoint.py; exceptions in
a stream: engine/test_session.py; frames and rotation: media/; image processors: encoders/.
"""

import ast
import re
import tomllib
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.sources import save_encoders, sourced_model
from tests.toys import talk, video
from unifusion.errors import CheckpointError, UniFusionError
from unifusion.models.build import set_trainable
from unifusion.training.fit import FitChoices, fit, load_trained, trained_state

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return save_encoders(tmp_path_factory.mktemp("hub"))


def biases(model):
    """VideoMAE's query and value biases: saved under other names than they are loaded by."""
    found = {n: p for n, p in model.encoders["video"].named_parameters() if re.search(r"(q_proj|v_proj|query|value|q_|v_)\.?bias$", n)}
    assert len(found) >= 2
    return found


@pytest.mark.parametrize("trained", [False, True])
def test_videomae_keeps_its_biases_over_a_resume(hub, tmp_path, trained):
    """Trainer's own resume sets them to zero without a word; frozen they come from their source, trained they are stored."""
    model, processor = sourced_model(hub)
    set_trainable(model, {"language_model": False, "encoders": False, "encoders.video": trained, "adapters": True})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.25)
    assert all(b.abs().max() > 0 for b in biases(model).values())
    save_file(trained_state(model), tmp_path / "trained.safetensors")
    again, _ = sourced_model(hub)
    set_trainable(again, {"language_model": False, "encoders": False, "encoders.video": trained, "adapters": True})
    load_trained(again, tmp_path)
    for name, bias in biases(again).items():
        assert torch.equal(bias, biases(model)[name])
    batch = processor([talk([video(seed=1)], "what?")])
    with torch.no_grad():
        assert torch.equal(again.eval()(**batch).logits, model.eval()(**batch).logits)
    set_trainable(again, {"adapters.audio": False})
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load_trained(again, tmp_path)


def test_trained_state_holds_what_is_trained(hub):
    model, _ = sourced_model(hub)
    set_trainable(model, {"language_model": False, "encoders": False, "adapters": True})
    assert set(trained_state(model)) == {n for n, _ in model.named_parameters() if n.startswith("adapters.")}


class Line(nn.Module):
    """One layer; `at(call)` may spoil the loss of a call or end the run there."""

    def __init__(self, at=lambda call, loss: loss):
        super().__init__()
        torch.manual_seed(0)
        self.line, self.at, self.calls, self.before = nn.Linear(4, 1), at, 0, None

    def forward(self, x, labels):
        self.calls += 1
        self.before = self.line.weight.detach().clone()
        return {"loss": self.at(self.calls, (self.line(x) - labels).square().mean())}


def run(model, out, steps=8, **changed):
    generator = torch.Generator().manual_seed(1)
    rows = [{"x": torch.randn(4, generator=generator), "labels": torch.randn(1, generator=generator)} for _ in range(12)]
    choices = FitChoices(steps=steps, batch_size=2, save_every=3, log_every=1, learning_rate=0.1, **changed)
    return fit(model, rows, choices, out, collate=lambda batch: {k: torch.stack([r[k] for r in batch]) for k in batch[0]})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_reaches_no_weight(tmp_path, bad):
    model = Line(lambda call, loss: loss * bad if call == 5 else loss)
    with pytest.raises(UniFusionError, match=r"not finite at step 4 \(1 in a row\); no weight was changed"):
        run(model, tmp_path, max_skipped=0)
    assert torch.equal(model.line.weight, model.before) and torch.isfinite(model.line.weight).all()
    kept = load_file(tmp_path / "checkpoint-3" / "trained.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())


def test_a_run_that_was_cut_goes_on_to_the_same_weights(tmp_path):
    def cut(call, loss):
        if call == 6:
            raise KeyboardInterrupt
        return loss

    whole, broken, resumed = Line(), Line(cut), Line()
    run(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken")
    run(resumed, tmp_path / "broken")
    assert resumed.calls == 5, "three of eight steps were kept"
    assert torch.equal(resumed.line.weight, whole.line.weight)
    assert (tmp_path / "broken" / "loss.csv").read_text().count("\n") >= 8


def requirements():
    """Core requirements by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!~\[; ]", r)[0].lower() for r in project["dependencies"]}
    extras = {re.split(r"[<>=!~\[; ]", r)[0].lower() for rs in project["optional-dependencies"].values() for r in rs}
    return names, extras


def test_no_package_that_breaks_or_swells_the_core():
    core, extras = requirements()
    unwanted = {
        "torchvision",
        "torchaudio",
        "triton",
        "numba",
        "librosa",
        "chromadb",
        "deepspeed",
        "openai-whisper",
        "lmms-eval",
        "torchmetrics",
    }
    assert not core & unwanted
    assert not extras & {"torchvision", "torchaudio", "lmms-eval"}, "torchvision beside a CPU torch breaks all of transformers"


def test_torch_is_pinned_where_things_are_installed():
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs and all("-c constraints.txt" in line for line in installs)


@lru_cache
def calls_and_imports():
    """(file, dotted name, node) of every import and call in the package."""
    return tuple(_walk())


def _walk():
    for path in sorted((ROOT / "unifusion").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, a.name, node) for a in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((path, f"{node.module}.{a.name}", node) for a in node.names)
            elif isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


FORBIDDEN = {
    r"^evaluate(\.|$)": "evaluate.load needs the hub; metrics are our own files",
    r"^torchvision(\.|$)": "it breaks transformers beside a CPU torch",
    r"ImageProcessorFast$|VideoProcessor$": "these need torchvision",
    r"^(torch\.load|pickle\.loads?|joblib\.load|eval|exec)$": "only safetensors and JSON are read",
    r"^LlamaTokenizer$": "LlamaTokenizer(vocab_file=..) gives an empty tokenizer without a word",
    r"^(Deep[Ss]peedPlugin|FullyShardedDataParallelPlugin)$": "accelerate replaces them silently on a CPU",
}


def restricted(path, node):
    """The one door for files of other projects: PyTorch's unpickler that runs no code."""
    told = {k.arg: ast.unparse(k.value) for k in node.keywords} if isinstance(node, ast.Call) else {}
    return path.name == "_hub.py" and told.get("weights_only") == "True"


def test_nothing_forbidden_is_called():
    found = [
        (str(path.relative_to(ROOT)), name, why)
        for path, name, node in calls_and_imports()
        for rule, why in FORBIDDEN.items()
        if re.search(rule, name) and not (name == "torch.load" and restricted(path, node))
    ]
    assert not found
    assert sum(name == "torch.load" for _, name, _ in calls_and_imports()) == 1
    assert len(calls_and_imports()) > 1000, "the walk sees the package"


def test_decord_never_reads_sound():
    uses = [p.name for p, name, _ in calls_and_imports() if name.startswith("decord")]
    assert set(uses) <= {"with_decord.py", "packages.py"}
    assert "AudioReader" not in (ROOT / "unifusion" / "media" / "with_decord.py").read_text()
    assert not any(name.endswith("AudioReader") for _, name, _ in calls_and_imports())


def test_files_of_weights_are_read_as_safetensors_by_whoever_reads_them():
    """Every from_pretrained of a model in the package asks for safetensors; the encoders' own door does it for them."""
    lax = []
    for path, name, node in calls_and_imports():
        if isinstance(node, ast.Call) and re.search(r"(AutoModel\w*|model_class)\.from_pretrained$", name):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if given.get("use_safetensors") != "True":
                lax.append((str(path.relative_to(ROOT)), node.lineno))
    assert not lax
