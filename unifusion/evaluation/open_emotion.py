"""Emotions in free words: what a text names, the published wheels, and the table of MER-UniBench."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unifusion.datasets._sheets import sheet_rows
from unifusion.errors import ConfigError, DatasetError, nearest
from unifusion.metrics._emotion_words import emotion_words
from unifusion.metrics._wheels import Vocabulary

__all__ = ["UNIBENCH", "UniBench", "emotions_in", "mer_unibench", "read_wheels"]

RUNS = range(1, 9)
"""Of the model that wrote the synonyms; a pair of columns each."""
WHEELS = range(1, 6)
UNIBENCH = {
    "MER2023": "hit_rate", "MER2024": "hit_rate", "MELD": "hit_rate", "IEMOCAP": "hit_rate", "CMU-MOSI": "sentiment_waf",
    "CMU-MOSEI": "sentiment_waf", "SIMS": "sentiment_waf", "SIMS-v2": "sentiment_waf", "OV-MERD+": "emotion_wheel_f",
}  # fmt: skip
"""The nine sets of MER-UniBench (Lian et al. 2025) and the metric of each."""
_ALIASES = {"mosi": "CMU-MOSI", "mosei": "CMU-MOSEI", "iemocapfour": "IEMOCAP", "sims2": "SIMS-v2", "ovmerdplus": "OV-MERD+"}


def emotions_in(text: str, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """The emotions that a text names and does not deny, each once; see `metrics._emotion_words`.

    Args:
        text: an answer, a list of words or sentences.
        vocabulary: of `read_wheels`; None takes our own.
    """
    return emotion_words(text, vocabulary)


def read_wheels(folder: str | Path, *, level: Literal[1, 2] = 1) -> Vocabulary:
    """Read the published wheels of MERTools (MER2025 track 2 and 3, MER2026 track 2, folder `emotion_wheel`).

    `format.csv` (name, format) leads 7,386 forms to 1,255 words, `synonym.xlsx` (word_run1, synonym_run1 .. run8) those to 253 words of
    wheels, `wheel1.xlsx` to `wheel5.xlsx` (level1, level2, level3; an empty cell is the one above it) those to rings. Tables may be .csv as
    well.

    Args:
        folder: that holds the files.
        level: 1 for the inner rings, by which papers score, 2 for the middle ones.

    Raises:
        DatasetError: a file is missing, is broken or lacks a column.
    """
    folder = Path(folder)
    synonyms: dict[str, set[str]] = {}
    columns = [f"{kind}_run{run}" for run in RUNS for kind in ("word", "synonym")]
    for _, row in sheet_rows(_table(folder, "synonym"), columns):
        for run in RUNS:
            word = row[f"word_run{run}"].strip().lower()
            for form in (word, *_listed(row[f"synonym_run{run}"])):
                synonyms.setdefault(form.lower(), set()).add(word)
    forms: dict[str, set[str]] = {}
    for _, row in sheet_rows(_table(folder, "format"), ["name", "format"]):
        for form in (row["name"], *_listed(row["format"])):
            forms.setdefault(form, set()).update(synonyms.get(row["name"], ()))
    wheels = {f"wheel{k}": dict(_rings(_table(folder, f"wheel{k}"), level)) for k in WHEELS}
    return Vocabulary({form: tuple(sorted(words)) for form, words in forms.items() if words}, wheels)


def _table(folder: Path, stem: str) -> Path:
    """One of the files, whichever way it was saved.

    Raises:
        DatasetError: it is not there.
    """
    found = next((path for ending in (".xlsx", ".csv") if (path := folder / f"{stem}{ending}").is_file()), None)
    if found is None:
        raise DatasetError(f"{folder} has no {stem}.xlsx and no {stem}.csv;", remedy="give the folder emotion_wheel of MERTools.")
    return found


def _listed(cell: str) -> list[str]:
    """Items of a cell, parted by commas or in quotes."""
    return [item.strip() for item in re.split("['\",]", cell.strip().removeprefix("[").removesuffix("]")) if item.strip()]


def _rings(path: Path, level: int) -> Iterator[tuple[str, str]]:
    """(word, ring) in the order in which the later goes before the earlier, as the published code has it."""
    wheel: dict[str, dict[str, list[str]]] = {}
    last = {"level1": "", "level2": "", "level3": ""}
    for _, row in sheet_rows(path, list(last)):
        last |= {key: row[key].strip().lower() for key in last if row[key].strip()}
        wheel.setdefault(last["level1"], {}).setdefault(last["level2"], []).append(last["level3"])
    for inner, middles in wheel.items():
        yield inner, inner if level == 1 else min(middles)
        for middle, outers in middles.items():
            for word in (middle, *outers):
                yield word, inner if level == 1 else middle


@dataclass(frozen=True)
class UniBench:
    """A table of MER-UniBench.

    Attributes:
        values: set -> its figure, 0 to 1, in the order of the paper.
        missing: sets without one.
    """

    values: Mapping[str, float]
    missing: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        """The plain mean of all nine, as the paper prints it; None where one is missing, since a mean of fewer cannot be compared."""
        return None if self.missing else sum(self.values.values()) / len(self.values)

    def markdown(self) -> str:
        """The table, in percent."""
        lines = ["| set | metric | value |", "|---|---|---|"]
        lines += [f"| {name} | {metric} | {_percent(self.values.get(name))} |" for name, metric in UNIBENCH.items()]
        return "\n".join([*lines, f"| mean of nine | | {_percent(self.mean)} |"]) + "\n"


def mer_unibench(results: Mapping[str, float | Mapping[str, float]]) -> UniBench:
    """Put figures of sets together as MER-UniBench does: hit rate of basic emotions, weighted F1 of sentiment, F on wheels of open words.

    Args:
        results: set -> its figure from 0 to 1, or figures by name, of which the set's own is taken.

    Raises:
        ConfigError: there is no such set, it is given twice, or its figure is missing or not from 0 to 1.
    """
    known = {_plain(name): name for name in UNIBENCH} | _ALIASES
    values: dict[str, float] = {}
    for given, figures in results.items():
        name = known.get(_plain(given))
        if name is None or name in values:
            problem = "is given twice" if name else "is no set of MER-UniBench"
            raise ConfigError(f"{given!r} {problem};", remedy=nearest(given, list(UNIBENCH)))
        value = figures.get(UNIBENCH[name]) if isinstance(figures, Mapping) else figures
        if value is None or not 0 <= value <= 1:
            raise ConfigError(f"{given!r} has {UNIBENCH[name]} {value!r};", remedy="a figure from 0 to 1 is wanted.")
        values[name] = float(value)
    return UniBench({n: values[n] for n in UNIBENCH if n in values}, tuple(n for n in UNIBENCH if n not in values))


def _plain(name: str) -> str:
    """A set's name without case, space and dashes."""
    return re.sub(r"[\s_-]", "", name.lower())


def _percent(value: float | None) -> str:
    """As tables print it."""
    return "-" if value is None else f"{100 * value:.2f}"
