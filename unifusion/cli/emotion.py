"""`unifusion emotion`: what a person in a clip feels, how strongly, and by which evidence; also over a long recording, or a talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common, dialogues, explaining, streaming
from unifusion.cli.manifests import BatchSize, Overwrite, Retry, heard_rows, over_manifest
from unifusion.errors import UniFusionError

if TYPE_CHECKING:
    from unifusion.engine import EmotionAnswer
    from unifusion.engine.explain import Explanation

__all__ = ["emotion"]

Clips = Annotated[list[str] | None, typer.Argument(metavar="CLIP..", help="Video, sound or picture files.", show_default=False)]
Labels = Annotated[str | None, typer.Option("--labels", metavar="A,B,..", help="Choose among these instead.", show_default=False)]
Together = Annotated[bool, typer.Option("--together", help="Judge all clips as one moment (a face and its voice in two files).")]
_OUT = "OUT.jsonl for a manifest or a talk, one line a row; OUT.csv for --stream."
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT", help=_OUT, show_default=False)]
_WINDOW = "Seconds of a window: 1 with --explain, 4 with --stream."
Window = Annotated[float | None, typer.Option("--window", metavar="S", min=0.05, help=_WINDOW, show_default=False)]
_OWNERS = {
    "--maps": "-d DIR", "--reply": "--dialogue", "--dataset": "--dialogue", "--split": "--dataset",
    "--window": "--explain or --stream", "--hop": "--stream", "--smooth": "--stream",
    "--rate": "--stream",
}  # fmt: skip
_ONE_MANIFEST = "-o takes one manifest, whose rows"


def emotion(
    clips: Clips = None,
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
    subtitles: common.Subtitles = None,
    transcribe: common.Transcribe = None,
    language: common.Language = None,
    model: common.Model = common.DEFAULT_MODEL,
    no_picture: common.NoPicture = False,
    no_sound: common.NoSound = False,
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    features: common.Features = None,
    explain: explaining.Explain = False,
    explain_to: explaining.ExplainTo = None,
    maps: explaining.Maps = False,
    window: Window = None,
    stream: streaming.Stream = False,
    hop: streaming.Hop = None,
    smooth: streaming.Smooth = None,
    rate: streaming.Rate = None,
    dialogue: dialogues.Dialogue = None,
    dataset: dialogues.Dataset = None,
    split: dialogues.Split = None,
    reply: dialogues.Reply = False,
    device: common.Device = "",
) -> None:
    """Tell the emotion in clips, with evidence.

    Probabilities, valence and arousal, and what in picture, sound and words speaks for them, with times.

    With --json one object per clip, one a line. A clip that cannot be read is told on stderr and the others go on.

    A manifest (MANIFEST.jsonl -o OUT.jsonl, as for `unifusion predict`) is answered in batches, and gone on with after a kill.

    --explain says what a label hangs on; --stream tells a long recording window by window; --dialogue tells a talk turn by turn.
    """
    chosen = split_labels(labels)
    loading: dict[str, Any] = {"isolate": isolate, "lenient": lenient, "features": features, "device": device}
    words = common.Words.asked(subtitles, transcribe, language, device=device, isolate=isolate, lenient=lenient)
    span: dict[str, Any] = {
        "start_s": start, "end_s": end, "no_picture": no_picture, "no_sound": no_sound, "transcript": transcript, "words": words
    }  # fmt: skip
    explained = explain or explain_to is not None
    _check_modes(clips, explained=explained, stream=stream, dialogue=dialogue)
    _check_lone(
        {"--maps": (maps, explain_to), "--reply": (reply, dialogue), "--dataset": (dataset, dialogue),
         "--split": (split, dataset), "--window": (window, explained or stream), "--hop": (hop, stream),
         "--smooth": (smooth, stream), "--rate": (rate, stream)}
    )  # fmt: skip
    again: dict[str, Any] = {"overwrite": overwrite, "retry_errors": retry_errors}
    if dialogue is not None:
        _no_spans(span, together, "--dialogue takes one talk, whose lines")
        talks: dict[str, Any] = {"dataset": dataset, "split": split, "reply": reply}
        dialogues.over_talk(dialogue, out, model, chosen, **talks, json=json, batch_size=batch_size, loading=loading, **again)
    elif stream:
        choices = streaming.Choices(
            window_s=window, hop_s=hop, smooth_s=smooth, rate_hz=rate, batch_size=batch_size, overwrite=overwrite
        )
        streaming.over_recording(clips or [], model, chosen, choices, span=span, out=out, json=json, loading=loading)
    elif out is not None:
        if explain_to is not None:
            raise typer.BadParameter("-d draws single clips; a manifest takes --explain alone.")
        _no_spans({**span, "words": None}, together, _ONE_MANIFEST)
        _over_manifest(clips or [], out, model, chosen, batch_size, (window or 1.0) if explained else None, {**loading, **again}, words)
    else:
        explaining_as = {"window_s": window or 1.0, "folder": explain_to, "want_maps": maps} if explained else None
        _over_clips(clips or [], model, chosen, span, together=together, json=json, loading=loading, explaining_as=explaining_as)


def _check_modes(clips: Sequence[str] | None, *, explained: bool, stream: bool, dialogue: Path | None) -> None:
    """Refuse what does not go together."""
    if sum([explained, stream, dialogue is not None]) > 1:
        raise typer.BadParameter("--explain, --stream and --dialogue exclude each other.")
    if bool(clips) == (dialogue is not None):
        raise typer.BadParameter("name a clip." if dialogue is None else "a talk names its own clips.")


def _check_lone(given: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse options, each with what it belongs to, that would do nothing."""
    for name, (value, owner) in given.items():
        if value is not None and value is not False and (owner is None or owner is False):
            raise typer.BadParameter(f"{name} goes with {_OWNERS[name]}.")


def _no_spans(span: dict[str, Any], together: bool, what: str) -> None:
    """Refuse options that the rows of a file say themselves."""
    if together or any(v is not None and v is not False for v in span.values()):
        raise typer.BadParameter(f"{what} name clips and spans; leave the other options out.")


def _over_manifest(
    clips: Sequence[str], out: Path, model: str, labels: tuple[str, ...] | None, batch_size: int, window_s: float | None,
    given: dict[str, Any], words: common.Words | None,
) -> None:  # fmt: skip
    """Answer the rows of a manifest, with what their labels hang on where a window is given."""
    from unifusion.evaluation import predict as work

    if len(clips) != 1:
        raise typer.BadParameter(f"{_ONE_MANIFEST} name clips and spans; leave the other options out.")
    task = "emotion with evidence" + ("" if window_s is None else f", explained by windows of {window_s:g} s")
    run = work.Run(
        task=task, labels=labels or (), model=model, seed=0, max_new_tokens=0, lenient=given["lenient"], weights=work.weights_of(model),
        stored=given["features"] is not None, words=words.mark() if words else "",
    )  # fmt: skip
    rows = heard_rows(work.read_manifest(Path(clips[0])), words)
    over_manifest(
        rows, out, run,
        lambda engine, waiting, sink: work.feel_rows(engine, waiting, labels, sink, batch_size=batch_size, window_s=window_s),
        load=common.load_teller, **given,
    )  # fmt: skip
    if window_s is not None:
        explaining.print_support(out, rows)


def _over_clips(
    clips: Sequence[str], model: str, labels: tuple[str, ...] | None, span: dict[str, Any], *, together: bool, json: bool,
    loading: dict[str, Any], explaining_as: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Answer clips one after the other, or together."""
    if len(clips) == 1 and clips[0].endswith(".jsonl"):
        raise typer.BadParameter(f"{clips[0]} is a manifest: say with -o where its answers go.")
    named = span["words"] is not None and span["words"].subtitles not in (None, "auto")
    if (span["transcript"] or named) and len(clips) > 1 and not together:
        raise typer.BadParameter("--transcript and --subtitles FILE are of one clip, or of several that are judged --together.")
    engine = None
    failed: UniFusionError | None = None
    groups = [list(clips)] if together or len(clips) == 1 else [[clip] for clip in clips]
    for number, group in enumerate(groups, 1):
        found: Explanation | None = None
        try:
            media = common.open_media(group, **span)
            with common.quiet_stdout():
                engine = engine or common.load_teller(model, **loading)
                if explaining_as is None:
                    answer = engine.emotion(media, labels=labels)
                else:
                    answer, found = explaining.answer_explained(engine, media, labels, **_apart(explaining_as, group, number, len(groups)))
        except UniFusionError as error:
            # One clip: the error is the result. Of several: tell it, go on, and end with its exit code.
            if len(groups) == 1 or error.exit_code == 4:
                raise
            common.note(f"unifusion: {error}")
            failed = failed or error
            continue
        _show(answer, found, group, json=json, name=len(clips) > 1)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _apart(given: dict[str, Any], group: Sequence[str], number: int, count: int) -> dict[str, Any]:
    """A folder for each of several clips."""
    apart = given["folder"] is not None and count > 1
    return {**given, "folder": given["folder"] / f"{number:03d}-{Path(group[0]).stem}"} if apart else given


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


def _show(answer: EmotionAnswer, found: Explanation | None, group: list[str], *, json: bool, name: bool) -> None:
    """Print one answer for a machine or for a person."""
    if json:
        named = {"clip": group[0]} if name and len(group) == 1 else {}
        common.print_json({**named, **answer.to_dict(), **explaining.explained_dict(found)})
        return
    if name:
        print(common.visible(f"{', '.join(group)}:"))
    known = [f"{name} {value:+.2f}" for name, value in (("valence", answer.valence), ("arousal", answer.arousal)) if value is not None]
    print("   ".join([answer.label, ", ".join(known)]).rstrip())
    for label, share in sorted(answer.probabilities.items(), key=lambda item: -item[1]):
        print(f"  {label:10} {share:6.1%} {'#' * round(30 * share)}")
    if answer.rationale:
        print(common.visible(answer.rationale))
    for item in answer.evidence if found is None else ():
        print(common.visible(f"  {item['stream']} {item['start_s']:.1f}-{item['end_s']:.1f} s: {item['text']}"))
    if found is not None:
        explaining.print_explanation(found)
    common.note(f"[{answer.report.summary()}]")
