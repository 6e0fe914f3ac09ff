"""What a system said of each example, as JSON lines: what late fusion is fitted on and what reports are made from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.errors import DatasetError

__all__ = ["Prediction", "predictions_of", "read_predictions", "write_predictions"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One example as one system told it under one condition.

    Attributes:
        id: of the example, the same for every system.
        group: speaker, conversation or recording; intervals never cut through one.
        split: train, val or test.
        truth: true label; "" where only valence and arousal are known.
        probabilities: label -> share, summing to 1; empty where nothing was said of labels.
        valence, arousal: in [-1, 1]; None where nothing was said of them.
        true_valence, true_arousal: None where they are not known.
        streams: that were really there.
        condition: "all", "only audio", "without audio" ..: what was left out on purpose.
        seed: of the training.
    """

    id: str
    group: str = ""
    split: str = "test"
    truth: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    true_valence: float | None = None
    true_arousal: float | None = None
    streams: tuple[str, ...] = ()
    condition: str = "all"
    seed: int = 0

    @property
    def answer(self) -> str:
        """The likeliest label; the first of equals, "" where there is none."""
        return max(self.probabilities, key=lambda k: self.probabilities[k], default="")


def write_predictions(path: str | Path, rows: Iterable[Prediction]) -> Path:
    """Write a file of one line a row, with `answer` beside for people."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(target, "".join(json.dumps({**asdict(r), "answer": r.answer}, ensure_ascii=False) + "\n" for r in rows))
    return target


def predictions_of(path: str | Path, *, models: bool = False) -> Path | None:
    """The predictions that a path stands for: a `.jsonl` file, or that of a folder; None where it stands for a model.

    Args:
        path: of a file or folder.
        models: take the predictions of folders with models in them too.
    """
    found = Path(path)
    if found.suffix == ".jsonl":
        return found
    holds_model = (found / "config.json").is_file() or any(found.glob("seed-*/config.json"))
    return found / "predictions.jsonl" if (found / "predictions.jsonl").is_file() and (models or not holds_model) else None


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read such a file.

    Raises:
        DatasetError: it cannot be read, or a line is no prediction; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # splitlines would part a line at U+2028 within a word
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = "name a file that `unifusion eval` wrote, or the folder of such a predictions.jsonl."
        raise DatasetError(f"cannot read the predictions {path}: {reason};", remedy=remedy) from error
    return list(_parsed(lines, str(path)))


def _parsed(lines: Iterable[str], path: str) -> Iterator[Prediction]:
    """The rows of some lines."""
    known = {f.name for f in fields(Prediction)}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            raw: dict[str, Any] = json.loads(line)
            given: dict[str, Any] = {k: tuple(v) if k == "streams" else v for k, v in raw.items() if k in known}
            row = Prediction(**given)
            _check(row)
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}, line {number}: {error};", remedy="each line needs id, truth and probabilities.") from error
        yield row


def _check(row: Prediction) -> None:
    """Refuse what figures could not be made of.

    Raises:
        ValueError: says which value.
    """
    for label, share in row.probabilities.items():
        if not -1e-6 <= share <= 1 + 1e-3:
            raise ValueError(f"the probability of {label!r} is {share}")
    if row.probabilities and not abs(sum(row.probabilities.values()) - 1.0) <= 1e-3:
        raise ValueError(f"probabilities sum to {sum(row.probabilities.values()):.3f}")
    for key in ("valence", "arousal", "true_valence", "true_arousal"):
        value = getattr(row, key)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(f"{key} is {value!r}, no number")
    if not isinstance(row.seed, int):
        raise ValueError(f"seed is {row.seed!r}, no whole number")
