"""`unifusion data validate`: every row of a source looked at, in blocks, by one process or several, in bounded memory."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.curation.findings import Account, Finding, Severity
from unifusion.curation.ledger import Ledger
from unifusion.curation.lines import SPLITS, Checked, RowChecks, check_example, check_line, kin_of, of_dataset
from unifusion.curation.media_checks import MediaChecks
from unifusion.curation.source import Part, Source
from unifusion.curation.talk_checks import TalkChecks, processor_of
from unifusion.datasets._rows import example_of
from unifusion.errors import DatasetError, UniFusionError
from unifusion.limits import Limits
from unifusion.rows import BOM, json_row, lines_of

__all__ = ["ValidateOptions", "validate"]

_BLOCK_ROWS, _BLOCK_BYTES = 256, 8 * 1024**2
_AHEAD = 3
"""Blocks that wait for each process."""
_MOST_NAMED = 10_000
"""Rows whose ids are looked up for what is told of them; further ones are told by number."""
Line = tuple[int, bytes, bool]


@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """How closely to look.

    Attributes:
        depth: of clips: none, probe (headers) or decode (every file whole, in a child process).
        root: folder that files must lie in; None: relative names of a JSONL file must stay below its folder.
        model: checkpoint by which tokens are counted; "" counts none.
        max_tokens: of a conversation; 0 takes the model's own.
        split: rows of this split alone.
        allowed: keys that are meant as they are spelled.
        workers: processes beside this one.
    """

    depth: str = "probe"
    root: Path | None = None
    model: str = ""
    max_tokens: int = 0
    split: str | None = None
    allowed: frozenset[str] = frozenset()
    workers: int = 0

    def checks(self, part: Part) -> RowChecks:
        """What a part's rows are checked for."""
        root = self.root.resolve() if self.root is not None else None
        told = part.options.get("root")
        if root is None and told is not None:
            root = Path(str(told)).resolve()
        return RowChecks(
            file=str(part.path), split=self.split, allowed=self.allowed,
            media=MediaChecks(base=part.path.parent, root=root, depth=self.depth),
            talk=TalkChecks(tasks=part.tasks, model=self.model, max_tokens=self.max_tokens, decode=self.depth == "decode"),
        )  # fmt: skip


def validate(
    source: Source, options: ValidateOptions = ValidateOptions(), *, sink: Callable[[Finding], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Account:  # fmt: skip
    """Look at every row of a source.

    Args:
        source: opened with `stream=True`, so that JSONL files are read line by line.
        options: how closely.
        sink: takes each finding as it is made.
        progress: is told how many rows were done.

    Returns:
        The account; `errors` is 0 where nothing would break or spoil a run.

    Raises:
        CheckpointError: `model` is none.
    """
    if options.model:
        processor_of(options.model)
    account = Account(sink=sink)
    for part in source.parts:
        _Pass(part, options, account, progress).run()
    return account


class _Pass:
    """One part."""

    def __init__(self, part: Part, options: ValidateOptions, account: Account, progress: Callable[[int], None] | None) -> None:
        self.part, self.options, self.account, self.progress = part, options, account, progress
        self.checks = options.checks(part)
        self.ids, self.groups, self.files = Ledger(), Ledger(), Ledger()

    def run(self) -> None:
        """All rows, then what only all of them together show."""
        before = self.account.rows
        if self.part.rows is None:
            if not self.part.path.is_file():
                self._about("unreadable", f"{self.part.path} is no regular file;", "give a JSONL file.")
                return
            self._take(_mapped(partial(_check_lines, checks=self.checks), _line_blocks(self.part.path), self.options.workers))
        else:
            self.checks = of_dataset(self.checks)
            count, alone = len(self.part.rows), getattr(self.part.rows, "forward_only", False)
            blocks = (range(n, min(n + _BLOCK_ROWS, count)) for n in range(0, count, _BLOCK_ROWS))
            work = partial(_check_rows, checks=self.checks)
            self._take(_mapped(work, blocks, 0 if alone else self.options.workers, self.part.rows))
        if self.account.rows == before:
            self._about("empty", "has no rows;", "write one JSON object a line.")
        self.account.files += self.files.distinct()
        self._twice()
        self._across()

    def _take(self, results: Iterable[Checked]) -> None:
        """Add what came of the blocks."""
        for found in results:
            self.account.add(found.findings)
            self.account.rows += found.rows
            self.account.bad_rows += found.bad_rows
            self.ids.extend(found.ids)
            self.groups.extend(found.groups)
            self.files.extend([(mark, 0, 0) for mark in found.files])
            if self.progress is not None:
                self.progress(found.rows)

    def _about(self, kind: str, found: str, remedy: str) -> None:
        """A finding of the whole file."""
        self.account.add([Finding(kind=kind, file=str(self.part.path), found=found, remedy=remedy)])

    def _twice(self) -> None:
        """Ids that stand twice."""
        told = self.ids.twice()
        names = self._names({row for row, _ in told[:_MOST_NAMED]})
        remedy = "answers and features are told apart by it: remove the copy, or give it an id of its own."
        self.account.add(
            Finding(kind="id_twice", file=str(self.part.path), row=row, id=names.get(row, ("", ""))[0], remedy=remedy,
                    found=f"the id of row {first} stands again;") for row, first in told
        )  # fmt: skip

    def _across(self) -> None:
        """Groups, and clips of rows without one, that are in several splits."""
        told = self.groups.across()
        names = self._names({min(firsts.values()) for firsts in told[:_MOST_NAMED]})
        for firsts in told:
            row = min(firsts.values())
            name, kin = names.get(row, ("", "a group"))
            where = " and ".join(f"{SPLITS[tag]} (row {first})" for tag, first in sorted(firsts.items()))
            remedy = "split by speaker or recording: unifusion data split."
            found = f"{kin} is in {where};"
            self.account.add([Finding(kind="leak", file=str(self.part.path), row=row, id=name, found=found, remedy=remedy)])

    def _names(self, rows: set[int]) -> dict[int, tuple[str, str]]:
        """Row -> (id, what it may not share with another split) of some rows, read again."""
        if not rows:
            return {}
        if self.part.rows is not None:
            return {row: _named(self.part.rows[row - 1]) for row in rows}
        found = {}
        with self.part.path.open("rb") as file:
            for number, (_, line, _) in enumerate(lines_of(file, Limits.max_row_bytes), 1):
                if number in rows:
                    raw = json_row(line.removeprefix(BOM), str(number))
                    found[number] = _named(example_of(raw, "", str(number), str))
        return found


def _named(example: Example) -> tuple[str, str]:
    """A row's id, and its group or clip in words."""
    what, name = kin_of(example)
    return example.id, f"the {what} {name!r}"


def _line_blocks(path: Path) -> Iterator[Sequence[Line]]:
    """Lines of a file, some at a time; empty ones are none."""
    block, size = list[Line](), 0
    with path.open("rb") as file:
        for number, (_, line, whole) in enumerate(lines_of(file, Limits.max_row_bytes), 1):
            if not line.strip():
                continue
            block.append((number, line if whole else line[:64], whole))
            size += len(block[-1][1])
            if len(block) >= _BLOCK_ROWS or size >= _BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block


def _check_lines(block: Sequence[Line], checks: RowChecks) -> Checked:
    """A block of lines."""
    out = Checked()
    for number, line, whole in block:
        check_line(line, whole, number, checks, out)
    return out


_ROWS: list[Any] = []
"""The dataset of a worker process."""


def _hold(rows: Any) -> None:
    """Keep the dataset whose blocks this process looks at."""
    _ROWS[:] = [rows]


def _check_rows(block: range, checks: RowChecks) -> Checked:
    """A block of rows of the dataset that is held."""
    out = Checked()
    for index in block:
        try:
            example = _ROWS[0][index]
        except UniFusionError as error:
            out.note(checks, index + 1, "", [("row", error.found, error.remedy, "error")])
            continue
        if checks.split is not None and example.split not in ("", checks.split):
            continue
        found = list(check_example(example, replace(checks, split=None)))
        if not example.media and _ROWS[0].missing and "messages" not in example.labels:
            severity: Severity = "error" if checks.talk.tasks else "warning"
            found.append(("no_clip", "its clip was not downloaded;", "get it, or leave it out: --option only_downloaded=true.", severity))
        out.note(checks, index + 1, example.id, found)
        out.place(example, index + 1, example.id)
    return out


def _mapped(work: Callable[[Any], Checked], blocks: Iterable[Any], workers: int, rows: Any = None) -> Iterator[Checked]:
    """`work` over blocks in their order; a few blocks wait for each process, so that memory does not grow with the file.

    Raises:
        DatasetError: a process died.
    """
    if workers < 1:
        _hold(rows)
        yield from map(work, blocks)
        return
    waiting: deque[Future[Checked]] = deque()
    # Not forked: a thread of a library that holds a lock here would hold it for ever there.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_hold, initargs=(rows,)) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(work, block))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (OSError, RuntimeError) as error:  # BrokenProcessPool is a RuntimeError
            raise DatasetError(f"a process that looked at rows died ({error});", remedy="take fewer --workers, or none.") from error
        finally:
            pool.shutdown(cancel_futures=True)
