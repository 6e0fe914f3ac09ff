"""`unifusion encode`: frozen encoders over clips, once; training, evaluation and chat read what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.many_clips import Bad, Data, Engine, MaxBad, On, OnBad, Part

__all__ = ["encode"]

Out = Annotated[Path, typer.Option("-o", "--out", metavar="STORE", help="Folder of the store; made, or gone on with.")]
Encoder = Annotated[str, typer.Option("--encoder", metavar="NAME", help="One encoder instead of a checkpoint's.", show_default=False)]
Source = Annotated[str | None, typer.Option("--source", metavar="DIR", help="Weights of --encoder.", show_default=False)]
Revision = Annotated[str | None, typer.Option("--revision", metavar="REV", help="Of --source on the hub.", show_default=False)]
Stream = Annotated[list[str], typer.Option("--stream", metavar="NAME", help="This stream alone; may be said again.", show_default=False)]
Seconds = Annotated[float, typer.Option("--max-seconds", metavar="S", help="Longest span for --encoder; a checkpoint has its own.")]
BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Clips encoded at once.")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=0, help="Threads that decode ahead; of engine ray: processes.")]


def encode(
    data: Data,
    out: Out,
    model: common.Model = common.DEFAULT_MODEL,
    encoder: Encoder = "",
    source: Source = None,
    revision: Revision = None,
    stream: Stream = [],  # noqa: B006 - Typer copies it
    max_seconds: Seconds = 60.0,
    shard: Part = "0/1",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    engine: On = Engine.local,
    on_bad_media: Bad = OnBad.stop,
    max_bad: MaxBad = 0.05,
    device: common.Device = "",
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    json: common.Json = False,
) -> None:
    """Run frozen encoders over clips and store what they give.

    A clip is known by its content: what is stored is not encoded again, whatever it is called. Killed at any moment, the same command
    goes on where it stopped.
    """
    with common.quiet_stdout():
        common.quiet_libraries()
        from unifusion.evaluation.clips import named_clips
        from unifusion.features import EncodeOptions
        from unifusion.features.job import EncodeJob, part_of, run_job
        from unifusion.features.source import EncoderSource

        if (encoder == "") != (source is None):
            raise typer.BadParameter("--encoder and --source go together: an encoder of the catalog, and its weights.")
        where = EncoderSource(
            model="" if encoder else model, encoder=encoder, weights=source, revision=revision, streams=tuple(stream),
            max_seconds=max_seconds, isolate=isolate, strict=not lenient, device=common.device_of(device),
        )  # fmt: skip
        threads = workers if engine is Engine.local else 1
        job = EncodeJob(
            source=where, out=out, part=part_of(shard), options=EncodeOptions(batch_size=batch_size, workers=threads),
            workers=max(1, workers), engine=engine.value, on_bad=on_bad_media.value, max_bad=max_bad,
        )  # fmt: skip
        clips, passed_over = named_clips(data)
        if passed_over:
            common.note(f"{passed_over} files are no media and were passed over")
        with common.term_interrupts():
            summary = run_job(clips, job)
    if json:
        common.print_json({"store": str(out), **summary.to_dict()})
    else:
        typer.echo(f"{out}: {summary.told()}")
    if summary.bad and not (summary.clips or summary.there):
        raise typer.Exit(3)
