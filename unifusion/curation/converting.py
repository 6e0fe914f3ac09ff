"""`unifusion data convert`: rows of any reader as one JSONL file or as shards, gone on with after a kill."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unifusion.curation.sinks import JsonlSink, ShardSink, State
from unifusion.curation.source import Source, taken
from unifusion.curation.spellings import FORMS, plain_row, row_in
from unifusion.datasets._places import Places, placed
from unifusion.errors import ConfigError, DatasetError, UniFusionError, nearest
from unifusion.quarantine import Quarantine

__all__ = ["ConvertOptions", "Converted", "convert"]


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How rows are written.

    Attributes:
        to: a form of `spellings.FORMS`.
        copy_media: put clips under `media/` beside the output.
        skip_bad: go on without rows that cannot be written, listed beside the output; otherwise the first ends the run.
        overwrite: what is there is replaced, and an unfinished run begun anew.
        per_shard: rows of a shard of `webdataset`.
    """

    to: str = "messages"
    copy_media: bool = False
    skip_bad: bool = False
    overwrite: bool = False
    per_shard: int = 1000


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What came of it: rows written, rows left out, rows done by an earlier run that was cut off, files copied, and their bytes."""

    rows: int
    bad: int
    resumed: int
    files: int
    n_bytes: int


def convert(source: Source, out: Path, options: ConvertOptions, *, progress: Callable[[int], None] | None = None) -> Converted:
    """Write every row of a source.

    Args:
        source: opened.
        out: a .jsonl file; of `webdataset`, a folder of shards.
        options: how.
        progress: is told how many rows were done.

    Raises:
        ConfigError: the form is unknown, the output is there, or an unfinished run of other choices is.
        DatasetError: a row cannot be read or written, and none may be left out.
    """
    if options.to not in FORMS:
        raise ConfigError(f"--to {options.to};", remedy=nearest(options.to, list(FORMS)))
    shards = options.to == "webdataset"
    target = out / "00000.tar" if shards else out
    record = (out if shards else out.parent) / f".{out.name}.part.json"
    if options.overwrite:
        record.unlink(missing_ok=True)
    elif target.exists() and not record.exists():
        raise ConfigError(f"{target} is there already;", remedy="choose another -o, or add --overwrite.")
    record.parent.mkdir(parents=True, exist_ok=True)
    state = State(record, _run(source, options))
    if shards and options.overwrite:
        for old in out.glob("[0-9]*.tar"):
            old.unlink()
    bad = Quarantine(out.with_name(f"{out.name}.bad.jsonl"), skip=options.skip_bad, most=1.0, what="rows", kind=DatasetError)
    with tempfile.TemporaryDirectory(prefix="unifusion-shards-") as held:  # clips that rows hold themselves wait there for their shard
        places = Places(Path(held) if shards else out.parent, copy=options.copy_media and not shards, keep=options.copy_media or shards)
        sink: Any = ShardSink(out, state, per_shard=options.per_shard, base=Path(held)) if shards else JsonlSink(out, state)
        try:
            return _write(source, sink, state, places, bad, options.to, progress)
        finally:
            sink.close()


def _write(
    source: Source, sink: JsonlSink | ShardSink, state: State, places: Places, bad: Quarantine, form: str,
    progress: Callable[[int], None] | None,
) -> Converted:  # fmt: skip
    """All rows that are not done yet."""
    resumed, written, number = state.rows, state.more.get("rows", 0), 0
    bad.count = state.more.get("bad", 0)
    for number, row in enumerate(taken(source), 1):
        if number <= resumed:
            continue
        try:
            if row.example is None:
                raise row.error or DatasetError(f"{row.where}: nothing;")
            for one in _rows(form, row.example, row.part.tasks, places):
                sink.write(one)
                written += 1
        except UniFusionError as error:
            bad.add(row.where, error, row=row.number)
        sink.commit(number, {"rows": written, "bad": bad.count})
        if progress is not None:
            progress(1)
    if not written:
        raise DatasetError(f"{source.path} gave no rows to write;", remedy=f"{bad.path} says why." if bad.count else "check the source.")
    sink.commit(number, {"rows": written, "bad": bad.count}, last=True)
    return Converted(rows=written, bad=bad.count, resumed=resumed, files=len(places.copied), n_bytes=places.n_bytes)


def _rows(form: str, example: Any, tasks: Any, places: Places) -> list[dict[str, Any]]:
    """A row in its form; shards hold a row as it is where nothing asks about it and it holds no conversation."""
    if form == "webdataset" and not tasks and "messages" not in example.labels:
        return [plain_row(placed(example, places))]
    return list(row_in(form, example, places, tasks))


def _run(source: Source, options: ConvertOptions) -> dict[str, Any]:
    """What the output depends on."""
    parts = [[p.name, p.reader, str(p.path), [[n, dict(o)] for n, o in p.tasks], dict(p.options)] for p in source.parts]
    marks = []
    for part in source.parts:
        if part.path.is_file():
            told = part.path.stat()
            marks.append([told.st_size, told.st_mtime_ns])
    return {"parts": parts, "marks": marks, "to": options.to, "copy_media": options.copy_media, "per_shard": options.per_shard}
