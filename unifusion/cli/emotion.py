"""`unifusion emotion`: what a person in a clip feels, how strongly, and by which evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common
from unifusion.cli.manifests import BatchSize, Overwrite, Retry, over_manifest
from unifusion.errors import UniFusionError

if TYPE_CHECKING:
    from unifusion.engine import EmotionAnswer

__all__ = ["emotion"]

Labels = Annotated[str | None, typer.Option("--labels", metavar="A,B,..", help="Choose among these instead.", show_default=False)]
Together = Annotated[bool, typer.Option("--together", help="Judge all clips as one moment (a face and its voice in two files).")]

Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT.jsonl", help="For a manifest: one line per row.", show_default=False)]


def emotion(
    clips: common.Clips,
    json: common.Json = False,
    labels: Labels = None,
    together: Together = False,
    out: Out = None,
    batch_size: BatchSize = 8,
    overwrite: Overwrite = False,
    retry_errors: Retry = False,
    start: common.Start = None,
    end: common.End = None,
    transcript: common.Transcript = None,
    model: common.Model = common.DEFAULT_MODEL,
    no_picture: common.NoPicture = False,
    no_sound: common.NoSound = False,
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    features: common.Features = None,
    device: common.Device = "",
) -> None:
    """Tell the emotion in clips, with evidence.

    Probabilities, valence and arousal, and what in picture, sound and words speaks for them, with times.

    With --json one object per clip, one a line. A clip that cannot be read is told on stderr and the others go on.

    A manifest (MANIFEST.jsonl -o OUT.jsonl, as for `unifusion predict`) is answered in batches, and gone on with after a kill.
    """
    chosen = split_labels(labels)
    if out is not None:
        from unifusion.evaluation import predict as work

        if len(clips) != 1 or {start, end, transcript} != {None} or no_picture or no_sound or together:
            raise typer.BadParameter("-o takes one manifest, whose rows name clips and spans; leave the other options out.")
        run = work.Run(
            task="emotion with evidence", labels=chosen or (), model=model, seed=0, max_new_tokens=0, lenient=lenient,
            weights=work.weights_of(model), stored=features is not None,
        )  # fmt: skip
        over_manifest(
            work.read_manifest(Path(clips[0])), out, run,
            lambda engine, waiting, sink: work.feel_rows(engine, waiting, chosen, sink, batch_size=batch_size),
            load=common.load_teller, isolate=isolate, lenient=lenient, features=features, device=device, overwrite=overwrite,
            retry_errors=retry_errors,
        )  # fmt: skip
        return
    if len(clips) == 1 and clips[0].endswith(".jsonl"):
        raise typer.BadParameter(f"{clips[0]} is a manifest: say with -o where its answers go.")
    if transcript and len(clips) > 1 and not together:
        raise typer.BadParameter("--transcript is of one clip, or of several that are judged --together.")
    span: dict[str, Any] = {"start_s": start, "end_s": end, "no_picture": no_picture, "no_sound": no_sound, "transcript": transcript}
    engine = None
    failed: UniFusionError | None = None
    for group in [clips] if together or len(clips) == 1 else [[clip] for clip in clips]:
        try:
            media = common.open_media(group, **span)
            with common.quiet_stdout():
                engine = engine or common.load_teller(model, isolate=isolate, lenient=lenient, features=features, device=device)
                answer = engine.emotion(media, labels=chosen)
        except UniFusionError as error:
            # One clip: the error is the result. Of several: tell it, go on, and end with its exit code.
            if len(clips) == 1 or together or error.exit_code == 4:
                raise
            common.note(f"unifusion: {error}")
            failed = failed or error
            continue
        _show(answer, group, json=json, name=len(clips) > 1)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def split_labels(labels: str | None) -> tuple[str, ...] | None:
    """Return the labels of a comma-separated list.

    Raises:
        typer.BadParameter: fewer than two, or one of them twice.
    """
    if labels is None:
        return None
    names = tuple(name.strip() for name in labels.split(",") if name.strip())
    if len(names) < 2 or len(set(names)) != len(names):
        raise typer.BadParameter(f"--labels {labels!r} must name two or more different labels, separated by commas.")
    return names


def _show(answer: EmotionAnswer, group: list[str], *, json: bool, name: bool) -> None:
    """Print one answer for a machine or for a person."""
    if json:
        common.print_json({**({"clip": group[0]} if name and len(group) == 1 else {}), **answer.to_dict()})
        return
    if name:
        print(common.visible(f"{', '.join(group)}:"))
    known = [f"{name} {value:+.2f}" for name, value in (("valence", answer.valence), ("arousal", answer.arousal)) if value is not None]
    print("   ".join([answer.label, ", ".join(known)]).rstrip())
    for label, share in sorted(answer.probabilities.items(), key=lambda item: -item[1]):
        print(f"  {label:10} {share:6.1%} {'#' * round(30 * share)}")
    if answer.rationale:
        print(common.visible(answer.rationale))
    for item in answer.evidence:
        print(common.visible(f"  {item['stream']} {item['start_s']:.1f}-{item['end_s']:.1f} s: {item['text']}"))
    common.note(f"[{answer.report.summary()}]")
