"""All stages of the shipped model, one after the other, each resumed or skipped: what `make tiny` runs."""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unifusion import share
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, nearest
from unifusion.evaluation.release import Real, release
from unifusion.training.chat import STREAMS, aligned_specs
from unifusion.training.choices import parse, shared_yaml
from unifusion.training.clip_cache import ClipCacheChoices, render_cache
from unifusion.training.grammar import Grammar
from unifusion.training.launch import as_many_as_fit, launch
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The whole chain. Stages take their own defaults; these few are shared by several."""

    run: str = "runs/tiny"
    out: str = "checkpoints/tiny-chat"
    on: str | None = None
    """A checkpoint to go on from, instead of nothing; then only `again` is aligned, and `instruct` goes on."""
    again: str = "audio"
    """Streams, by commas, that get a new encoder when a checkpoint is gone on with; may be empty."""
    data: str | None = None
    """Folder of real sets (train/mixtures/people.yaml and english.yaml say which); without it clip world is all there is."""
    clips: int = 16_000
    vocabulary: int | None = None
    video_steps: int | None = None
    video_queries: int = 8
    """Of the adapter, each half second: one for the face, one for the sign, and some for each of up to three objects."""
    audio_steps: int | None = None
    language_steps: int | None = None
    adapt_steps: int = 150
    instruct_steps: int | None = None
    questions: int = 1000
    processes: int | None = None
    """That train together in `language`, `adapt` and `instruct`; as many as there are GPUs or cores, 4 at most, when it is not given."""
    seed: int = 0


CLIP_WORLD = {"vocabulary": 2048, "video_steps": 2000, "audio_steps": 3000, "language_steps": 500, "instruct_steps": 6600}
WITH_DATA = {"vocabulary": 4096, "video_steps": 4000, "audio_steps": 4500, "language_steps": 2000, "instruct_steps": 25250}
"""What a choice is that was not made, without real sets and with them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, then measure and save."""
    c = parse(Choices, argv, prog="unifusion train tiny")
    c = replace(c, **{k: v for k, v in (WITH_DATA if c.data else CLIP_WORLD).items() if getattr(c, k) is None})
    data = ["--data", c.data] if c.data else []
    real, english, texts = (
        (["--real", "people", *data], ["--english", "english", *data], ["--mixtures", "english,people", *data]) if c.data else ([], [], [])
    )
    r, seed, processes = c.run, ["--seed", str(c.seed)], c.processes or as_many_as_fit()
    again = [name for name in c.again.split(",") if name] if c.on else list(STREAMS)
    for name in again:
        if name not in STREAMS:
            raise ConfigError(f"--again {c.again!r}: no stream {name!r};", remedy=nearest(name, list(STREAMS)))
    ready(processes)
    if c.on:
        run("unpack", ["--checkpoint", c.on, "--out", r])
    else:
        run("tokenizer", ["--out", f"{r}/tokenizer", "--vocabulary", str(c.vocabulary), *texts, *seed])
    words = f"{r}/language" if c.on else f"{r}/tokenizer"
    ground = ["--out", f"{r}/ground", "--tokenizer", words, "--cache", f"{r}/ground", "--clips", str(c.clips), *real, *seed]
    for stream in again:
        own = {"video": ["--steps", str(c.video_steps), "--queries", str(c.video_queries)], "audio": ["--steps", str(c.audio_steps)]}
        run("ground", [*ground, "--stream", stream, *own[stream]])  # in one process: batch normalisation sees its own process's rows only
    if not again:  # nobody else has rendered them
        render_cache(f"{r}/ground.clips", ClipCacheChoices(seed=c.seed, count=c.clips))
    clips = ["--clips", f"{r}/ground.clips", "--n-clips", str(c.clips), *seed]
    shared = ["--language", f"{r}/language", "--encoders", f"{r}/ground", *clips]
    if not c.on:
        run("language", ["--out", f"{r}/language", "--tokenizer", words, "--steps", str(c.language_steps), *english, *clips], processes)
        run("adapt", ["--out", f"{r}/adapt", "--steps", str(c.adapt_steps), *shared], processes)
    fresh = ["--fresh", ",".join(again)] if c.on and again else []
    run(
        "instruct", ["--out", f"{r}/instruct", "--start", f"{r}/adapt", "--steps", str(c.instruct_steps), *fresh, *real, *shared], processes
    )
    with stage(f"{r}/release", replace(c, processes=None), made=c.out) as todo:
        if todo:
            release(r, aligned_specs(f"{r}/ground"), c.out, questions=c.questions, real=real_sets(c.data) if c.data else None)


def ready(processes: int) -> None:
    """Refuse at once what would fail after hours.

    Raises:
        ConfigError: the batches cannot be shared out, or there is nothing to draw curves with.
    """
    for name in ("language", "adapt", "instruct"):
        batch = runpy.run_path(str(recipe(name)))["Choices"]().batch_size
        if batch % processes:
            raise ConfigError(f"the {batch} rows of a step of {name} cannot be shared by {processes} processes;", remedy="take 1, 2 or 4.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("the last stage draws curves with matplotlib;", remedy="pip install 'unifusion-x[plots]'.")


def real_sets(data: str) -> Real:
    """What the model was trained on, what is chosen by, and what it is measured on."""
    path = shared_yaml("mixtures", "people")
    train, val, test = (Mixture(path, data=data, split=split) for split in ("train", "val", "test"))
    free = Path(__file__).resolve().parents[1] / "tests" / "data" / "free_questions.jsonl"  # only in a checkout
    grammar = Grammar(shared_yaml("questions", "people"))
    texts = Mixture(shared_yaml("mixtures", "english"), data=data)
    return Real(train=train, val=val, test=test, texts=texts, grammar=grammar, free=free if free.is_file() else None)


def recipe(name: str) -> Path:
    """The file of a stage: beside this one, or the project's, where this one is a copy."""
    path = Path(__file__).with_name(f"{name}.py")
    return path if path.is_file() else share.folder("train") / path.name


def run(name: str, argv: Sequence[str], processes: int = 1) -> None:
    """Run one recipe of this folder."""
    path = recipe(name)
    if processes == 1:
        runpy.run_path(str(path))["main"](argv)
    elif code := launch([str(path), *argv], processes):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
