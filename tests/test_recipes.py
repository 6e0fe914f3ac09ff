"""Each recipe runs end to end at toy size, is skipped when it is done, and the chain's result loads and answers."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.people import write_people
from unifusion import catalog, share
from unifusion.cli.app import app
from unifusion.errors import ConfigError
from unifusion.evaluation.release import STAGES
from unifusion.features import FeatureStore
from unifusion.features.shard import Shard

TOY = {
    "tokenizer": ["--vocabulary", "420", "--clips", "60"],
    "ground": [
        "--clips",
        "16",
        "--val-clips",
        "8",
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--video-width",
        "32",
        "--audio-width",
        "32",
        "--video-layers",
        "1",
        "--audio-layers",
        "1",
        "--adapter-width",
        "32",
        "--adapter-layers",
        "1",
        "--render-workers",
        "1",
        "--size-px",
        "32",
    ],
    "language": ["--n-clips", "16", "--steps", "2", "--batch-size", "4", "--width", "32", "--layers", "1", "--heads", "2"],
    "adapt": ["--steps", "2", "--batch-size", "4"],
    "instruct": ["--steps", "2", "--batch-size", "4"],
}


def recipe(name):
    """The recipe's own names."""
    return runpy.run_path(str(share.folder("train") / f"{name}.py"))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """All stages at toy size, in the order of the shipped chain."""
    run = tmp_path_factory.mktemp("run")
    paths = {
        "tokenizer": [],
        "ground": ["--tokenizer", f"{run}/tokenizer", "--cache", f"{run}/ground"],
        "language": ["--tokenizer", f"{run}/tokenizer", "--clips", f"{run}/ground.clips"],
        "adapt": ["--language", f"{run}/language", "--encoders", f"{run}/ground", "--clips", f"{run}/ground.clips"],
        "instruct": [
            "--language",
            f"{run}/language",
            "--encoders",
            f"{run}/ground",
            "--clips",
            f"{run}/ground.clips",
            "--start",
            f"{run}/adapt",
        ],
    }
    for name, flags in paths.items():
        if name == "ground":
            for stream in ("video", "audio"):
                recipe(name)["main"](["--out", f"{run}/ground", *flags, *TOY[name], "--stream", stream])
        else:
            recipe(name)["main"](["--out", f"{run}/{name}", *flags, *TOY[name]])
    return run, paths


def test_every_stage_of_the_chain_is_a_listed_recipe():
    assert set(TOY) | {"tiny"} <= set(catalog.names("recipes"))


def test_stages_leave_what_the_next_needs_and_their_choices(chain):
    run, _ = chain
    for name in STAGES:
        done = json.loads((run / f"{name}.done.json").read_text())
        assert done["choices"]["out"] == f"{run}/{name.partition('/')[0]}" and done["seconds"] > 0
    for name in STAGES[1:]:
        assert len((run / name / "loss.csv").read_text().splitlines()) >= 1
    assert json.loads((run / "ground" / "video" / "metrics.json").read_text())["video_mean_average_precision"] > 0


def test_a_finished_stage_is_skipped_and_other_choices_are_refused(chain):
    run, paths = chain
    before = (run / "adapt" / "weights.safetensors").stat().st_mtime_ns
    recipe("adapt")["main"](["--out", f"{run}/adapt", *paths["adapt"], *TOY["adapt"]])
    assert (run / "adapt" / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="seed differ"):
        recipe("adapt")["main"](["--out", f"{run}/adapt", *paths["adapt"], *TOY["adapt"], "--seed", "1"])


def test_features_are_encoded_once(chain, monkeypatch):
    run, paths = chain
    import unifusion.models.chat as chat

    def refuse(*args, **kwargs):
        raise AssertionError("a stored clip was encoded again")

    original = chat.UniFusionForConditionalGeneration.features
    monkeypatch.setattr(
        chat.UniFusionForConditionalGeneration, "features", lambda self, s, b: original(self, s, b) if "tokens" in b else refuse()
    )
    recipe("instruct")["main"](["--out", f"{run}/again", *paths["instruct"], *TOY["instruct"]])


def test_real_recordings_and_pictures_are_learnt_beside_the_clips(chain, tmp_path):
    _, paths = chain
    data = write_people(tmp_path / "people")
    real = ["--real", str(data / "mix.yaml"), "--data", str(data), "--real-share", "0.8"]
    for stream in ("video", "audio"):
        recipe("ground")["main"](["--out", f"{tmp_path}/ground", *paths["ground"], *TOY["ground"], "--stream", stream, *real])
    figures = {s: json.loads((tmp_path / "ground" / s / "metrics.json").read_text()) for s in ("video", "audio")}
    assert {k for k in figures["video"] if k.endswith("accuracy")} == {"faces_accuracy"}
    assert {k for k in figures["audio"] if k.endswith("macro_recall")} == {f"{p}_macro_recall" for p in ("voices", "digits", "sounds")}
    flags = [*paths["instruct"], "--encoders", f"{tmp_path}/ground", "--fresh", "video,audio", *TOY["instruct"], *real]
    recipe("instruct")["main"](["--out", f"{tmp_path}/instruct", *flags])
    texts = ["--data", str(data), "--mixtures", str(data / "mix.yaml"), "--vocabulary", "500", "--clips", "60"]
    recipe("tokenizer")["main"](["--out", f"{tmp_path}/tokenizer", *texts])
    known = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "\u2581background" in known or "\u2581feeling" in known  # words of the questions about real clips
    with pytest.raises(ConfigError, match="part 'voices' has media"):
        flags = ["--english", str(data / "mix.yaml"), "--data", str(data)]
        recipe("language")["main"](["--out", f"{tmp_path}/seen", *paths["language"], *TOY["language"], *flags])
    english = ["--english", str(data / "english.yaml"), "--data", str(data), "--english-share", "0.9"]
    recipe("language")["main"](["--out", f"{tmp_path}/language", *paths["language"], *TOY["language"], *english])
    assert json.loads((tmp_path / "language" / "metrics.json").read_text())
    (stored,) = (tmp_path / "ground.features").glob("audio-*")
    assert len(FeatureStore(stored)) > 16  # those of the clips, and real ones


def test_two_processes_share_the_clips_and_the_batch(chain, tmp_path):
    run, paths = chain
    for stream in ("video", "audio"):
        shutil.copytree(run / "ground" / stream, tmp_path / "ground" / stream)
    flags = [*paths["adapt"], "--encoders", str(tmp_path / "ground"), *TOY["adapt"], "--out", str(tmp_path / "adapt")]
    assert CliRunner().invoke(app, ["train", "adapt", "--processes", "2", *flags]).exit_code == 0
    keys = [k for p in (tmp_path / "ground.features").glob("audio-*/*.safetensors") for k in Shard(p).keys]
    assert len(keys) == len(set(keys)) == 16
    steps = [json.loads(line)["step"] for line in (tmp_path / "adapt" / "log.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)) > 0
    alone, shared = (load_file(folder / "adapt" / "weights.safetensors") for folder in (run, tmp_path))
    assert set(alone) == set(shared)
    moved = [n for n in alone if n.startswith("adapters.") and not torch.equal(alone[n], shared[n])]
    assert moved  # sums in another order; a first step of Adam moves every weight by the learning rate, 1.5e-3
    assert max(float((alone[n] - shared[n]).abs().mean()) for n in moved) < 1e-4


def test_frozen_parts_do_not_move(chain):
    run, _ = chain
    from unifusion.encoders.encoder import weights_hash
    from unifusion.training.chat import aligned_specs, assemble

    specs = aligned_specs(run / "ground")
    first, _ = assemble(run / "language", specs, run / "ground", run / "adapt")
    last, _ = assemble(run / "language", specs, run / "ground", run / "instruct")
    assert weights_hash(first.encoders) == weights_hash(last.encoders)
    assert weights_hash(first.language_model) != weights_hash(last.language_model)
    moved = {n for n, p in last.adapters.named_parameters() if not torch.equal(p, first.adapters.get_parameter(n))}
    assert moved == {f"{stream}.projection.{part}" for stream in ("video", "audio") for part in ("weight", "bias")}


@pytest.mark.parametrize("keep", ["true", "false"])
def test_aligned_adapters_keep_what_they_tell_and_others_are_trained_whole(chain, tmp_path, keep):
    run, paths = chain
    (tmp_path / "adapters.yaml").write_text("audio: {adapter: linear, adapter_config: {stride: 5}}\n")
    flags = ["--adapters", str(tmp_path / "adapters.yaml"), "--keep-aligned", keep, *paths["adapt"], *TOY["adapt"]]
    recipe("adapt")["main"](["--out", f"{tmp_path}/adapt", *flags])
    trained = load_file(tmp_path / "adapt" / "weights.safetensors")
    aligned = load_file(run / "ground" / "video" / "adapter.safetensors")
    video = {n for n, t in aligned.items() if not n.startswith("projection.") and not torch.equal(trained[f"adapters.video.{n}"], t)}
    assert bool(video) == (keep == "false")
    assert not torch.equal(trained["adapters.audio.norm.weight"], torch.ones_like(trained["adapters.audio.norm.weight"]))


def test_another_adapter_starts_from_nothing_and_the_aligned_one_does_not(chain, tmp_path):
    run, _ = chain
    from safetensors.torch import load_file

    from unifusion.training.chat import aligned_specs, assemble, other_adapters

    (tmp_path / "adapters.yaml").write_text("audio: {adapter: linear, adapter_config: {stride: 5}}\n")
    model, _ = assemble(run / "language", aligned_specs(run / "ground", other_adapters(tmp_path / "adapters.yaml")), run / "ground")
    assert type(model.adapters["audio"]).__name__ == "Linear"
    aligned = load_file(run / "ground" / "video" / "adapter.safetensors")
    for name, tensor in model.adapters["video"].state_dict().items():
        assert torch.equal(tensor, aligned[name]) == (not name.startswith("projection.")), name
    (tmp_path / "adapters.yaml").write_text("text: {adapter: linear}\n")
    with pytest.raises(ConfigError, match="the stream 'text'"):
        aligned_specs(run / "ground", other_adapters(tmp_path / "adapters.yaml"))
    (tmp_path / "adapters.yaml").write_text("just words\n")
    with pytest.raises(ConfigError, match="which adapters to take"):
        other_adapters(tmp_path / "adapters.yaml")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--stream", "adio"], "unknown stream 'adio'; did you mean 'audio'"),
        (["--stream", "audio", "--audio", "wisper"], "no audio encoder 'wisper' .* did you mean 'whisper'"),
        (["--video", "whisper"], "no video encoder 'whisper' .* known: resnet, videomae"),
        (["--without", "mas"], "nothing called 'mas' .* did you mean 'mask'"),
    ],
)
def test_ground_refuses_an_unknown_name_before_it_renders(tmp_path, flags, told):
    with pytest.raises(ConfigError, match=told):
        recipe("ground")["main"](["--out", str(tmp_path / "ground"), "--cache", str(tmp_path / "ground"), *flags])
    assert not list(tmp_path.iterdir())


def test_an_aligned_adapter_without_a_projection_starts_from_nothing(chain, monkeypatch):
    run, _ = chain
    from unifusion.adapters.windowed_qformer import WindowedQFormer
    from unifusion.training.chat import aligned_specs, assemble

    before = WindowedQFormer.__init__

    def renamed(self, *args):
        before(self, *args)
        self._modules["up"] = self._modules.pop("projection")

    monkeypatch.setattr(WindowedQFormer, "__init__", renamed)
    model, _ = assemble(run / "language", aligned_specs(run / "ground"), run / "ground")
    aligned = load_file(run / "ground" / "video" / "adapter.safetensors")
    own = {n: t for n, t in model.adapters["video"].state_dict().items() if n in aligned}
    assert own and not all(torch.equal(t, aligned[n]) for n, t in own.items())


def test_a_copy_of_the_chain_finds_the_other_stages(tmp_path):
    shutil.copy(share.folder("train") / "tiny.py", tmp_path)
    found = runpy.run_path(str(tmp_path / "tiny.py"))
    assert found["recipe"]("ground") == share.folder("train") / "ground.py"
    with pytest.raises(ConfigError, match=r"of language cannot be shared by 5 processes"):
        found["main"](["--run", str(tmp_path / "run"), "--processes", "5"])
    with pytest.raises(ConfigError, match="no stream 'vidio'"):
        found["main"](["--run", str(tmp_path / "run"), "--on", "checkpoints/tiny-chat", "--again", "vidio"])
    assert not (tmp_path / "run").exists()


def test_release_writes_a_checkpoint_that_loads_and_answers(chain, tmp_path):
    run, _ = chain
    from unifusion.conversation import Media
    from unifusion.engine import Engine
    from unifusion.evaluation.release import release
    from unifusion.training.chat import aligned_specs

    specs = aligned_specs(run / "ground")
    provenance = release(run, specs, tmp_path / "toy-chat", questions=6)
    assert set(provenance["stages"]) == set(STAGES)
    card = (tmp_path / "toy-chat" / "README.md").read_text()
    assert "6 questions" in card and "picture muted" in card
    session = Engine.from_pretrained(tmp_path / "toy-chat").session()
    report = session.add(Media(kind="video", source="clip-world://5/3?size=32"))
    assert report.streams["video"].present
    session.ask("What colour is the circle?", max_new_tokens=4)
    assert session.answer is not None and "total_s" in session.answer.timing


def test_release_calibrates_on_val_and_measures_on_test(chain, tmp_path):
    run, _ = chain
    from unifusion.datasets.mixture import Mixture
    from unifusion.engine import Engine
    from unifusion.evaluation.release import Real, release
    from unifusion.training.chat import aligned_specs
    from unifusion.training.grammar import Grammar

    data = write_people(tmp_path / "people")
    sets = {split: Mixture(data / "mix.yaml", data=data, split=split) for split in ("train", "val", "test")}
    free = tmp_path / "free.jsonl"
    free.write_text('{"id": "1", "family": "f", "set": "emodb", "answer": "emotion", "question": "How?"}\n', encoding="utf-8")
    texts, grammar = Mixture(data / "english.yaml", data=data), Grammar(share.folder("train") / "questions" / "people.yaml")
    real = Real(**sets, texts=texts, grammar=grammar, free=free)
    out = tmp_path / "toy-people"
    provenance = release(run, aligned_specs(run / "ground"), out, questions=4, real=real)
    assert [s["dataset"] for s in provenance["data"]["sets"]] == ["emodb", "fsdd", "esc10", "fer2013", "composed", "meld", "meld"]
    assert "Burkhardt" in provenance["data"]["sets"][0]["source"] and provenance["data"]["sets"][0]["rows"] == 3
    calibration = Engine.from_pretrained(out).model.config.calibration
    assert set(calibration) == {"emotion", "sound", "digit", "text_emotion"} and all(c["temperature"] > 0 for c in calibration.values())
    people = json.loads((out / "evaluation" / "people.json").read_text())
    assert people["split"] == "test" and people["probes"]["digits"]["n"] == 2 and "predictions" not in people
    card = (out / "README.md").read_text()
    assert (out / "evaluation" / "risk_coverage.png").is_file() and "| voice |" in card
    assert "license_name: research-only" in card and "| digits | accuracy |" in card and "free: " not in card
    (out / "README.md").unlink()
    assert CliRunner().invoke(app, ["card", str(out)]).exit_code == 0 and (out / "README.md").read_text() == card
    (out / "evaluation" / "world.json").unlink()
    assert CliRunner().invoke(app, ["card", str(out)]).exit_code != 0


def test_a_second_round_goes_on_from_the_checkpoint_with_another_encoder(chain, tmp_path):
    run, _ = chain
    from unifusion.evaluation.release import release
    from unifusion.training.chat import aligned_specs

    release(run, aligned_specs(run / "ground"), tmp_path / "first", questions=4)
    with (tmp_path / "first" / "training_log.csv").open("a") as file:
        file.write("instruct,20,1.5\n")
    on = tmp_path / "on"
    for clips in ("ground.clips", "ground.val"):
        (on / clips).parent.mkdir(exist_ok=True)
        (on / clips).symlink_to(run / clips)
    recipe("unpack")["main"](["--checkpoint", str(tmp_path / "first"), "--out", str(on)])
    ground = ["--out", f"{on}/ground", "--tokenizer", f"{on}/language", "--cache", f"{on}/ground", *TOY["ground"]]
    recipe("ground")["main"]([*ground, "--stream", "audio", "--queries", "3"])
    shared = ["--language", f"{on}/language", "--encoders", f"{on}/ground", "--clips", f"{on}/ground.clips", "--start", f"{on}/adapt"]
    recipe("instruct")["main"](["--out", f"{on}/instruct", *shared, "--fresh", "audio", *TOY["instruct"]])
    provenance = release(on, aligned_specs(on / "ground"), tmp_path / "second", questions=4)
    assert set(provenance["stages"]) == {"ground/audio", "instruct"} and set(provenance["before"]["stages"]) == set(STAGES)
    assert "- round 2: ground/audio" in (tmp_path / "second" / "README.md").read_text()
    assert "\nbefore/instruct,20,1.5\n" in (tmp_path / "second" / "training_log.csv").read_text()
    assert (tmp_path / "second" / "training_log.png").is_file()


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        ([], ["tokenizer", "ground", "ground", "language", "adapt", "instruct"]),
        (["--on", "checkpoints/tiny-chat", "--again", "audio"], ["unpack", "ground", "instruct"]),
        (["--on", "checkpoints/tiny-chat", "--again", ""], ["unpack", "instruct"]),
    ],
)
def test_the_whole_chain_gives_each_stage_choices_it_has_and_the_folders_of_the_one_before(flags, stages, tmp_path):
    from unifusion.training.choices import parse

    run = []
    names = recipe("tiny")
    names["main"].__globals__.update(run=lambda name, argv, processes=1: run.append((name, argv)), release=lambda *a, **k: None)
    rendered = []
    names["main"].__globals__.update(
        aligned_specs=lambda folder: {}, render_cache=lambda *folder_and_choices: rendered.append(folder_and_choices)
    )
    names["main"](["--run", str(tmp_path), *flags])
    assert [name for name, _ in run] == stages and bool(rendered) == ("ground" not in stages)
    choices = [parse(recipe(name)["Choices"], argv) for name, argv in run]
    made = {c.out if name != "ground" else f"{tmp_path}/ground" for (name, _), c in zip(run, choices, strict=True)}
    made |= {f"{tmp_path}/{name}" for name in ("ground", "language", "adapt") if stages[0] == "unpack"} | {f"{tmp_path}/ground.clips"}
    for c in choices:
        assert {getattr(c, k) for k in ("tokenizer", "language", "encoders", "start", "clips") if isinstance(getattr(c, k, 0), str)} <= made


@pytest.mark.parametrize("name", sorted(p.stem for p in Path(share.folder("train")).glob("*.py")))
def test_help_lists_every_choice(name, capsys):
    with pytest.raises(SystemExit) as ended:
        recipe(name)["main"](["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [f.name for f in fields(recipe(name)["Choices"]) if f"--{f.name.replace('_', '-')}" not in shown] == []
