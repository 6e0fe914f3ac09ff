"""`unifusion train tune`: any parts by one file of choices, from a row of data to a checkpoint that answers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.sources import save_encoders, save_language_model
from tests.thorough import further
from tests.toys import talk
from unifusion import checkpoint, share
from unifusion.cli.app import app
from unifusion.conversation import Media
from unifusion.errors import ConfigError, DatasetError, LimitError, UniFusionError
from unifusion.training.corpus import Corpus
from unifusion.training.journal import logged

WORDS = ("a dog", "a bell", "the wind")
SAID = [{"from": "human", "value": "B?"}, {"from": "gpt", "value": "yes"}]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Sources of weights, twelve sounds with conversations about them, and a file of choices."""
    folder = tmp_path_factory.mktemp("tune")
    save_encoders(folder)
    save_language_model(folder / "llm")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", rng.normal(0, 0.1, 8000 + 800 * i), 16_000)
        answer = {"role": "assistant", "content": f"I hear {WORDS[i % 3]}."}
        asked = [{"type": "audio", "path": f"{i}.wav"}, {"type": "text", "text": "What is there to hear?" + " Well?" * (i % 4)}]
        row = {"id": f"r{i}", "group": f"g{i % 6}", "messages": [{"role": "user", "content": asked}, answer]}
        lines.append(row if i % 3 else {**row, "messages": [{"role": "user", "content": "Say something."}, answer]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines[:9]))
    (folder / "held.jsonl").write_text("".join(json.dumps({**r, "group": "other"}) + "\n" for r in lines[9:]))
    (folder / "labels.jsonl").write_text("".join(json.dumps({"path": f"{i}.wav", "emotion": "joy"}) + "\n" for i in range(4)))
    (folder / "mine.yaml").write_text(yaml.safe_dump(choices(folder)))
    return folder


def choices(folder):
    """A video and an audio stream, audio with its own adapter, rate and LoRA."""
    return {
        "llm": str(folder / "llm"), "data": str(folder / "rows.jsonl"), "steps": 6, "batch_size": 4, "save_every": 3, "log_every": 1,
        "learning_rate": 1e-3, "max_tokens": 512, "precision": "float32",
        "streams": {
            "video": {"encoder": "videomae", "source": str(folder / "videomae"), "adapter": "linear"},
            "audio": {"encoder": "whisper", "source": str(folder / "whisper"), "adapter_config": {"width": 16, "n_heads": 2}},
        },
        "parts": {
            "language_model": {"train": "lora", "rank": 4, "alpha": 8, "learning_rate": "2e-3"},
            "adapters.audio": {"train": "full", "learning_rate": 3e-3, "weight_decay": 0.1},
        },
    }  # fmt: skip


def train(*words):
    """Run the recipe; returns its result."""
    result = CliRunner().invoke(app, ["train", "tune", *map(str, words)], catch_exceptions=False, standalone_mode=False)
    return result


def answer(folder, here):
    model, processor = checkpoint.load(folder)
    asked = talk((Media(kind="audio", source=str(here / "1.wav")),), "What is there to hear?")
    batch = processor([asked], generate=True)
    ids = model.generate(**batch, max_new_tokens=8, do_sample=False)
    return model, processor.tokenizer.decode(ids[0, batch["input_ids"].shape[1] :])


def test_one_file_of_choices_trains_what_it_says_and_nothing_else(here, tmp_path, caplog):
    caplog.set_level("INFO")
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--validation", here / "held.jsonl", "--evaluate-every", 3)
    losses = [r["loss"] for r in logged(tmp_path / "out.fit") if "loss" in r]
    held = [r["eval_loss"] for r in logged(tmp_path / "out.fit") if "eval_loss" in r]
    assert len(losses) == 6 and losses[-1] < losses[0] and len(held) == 2 and held[1] < held[0]
    assert "lora of rank 4, alpha 8" in caplog.text and "frozen" in caplog.text and "by estimate" in caplog.text
    told = next(r.getMessage() for r in caplog.records if "what is trained" in r.getMessage())
    (audio,) = [line for line in told.splitlines() if line.startswith("adapters.audio")]
    assert "3.00e-03" in audio and "0.1" in audio and "whole" in audio
    model, said = answer(tmp_path / "out", here)
    assert isinstance(said, str) and set(model.peft_config["default"].rank_pattern.values()) == {4}
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["choices"]["streams"]["audio"]["encoder"] == "whisper"
    assert (tmp_path / "out.features").is_dir() and (tmp_path / "out.fit" / "best").is_dir()
    caplog.clear()
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--validation", here / "held.jsonl", "--evaluate-every", 3)
    assert "is done already" in caplog.text


@pytest.mark.parametrize("words", [
    ("--pack", 256), ("--length-grouped", "true"), ("--features", "none"), ("--gradient-checkpointing", "true"), ("--workers", 2),
    ("--quantize", "4bit"), ("--weights", "bfloat16"), ("--accumulate", 2), ("--schedule", "one_cycle"),
    ("--parts", "{encoders.audio: {train: lora, rank: 2, learning_rate: 1e-4}, adapters: full, language_model: frozen}"),
    ("--parts", "{language_model: full, adapters: full, encoders: full}"),
    ("--parts", "{language_model: {train: lora, variant: dora, targets: attention}}"),
    ("--fused", "{both: {of: [video, audio], adapter: attention_pool, adapter_config: {width: 8}}}"),
], ids=lambda words: "-".join(map(str, words))[:40].strip("-"))  # fmt: skip
def test_ways_to_train(here, tmp_path, words):
    if "4bit" in words:
        pytest.importorskip("bitsandbytes")
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", *words)
    losses = [r["loss"] for r in logged(tmp_path / "out.fit") if "loss" in r]
    assert len(losses) == 6 and min(losses[3:]) < losses[0]
    model, _ = answer(tmp_path / "out", here)
    assert all(torch.isfinite(p).all() for p in model.parameters() if p.is_floating_point())


def test_packs_have_the_loss_of_padded_rows(here, tmp_path):
    """One pack that holds all nine rows, and one batch of nine: the same step."""
    same = ("--steps", 1, "--max-grad-norm", "1e9", "--log-every", 1)
    train("--config", here / "mine.yaml", "--out", tmp_path / "packed", "--pack", 4096, *same)
    train("--config", here / "mine.yaml", "--out", tmp_path / "padded", "--batch-size", 9, *same)
    one, two = (next(r for r in logged(tmp_path / f"{n}.fit") if "loss" in r) for n in ("packed", "padded"))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5) and one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)
    assert sorted(one["rows"]) == sorted(two["rows"]) == list(range(9))


def test_broken_clips_and_rows_are_left_out_when_asked(here, tmp_path):
    lines = (here / "rows.jsonl").read_text().splitlines()
    for i in (1, 2):
        lines[i] = lines[i].replace(f'"{i}.wav"', '"broken.wav"' if i == 1 else '"gone.wav"')
    (here / "broken.wav").write_bytes(b"RIFF....no sound at all")
    (here / "some.jsonl").write_text("\n".join([*lines, '{"messages": 3}']) + "\n")
    flags = ("--config", here / "mine.yaml", "--data", here / "some.jsonl", "--out", tmp_path / "out")
    with pytest.raises(UniFusionError, match=r"gone\.wav|broken\.wav|messages are int"):
        train(*flags)
    train(*flags, "--on-bad-media", "skip", "--max-bad", 0.5)
    listed = [json.loads(line) for line in (tmp_path / "out.fit" / "quarantine.jsonl").read_text().splitlines()]
    bad = {row["name"]: row["reason"] for row in listed}
    assert set(bad) == {"rows/r1", "rows/r2", "rows/row 10"} and len(listed) == 3
    assert "broken.wav" in bad["rows/r1"] and "gone.wav" in bad["rows/r2"] and any("messages are int" in r for r in bad.values())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [further("fsdp2"), "zero3"])
def test_what_two_processes_shard_is_saved_whole(here, tmp_path, strategy):
    """The command as people give it; the checkpoint is that of one process."""
    if strategy == "zero3":
        pytest.importorskip("deepspeed")
    flags = ["--config", str(here / "mine.yaml"), "--steps", "3", "--save-every", "50"]
    train(*flags, "--out", tmp_path / "one")
    words = ["train", "tune", "--processes", "2", *flags, "--strategy", strategy]
    done = subprocess.run(
        [sys.executable, "-m", "unifusion", *words, "--out", str(tmp_path / "two")], capture_output=True, text=True, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=here,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (checkpoint.load(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    assert set(one) == set(two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-3, msg=name)  # Adam's first steps, sums in another order


def test_it_goes_on_from_a_checkpoint(here, tmp_path):
    full = ("--parts", "{language_model: full, adapters: full}")
    train("--config", here / "mine.yaml", "--out", tmp_path / "one", *full)
    raw = {k: v for k, v in choices(here).items() if k not in ("llm", "streams", "parts")}
    (tmp_path / "on.yaml").write_text(yaml.safe_dump({**raw, "start": str(tmp_path / "one"), "parts": {"language_model": "frozen"}}))
    train("--config", tmp_path / "on.yaml", "--out", tmp_path / "two")
    first, second = (next(r["loss"] for r in logged(tmp_path / f"{n}.fit") if "loss" in r) for n in ("one", "two"))
    assert second < first
    train("--config", here / "mine.yaml", "--out", tmp_path / "lora")
    (tmp_path / "on.yaml").write_text(yaml.safe_dump({**raw, "start": str(tmp_path / "lora")}))
    with pytest.raises(ConfigError, match="has LoRA already"):
        train("--config", tmp_path / "on.yaml", "--out", tmp_path / "three")


def test_sources_are_mixed_by_weight_and_asked_about_by_tasks(here, tmp_path):
    parts = {
        "talks": {"dataset": "messages", "path": str(here / "rows.jsonl"), "weight": 3},
        "labels": {"dataset": "messages", "path": str(here / "labels.jsonl"), "task": ["emotion"], "weight": 1,
                   "task_options": {"labels": ["joy", "anger"]}},
    }  # fmt: skip
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump(parts))
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump({**parts, "labels": {**parts["labels"], "task": "emotoin"}}))
    with pytest.raises(ConfigError, match="part 'labels': no task 'emotoin'; did you mean 'emotion'"):
        Corpus(tmp_path / "broken.yaml")
    corpus = Corpus(tmp_path / "mix.yaml", count=40, seed=1)
    talks = [corpus.conversation(i) for i in range(40)]
    emotions = [t for t in talks if t.messages[-1].text == "joy"]
    assert len(corpus) == 40 and 6 <= len(emotions) <= 14 and all("anger" in t.messages[-2].text for t in emotions)
    again = Corpus(tmp_path / "mix.yaml", count=40, seed=1)
    assert [corpus.name(i) for i in range(80)] == [again.name(i) for i in range(80)]
    assert {corpus.name(i) for i in range(80)} >= {f"talks/r{i}" for i in range(9)}
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--data", tmp_path / "mix.yaml", "--rows-per-epoch", 12, "--steps", 3)
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(("words", "error", "message"), [
    (("--parts", "{adapters.sound: full}"), ConfigError, "no part 'adapters.sound' in the model; did you mean 'adapters.audio'"),
    (("--parts", "{adapters: lora}"), ConfigError, "adapters is to be trained by LoRA"),
    (("--parts", "{language_model: {train: lora, rnk: 4}}"), ConfigError, "no choice 'rnk'; did you mean 'rank'"),
    (("--parts", "{language_model: frozen, adapters: frozen}"), ConfigError, "nothing of the model is trained"),
    (("--streams", "{audio: {adapter: linear}}"), ConfigError, "stream 'audio' names no encoder"),
    (("--data", "none.jsonl"), DatasetError, "cannot read none.jsonl"),
    (("--data", "rows.txt"), ConfigError, "of no kind that can be trained on"),
    (("--data", "labels.jsonl"), DatasetError, "holds no messages"),
    (("--available-gb", "0.0001"), (ConfigError, LimitError), "takes"),
    (("--pack", "40"), LimitError, "a pack holds 40"),
    (("--max-tokens", "12"), (DatasetError, LimitError), "the limit is 12"),
    (("--strategy", "zero9"), ConfigError, "no strategy 'zero9'"),
    (("--validation", "rows.jsonl"), DatasetError, "6 groups are in train and in val"),
    (("--quantize", "3bit"), ConfigError, "3bit"),
    (("--report-to", "tensorbord"), ConfigError, "'tensorbord'; did you mean 'tensorboard'"),
    (("--schedule", "cosin"), ConfigError, "schedule is 'cosin'; did you mean 'cosine'"),
    (("--precision", "fp16"), ConfigError, "precision is 'fp16'; .*known: auto, bfloat16, float32"),
    (("--on-bad-media", "ignore"), ConfigError, "on_bad_media is 'ignore'; known: skip, stop"),
    (("--batch-size", "0"), ConfigError, "batch_size is 0; take 1 or more"),
    (("--steps", "0"), ConfigError, "steps is 0; take 1 or more"),
    (("--window-s", "-1"), ConfigError, "window_s is -1.0; take more than 0"),
    (("--learning-rate", "0"), ConfigError, "learning_rate is 0.0"),
    (("--patience", "2"), ConfigError, "patience is set and nothing is looked at"),
    (("--keep-best", "true"), ConfigError, "keep_best is set and nothing is looked at"),
    (("--evaluate-every", "2"), ConfigError, "there are no held-out rows"),
    (("--strategy", "fsdp2"), ConfigError, "there is one; start with --processes N"),
    (("--streams", "{audio: {encoder: whispr}}"), ConfigError, "no encoder named 'whispr'; did you mean 'whisper'"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_a_step(here, tmp_path, monkeypatch, words, error, message):
    monkeypatch.chdir(here)
    with pytest.raises(error, match=message):
        train("--config", here / "mine.yaml", "--out", tmp_path / "out", *words)
    assert not list(tmp_path.glob("out.fit/checkpoint-*"))


@pytest.mark.parametrize(("words", "message"), [
    (("--schedule", "cosin"), "schedule is"), (("--weights", "fp16"), "weights is 'fp16'; .*known: bfloat16, float32"),
    (("--strategy", "zero2"), "needs DeepSpeed"),
])  # fmt: skip
def test_what_the_choices_alone_show_is_refused_before_anything_is_loaded(here, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("unifusion.training.tune.make", lambda c: pytest.fail("loaded"))
    monkeypatch.setattr("unifusion.training.fit.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=message):
        train("--config", here / "mine.yaml", "--out", tmp_path / "out", *words)


def test_choices_that_change_nothing_that_is_learned_may_change_on_the_way(here, tmp_path):
    flags = ("--config", here / "mine.yaml", "--out", tmp_path / "out")
    lines = [*(here / "rows.jsonl").read_text().splitlines(), '{"messages": 3}']
    (here / "late.jsonl").write_text("\n".join(lines) + "\n")
    more = ("--data", here / "late.jsonl", "--features", "none", "--save-every", 1, "--max-bad", 0.5)
    with pytest.raises(DatasetError, match="--on-bad-media skip"):
        train(*flags, *more)
    with pytest.raises(ConfigError, match=r"\(seed differ: seed: 0 then, 5 now\)"):
        train(*flags, *more, "--seed", 5)
    train(*flags, *more, "--on-bad-media", "skip", "--workers", 1, "--log-every", 2)
    assert (tmp_path / "out" / "config.json").is_file()


def test_the_best_weights_are_saved_when_asked_and_the_card_tells(here, tmp_path, caplog):
    caplog.set_level("INFO")
    held = ("--validation", here / "held.jsonl", "--evaluate-every", 1, "--schedule", "constant", "--steps", 4)
    parts = ("--parts", "{language_model: {train: full, learning_rate: 0.3}}")
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", *held, *parts, "--keep-best", "true")
    looked = [r["eval_loss"] for r in logged(tmp_path / "out.fit") if "eval_loss" in r]
    assert min(looked) < looked[-1], "else nothing is tested"
    best = load_file(tmp_path / "out.fit" / "best" / "trained.safetensors")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert best and all(torch.equal(saved[name], weight) for name, weight in best.items())
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"on held-out rows {min(looked):.4f}" in card and "| audio | whisper |" in card and "adapters.audio" in card
    assert f"step 1/4 held-out loss {looked[0]:.4f}" in caplog.text and f"--model {tmp_path / 'out'}" in caplog.text
    with pytest.raises(ConfigError, match="every 50 steps, the run has 6"):
        train("--config", here / "mine.yaml", "--out", tmp_path / "two", *held[:2], "--evaluate-every", 50)


def test_epochs_and_the_time_that_is_left_are_told(here, tmp_path, caplog):
    caplog.set_level("INFO")
    train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--accumulate", 2)
    lines = [r for r in logged(tmp_path / "out.fit") if "loss" in r]
    assert [r["epoch"] for r in lines] == pytest.approx([2 / 3 * n for n in range(1, 7)]), "9 rows are 3 micro-batches of 4"
    assert lines[0]["seconds_left"] > 0 == lines[-1]["seconds_left"]
    assert "step 6/6 epoch 4.00 loss" in caplog.text and "0:00:00 left" in caplog.text


def test_clips_beside_messages_are_not_dropped_without_a_word(tmp_path):
    talk = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "glass"}]
    rows = [{"messages": talk, "audios": ["1.mp3"]}, {"messages": talk, "path": "1.mp3"}, {"emotion": "joy", "audio": "1.mp3"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    told = []
    for _, make in Corpus(tmp_path / "rows.json").in_order():
        with pytest.raises(DatasetError) as error:
            make()
        told.append(error.value.found)
    assert "names 1 audio file(s), its messages show 0 <audio>" in told[0]
    assert "names clips under path, and its messages show none" in told[1] and "holds no messages" in told[2]
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(DatasetError, match="has no rows"):
        Corpus(tmp_path / "rows.json")
    with pytest.raises(ConfigError, match=r"of no kind that can be trained on; give a \.yaml of parts, or \.jsonl, \.json"):
        Corpus(tmp_path / "rows.txt")


def test_conversations_of_other_projects_are_trained_on(here, tmp_path):
    """What LLaMA-Factory and ShareGPT write, as one list; the assistant's turn that is marked so is not learnt."""
    shown = {"audios": ["1.wav"], "messages": [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "a dog"}]}
    said = {"conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "no", "loss": False}, *SAID]}
    (here / "others.json").write_text(json.dumps([shown, said] * 3))
    talks = [make() for _, make in Corpus(here / "others.json").in_order()]
    assert talks[0].media[0].source == str(here / "1.wav") and [m.supervised for m in talks[1].messages] == [False, False, False, True]
    train("--config", here / "mine.yaml", "--data", here / "others.json", "--out", tmp_path / "out", "--steps", 2, "--save-every", 2)
    assert [r["step"] for r in logged(tmp_path / "out.fit") if "loss" in r] == [1, 2]


def test_a_run_that_goes_on_keeps_its_checkpoints_streams(here, tmp_path):
    train("--config", here / "mine.yaml", "--out", tmp_path / "one", "--steps", 1, "--parts", "{language_model: full}")
    flags = ("--config", here / "mine.yaml", "--start", tmp_path / "one", "--out", tmp_path / "two")
    for words, message in (
        (("--streams", "{audio: {encoder: hubert}}"), "stream 'audio' is to be hubert and windowed_qformer, .* has whisper and windowed"),
        (("--quantize", "4bit"), "quantize is 4bit, and .* is not quantised"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(*flags, *words)


def test_a_dry_run_with_lora_around_an_encoder(here, tmp_path):
    parts = "{encoders.audio: {train: lora, rank: 2}, language_model: frozen}"
    result = train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--dry-run", "true", "--parts", parts, "--strategy", "zero2")
    assert "lora of rank 2" in result.output


def test_a_dry_run_needs_no_weights(here, tmp_path, capsys):
    result = train("--config", here / "mine.yaml", "--out", tmp_path / "out", "--dry-run", "true")
    assert "from its config.json" in result.output and "lora of rank 4" in result.output and "(estimate" in result.output
    assert "9 rows" in result.output and "6 steps" in result.output and not (tmp_path / "out").exists()


PLANS = {p.stem: yaml.safe_load(p.read_text(encoding="utf-8")) for p in sorted((share.folder("train") / "plans").glob("*.yaml"))}


@pytest.mark.parametrize("name", [name for name, choices in PLANS.items() if "plan" in choices])
def test_plans_for_real_hardware_fit_by_estimate(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = share.folder("train") / "plans" / f"{name}.yaml"
    result = train("--config", path, "--out", tmp_path / "out", "--dry-run", "true")
    plan = yaml.safe_load(path.read_text())["plan"]
    assert f"fits into {plan['gigabytes']:g} GB a device, by estimate" in result.output
    assert "hours on" in result.output and "as the plan has it" in result.output
