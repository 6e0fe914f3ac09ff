"""Tables of Hugging Face's `datasets`: from a hub, or a folder or file on disk; whole, or streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.datasets._rows import example_of
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError

__all__ = ["HuggingFace"]

_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


class HuggingFace(Dataset):
    """Rows of a table. Columns of type Audio, Video and Image are clips, never decoded by `datasets`; strings are texts and labels.

    Source: https://huggingface.co/docs/datasets; licences are on the sets' own pages. Layout: what `load_dataset` or `save_to_disk` knows.
    One row: `{"audio": {"bytes": .., "path": "a.wav"}, "emotion": "joy"}`, or `{"messages": [..]}` as the reader `messages` has it.

    Streamed, the table is read forward only, each pass in an order of its own (`shuffle`), and nothing is kept: a resumed run reads up
    to where it was without opening a clip.

    Args:
        path: name on the hub, folder of `save_to_disk`, or a parquet, JSON or CSV file (or a pattern of them).
        split: of the table.
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
        table = self._load(split or "train", name, revision)
        self._kinds = self._media(table)
        for column in self._kinds:
            feature = table.features[column]
            feature.decode = False
            table = table.cast_column(column, feature)
        self._table, self._cursor = table, 0
        self._rows: Iterator[Mapping[str, Any]] | None = None
        if streaming and not count:
            raise DatasetError(f"{path} is streamed and nobody says how many rows it has;", remedy="give options: {count: 100000}.")

    def _load(self, split: str, name: str | None, revision: str | None) -> Any:
        """The table, nothing of it decoded."""
        try:
            import datasets
        except ImportError as error:
            raise DatasetError("the library datasets is missing;", remedy="pip install 'unifusion-x[data]'.") from error
        where = Path(self.path)
        form = _FORMATS.get(where.suffix)
        try:
            if form is not None:
                return datasets.load_dataset(form, data_files=self.path, split="train", streaming=self.forward_only)
            if (where / "dataset_info.json").is_file() or (where / "dataset_dict.json").is_file():
                found = datasets.load_from_disk(self.path)
                found = found[split] if isinstance(found, datasets.DatasetDict) else found
                return found.to_iterable_dataset() if self.forward_only else found
            return datasets.load_dataset(self.path, name, split=split, revision=revision, streaming=self.forward_only)
        except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
            raise DatasetError(
                f"cannot load the table {self.path!r}: {str(error).splitlines()[0]};", remedy="check its name, split and configuration."
            ) from error

    def _media(self, table: Any) -> dict[str, MediaKind]:
        """Columns that hold clips."""
        kinds: dict[str, MediaKind] = {"Audio": "audio", "Video": "video", "Image": "image"}
        if table.features is None:
            raise DatasetError(f"nobody knows the columns of {self.path};", remedy="use a table with a schema, such as parquet.")
        return {c: kinds[type(f).__name__] for c, f in table.features.items() if type(f).__name__ in kinds}

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
        row = {self.columns.get(c, c): v for c, v in raw.items() if c not in self._kinds}
        if isinstance(row.get("messages"), str):
            try:
                row["messages"] = json.loads(row["messages"])
            except (ValueError, RecursionError) as error:
                raise DatasetError(f"{where}: its messages are no JSON ({error});", remedy="write the table again.") from error
        return example_of(row, str(index), where, str, media)

    def _clip(self, value: Mapping[str, Any], kind: MediaKind, where: str) -> Media:
        """A clip as `datasets` has it undecoded: bytes, or a path."""
        source = value.get("bytes") or value.get("path")
        if not source:
            raise DatasetError(f"{where}: a clip has neither bytes nor a path;", remedy="write the table again.")
        return Media(kind=kind, source=source)
