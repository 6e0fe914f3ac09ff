"""One line of a JSONL file, looked at from all sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.curation.findings import Finding
from unifusion.curation.keys import misspelt, tags_and_files
from unifusion.curation.ledger import mark_of
from unifusion.curation.media_checks import Found, MediaChecks
from unifusion.curation.talk_checks import TalkChecks
from unifusion.datasets._rows import example_of
from unifusion.errors import UniFusionError
from unifusion.limits import Limits
from unifusion.rows import BOM, json_row, too_long

__all__ = ["SPLITS", "Checked", "RowChecks", "check_example", "check_line", "clips_of", "kin_of", "of_dataset"]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class RowChecks:
    """All that a row is checked for.

    Attributes:
        file: what its findings call it.
        media, talk: see there.
        split: rows of this split alone; None takes all.
        allowed: keys that are meant as they are spelled.
    """

    file: str
    media: MediaChecks
    talk: TalkChecks
    split: str | None = None
    allowed: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class Checked:
    """What came of some rows.

    Attributes:
        findings: in the order of rows.
        rows: looked at.
        bad_rows: with an error.
        ids, groups: (mark, row, 0 or number of the split), for what only all rows together show.
        files: marks of the media files.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: int = 0
    bad_rows: int = 0
    ids: list[tuple[int, int, int]] = field(default_factory=list)
    groups: list[tuple[int, int, int]] = field(default_factory=list)
    files: set[int] = field(default_factory=set)

    def note(self, checks: RowChecks, row: int, name: str, found: list[Found]) -> None:
        """Add a row with what was found in it."""
        self.rows += 1
        self.bad_rows += any(severity == "error" for *_, severity in found)
        for kind, told, remedy, severity in found:
            level: Any = severity
            shown = told if len(told) <= 300 else f"{told[:297]}.."
            self.findings.append(Finding(kind=kind, file=checks.file, row=row, id=name, found=shown, remedy=remedy, severity=level))

    def place(self, example: Example, row: int, told: str) -> None:
        """Keep a row's id (as it was `told`), its group and its clips' files."""
        if told:
            self.ids.append((mark_of(told), row, 0))
        if example.split in SPLITS and any(kin := kin_of(example)):
            self.groups.append((mark_of(" ".join(kin)), row, SPLITS.index(example.split)))
        self.files.update(mark_of(str(m.source)) for m in clips_of(example) if isinstance(m.source, str | Path))


def check_line(line: bytes, whole: bool, row: int, checks: RowChecks, out: Checked) -> None:
    """Look at one line.

    Args:
        line: its bytes, or the beginning of one that is too long.
        whole: whether that is all of it.
        row: its number, from 1.
        checks: what for.
        out: takes what is found.
    """
    where, found = f"{checks.file}:{row}", list[Found]()
    if not whole:
        out.note(checks, row, "", [_error("too_long", too_long("the line", Limits.max_row_bytes))])
        return
    if row == 1 and line.startswith(BOM):
        found.append(("bom", "begins with a byte order mark;", "write UTF-8 without one: other tools stumble over it.", "warning"))
        line = line.removeprefix(BOM)
    try:
        raw = json_row(line, where)
    except UniFusionError as error:
        out.note(checks, row, "", [*found, _error("json", error, where)])
        return
    if checks.split is not None and raw.get("split") not in (None, "", checks.split):
        return
    name = raw["id"] if isinstance(raw.get("id"), str) else str(raw.get("id") or "")
    found += [("key", f"the key {key!r};", f"did you mean {near!r}? --allow-key {key} takes it as it is.", "error")
              for key, near in misspelt(raw, checks.allowed)]  # fmt: skip
    found += [("tags", f"{tags} <{kind}> in its messages, {files} {kind} file(s);", f"write <{kind}> once for each file.", "error")
              for kind, tags, files in tags_and_files(raw)]  # fmt: skip
    base = checks.media.base or Path()
    try:
        example = example_of(raw, "", where, lambda file: str(base / file))
    except UniFusionError as error:
        out.note(checks, row, name, [*found, _error("row", error, where)])
        return
    if "messages" in raw and not raw["messages"]:
        found.append(("no_answer", "holds no messages;", "leave the row out.", "error"))
    elif not example.media and not example.texts and not example.labels:
        found.append(("row", "names no clip and says nothing;", "leave the row out.", "error"))
    out.note(checks, row, name, [*found, *check_example(example, checks)])
    out.place(example, row, example.id)


def check_example(example: Example, checks: RowChecks) -> Iterator[Found]:
    """What is wrong with a row that could be read."""
    if example.split and example.split not in SPLITS:
        remedy = "write train, val or test: rows of another split are never read."
        yield "split", f"split is {example.split!r};", remedy, "warning"
    wrong = list(checks.talk(example))
    yield from wrong
    if any(kind == "training" for kind, *_ in wrong):  # its clips were decoded, and one of them is told already
        return
    for media in clips_of(example):
        yield from checks.media(media)


def clips_of(example: Example) -> list[Media]:
    """A row's clips, those of its messages too."""
    messages = example.labels.get("messages")
    if not isinstance(messages, list | tuple):
        return list(example.media)
    from unifusion.processor.messages import to_conversation

    try:
        talk = to_conversation(messages)
    except UniFusionError:  # told as what is wrong with the messages
        return list(example.media)
    return [*example.media, *(m for m in talk.media if m not in example.media)]


def kin_of(example: Example) -> tuple[str, str]:
    """What rows of two splits may not share, and its name: the group, else the first clip; ("", "") of a row without either."""
    if example.group:
        return "group", example.group
    source = next((media.source for media in clips_of(example)), None)
    if isinstance(source, bytes):
        return "content", hashlib.sha256(source).hexdigest()
    return ("clip", str(source)) if isinstance(source, str | Path) else ("", "")


def _error(kind: str, error: UniFusionError, where: str = "") -> Found:
    """An error of the library as a finding; its place is told apart."""
    return kind, error.found.removeprefix(f"{where}: "), error.remedy, "error"


def of_dataset(checks: RowChecks) -> RowChecks:
    """The checks of rows that a reader gives: it found their files itself, so only `root` binds them."""
    return replace(checks, media=replace(checks.media, base=None))
