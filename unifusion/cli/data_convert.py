"""`unifusion data convert`: rows of any reader as one JSONL file, or in the spelling of another project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.data_sources import Dataset, Option, Place, Split, TaskName, opened

__all__ = ["convert"]


class _To(StrEnum):
    """What rows are written as."""

    messages = "messages"
    manifest = "manifest"
    sharegpt = "sharegpt"
    llamafactory = "llamafactory"
    openai = "openai"
    webdataset = "webdataset"


class _OnBad(StrEnum):
    """What a row that cannot be read or written does to the run."""

    stop = "stop"
    skip = "skip"


Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="A .jsonl; of webdataset, a folder of shards.")]
To = Annotated[_To, typer.Option("--to", help="manifest keeps all that a reader gives; the others are conversations.")]
CopyMedia = Annotated[bool, typer.Option("--copy-media", help="Copy clips into media/ beside OUT, each content once.")]
Bad = Annotated[_OnBad, typer.Option("--on-bad", help="End at a bad row, or list it in OUT.bad.jsonl and go on.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there, and begin an unfinished run anew.")]
PerShard = Annotated[int, typer.Option("--per-shard", metavar="N", min=1, help="Of webdataset: rows of a shard.")]


def convert(
    path: Place,
    out: Out,
    to: To = _To.messages,
    dataset: Dataset = None,
    split: Split = None,
    task: TaskName = None,
    option: Option = [],  # noqa: B006 - Typer copies it
    copy_media: CopyMedia = False,
    on_bad: Bad = _OnBad.stop,
    overwrite: Overwrite = False,
    per_shard: PerShard = 1000,
    json: common.Json = False,
) -> None:
    """Write the rows of any reader as JSON lines, or as others spell them.

    Killed half-way, the same command goes on. OUT is there whole or not at all. Clips below OUT's folder are named relative to it, others
    absolutely.
    """
    from tqdm import tqdm

    from unifusion.curation.converting import ConvertOptions
    from unifusion.curation.converting import convert as work

    source = opened(path, dataset, split, option, task=task)
    options = ConvertOptions(
        to=to.value, copy_media=copy_media, skip_bad=on_bad is _OnBad.skip, overwrite=overwrite, per_shard=per_shard
    )  # fmt: skip
    with tqdm(unit="row", disable=None) as bar:
        done = work(source, out, options, progress=bar.update)
    if json:
        common.print_json({"out": str(out), **vars(done)})
        return
    told = f", {done.files} files in media/ ({done.n_bytes / 1e6:.1f} MB copied)" if copy_media else ""
    more = f", {done.bad} left out ({out}.bad.jsonl)" if done.bad else ""
    typer.echo(f"{out}: {done.rows} rows as {to.value}{told}{more}")
