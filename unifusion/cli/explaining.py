"""`unifusion emotion --explain`: what a label hangs on, printed, written and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.conversation import Media
    from unifusion.engine import EmotionAnswer
    from unifusion.engine.explain import Explanation
    from unifusion.evaluation.manifest import Row

__all__ = ["Explain", "ExplainTo", "Maps", "answer_explained", "explained_dict", "print_explanation", "print_support"]

_BAR = 24
Explain = Annotated[bool, typer.Option("--explain", help="Say what the label hangs on: each window left out in turn, each claim tried.")]
ExplainTo = Annotated[
    Path | None,
    typer.Option("-d", "--explain-to", metavar="DIR", help="Also write explanation.json and draw the time line.", show_default=False),
]
Maps = Annotated[bool, typer.Option("--maps", help="With -d: also where in frames and sound the model looked.")]


def answer_explained(
    engine: Any, media: Sequence[Media], labels: Sequence[str] | None, *, window_s: float, folder: Path | None = None,
    want_maps: bool = False,
) -> tuple[EmotionAnswer, Explanation]:  # fmt: skip
    """Answer and explain; encoders run once.

    Raises:
        UniFusionError: a clip cannot be read, or pictures are wanted and nothing can draw them.
    """
    from unifusion.engine.explain import ask_about, explain

    if folder is not None:
        from unifusion.evaluation.timeline import need_plots

        need_plots()
    asked = ask_about(engine, media, labels)
    answer = asked.answer()
    found = explain(asked, answer, window_s=window_s)
    if folder is not None:
        from unifusion.evaluation.explained import write_explanation

        for path in write_explanation(folder, media, asked, answer, found, want_maps=want_maps):
            common.note(f"wrote {path}")
    return answer, found


def explained_dict(found: Explanation | None) -> dict[str, Any]:
    """What --json adds to an answer."""
    return {} if found is None else {"explanation": found.to_dict()}


def print_explanation(found: Explanation) -> None:
    """Bars of windows, streams left out, and what became of each claim."""
    print(common.visible(f"{found.label} {found.probability:.1%} hangs on (percentage points lost without it):"))
    most = max((abs(w.drop) for w in found.windows), default=0.0) or 1.0
    several = len({w.clip for w in found.windows}) > 1
    for w in found.windows:
        name = f"{w.stream} {w.clip + 1}" if several else w.stream
        bar = ("#" if w.drop > 0 else "-") * round(_BAR * abs(w.drop) / most)
        print(common.visible(f"  {name:10} {w.start_s:5.1f}-{w.end_s:5.1f} s {100 * w.drop:+6.1f} {bar}".rstrip()))
    for stream, probability in found.without.items():
        print(common.visible(f"  without {stream}: {found.label} {probability:.1%}"))
    for claim in found.claims:
        verdict = "supported" if claim.supported else "not supported"
        told = f"{claim.stream} {claim.start_s:.1f}-{claim.end_s:.1f} s: {claim.text}"
        print(common.visible(f"  {verdict} ({100 * claim.drop:+.1f}): {told}"))
    if found.support is not None:
        print(f"support {found.support:.2f} ({sum(c.supported for c in found.claims)} of {len(found.claims)} claims)")


def print_support(out: Path, rows: Sequence[Row]) -> None:
    """The mean support of a file of answers."""
    wanted = {row.id for row in rows}
    told = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    found = [r["explanation"]["support"] for r in told if r["id"] in wanted and "explanation" in r]
    given = [s for s in found if s is not None]
    if given:
        common.note(f"mean support {sum(given) / len(given):.3f} over {len(given)} rows with evidence, {len(found) - len(given)} without")
    elif found:
        common.note(f"no rationale of {len(found)} rows names evidence: there is no support to tell")
