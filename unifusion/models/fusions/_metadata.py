"""What is known of the people and the talk of a row: profiles, role, turn, topic, scenario, cause, goal; unknown is a value of its own."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from unifusion.errors import ConfigError

__all__ = ["TEXTS", "VALUES", "MetadataEmbedding", "MetadataFields"]

VALUES = (
    "speaker_age", "speaker_gender", "speaker_timbre", "speaker_personality", "listener_age", "listener_gender", "listener_timbre",
    "listener_personality", "topic", "role", "turn",
)  # fmt: skip
"""Fields of `Example.labels["metadata"]` with one of a few values."""
TEXTS = ("scenario", "cause", "goal")
"""Its fields of free words: the chain of empathy of AvaMERG."""
_MOST_TURNS, _MOST_WORDS, _MOST_VALUES = 15, 48, 512
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, kw_only=True)
class MetadataFields:
    """The fields a model knows and, of each, the values it has met.

    Attributes:
        values: field -> values; any other one, or none, is unknown.
        texts: fields of free words, each word hashed into one of `buckets`.
        buckets: of words.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    buckets: int = 2048

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], names: Sequence[str] = (*VALUES, *TEXTS)) -> Self:
        """The fields that some row has, with their values, the most frequent first (512 at most).

        Raises:
            ConfigError: a name is none of VALUES and TEXTS, or no row has any field.
        """
        unknown = [n for n in names if n not in (*VALUES, *TEXTS)]
        if unknown:
            raise ConfigError(f"no metadata called {unknown[0]!r};", remedy=f"there are {', '.join((*VALUES, *TEXTS))}.")
        met: dict[str, Counter[str]] = {n: Counter() for n in names}
        for row in rows:
            for name in names:
                if _value(row, name):
                    met[name][_value(row, name)] += 1
        often = {n: sorted(met[n], key=lambda v, n=n: (-met[n][v], v)) for n in names if n in VALUES and met[n]}  # type: ignore[misc]
        values = {n: tuple(found[:_MOST_VALUES]) for n, found in often.items()}
        texts = tuple(n for n in names if n in TEXTS and met[n])
        if not values and not texts:
            raise ConfigError("metadata is wanted and no row has any;", remedy="leave it out, or take a set with profiles (avamerg).")
        return cls(values=values, texts=texts)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the form written to config.json."""
        return cls(values={k: tuple(v) for k, v in raw["values"].items()}, texts=tuple(raw["texts"]), buckets=int(raw["buckets"]))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Numbers of the metadata of B rows: `values` (B, F) int64, 0 unknown; `words` (B, G, W) int64, 0 padding, none is unknown."""
        places = {n: {v: i + 1 for i, v in enumerate(known)} for n, known in self.values.items()}
        values = [[places[n].get(_value(row, n), 0) for n in self.values] for row in rows]
        words = [[[1 + zlib.crc32(w.encode()) % self.buckets for w in _words(row, n)] for n in self.texts] for row in rows]
        longest = max((len(w) for row in words for w in row), default=0)
        padded = [[w + [0] * (longest - len(w)) for w in row] for row in words]
        return {
            "values": torch.tensor(values, dtype=torch.long).reshape(len(rows), len(self.values)),
            "words": torch.tensor(padded, dtype=torch.long).reshape(len(rows), len(self.texts), longest),
        }


def _value(row: Mapping[str, Any], name: str) -> str:
    """One field as text; turns from the fifteenth on are one."""
    found = row.get(name)
    if name == "turn" and isinstance(found, int | float):
        found = min(int(found), _MOST_TURNS)
    return "" if found is None else str(found).strip().lower()


def _words(row: Mapping[str, Any], name: str) -> list[str]:
    """The words of one field."""
    return _WORD.findall(_value(row, name))[:_MOST_WORDS]


class MetadataEmbedding(nn.Module):
    """One token a field.

    Args:
        fields: which.
        width: D of the tokens.
    """

    def __init__(self, fields: MetadataFields, width: int) -> None:
        super().__init__()
        self.fields = fields
        self.values = nn.ModuleList(nn.Embedding(len(known) + 1, width) for known in fields.values.values())
        self.words = nn.ModuleList(nn.Embedding(fields.buckets + 1, width) for _ in fields.texts)

    def forward(self, metadata: Mapping[str, Tensor]) -> Tensor:
        """Map `values` (B, F) and `words` (B, G, W) to tokens (B, F + G, D).

        A text is the mean of its words; without any it is the row 0 of its table, as unknown is of the others.
        """
        tokens = [table(metadata["values"][:, i]) for i, table in enumerate(self.values)]
        for i, table in enumerate(self.words):
            words_BW = metadata["words"][:, i]
            real_BW1 = (words_BW > 0)[..., None]
            count_B1 = real_BW1.sum(dim=1)
            mean_BD = (table(words_BW) * real_BW1).sum(dim=1) / count_B1.clamp(min=1)
            unknown_BD = table(torch.zeros(len(words_BW), dtype=torch.long, device=words_BW.device))
            tokens.append(mean_BD.where(count_B1 > 0, unknown_BD))
        return torch.stack(tokens, dim=1)
