"""`unifusion predict`: one task over a whole manifest, batched, into a JSONL file that a kill cannot spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.emotion import Labels, split_labels
from unifusion.cli.manifests import BatchSize, Overwrite, Retry, heard_rows, over_manifest

__all__ = ["predict"]

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST.jsonl", help="Lines of id, path (or video, audio, image), question.")]
TaskName = Annotated[str, typer.Option("--task", help="What to ask of every row; see: unifusion list tasks.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT.jsonl", help="Where the answers go, one line per row.")]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest answer in tokens.")]
Seed = Annotated[int, typer.Option("--seed", help="Picks the phrasing of each question.")]
Abstain = Annotated[bool, typer.Option("--abstain", help="Give no label where it is less likely than the checkpoint's threshold.")]


def predict(
    manifest: Manifest,
    task: TaskName,
    out: Out,
    labels: Labels = None,
    batch_size: BatchSize = 8,
    model: common.Model = common.DEFAULT_MODEL,
    max_new_tokens: NewTokens = 128,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    retry_errors: Retry = False,
    abstain: Abstain = False,
    subtitles: common.Subtitles = None,
    transcribe: common.Transcribe = None,
    language: common.Language = None,
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    features: common.Features = None,
    device: common.Device = "",
) -> None:
    """Answer a task for every row of a manifest.

    Writes JSON lines with id, answer, label, probabilities and report, or error.

    Killed half-way, the same command goes on where it stopped: no row is lost, none is written twice.
    """
    from unifusion import catalog
    from unifusion.evaluation import predict as work

    words = common.Words.asked(subtitles, transcribe, language, device=device, isolate=isolate, lenient=lenient)
    rows = heard_rows(work.read_manifest(manifest), words)
    asked = catalog.load("tasks", task)(seed=seed, labels=split_labels(labels))
    run = work.Run(
        task=task, labels=asked.labels, model=model, seed=seed, max_new_tokens=max_new_tokens, abstain=abstain, lenient=lenient,
        weights=work.weights_of(model), stored=features is not None, words=words.mark() if words else "",
    )  # fmt: skip
    over_manifest(
        rows, out, run, lambda engine, waiting, sink: work.answer_rows(engine, waiting, asked, sink, batch_size=batch_size, run=run),
        isolate=isolate, lenient=lenient, features=features, device=device, overwrite=overwrite, retry_errors=retry_errors,
    )  # fmt: skip
