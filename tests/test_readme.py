"""What the README shows is true: its code runs, prints what stands there, and its commands exist."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unifusion import catalog, share
from unifusion.batch import Features

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def block(containing):
    """The one code block that holds a piece of text."""
    found = [body for _, body in BLOCKS if containing in body]
    assert len(found) == 1, f"{len(found)} blocks hold {containing!r}"
    return found[0]


@pytest.fixture(scope="module")
def shipped():
    if "tiny-chat" not in catalog.names("checkpoints"):
        pytest.skip("checkpoints/tiny-chat is not there: make tiny trains it")
    return share.folder("checkpoints") / "tiny-chat"


def test_the_ten_lines_print_what_stands_below_them(shipped, monkeypatch):
    monkeypatch.chdir(ROOT)
    code = block("session.ask(")
    printed = README.partition(code)[2].split("```")[2].strip()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue().strip() == printed


def test_the_hugging_face_lines_answer(shipped, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(compile(block("AutoModelForMultimodalLM"), "README.md", "exec"), names)
    new = names["ids"][:, names["inputs"]["input_ids"].shape[1] :]
    assert names["processor"].batch_decode(new, skip_special_tokens=True)[0].strip()


def test_the_adapter_keeps_the_contract(tmp_path, monkeypatch):
    (tmp_path / "gated_of_readme.py").write_text(block("class Gated"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    gated = catalog.load("adapters", "gated_of_readme:Gated")
    adapter = gated(6, 10, gated.tiny())
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    times = torch.arange(8.0).reshape(2, 4) * mask
    out = adapter(Features(tokens_BSD=torch.randn(2, 4, 6), mask_BS=mask, times_BS=times))
    assert out.tokens_BSD.shape == (2, 3, 10)
    for row in range(2):
        wanted = gated.token_times(adapter.config, times[row], mask[row])
        assert torch.equal(out.times_BS[row][out.mask_BS[row]], wanted)
    assert not out.tokens_BSD[~out.mask_BS].any()
    assert out.tokens_BSD[out.mask_BS].abs().sum(-1).min() > 0


def test_its_commands_exist():
    text = subprocess.run([sys.executable, "-m", "unifusion", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  (\w+)  ", text.partition("Commands:")[2], re.MULTILINE))
    shown = set(re.findall(r"`unifusion (\w+)", README))
    assert {"chat", "emotion", "predict", "train", "list", "doctor", "demo"} <= shown
    assert shown <= known


def test_its_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = set(re.findall(r"\bmake ([a-z]+)", " ".join(body for _, body in BLOCKS) + README))
    assert {"chat", "demo", "test", "check", "install"} <= shown
    assert {name for name in shown if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
