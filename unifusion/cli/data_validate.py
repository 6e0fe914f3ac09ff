"""`unifusion data validate`: what would break a run, or spoil it without a word; exit code 1 where something would."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unifusion.cli import common
from unifusion.cli.data_sources import Dataset, Option, Place, Split, TaskName, opened

if TYPE_CHECKING:
    from unifusion.curation.findings import Account

__all__ = ["validate"]

ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="DIR", help="Count tokens and look for control tokens by this checkpoint.", show_default=False),
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", metavar="N", min=0, help="Of a conversation; 0 takes the model's context.")]
NoMedia = Annotated[bool, typer.Option("--no-media", help="Leave media files alone.")]
Decode = Annotated[bool, typer.Option("--decode", help="Decode every file whole, in a child process, not its header alone.")]
Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="Folder that files must lie in, links followed.", show_default=False)
]
Allow = Annotated[
    list[str], typer.Option("--allow-key", metavar="KEY", help="A key that is no slip; may be said again.", show_default=False)
]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=0, help="Processes that look at rows; 0 is this one.")]


def validate(
    path: Place,
    dataset: Dataset = None,
    split: Split = None,
    task: TaskName = None,
    option: Option = [],  # noqa: B006 - Typer copies it
    model: ModelName = None,
    max_tokens: MaxTokens = 0,
    no_media: NoMedia = False,
    decode: Decode = False,
    root: Root = None,
    allow_key: Allow = [],  # noqa: B006
    workers: Workers = 0,
    json: common.Json = False,
) -> None:
    """Look for what would break a run or spoil it without a word.

    Exit code 1 when there is an error; warnings are told and let pass. With --json each finding is a line, and the counts are the last.
    """
    if no_media and decode:
        raise typer.BadParameter("--no-media and --decode do not go together.")
    from tqdm import tqdm

    from unifusion.curation.validating import ValidateOptions
    from unifusion.curation.validating import validate as work

    source = opened(path, dataset, split, option, task=task, stream=True)
    options = ValidateOptions(
        depth="none" if no_media else "decode" if decode else "probe", root=root, model=model or "", max_tokens=max_tokens, split=split,
        allowed=frozenset(allow_key), workers=workers,
    )  # fmt: skip
    with tqdm(unit="row", disable=None) as bar:
        account = work(
            source,
            options,
            progress=bar.update,
            sink=(lambda finding: print(jsonlib.dumps(finding.to_dict()), flush=True)) if json else None,
        )
    if json:
        print(jsonlib.dumps({"source": str(path), "read_as": source.said, **account.to_dict()}), flush=True)
    else:
        tell(account)
    if account.errors:
        raise typer.Exit(1)


def tell(account: Account) -> None:
    """Print the first findings of each kind, errors first, and the counts."""
    for (severity, kind), findings in sorted(account.first.items(), key=lambda item: (item[0][0], item[0][1])):
        for finding in findings:
            typer.echo(common.visible(finding.told()).replace("\n", "\\n"))
        more = account.kinds[severity, kind] - len(findings)
        if more:
            typer.echo(f"{severity}: {more} more of the kind {kind} (--json has all)")
    clean = "" if account.errors or account.warnings else "; nothing found that would break or spoil a run"
    wrong = f"{account.errors} errors, {account.warnings} warnings; {account.bad_rows} rows have an error of their own"
    typer.echo(f"{account.rows} rows, {account.files} media files: {wrong if not clean else f'0 errors, 0 warnings{clean}'}")
