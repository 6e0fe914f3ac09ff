"""`unifusion emotion --stream`: emotion over a recording of any length, or over sound as it comes, a line a step."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.conversation import Clip
    from unifusion.engine.stream import Window

__all__ = ["Choices", "Hop", "Rate", "Smooth", "Stream", "over_recording"]

_STREAM = "Tell a recording of any length window by window; the clip - is raw 16-bit mono sound on stdin."
Stream = Annotated[bool, typer.Option("--stream", help=_STREAM)]
_HOP, _SMOOTH = "With --stream: seconds from window to window; 1.", "With --stream: tell the mean of so many seconds before."
_RATE = "With --stream and -: samples a second; 16000."
Hop = Annotated[float | None, typer.Option("--hop", metavar="S", min=0.05, help=_HOP, show_default=False)]
Smooth = Annotated[float | None, typer.Option("--smooth", metavar="S", min=0.0, help=_SMOOTH, show_default=False)]
Rate = Annotated[int | None, typer.Option("--rate", metavar="HZ", help=_RATE, show_default=False)]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a recording is told; None takes the default.

    Attributes:
        window_s, hop_s, smooth_s: seconds.
        rate_hz: of sound on stdin.
        batch_size: windows told at once.
        overwrite: a CSV that is there.
    """

    window_s: float | None = None
    hop_s: float | None = None
    smooth_s: float | None = None
    rate_hz: int | None = None
    batch_size: int = 8
    overwrite: bool = False


def over_recording(
    clips: Sequence[str], model: str, labels: tuple[str, ...] | None, choices: Choices, *, span: dict[str, Any], out: Path | None,
    json: bool, loading: dict[str, Any],
) -> None:  # fmt: skip
    """Tell one recording, and write it as it comes.

    Raises:
        typer.BadParameter: several clips, or options that do not fit.
        MediaError: nothing came, or the recording cannot be read on; what was told is written and drawn.
        KeyboardInterrupt: somebody stopped it; the same.
    """
    live = _check(clips, choices, span, loading)
    if out is not None:
        _check_out(out, overwrite=choices.overwrite)
    media = None if live else common.open_media(clips, **span)[0]
    with common.quiet_stdout():
        engine = common.load_teller(model, **loading)
        from unifusion.engine.stream import smoothed, stream_emotions

        hop_s = choices.hop_s or 1.0
        pieces = _sound_as_it_comes(choices.rate_hz or 16_000, hop_s) if live else _pieces(media, engine, loading)
    told = stream_emotions(
        engine, pieces, window_s=choices.window_s or 4.0, hop_s=hop_s, batch_size=1 if live else choices.batch_size, labels=labels
    )
    _tell(smoothed(told, choices.smooth_s or 0.0), out=out, json=json)


def _check(clips: Sequence[str], choices: Choices, span: dict[str, Any], loading: dict[str, Any]) -> bool:
    """Whether sound comes on stdin; refuses what a recording has no use for."""
    if len(clips) != 1:
        raise typer.BadParameter("--stream takes one recording.")
    if loading["features"] is not None:
        raise typer.BadParameter("--stream encodes windows as they come: leave --features out.")
    if span["transcript"]:
        raise typer.BadParameter("--stream does not know when words are said: leave --transcript out.")
    if span["words"] is not None:
        raise typer.BadParameter("--stream tells from picture and sound: leave --subtitles and --transcribe out.")
    live = clips[0] == "-"
    if live and any(v is not None and v is not False for v in span.values()):
        raise typer.BadParameter("sound on stdin has no spans and no picture: leave --start, --end, --no-picture and --no-sound out.")
    if not live and choices.rate_hz is not None:
        raise typer.BadParameter("--rate is of sound on stdin, named - : a file says its own.")
    return live


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a name that is no CSV, one that is there, and pictures that cannot be drawn."""
    from unifusion.evaluation.timeline import need_plots

    if out.suffix != ".csv":
        raise typer.BadParameter(f"-o {out}: with --stream it is a .csv; the curve is drawn beside it.")
    if out.exists() and not overwrite:
        raise typer.BadParameter(f"{out} is there already: say --overwrite, or another name.")
    need_plots()


def _pieces(media: Any, engine: Any, loading: dict[str, Any]) -> Iterator[Clip]:
    """Of a file."""
    from unifusion.engine.recording import read_pieces
    from unifusion.engine.stream import rates_of
    from unifusion.limits import Limits

    rate_hz, sampling_rate_hz = rates_of(engine)
    reading = {"limits": Limits(), "isolate": loading["isolate"], "strict": not loading["lenient"]}
    return read_pieces(media, rate_hz=rate_hz, sampling_rate_hz=sampling_rate_hz, **reading)


def _sound_as_it_comes(rate_hz: int, hop_s: float) -> Iterator[Clip]:
    """Of stdin, a hop at a time."""
    from unifusion.engine.recording import read_pcm

    return read_pcm(sys.stdin.buffer, sampling_rate_hz=rate_hz, piece_s=hop_s)


def _tell(windows: Iterable[Window], *, out: Path | None, json: bool) -> None:
    """Print and write each window; at the end, also at an early one, say how fast it went and draw the curve."""
    from unifusion.errors import MediaError
    from unifusion.evaluation.curve import WindowTable, draw_curve

    done: list[Window] = []
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        table = None
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            table = WindowTable(stack.enter_context(out.open("w", encoding="utf-8", newline="")))
        try:
            for window in windows:
                done.append(window)
                if table is not None:
                    table.write(window)
                if json:
                    common.print_json(window.to_dict())
                else:
                    print(common.visible(line(window)), flush=True)
            if not done:
                raise MediaError("the recording is empty;", remedy="name one of some length, or send sound to stdin.")
        finally:
            if table is not None:
                table.close()
            _end(done, time.perf_counter() - began)
            if out is not None and done:
                for path in (out, *draw_curve(out.with_suffix(""), done)):
                    common.note(f"wrote {path}")


def _end(done: Sequence[Window], spent_s: float) -> None:
    """How fast it went."""
    if done:
        seconds = done[-1].end_s - done[0].start_s
        common.note(f"[{len(done)} windows of {seconds:.1f} s in {spent_s:.1f} s: real-time factor {spent_s / max(seconds, 1e-9):.2f}]")


def line(window: Window) -> str:
    """One window for a person."""
    at = f"{window.end_s:8.1f} s  "
    missing = "; ".join(f"{n}: {why}" for n, why in window.absent.items())
    if not window.streams:
        return f"{at}(nothing to hear or see{': ' + missing if missing else ''})"
    known = [f"{n} {v:+.1f}" for n, v in (("valence", window.valence), ("arousal", window.arousal)) if v is not None]
    said = [f"{window.label} {window.probabilities[window.label]:.2f}"] if window.label else []
    return at + "  ".join([*said, *([" ".join(known)] if known else []), f"[{', '.join(window.streams)}]"])
