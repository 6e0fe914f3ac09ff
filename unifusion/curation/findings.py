"""What is wrong with data: one finding, and the account of many in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Account", "Finding", "Severity"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that breaks or silently spoils a run.

    Attributes:
        kind: a short name of what it is, by which findings are counted.
        file: of rows.
        row: number of its line or row, from 1; 0 where it is about the whole file.
        id: of the row, "" where it has none or could not be read.
        found: what was found.
        remedy: what to do.
        severity: an error ends `data validate` with an exit code, a warning does not.
    """

    kind: str
    file: str
    row: int = 0
    id: str = ""
    found: str = ""
    remedy: str = ""
    severity: Severity = "error"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def told(self) -> str:
        """One line for people."""
        where = f"{self.file}{f':{self.row}' if self.row else ''}{f' ({self.id})' if self.id else ''}"
        return f"{self.severity}: {where}: {self.found} {self.remedy}".rstrip()


@dataclass(kw_only=True)
class Account:
    """Counts findings and keeps the first of each kind; each goes to `sink` as it comes.

    Attributes:
        sink: takes every finding.
        most: of each kind that are kept.
        rows: looked at.
        bad_rows: with an error of their own, not one that only other rows show (an id or a group that stands elsewhere, too).
        kinds: (severity, kind) -> findings.
        first: the first of each kind.
    """

    sink: Callable[[Finding], None] | None = None
    most: int = 5
    rows: int = 0
    bad_rows: int = 0
    files: int = 0
    """Media files that were looked at."""
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], list[Finding]] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings in."""
        for finding in findings:
            key = (finding.severity, finding.kind)
            self.kinds[key] += 1
            kept = self.first.setdefault(key, [])
            if len(kept) < self.most:
                kept.append(finding)
            if self.sink is not None:
                self.sink(finding)

    @property
    def errors(self) -> int:
        """Findings that are errors."""
        return sum(n for (severity, _), n in self.kinds.items() if severity == "error")

    @property
    def warnings(self) -> int:
        """Findings that are warnings."""
        return sum(n for (severity, _), n in self.kinds.items() if severity == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Counts."""
        kinds = [
            {"severity": s, "kind": k, "count": n} for (s, k), n in sorted(self.kinds.items(), key=lambda item: (item[0][0], -item[1]))
        ]
        return {
            "rows": self.rows, "bad_rows": self.bad_rows, "media_files": self.files, "errors": self.errors, "warnings": self.warnings,
            "kinds": kinds,
        }  # fmt: skip
