"""LLaMA-Factory's folder of data: JSON files whose spelling a `dataset_info.json` tells."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from unifusion.conversation import Example
from unifusion.datasets._files import json_object
from unifusion.datasets._rows import example_of, is_of
from unifusion.datasets._spans import Spans, kept_spans
from unifusion.datasets._within import Within
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["LlamaFactory"]

log = logging.getLogger(__name__)
_INFO = "dataset_info.json"
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system"}
_MEDIA = ("images", "videos", "audios")
_TAGS = {
    "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"), "observation_tag": ("observation", "tool"),
    "function_tag": ("function_call", "function_call"), "system_tag": ("system", "system"),
}  # fmt: skip
"""Tag -> its role as it is written where nobody says, and as it is read here."""


class _Set(NamedTuple):
    """One named set."""

    name: str
    told: Mapping[str, Any]
    rows: Spans


class LlamaFactory(Dataset):
    """The sets that lie in a LLaMA-Factory data folder, each spelled as its `dataset_info.json` says (alpaca, sharegpt, openai).

    Source: your own data, or github.com/hiyouga/LLaMA-Factory, data/README.md; licences are those of the sets. Layout on disk:
    `dataset_info.json`, beside it the `.json` or `.jsonl` files it names, and clips under names that start from that folder. One entry,
    and a row of its file:

        "mllm_demo": {"file_name": "mllm_demo.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
          "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}
        {"messages": [{"role": "user", "content": "<image>Who are they?"}, {"role": "assistant", "content": "Players."}],
         "images": ["mllm_demo_data/1.jpg"]}

    Rows are conversations as the reader `messages` has them. Sets on a hub, pairs of answers to prefer (`ranking`, `kto_tag`), texts to go
    on with, and files that are not there are left out, which is told in the log; to name one of them is an error.

    Args:
        path: the folder, or its `dataset_info.json`.
        split: keep nothing but rows that say this split, or none.
        names: of the sets, in order; None takes all that can be read.
        root: folder that files must lie in, links followed; without it they may lie anywhere.

    Raises:
        LayoutError: there is no `dataset_info.json`, or it is of another library.
        DatasetError: an entry or a row is not as the format says (with file and row), or no set is left.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, names: Sequence[str] | None = None, root: str | Path | None = None
    ) -> None:  # fmt: skip
        self.info = Path(path) / _INFO if Path(path).is_dir() else Path(path)
        entries = _entries(self.info)
        if unknown := [name for name in names or () if name not in entries]:
            raise DatasetError(f"{self.info} names no set {unknown[0]!r};", remedy=nearest(unknown[0], list(entries)))
        keep = None if split is None else partial(is_of, split=split)
        self._place, self._sets = Within(self.info.parent, root), list[_Set]()
        for name in names if names is not None else entries:
            why = _not_read(entries[name], self.info.parent)
            if why and names is not None:
                raise DatasetError(f"{self.info}, {name!r}: {why};", remedy="name a set of conversations whose file lies in the folder.")
            if why:
                log.warning("%s: %s is left out: %s", self.info, name, why)
            else:
                self._sets.append(_Set(name, entries[name], kept_spans(self.info.parent / entries[name]["file_name"], keep)))
        self._ends = list(accumulate(len(one.rows) for one in self._sets))
        if not len(self):
            raise DatasetError(f"{self.info}: none of its sets can be read;", remedy="put the file of one beside it.")

    def __len__(self) -> int:
        """Rows of all sets."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        at = bisect_right(self._ends, index)
        number, one = index - (self._ends[at - 1] if at else 0), self._sets[at]
        where = f"{one.rows.path}, row {number + 1}"
        row = _conversation(one.rows.row(number, where), one.told, where)
        return example_of(row, f"{one.name}/{number + 1}", where, lambda name: self._place(name, where))


def _entries(info: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> what is told of each set."""
    if not info.is_file():
        raise LayoutError(f"{info.parent} holds no {info.name};", remedy="name LLaMA-Factory's folder of data.")
    found = json_object(info)
    if not any(isinstance(e, dict) and any(key in e for key in ("file_name", *_ELSEWHERE)) for e in found.values()):
        raise LayoutError(f"{info} names no files;", remedy='wanted {"name": {"file_name": "rows.json"}, ..}.')
    for name, entry in found.items():
        named = [entry.get(key) or {} for key in ("columns", "tags")] if isinstance(entry, dict) else [entry]
        if not all(isinstance(words, dict) and all(isinstance(word, str) for word in words.values()) for words in named):
            raise DatasetError(f"{info}: {name!r} is {str(entry)[:80]};", remedy='wanted {"file_name": "rows.json", "columns": {..}}.')
    return found


def _not_read(entry: Mapping[str, Any], folder: Path) -> str:
    """Why a set is none that can be read; "" for one that can."""
    columns, file = entry.get("columns") or {}, entry.get("file_name")
    if any(entry.get(key) for key in _ELSEWHERE) or not isinstance(file, str):
        return "it lies on a hub"
    if entry.get("ranking") or "kto_tag" in columns:
        return "its answers are to be preferred, not learnt"
    if entry.get("formatting", "alpaca") == "alpaca" and "prompt" in columns and "response" not in columns:
        return "its texts are to be gone on with"
    if Path(file).suffix not in (".json", ".jsonl"):
        return f"{file} is no JSON (the reader huggingface has parquet, arrow and csv)"
    return "" if (folder / file).is_file() else f"{file} is not there"


def _conversation(raw: Mapping[str, Any], entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row in the spelling that `_spellings` reads."""
    columns: Mapping[str, str] = entry.get("columns") or {}
    shown = {key: raw[column] for key in _MEDIA if (column := columns.get(key, key)) in raw}
    kept = {key: raw[key] for key in ("id", "group", "split") if key in raw}
    if entry.get("formatting", "alpaca") == "alpaca":
        named = {key: raw.get(columns.get(key, column)) for key, column in _ALPACA.items()}
        if not isinstance(named["prompt"], str) or not isinstance(named["response"], str) or not isinstance(named["query"], str | None):
            raise DatasetError(f"{where}: its keys are {', '.join(raw)[:120]};", remedy=f"wanted {_names(columns, _ALPACA)} as texts.")
        asked = "\n".join(text for text in (named.pop("prompt"), named["query"]) if text)
        return {**kept, **shown, **{k: v for k, v in named.items() if v}, "query": asked, "response": named["response"]}
    column = columns.get("messages", "conversations")
    if not isinstance(raw.get(column), list):
        raise DatasetError(f"{where}: no list {column!r};", remedy=nearest(column, list(raw)))
    system = raw.get(columns.get("system", "system"))
    messages = [_turn(turn, entry.get("tags") or {}, where) for turn in raw[column]]
    return {**kept, **shown, "messages": messages, **({"system": system} if system else {})}


def _turn(turn: Any, tags: Mapping[str, str], where: str) -> dict[str, Any]:
    """A turn by the tags of its set."""
    role, content = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    roles = {tags.get(tag, written): read for tag, (written, read) in _TAGS.items()}
    if not isinstance(turn, Mapping) or str(turn.get(role)) not in roles or content not in turn:
        raise DatasetError(f"{where}: a turn is {str(turn)[:80]};", remedy=f"wanted {role} (one of {', '.join(roles)}) and {content}.")
    return {**{k: v for k, v in turn.items() if k in ("loss", "weight")}, "role": roles[str(turn[role])], "content": turn[content]}


def _names(columns: Mapping[str, str], known: Mapping[str, str]) -> str:
    """How the columns of prompt and response are called."""
    return " and ".join(columns.get(key, known[key]) for key in ("prompt", "response"))
