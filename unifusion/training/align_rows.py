"""Rows of an embedding model's training: a clip as its encoders have it, what is true of it, texts that are drawn anew in each round."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unifusion.conversation import Example, Media
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, without_padding, words_media
from unifusion.training.align_loss import PAIRS
from unifusion.training.describe import Describer, Fact, Said, facts_of
from unifusion.training.kept import Kept, RowKey, unsaid

__all__ = ["AlignRow", "AlignRows", "adapted_of", "clip_batch", "collate_aligned", "fact_numbers", "number_of", "text_rows"]

_TEXTS = ("clip", "sight", "sound")
_TOGETHER = 64
"""Texts that go through a tower at once."""


@dataclass(frozen=True, kw_only=True)
class AlignRow:
    """A clip as the encoders have it, what is true of it, texts by kind, a number by which it is changed or hidden in this round, and where
    it is from."""

    row: OpenedRow
    facts: tuple[Fact, ...]
    texts: Mapping[str, Said]
    draw: int = 0
    media: tuple[Media, ...] = ()

    @property
    def key(self) -> RowKey:
        """What tells its example from those of all sets; see `row_key`."""
        return self.row.id, self.media

    @property
    def whose(self) -> int:
        """A number of its example, the same in every process and round."""
        return number_of("/".join([self.row.id, *(f"{m.kind} {m.name} {m.start_s} {m.end_s}" for m in self.media)]))


class AlignRows(Dataset[AlignRow]):
    """Examples with texts that are drawn anew in each round; any index is a row, each `len` of them another round.

    Args:
        examples: rows, such as a Mixture.
        opener: opens their clips.
        describer: says what is true of them.
        seed: of the texts.
        wordings: say what the text of a clip says a second time, in other words (kind `wordings`).
    """

    def __init__(
        self, examples: Sequence[Example] | Mixture, opener: RowOpener | Kept, describer: Describer, *, seed: int = 0,
        wordings: bool = False,
    ) -> None:  # fmt: skip
        self.examples, self.opener, self.describer, self.seed, self.wordings = examples, opener, describer, seed, wordings

    def __len__(self) -> int:
        """Rows of a round."""
        return len(self.examples)

    def name(self, index: int) -> str:
        """What messages call a row."""
        return self.examples[index % len(self)].id

    def __getitem__(self, index: int) -> AlignRow:
        """The row at `index`."""
        turn, at = divmod(index, len(self.examples))
        example = self.examples[at]
        facts = facts_of(example)
        key = f"{self.seed}/{example.id}/{turn}/{at}"
        said = {k: self.describer.say(facts, k, key) for k in _TEXTS}
        texts = {k: s for k, s in said.items() if s is not None}
        if self.wordings and "clip" in texts:
            texts["wordings"] = self.describer.again(texts["clip"], key, facts)
        nothing = OpenedRow(id=example.id, streams={}, reports={})  # a row of a text and no clip teaches how it can be worded
        row = self.opener.open(unsaid(example)) if example.media else nothing
        return AlignRow(row=row, facts=facts, texts=texts, draw=number_of(key), media=example.media)


def number_of(key: str) -> int:
    """A number of a key; two keys have one number once in 2 ** 62 pairs."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 2


@lru_cache(maxsize=1 << 18)
def _number(fact: Fact) -> int:
    """A fact as a number."""
    return number_of(repr(fact))


def fact_numbers(facts: Sequence[Sequence[Fact]], pad: int) -> Tensor:
    """Facts of rows as numbers (N, F) int64, padded."""
    out = torch.full((len(facts), max([1, *(len(f) for f in facts)])), pad, dtype=torch.int64)
    for i, own in enumerate(facts):
        out[i, : len(own)] = torch.tensor([_number(f) for f in own], dtype=torch.int64)
    return out


def text_rows(model: Aligner, texts: Sequence[str]) -> dict[str, Any]:
    """Texts as a batch of the model's text towers."""
    opener = _words(model)
    rows = [opener.open(Example(id=text[:40], media=(words_media(text),))) for text in texts]
    batch = collate_rows(rows, opener.streams)
    return {**batch, "streams": {name: without_padding(part) for name, part in batch["streams"].items()}}


def _words(model: Aligner) -> RowOpener:
    """What opens texts."""
    spaces = model.config.spaces_of("text")
    if not spaces:
        raise ConfigError("the model has no text tower;", remedy="add a stream of a text encoder: bert, sbert, xlm_roberta.")
    return RowOpener(model, only=[n for s in spaces for n in model.config.towers[s]])


def clip_batch(rows: Sequence[AlignRow], streams: Iterable[str], adapted: Collection[str] = ()) -> dict[str, Any]:
    """Clips of rows as a batch; streams of `adapted` hold what their adapters gave. `draws` (B,) are the rows' numbers in this round,
    `whose` (B,) those of their examples."""
    batch = collate_rows([r.row for r in rows], streams)
    batch |= {"draws": _int64([r.draw for r in rows]), "whose": _int64([r.whose for r in rows])}
    for name in adapted:
        if name in batch["streams"]:
            batch["streams"][name]["adapted"] = True
    return batch


def _int64(numbers: Sequence[int]) -> Tensor:
    """Numbers (N,) int64."""
    return torch.tensor(numbers, dtype=torch.int64)


def collate_aligned(
    rows: Sequence[AlignRow], model: Aligner, chunk: int, adapted: Collection[str] = (), words: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Rows to a batch: `clips`, parts of at most `chunk` rows; `facts` (B, G); `texts` with their `facts`, `of`, and `kind`. With `words`
    each part has a text of each row that has one, as a batch of rows of its own."""
    media = [n for s in model.config.spaces_of("media") for n in model.config.towers[s]]
    size = chunk or len(rows)
    clips = [clip_batch(rows[k : k + size], media, adapted) for k in range(0, len(rows), size)]
    if words and model.config.spaces_of("text"):
        for k, part in enumerate(clips):
            part["words"] = _words_of(rows[k * size : (k + 1) * size], model)
    told_ = rows if model.config.spaces_of("text") else ()
    said = [(i, list(PAIRS).index(kind), text) for i, r in enumerate(told_) for kind, text in r.texts.items()]
    said.sort(key=lambda told: len(told[2].text))
    # Texts of like length go through the tower together: of one batch of all of them two thirds would be padding.
    parts = [said[k : k + _TOGETHER] for k in range(0, len(said), _TOGETHER)]
    texts = {
        "parts": [text_rows(model, [text.text for _, _, text in part]) for part in parts],
        "facts": fact_numbers([tuple(text.facts) for _, _, text in said], -1),
        "of": _int64([i for i, _, _ in said]), "kind": _int64([k for _, k, _ in said]),
    }  # fmt: skip
    return {"clips": clips, "facts": fact_numbers([r.facts for r in rows], -2), "texts": texts}


def _words_of(rows: Sequence[AlignRow], model: Aligner) -> dict[str, Any]:
    """A text of each row that has one."""
    opener = _words(model)
    said = {i: next(iter(r.texts.values())).text for i, r in enumerate(rows) if r.texts}
    opened = {i: opener.open(Example(id=text[:40], media=(words_media(text),))) for i, text in said.items()}
    empty = OpenedRow(id="", streams={}, reports={})
    batch = collate_rows([opened.get(i, empty) for i in range(len(rows))], opener.streams)
    return {**batch, "streams": {name: without_padding(part) for name, part in batch["streams"].items()}}


def adapted_of(opener: RowOpener | Kept) -> frozenset[str]:
    """Streams of which an opener gives what the adapter made."""
    return frozenset(opener.adapted) if isinstance(opener, Kept) else frozenset()
