"""`unifusion data windows`: raw clips to windows of picture, sound and words, as a file that training, indexing and prediction read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.many_clips import Bad, Data, Engine, MaxBad, On, OnBad, Part

__all__ = ["windows"]


class _Subtitles(StrEnum):
    """Which subtitles are read."""

    auto = "auto"
    none = "none"


Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT.jsonl", help="Where the windows go, one a line.")]
Asr = Annotated[str, typer.Option("--asr", metavar="MODEL", help="Recognises what no subtitles tell: a Whisper ..", show_default=False)]
Language = Annotated[str, typer.Option("--language", metavar="NAME", help="Of --asr, such as en.", show_default=False)]
_BESIDE = "auto: a .srt or .vtt beside the clip, else the clip's own."
Subtitles = Annotated[_Subtitles, typer.Option("--subtitles", help=_BESIDE)]
Shots = Annotated[bool, typer.Option("--shots", help="Look for shots, number them, and cut where they begin.")]
Detector = Annotated[str, typer.Option("--shot-detector", metavar="NAME", help="histogram, or pyscenedetect.")]
Tags = Annotated[str, typer.Option("--tags", metavar="MODEL", help="Names sounds: an audio classifier, or tiny-embed.", show_default=False)]
TagNames = Annotated[str, typer.Option("--tag-names", metavar="A,B,..", help="What tiny-embed is asked for.", show_default=False)]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Sounds of a window, at most.")]
Least = Annotated[float, typer.Option("--least", metavar="R", min=0.0, max=1.0, help="Score that a sound needs.")]
Window = Annotated[float, typer.Option("--window", metavar="S", min=0.5, help="Seconds of a window; lines are never cut through.")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes of engine ray.")]


def windows(
    data: Data,
    out: Out,
    asr: Asr = "",
    language: Language = "",
    subtitles: Subtitles = _Subtitles.auto,
    shots: Shots = False,
    shot_detector: Detector = "histogram",
    tags: Tags = "",
    tag_names: TagNames = "",
    top: Top = 3,
    least: Least = 0.1,
    window: Window = 10.0,
    shard: Part = "0/1",
    workers: Workers = 2,
    engine: On = Engine.local,
    on_bad_media: Bad = OnBad.stop,
    max_bad: MaxBad = 0.05,
    device: common.Device = "",
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    json: common.Json = False,
) -> None:
    """Cut raw clips into windows with their words, shots and sounds.

    Killed at any moment, the same command goes on where it stopped. The same clips give the same file.
    """
    if language and not asr:
        raise typer.BadParameter("--language is that of --asr.")
    if tag_names and not tags:
        raise typer.BadParameter("--tag-names are asked of --tags tiny-embed.")
    with common.quiet_stdout():
        common.quiet_libraries()
        from unifusion.evaluation.clips import named_clips
        from unifusion.evaluation.windows.job import WindowJob, make_windows
        from unifusion.evaluation.windows.maker import WindowChoices
        from unifusion.features.job import part_of

        choices = WindowChoices(
            window_s=window, subtitles="" if subtitles is _Subtitles.none else subtitles.value, asr=asr, language=language,
            shots=shot_detector if shots else "", tags=tags, tag_names=tuple(n.strip() for n in tag_names.split(",") if n.strip()),
            top=top, least=least, device=common.device_of(device) if asr or tags else "cpu", isolate=isolate, strict=not lenient,
        )  # fmt: skip
        job = WindowJob(
            choices=choices, out=out, part=part_of(shard), engine=engine.value, workers=workers, on_bad=on_bad_media.value, max_bad=max_bad
        )
        clips, passed_over = named_clips(data)
        if passed_over:
            common.note(f"{passed_over} files are no clips; subtitles among them are read with theirs")
        with common.term_interrupts():
            summary = make_windows(clips, job)
    if json:
        common.print_json({"out": str(out), **vars(summary)})
    else:
        typer.echo(f"{out}: {summary.told()}")
    if summary.bad and not (summary.clips or summary.there):
        raise typer.Exit(3)
