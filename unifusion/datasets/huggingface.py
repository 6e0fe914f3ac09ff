"""Tables of Hugging Face's `datasets`: from a hub, or a folder or file on disk; whole, or streamed."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.datasets._rows import example_of
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["HuggingFace"]

_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
_KINDS: dict[str, MediaKind] = {"Audio": "audio", "Video": "video", "Image": "image"}
_SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` leaves in a folder of splits, and in that of one table."""
_SPLITS = {"validation": "val", "valid": "val", "dev": "val"}


class HuggingFace(Dataset):
    """Rows of a table. Columns of type Audio, Video and Image are clips, never decoded by `datasets`; strings are texts and labels.

    Source: https://huggingface.co/docs/datasets; licences are on the sets' own pages. Layout: what `load_dataset` or `save_to_disk` knows.
    One row: `{"audio": {"bytes": .., "path": "a.wav"}, "emotion": "joy"}`, or `{"messages": [..]}` as the reader `messages` has it. What
    is a ClassLabel is read as its name. Of a table with splits, `validation`, `valid` and `dev` are val; one without serves for any.

    Streamed, the table is read forward only, each pass in an order of its own (`shuffle`), and nothing is kept: a resumed run reads up
    to where it was without opening a clip.

    Args:
        path: name on the hub, folder of `save_to_disk` or of parquet files, or a parquet, JSON or CSV file (or a pattern of them).
        split: of the table; None takes all of them, one after the other.
        name: its configuration.
        revision: pins it.
        columns: column -> the key it is read under (`{question_text: question}`).
        streaming: read it forward; then `count`, the rows of a pass, must be told.
        shuffle: rows among which a streamed table is shuffled; 0 leaves it as it lies.

    Raises:
        DatasetError: the library is missing, the table cannot be loaded, or is streamed and its length not told.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = "train", name: str | None = None, revision: str | None = None,
        columns: Mapping[str, str] | None = None, streaming: bool = False, count: int | None = None, shuffle: int = 0,
    ) -> None:  # fmt: skip
        self.path, self.columns, self.forward_only = str(path), dict(columns or {}), streaming
        self._shuffle, self._told = shuffle, count
        tables = self._load(split, name, revision)
        self._parts, table = list(tables), next(iter(tables.values()))
        self._ends = list(accumulate(len(t) for t in tables.values())) if not streaming else []
        if len(tables) > 1:
            table = _joined(tables, self.path, streaming)
        self._kinds = self._media(table)
        for column, feature in (table.features or {}).items():
            if _undecoded(feature):
                table = table.cast_column(column, feature)
        self._classes = {c: f.names for c, f in table.features.items() if type(f).__name__ == "ClassLabel"}
        self._table, self._cursor = table, 0
        self._rows: Iterator[Mapping[str, Any]] | None = None
        if streaming and not count:
            raise DatasetError(f"{path} is streamed and nobody says how many rows it has;", remedy="give options: {count: 100000}.")

    def _load(self, split: str | None, name: str | None, revision: str | None) -> dict[str, Any]:
        """Split -> its table, nothing of it decoded; "" for a table without splits."""
        try:
            import datasets
        except ImportError as error:
            raise DatasetError("the library datasets is missing;", remedy="pip install 'unifusion-x[data]'.") from error
        where = Path(self.path)
        form = _FORMATS.get(where.suffix)
        try:
            if form is not None:
                return {"": datasets.load_dataset(form, data_files=self.path, split="train", streaming=self.forward_only)}
            if any((where / file).is_file() for file in _SAVED):
                found = datasets.load_from_disk(self.path)
                if self.forward_only:
                    whole = not isinstance(found, datasets.DatasetDict)
                    found = found.to_iterable_dataset() if whole else {k: t.to_iterable_dataset() for k, t in found.items()}
            else:
                if where.is_dir() and not self.lies_in(where):
                    raise LayoutError(f"{where} holds no table;", remedy="name the folder of save_to_disk, or one of parquet files.")
                found = datasets.load_dataset(self.path, name, revision=revision, streaming=self.forward_only)
        except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
            raise DatasetError(
                f"cannot load the table {self.path!r}: {str(error).splitlines()[0]};", remedy="check its name, split and configuration."
            ) from error
        if not isinstance(found, dict):
            return {"": found}
        chosen = {k: t for k, t in found.items() if split in (None, k, _SPLITS.get(k, k))}
        if not chosen:
            raise DatasetError(f"{self.path} has no split {split!r};", remedy=nearest(str(split), list(found)))
        return chosen

    @staticmethod
    def lies_in(folder: Path) -> bool:
        """Whether a folder holds what `save_to_disk` leaves, or parquet files, also in folders below, as on the hub."""
        return any((folder / file).is_file() for file in _SAVED) or any(next(folder.glob(p), None) for p in ("*.parquet", "*/*.parquet"))

    def _media(self, table: Any) -> dict[str, MediaKind]:
        """Columns that hold clips."""
        if table.features is None:
            raise DatasetError(f"nobody knows the columns of {self.path};", remedy="use a table with a schema, such as parquet.")
        return {c: _KINDS[type(f).__name__] for c, f in table.features.items() if type(f).__name__ in _KINDS}

    def __len__(self) -> int:
        """Rows of a pass."""
        return self._told if self._told is not None else len(self._table)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; of a streamed table, the index-th of all passes, best asked for in ascending order."""
        if not self.forward_only:
            if not 0 <= index < len(self):
                raise IndexError(f"row {index} of {len(self)}")
            return self._example(self._table[index], index)
        if self._rows is None or index < self._cursor:
            self._rows, self._cursor = self._stream(), 0
        for _ in range(index - self._cursor):
            next(self._rows)
        self._cursor = index + 1
        return self._example(next(self._rows), index)

    def _stream(self) -> Iterator[Mapping[str, Any]]:
        """Pass after pass.

        Raises:
            DatasetError: a pass has fewer rows than were told: positions of later ones would shift.
        """
        turn = 0
        while True:
            table = self._table.shuffle(seed=turn, buffer_size=self._shuffle) if self._shuffle else self._table
            seen = 0
            for row in table:
                if seen == len(self):
                    break
                seen += 1
                yield row
            if seen < len(self):
                raise DatasetError(f"{self.path} has {seen} rows, {len(self)} were told;", remedy=f"give options: {{count: {seen}}}.")
            turn += 1

    def _example(self, raw: Mapping[str, Any], index: int) -> Example:
        """A row of the table."""
        where = f"{self.path}, row {index}"
        media = tuple(self._clip(raw[c], kind, where) for c, kind in self._kinds.items() if raw.get(c) is not None)
        named = {c: names[raw[c]] if raw[c] is not None and raw[c] >= 0 else None for c, names in self._classes.items()}
        row = {self.columns.get(c, c): v for c, v in {**raw, **named}.items() if c not in self._kinds}
        if isinstance(row.get("messages"), str):
            try:
                row["messages"] = json.loads(row["messages"])
            except (ValueError, RecursionError) as error:
                raise DatasetError(f"{where}: its messages are no JSON ({error});", remedy="write the table again.") from error
        example = example_of(row, str(index), where, str, media)
        part = "" if self.forward_only else self._parts[bisect_right(self._ends, index)]
        return example if example.split or not part else replace(example, split=_SPLITS.get(part, part))

    def _clip(self, value: Mapping[str, Any], kind: MediaKind, where: str) -> Media:
        """A clip as `datasets` has it undecoded: bytes, or a path."""
        source = value.get("bytes") or value.get("path")
        if not source:
            raise DatasetError(f"{where}: a clip has neither bytes nor a path;", remedy="write the table again.")
        return Media(kind=kind, source=source)


def _joined(tables: Mapping[str, Any], path: str, streaming: bool) -> Any:
    """Tables of several splits, one after the other."""
    import datasets

    if streaming:
        raise DatasetError(f"{path} has the splits {', '.join(tables)};", remedy="name the one that is streamed.")
    try:
        return datasets.concatenate_datasets(list(tables.values()))
    except ValueError as error:
        raise DatasetError(f"the splits of {path} have other columns: {error};", remedy="name one of them: --split.") from error


def _undecoded(feature: Any) -> bool:
    """Let no clip of a column be decoded, also where it holds lists of them; whether there are any."""
    if type(feature).__name__ in _KINDS:
        feature.decode = False
        return True
    below = feature.values() if isinstance(feature, dict) else feature if isinstance(feature, list) else [getattr(feature, "feature", None)]
    return any([_undecoded(f) for f in below if f is not None])
