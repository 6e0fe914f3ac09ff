"""`unifusion emotion --dialogue`: a talk turn by turn, each with what was said before; a reply to each if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common
from unifusion.cli.manifests import over_manifest

if TYPE_CHECKING:
    from unifusion.evaluation.dialogue import Turn

__all__ = ["Dataset", "Dialogue", "Reply", "Split", "over_talk"]

_TALK = "Turns in order, one a line: speaker, text, and path, start, end, metadata where there are any."
_SET = "With --dialogue DIR: the reader of the talks that lie there (meld, avamerg ..)."
Dialogue = Annotated[Path | None, typer.Option("--dialogue", metavar="TALK.jsonl", help=_TALK, show_default=False)]
Dataset = Annotated[str | None, typer.Option("--dataset", metavar="READER", help=_SET, show_default=False)]
Split = Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="With --dataset: which part; test if nothing is said.")]
Reply = Annotated[bool, typer.Option("--reply", help="With --dialogue: also an empathetic reply to each turn (chat models).")]


def over_talk(
    talk: Path, out: Path | None, model: str, labels: tuple[str, ...] | None, *, dataset: str | None = None, split: str | None = None,
    reply: bool, json: bool, batch_size: int, loading: dict[str, Any], overwrite: bool, retry_errors: bool,
) -> None:  # fmt: skip
    """Tell a talk, or those of a data set: into a file that is gone on with after a kill, or onto stdout.

    Raises:
        typer.Exit: with 3, no turn could be told.
    """
    from unifusion.evaluation import predict as work
    from unifusion.evaluation.dialogue import feel_turns, read_talks, told_turns, turns_of

    turns = read_talks(talk) if dataset is None else turns_of(talk, dataset, split or "test")
    if out is None:
        with common.quiet_stdout():
            engine = common.load_teller(model, **loading)
        answered = 0
        for turn, told in told_turns(engine, turns, labels, reply=reply, batch_size=batch_size):
            answered += "error" not in told
            if json:
                common.print_json({"id": turn.id, **told})
            else:
                print(common.visible(_line(turn, told)), flush=True)
        if not answered:
            raise typer.Exit(3)
        return
    task = "emotion of each turn of a talk" + (", with a reply" if reply else "")
    run = work.Run(
        task=task, labels=labels or (), model=model, seed=0, max_new_tokens=0, lenient=loading["lenient"], weights=work.weights_of(model),
        stored=loading["features"] is not None,
    )  # fmt: skip

    def answer(engine: Any, waiting: Sequence[Any], sink: Any) -> None:
        feel_turns(engine, waiting, labels, sink, reply=reply, batch_size=batch_size)

    over_manifest(turns, out, run, answer, load=common.load_teller, overwrite=overwrite, retry_errors=retry_errors, **loading)


def _line(turn: Turn, told: dict[str, Any]) -> str:
    """One turn for a person."""
    who = f"{turn.speaker}: {turn.text or turn.id}" if turn.speaker else turn.text or turn.id
    if "error" in told:
        return f"{who}\n  ({told['error']})"
    felt = [f"{n} {told[n]:+.2f}" for n in ("valence", "arousal") if told.get(n) is not None]
    share = [f"{told['label']} {told['probabilities'][told['label']]:.2f}"] if told["label"] else []
    reply = [f"  reply: {told['reply']}"] if told.get("reply") else []
    return "\n".join([who, "  " + "  ".join([*share, " ".join(felt)]).strip(), *reply])
