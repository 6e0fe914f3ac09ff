"""`unifusion train emotion`: one's own clips to a model that tells; what every choice does; resume; two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from typer.testing import CliRunner

from unifusion import catalog
from unifusion.cli.app import app
from unifusion.cli.train import load_script
from unifusion.errors import ConfigError
from unifusion.evaluation.affect import seeds_of
from unifusion.evaluation.predictions import read_predictions
from unifusion.models.affect import AffectConfig, AffectModel
from unifusion.models.affect_files import load_affect
from unifusion.models.encoded import EncodedStream
from unifusion.share import folder as share_folder
from unifusion.training.affect_data import read_examples
from unifusion.training.affect_loss import AffectObjective
from unifusion.training.journal import logged

LABELS = ("happy", "sad")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Forty voices of ten speakers: the happy ones are loud noise and say yes, the sad ones a soft hum and say no."""
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    lines = ["path,label,speaker,split,transcript,valence,arousal,speaker_age,topic,cause"]
    for i in range(40):
        kind, speaker = i % 2, i // 4
        time = np.arange(4800) / 16_000
        sound = rng.normal(0, 0.3, 4800) if not kind else 0.02 * np.sin(2 * np.pi * 150 * time)
        soundfile.write(folder / f"{i}.wav", sound, 16_000)
        split = "val" if speaker == 8 else "test" if speaker == 9 else "train"
        felt, age, said = f"{0.8 - 1.6 * kind},{0.5 - kind}", ("young", "old")[speaker % 2], ("yes yes", "no no")[kind]
        lines.append(f"{i}.wav,{LABELS[kind]},s{speaker},{split},{said},{felt},{age},work,a dog")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def stream(name, **options):
    """A stream of an encoder's own tiny config."""
    return {"encoder": name, "encoder_config": vars(catalog.load("encoders", name).tiny()), **options}


def choices(here, out, **options):
    """Sound and words, fused the plain way."""
    base = {
        "out": str(out), "dataset": "folder", "data": str(here / "labels.csv"), "epochs": 12, "batch_size": 8, "learning_rate": 3e-3,
        "streams": {"audio": stream("whisper"), "text": stream("bert")}, "fusion_config": {"width": 16},
    }  # fmt: skip
    return {**base, **options}


def run(here, out, **options):
    """One run; the command's result."""
    path = Path(f"{out}.yaml")
    path.write_text(yaml.safe_dump(choices(here, out, **options)))
    return CliRunner().invoke(app, ["train", "emotion", "--config", str(path)], catch_exceptions=True)


def ended(here, out, **options):
    """A run that ends well."""
    result = run(here, out, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def made(here, tmp_path_factory):
    """A run of two seeds with everything that is told."""
    out = tmp_path_factory.mktemp("run") / "model"
    ended(here, out, seeds=2, metadata="speaker_age,cause", stream_dropout=0.2, mixup=0.2, class_weights="balanced")
    return out


def test_it_learns_and_tells_under_every_condition(made):
    rows = read_predictions(made / "predictions.jsonl")
    by = {}
    for row in rows:
        by.setdefault((row.split, row.condition, row.seed), []).append(row)
    assert [{k[i] for k in by} for i in range(3)] == [{"val", "test"}, {"all", "only audio", "only text"}, {0, 1}]
    for (_, condition, _), some in by.items():
        assert len(some) == 4
        wanted = {"all": ("audio", "text"), "only audio": ("audio",), "only text": ("text",)}[condition]
        assert all(r.streams == wanted for r in some)
        assert all(r.true_valence in (0.8, -0.8) and abs(r.valence) < 1 for r in some)
    assert all(r.answer == r.truth and r.valence * r.true_valence > 0 for r in rows if r.condition == "all")


def test_a_run_holds_models_that_load_with_what_they_were_made_by(made):
    folders = seeds_of(str(made))
    assert list(folders) == [0, 1]
    model = load_affect(folders[1])
    assert model.config.labels == LABELS and model.config.affect and set(model.config.metadata.values) == {"speaker_age"}
    told = json.loads((Path(folders[1]) / "provenance.json").read_text())
    assert told["recipe"] == "emotion" and told["choices"]["seed"] == 1
    assert (made.parent / "model.features").is_dir()
    best = sorted(p.name for p in (made / "seed-0.fit").glob("best*"))
    assert best == ["best", "best-2"]


def test_done_is_done_and_other_choices_are_refused(here, made):
    before = (made / "predictions.jsonl").stat().st_mtime_ns
    options = {"seeds": 2, "metadata": "speaker_age,cause", "stream_dropout": 0.2, "mixup": 0.2, "class_weights": "balanced"}
    assert ended(here, made, **options).exit_code == 0
    assert (made / "predictions.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="other choices"):
        ended(here, made, **{**options, "mixup": 0.0})


@pytest.mark.parametrize("fusion", catalog.names("fusions"))
def test_every_fusion_trains(here, tmp_path, fusion):
    cls = catalog.load("fusions", fusion)
    kinds = {"audio": "whisper", "video": "videomae", "text": "bert"}
    streams = {n: stream(e) for n, e in kinds.items() if n in cls.needs or (cls.others and n != "video")}
    extra = {"pretrain_steps": 4} if fusion == "flava" else {}
    ended(here, tmp_path / "m", fusion=fusion, fusion_config=vars(cls.tiny()), streams=streams, epochs=2, **extra)
    assert len(read_predictions(tmp_path / "m" / "predictions.jsonl")) >= 16
    losses = [r["loss"] for r in logged(tmp_path / "m.fit") if "loss" in r]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "focal", "sampling": "balanced", "affect_loss": "both", "affect_weight": 0.0, "stored": "float16"},
        {"class_weights": "effective", "affect_loss": "mse", "labels": "none"},
        {"features": "none", "augment": {"noise_snr_db": [10, 20], "tempo": [0.9, 1.1]}, "affect": "no"},
        {"streams": {"audio": stream("whisper"), "text": stream("bert", trained=1)}, "unfreeze": "gradual", "encoder_rate": 1e-3},
    ],
    ids=["focal", "affect alone", "augmented", "gradual"],
)
def test_choices_train(here, tmp_path, options):
    ended(here, tmp_path / "m", epochs=2, **options)
    rows = read_predictions(tmp_path / "m" / "predictions.jsonl")
    assert rows and all((r.probabilities == {}) == (options.get("labels") == "none") for r in rows)
    assert all((r.valence is None) == (options.get("affect") == "no") for r in rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fusion": "perciever_io"}, "did you mean 'perceiver_io'"),
        ({"streams": {"audio": {"encoder": "wisper"}}}, "did you mean 'whisper'"),
        ({"streams": {"audio": stream("whisper", layers=3)}}, "no choice 'layers'"),
        ({"fusion_config": {"widht": 3}}, "did you mean 'width'"),
        ({"streams": {}}, "no streams"),
        ({"metadata": "speaker_agee"}, "no metadata called 'speaker_agee'"),
        ({"loss": "focla"}, "did you mean 'focal'"),
        ({"stored": "half"}, "stored is 'half'"),
        ({"labels": "happy,angry"}, "the label 'sad' is none of the model's"),
        ({"augment": {"tempo": [0.9, 1.1]}}, "--features none"),
        ({"augment": {"temp": [0.9, 1.1]}, "features": "none"}, "did you mean 'tempo'"),
        ({"pretrain_steps": 3}, "has no pre-training"),
        ({"dataset": "foldr"}, "did you mean 'folder'"),
        ({"dataset": None}, "name its reader with --dataset"),
    ],
)
def test_mistakes_are_named_before_anything_is_lost(here, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        ended(here, tmp_path / "m", epochs=1, **options)
    assert not (tmp_path / "m.choices.json").exists()


def test_rare_labels_weigh_more_when_asked(here):
    recipe = load_script(share_folder("train") / "emotion.py")
    whisper = catalog.load("encoders", "whisper").tiny()
    streams = {"audio": EncodedStream(encoder="whisper", encoder_config=vars(whisper))}
    model = AffectModel(AffectConfig(streams=streams, labels=LABELS, fusion_config={"width": 16}))
    targets = [("happy", np.nan, np.nan)] * 9 + [("sad", np.nan, np.nan)]
    plain, weighted = (AffectObjective(model, recipe.Choices(out="x", class_weights=w), targets).weights_K for w in ("none", "balanced"))
    assert plain is None and weighted[1] / weighted[0] == pytest.approx(9)


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(here, tmp_path):
    """Killed in the middle, with rows mixed and streams dropped, it goes on to the same weights, bit for bit."""
    options = {"epochs": 40, "mixup": 0.3, "stream_dropout": 0.3, "patience": 0, "dropout": 0.2}
    ended(here, tmp_path / "whole", **options)
    path = tmp_path / "cut.yaml"
    path.write_text(yaml.safe_dump(choices(here, tmp_path / "cut", **options)))
    command = [sys.executable, "-m", "unifusion", "train", "emotion", "--config", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    for line in running.stderr:
        if "step 120/" in line or "step 116/" in line:
            running.kill()
            break
    running.wait()
    assert not (tmp_path / "cut").exists() and list((tmp_path / "cut.fit").glob("checkpoint-*"))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    one, other = (load_affect(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.slow
def test_two_processes_train_what_one_does(here, tmp_path):
    """Streams that only one of two processes has in a step: nobody waits, and the loss is that of one process."""
    table = (here / "labels.csv").read_text().replace(",yes yes,", ",,")
    (here / "some.csv").write_text(table)
    streams = {"audio": stream("whisper"), "text": stream("bert", trained=-1)}
    options = {"data": str(here / "some.csv"), "streams": streams, "epochs": 3, "dropout": 0.0}
    losses = []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.yaml"
        path.write_text(yaml.safe_dump(choices(here, tmp_path / f"m{processes}", **options)))
        command = [sys.executable, "-m", "unifusion", "train", "emotion", "--config", str(path), "--processes", str(processes)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
        losses.append([r["loss"] for r in logged(tmp_path / f"m{processes}.fit") if "loss" in r])
    assert losses[0] and len(losses[0]) == len(losses[1])
    one, other = (read_predictions(tmp_path / f"m{n}" / "predictions.jsonl") for n in (1, 2))
    assert [(r.id, r.condition) for r in one] == [(r.id, r.condition) for r in other]
    assert sorted(p.name for p in (tmp_path / "m1").iterdir()) == sorted(p.name for p in (tmp_path / "m2").iterdir())


def test_rows_of_a_mixture_come_once_each(here, tmp_path):
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"mine": {"dataset": "folder", "path": "labels.csv", "weight": 7}}))
    rows = read_examples(tmp_path / "mix.yaml", "train", root=here)
    assert len(rows) == len({r.id for r in rows}) == 32
