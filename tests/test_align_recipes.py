"""Recipes of embedding models run end to end at toy size: every stage, hard negatives, distillation, kills, two processes."""

import json
import runpy
from dataclasses import fields

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training import forks
from unifusion import catalog, share
from unifusion.errors import ConfigError
from unifusion.models.aligner_files import load_aligner
from unifusion.training.align_choices import SpaceChoices
from unifusion.training.journal import logged
from unifusion.training.teacher import Teacher

WORLD = {
    "world": {"dataset": "clip_world", "only": "train", "options": {"count": 12, "per_clip": 1}, "weight": 1},
    "unseen": {"dataset": "clip_world", "only": "val", "options": {"count": 6, "per_clip": 1}, "weight": 1},
}  # fmt: skip
CLOCK = {"bin_s": 0.1, "bins": 10, "channels": 4}
HARD = ["--stage", "both", "--weights", "{views: 0.3}", "--mine-every", "3", "--steps", "8", "--save-every", "2"]


def tiny(name):
    """The choices of an encoder of random weights, as YAML has them."""
    return json.loads(json.dumps(vars(catalog.load("encoders", name).tiny())))


def run(recipe, *flags):
    """Run a recipe in this process."""
    runpy.run_path(str(share.folder("train") / f"{recipe}.py"))["main"](list(flags))


def figures(folder):
    return json.loads((folder / "provenance.json").read_text())["result"]["figures"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder with choices, and the flags that name them; features of its clips are stored once."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "world.yaml").write_text(yaml.safe_dump(WORLD), encoding="utf-8")
    words = tiny("bert")
    words["backbone"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    streams = {  # nothing that depends on other rows of a process (batch norm), or is drawn by a process (dropout)
        "video": {"encoder": "videomae", "encoder_config": tiny("videomae"), "trained": -1},
        "audio": {"encoder": "sound_resnet", "encoder_config": tiny("sound_resnet"), "clock": CLOCK},
        "text": {"encoder": "bert", "encoder_config": words, "trained": -1},
    }  # fmt: skip
    choices = {
        "streams": streams, "head": {"width": 32, "dropout": 0.0}, "width": 16, "sources": str(folder / "world.yaml"), "steps": 3,
        "batch_size": 4, "max_seconds": 1.0, "log_every": 1, "look_at": 6, "evaluate_every": 0, "features": str(folder / "features"),
    }  # fmt: skip
    (folder / "toy.yaml").write_text(yaml.safe_dump(choices), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def masked(toy):
    """A model that was trained by masked modelling alone, looked at on the way."""
    run("align", "--config", f"{toy}/toy.yaml", "--out", f"{toy}/masked", "--stage", "masked", "--evaluate-every", "2")
    return toy / "masked"


def steps_of(folder):
    return [{k: r[k] for k in ("step", "loss", "grad_norm", "rows")} for r in logged(folder) if "loss" in r]


def test_plans_are_choices_of_the_recipe():
    plans = {p.stem: yaml.safe_load(p.read_text()) for p in (share.folder("train") / "plans").glob("*.yaml")}
    known = {f.name for f in fields(runpy.run_path(str(share.folder("train") / "align.py"))["Choices"])}
    assert {"tiny_embed", "align_8x80gb"} <= {name for name, choices in plans.items() if "towers" in choices and set(choices) <= known}


@pytest.mark.parametrize(("recipe", "own"), [("align", ["stage", "mine_every"]), ("distill", ["teacher", "similarity_temperature"])])
def test_help_tells_what_recipes_share_and_what_is_their_own(recipe, own, capsys):
    choices = runpy.run_path(str(share.folder("train") / f"{recipe}.py"))["Choices"]
    shared = {f.name for f in fields(SpaceChoices)}
    assert issubclass(choices, SpaceChoices) and not shared & set(own) and set(own) <= {f.name for f in fields(choices)} - shared
    with pytest.raises(SystemExit):
        run(recipe, "--help")
    told = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    for field in fields(choices):
        assert f"--{field.name.replace('_', '-')} " in told
    assert "--text-tower STR Instead of the stream `text`: folder or hub name" in told  # inherited, with its help
    assert "--out STR Folder of the model. Default: (required)" in told
    assert f"Default: {0 if recipe == 'distill' else 250} --" in told.partition("--evaluate-every ")[2]


def test_what_serves_masking_stays_in_the_checkpoints(masked):
    with safe_open(masked / "model.safetensors", "pt") as saved:
        assert {k.split(".")[0] for k in saved.keys()} == {"encoders", "towers", "logit_scale", "logit_bias"}
    (last,) = sorted((masked.parent / "masked.fit").glob("checkpoint-*"))
    assert any(k.startswith("heads.") for k in load_file(last / "trained.safetensors"))
    assert load_aligner(masked).config.width == 16
    assert any("eval_score" in r for r in logged(masked.parent / "masked.fit"))


def test_a_stage_goes_on_from_an_earlier_one_and_says_so(toy, masked, caplog):
    caplog.set_level("INFO")
    out = toy / "after"
    other = {"width": 32, "dropout": 0.0, "queries": 3}
    run("align", "--config", f"{toy}/toy.yaml", "--out", str(out), "--start", str(masked), "--head", json.dumps(other), "--loss", "siglip",
        "--guard", "0.1", "--chunk", "3", "--weights", "{views: 0.5}", "--learning-rate", "1e-9")  # fmt: skip
    assert "goes on from" in caplog.text and "towers.audio" in caplog.text
    taken, new = load_aligner(masked).state_dict(), load_aligner(out).state_dict()
    name = "towers.audio.pools.audio.projection.weight"
    assert torch.allclose(taken[name], new[name], atol=1e-6)
    assert taken["towers.audio.pools.audio.queries.weight"].shape != new["towers.audio.pools.audio.queries.weight"].shape
    assert figures(out)["unseen_text_to_clip_r10"] == 1.0  # of six
    with pytest.raises(ConfigError, match="no stage 'mask'"):
        run("align", "--config", f"{toy}/toy.yaml", "--out", f"{toy}/none", "--stage", "mask")


@pytest.fixture(scope="module")
def whole(toy):
    """Both objectives, views and hard negatives, in one process that nobody touches."""
    flags = json.dumps(["--config", f"{toy}/toy.yaml", "--out", f"{toy}/whole", *HARD])
    code, said = forks.run("tests.training.aligned", "align", flags)
    assert code == 0, said[-3000:]
    return toy / "whole"


def test_hard_negatives_are_mined_and_met(toy, whole):
    tables = sorted(p.name for p in (toy / "whole.fit").glob("mined-*"))
    assert tables == ["mined-3.safetensors", "mined-6.safetensors"]
    table = load_file(toy / "whole.fit" / tables[0])["near"]
    assert table.shape == (12, 16) and bool((table >= 0).any(dim=1).all())
    met = {step["step"]: [r % 12 for r in step["rows"]] for step in steps_of(toy / "whole.fit")}
    with_hard = met[6]  # the first micro-batch that the table of step 3 counts for has number 5
    assert with_hard[1] in table[with_hard[0]].tolist() and with_hard[3] in table[with_hard[2]].tolist()


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_the_one_that_was_not(toy, whole):
    flags = json.dumps(["--config", f"{toy}/toy.yaml", "--out", f"{toy}/cut", *HARD])
    for step in (4, 5):  # before the first table counts, and after: its file and the checkpoints are read
        code, said = forks.run("tests.training.aligned", "align", flags, str(step))
        assert code == -9, said[-3000:]
    code, said = forks.run("tests.training.aligned", "align", flags)
    assert code == 0 and "goes on from" in said, said[-3000:]
    one, two = load_file(toy / "cut" / "model.safetensors"), load_file(whole / "model.safetensors")
    assert all(torch.equal(one[n], two[n]) for n in two) and set(one) == set(two)
    assert steps_of(toy / "cut.fit") == steps_of(toy / "whole.fit")


@pytest.mark.slow
def test_two_processes_train_as_one(toy, whole):
    flags = json.dumps(["--config", f"{toy}/toy.yaml", "--out", f"{toy}/two", *HARD])
    code, said = forks.run("tests.training.aligned", "align", flags, processes=2)
    assert code == 0, said[-3000:]
    alone, shared = steps_of(toy / "whole.fit"), steps_of(toy / "two.fit")
    assert [s["step"] for s in alone] == [s["step"] for s in shared]
    for a, b in zip(alone, shared, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4) and b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
        assert set(b["rows"]) < set(a["rows"])


def test_a_student_learns_of_a_model_whose_vectors_are_made_once(toy, masked, monkeypatch, caplog):
    flags = ["--config", f"{toy}/toy.yaml", "--teacher", f"{{checkpoint: {masked}}}", "--width", "8",
             "--forms", "{features_cosine: 1, features_mse: 1, similarity_kl: 1, similarity_mse: 1, logits_kl: 0.5}"]  # fmt: skip
    run("distill", *flags, "--out", f"{toy}/student", "--loss", "supcon", "--loss-config", "{form: apart}")
    told = figures(toy / "student")
    assert {"agrees_audio", "alike_clip", "agrees_words", "teacher_unseen_text_to_clip_r1", "unseen_text_to_clip_r1"} <= set(told)
    card = (toy / "student" / "README.md").read_text()
    assert "unifusion train distill" in card and "| teacher unseen text to clip r1 |" in card and "Of teacher and student" in card
    assert not any(k.startswith("maps") for k in load_file(toy / "student" / "model.safetensors"))

    def refuse(*args, **kwargs):
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(Teacher, "_made", refuse)
    run("distill", *flags, "--out", f"{toy}/second", "--contrast", "0", "--chunk", "2")


def test_a_students_encoder_learns_of_an_encoder(toy):
    teacher = {"encoder": "whisper", "encoder_config": tiny("whisper")}
    run("distill", "--config", f"{toy}/toy.yaml", "--teacher", json.dumps(teacher), "--out", f"{toy}/heard",
        "--pairs", "{audio: audio, encoders.audio: audio}", "--contrast", "0")  # fmt: skip
    told = figures(toy / "heard")
    assert {"agrees_encoders_audio", "alike_encoders_audio", "agrees_audio"} <= set(told)
    with pytest.raises(ConfigError, match="the student's 'sight'"):
        run("distill", "--config", f"{toy}/toy.yaml", "--teacher", json.dumps(teacher), "--out", f"{toy}/none", "--pairs", "{sight: audio}")
