"""`unifusion train`, `demo`, `data world`, `merge`: scripts get their words, mistakes get an answer."""

import json
import sys

import pytest

from unifusion import catalog
from unifusion.cli import demo as demo_command
from unifusion.cli.train import load_script

RECIPE = '''
"""A recipe."""
from __future__ import annotations
import json, sys, typing
from dataclasses import dataclass, fields

@dataclass(frozen=True, kw_only=True)
class Choices:
    steps: int = 3

def main(argv):
    hints = typing.get_type_hints(Choices)
    print(json.dumps({"argv": argv, "types": [hints[f.name].__name__ for f in fields(Choices)]}))
    return 5 if "--fail" in argv else None
'''


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(RECIPE)
    return path


def test_a_recipe_gets_all_further_words(run, recipe):
    code, out, _ = run("train", recipe, "--steps", "7", "-x", "plain", "--help")
    assert code == 0
    assert json.loads(out) == {"argv": ["--steps", "7", "-x", "plain", "--help"], "types": ["int"]}


def test_a_recipe_of_several_stages_gets_the_number_of_processes(run, tmp_path):
    path = tmp_path / "chain.py"
    path.write_text(RECIPE + "\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Choices:\n    processes: int = 1\n")
    code, out, _ = run("train", path, "--processes", "3", "--steps", "7")
    assert code == 0 and json.loads(out)["argv"] == ["--processes", "3", "--steps", "7"]


def test_its_exit_code_is_ours(run, recipe):
    assert run("train", recipe, "--fail")[0] == 5


def test_it_shadows_no_library(tmp_path, run):
    path = tmp_path / "json.py"
    path.write_text(RECIPE)
    assert run("train", path)[0] == 0
    assert sys.modules["json"] is json


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_every_recipe_keeps_the_contract(name):
    from dataclasses import is_dataclass

    from unifusion.cli.train import recipe_path

    module = load_script(recipe_path(name))
    assert module.__doc__
    assert is_dataclass(module.Choices)
    assert module.Choices.__dataclass_params__.frozen
    assert callable(module.main)


def test_help_of_a_recipe_lists_its_flags(run):
    with pytest.raises(SystemExit) as ended:
        run("train", "tokenizer", "--help")
    assert ended.value.code == 0


def test_help_names_the_recipes(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "instruct" in out


@pytest.mark.parametrize(
    ("word", "said"), [("instrct", "did you mean 'instruct'"), ("./none.py", "unifusion copy RECIPE"), ("train/nope", "known:")]
)
def test_no_such_recipe(run, word, said):
    code, _, err = run("train", word)
    assert code == 2
    assert said in err


def test_a_script_without_main(run, tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    code, _, err = run("train", path)
    assert code == 2
    assert "main(argv)" in err


def test_demo_without_gradio_names_the_extra(run, monkeypatch):
    monkeypatch.setattr(demo_command.importlib.util, "find_spec", lambda name: None)
    code, _, err = run("demo")
    assert code == 2
    assert "unifusion-x[demo]" in err


def test_data_world_writes_clips_and_truth(run, tmp_path, rows_of):
    code, out, err = run("data", "world", "-o", tmp_path, "--count", "1", "--per-clip", "2", "--seed", "3")
    assert code == 0, err
    rows = rows_of(tmp_path / "manifest.jsonl")
    assert out.strip() == str(tmp_path / "manifest.jsonl")
    assert len(rows) == 2
    assert (tmp_path / rows[0]["path"]).stat().st_size > 1000
    assert {"id", "question", "answer", "labels"} <= rows[0].keys()


def test_data_world_knows_its_layouts(run, tmp_path):
    code, _, err = run("data", "world", "-o", tmp_path, "--layout", "nonsense")
    assert code == 2
    assert "jsonl" in err and "avamerg" in err
    code, _, err = run("data", "world", "-o", tmp_path, "--layout", "meld", "--per-clip", "2")
    assert code == 2
    assert "has no choice 'per_clip'" in err


def test_data_world_writes_a_published_layout(run, tmp_path, rows_of):
    code, out, err = run("data", "world", "-o", tmp_path, "--layout", "avamerg", "--count", "1", "--size", "32")
    assert code == 0, err
    assert out.strip() == str(tmp_path / "train.json")
    assert len(list(tmp_path.rglob("*.mp4"))) == len(list(tmp_path.rglob("*.wav"))) >= 2


def test_merging_without_lora_is_refused(run, toy_folder, tmp_path):
    code, _, err = run("merge", toy_folder, "-o", tmp_path / "merged")
    assert code == 4
    assert "no LoRA" in err
    assert not (tmp_path / "merged").exists()


def test_merging_gives_a_checkpoint_with_the_same_answers(run, tmp_path, clip):
    import torch
    from peft import LoraConfig

    from tests.toys import chat_model
    from unifusion import checkpoint

    model, processor = chat_model(seed=1)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    checkpoint.save(model, processor, tmp_path / "tuned", provenance={}, self_contained=True)
    assert run("merge", tmp_path / "tuned", "-o", tmp_path / "merged")[0] == 0
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    words = (clip, "-q", "What?", "--json", "--max-new-tokens", "8", "--model")
    tuned, merged = (json.loads(run("chat", *words, tmp_path / name)[1])["answer"] for name in ("tuned", "merged"))
    assert tuned == merged
