"""`unifusion data instruct`, which turns labelled sets into instruction conversations, and `data view`, which shows conversations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unifusion.instructing.viewing import View
    from unifusion.processor import UniFusionProcessor

__all__ = ["instruct", "view"]


class _Balance(StrEnum):
    """What is made equally frequent."""

    none = "none"
    label = "label"


Mixed = Annotated[Path | None, typer.Argument(metavar="[MIXTURE.yaml]", help="Parts as in train/mixtures.", show_default=False)]
Named = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="One dataset instead of a mixture.", show_default=False)]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where it lies, or what the mixture's paths start from.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of conversations.jsonl and mixture.json.")]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="train, val or test of every part.")]
Tasks = Annotated[str, typer.Option("--tasks", metavar="A,B", help="Only these (`unifusion list tasks`; told: rows' own conversations).")]
Rows = Annotated[
    int | None, typer.Option("--rows", metavar="N", min=1, help="Rows read in all, by the parts' weights.", show_default=False)
]
Balanced = Annotated[_Balance, typer.Option("--balance", help="label: as many of each answer of a closed task as of its rarest.")]
Refusals = Annotated[float, typer.Option("--refusals", metavar="R", min=0.0, max=1.0, help="Share that is muted and refused.")]
Seed = Annotated[int, typer.Option("--seed", help="Of all that is drawn.")]
Hash = Annotated[bool, typer.Option("--hash-media", help="Hash the clips' bytes too, not only what is said of them.")]


def instruct(
    out: Out, mixture: Mixed = None, dataset: Named = None, data: Data = None, split: Split = "train", tasks: Tasks = "", rows: Rows = None,
    balance: Balanced = _Balance.none, refusals: Refusals = 0.1, seed: Seed = 0, hash_media: Hash = False,
) -> None:  # fmt: skip
    """Turn labelled sets into conversations to train on, with wrong texts to say no to and missing streams to refuse."""
    from unifusion import catalog
    from unifusion.datasets.mixture import read_parts
    from unifusion.errors import ConfigError
    from unifusion.instructing import InstructChoices, instruct

    if (mixture is None) == (dataset is None):
        raise ConfigError("name a mixture or a dataset;", remedy="MIXTURE.yaml, or --dataset ravdess --data DIR.")
    if mixture is not None:
        parts: dict[str, dict[str, Any]] = read_parts(mixture)
        root = data if data is not None else mixture.parent
    else:
        parts, root = {str(dataset): {"dataset": str(dataset), "path": str(data or ".")}}, Path()
        if not catalog.load("datasets", str(dataset)).reads_files:
            parts[str(dataset)].pop("path")
    choices = InstructChoices(
        split=split, tasks=tuple(t.strip() for t in tasks.split(",") if t.strip()), rows=rows, balance=balance.value, refusals=refusals,
        seed=seed, hash_media=hash_media,
    )  # fmt: skip
    report = instruct(parts, out, choices, data=root, name=str(mixture or dataset))
    for line in _table(report):
        typer.echo(line)
    typer.echo(str(out / report["output"]["file"]))


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    """What was made, a source a line."""
    for name, told in report["sources"].items():
        tasks = ", ".join(f"{task} {n}" for task, n in told["tasks"].items())
        kinds = ", ".join(f"{n} {kind}" for kind, n in told["kinds"].items())
        yield f"{name}: {told['rows']} rows, {told['conversations']} conversations ({kinds}): {tasks}"
        if told["left_out"]:
            yield f"  left out or changed: {', '.join(f'{reason} {n}' for reason, n in told['left_out'].items())}"
    phrasings = ((name, sorted(known["phrasings"])) for name, known in report["prompts"].items())
    yield f"each phrasing: {', '.join(f'{name} {counts[0]}-{counts[-1]} times' for name, counts in phrasings)}"


File = Annotated[
    Path, typer.Argument(metavar="FILE", help=".jsonl, .json, .yaml, .tar or .parquet, as train tune takes.", show_default=False)
]
Model = Annotated[str | None, typer.Option("--model", metavar="DIR", help="Checkpoint whose tokens are shown.", show_default=False)]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="Conversations.")]
First = Annotated[int, typer.Option("--first", metavar="N", min=1, help="The first of them; 1 is the file's first row.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page as well.", show_default=False)]
Task = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Of rows that hold no conversations.", show_default=False)]


def view(
    file: File, model: Model = None, count: Count = 5, first: First = 1, html: Html = None, task: Task = None, split: Split = "train"
) -> None:  # fmt: skip
    """Show conversations as training reads them: supervised text in green, and with --model the tokens and their number."""
    from unifusion.atomic import write_text
    from unifusion.errors import DatasetError
    from unifusion.instructing.viewing import as_page, as_text
    from unifusion.training.corpus import Corpus

    processor = None if model is None else _processor(model)
    rows = Corpus(file, split=split, task=task).in_order()
    views = [_view(name, make, processor) for name, make in itertools.islice(rows, first - 1, first - 1 + count)]
    if not views:
        raise DatasetError(f"{file} has fewer than {first} conversations of split {split};", remedy="begin earlier: --first.")
    for one in views:
        typer.echo(as_text(one))
        typer.echo("")
    if html is not None:
        write_text(html, as_page(views, file.name))
        typer.echo(str(html))


def _view(name: str, make: Any, processor: UniFusionProcessor | None) -> View:
    """One conversation; what is wrong with it in place of it."""
    from unifusion.errors import UniFusionError
    from unifusion.instructing.viewing import View, view_of, view_of_row

    try:
        talk = make()
        return view_of(talk) if processor is None else view_of_row(processor.row(talk), processor, talk.id or name)
    except UniFusionError as error:
        return View(name=name, problem=str(error))


def _processor(model: str) -> UniFusionProcessor:
    """The processor of a checkpoint; no weights are read."""
    from unifusion.checkpoint import check_folder
    from unifusion.errors import CheckpointError
    from unifusion.processor import UniFusionProcessor
    from unifusion.share import resolve_checkpoint

    folder = resolve_checkpoint(model)
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder {model!r};", remedy="`unifusion list checkpoints` shows those that ship.")
    check_folder(folder)
    found: UniFusionProcessor = UniFusionProcessor.from_pretrained(folder)
    return found
