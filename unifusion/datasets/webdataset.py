"""WebDataset shards: tars whose members of one stem are a sample."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._rows import KINDS, example_of, kind_of_name
from unifusion.datasets._spellings import marked
from unifusion.datasets._tars import bytes_at, stems
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError

__all__ = ["WebDataset"]

_NAMED = {"path", *(f"{key}{kind}{end}" for kind in ("video", "audio", "image") for key, end in (("", ""), ("", "s"), ("input_", "")))}
"""Keys under which a row names its files; where none is there, those of the sample are."""


class WebDataset(Dataset):
    """Samples of tar shards, each read from its place when it is asked for, so that any order and any resume costs nothing.

    Source: https://github.com/webdataset/webdataset, and img2dataset and video2dataset, which write such shards; licences are those of
    what lies in them. Layout: `00000.tar`, `00001.tar` .. with members like

        000000017.mp4  000000017.json  000000017.txt

    `.json` is a row as `messages` reads it, whose files are members of the sample (by name, or by extension alone), and every clip, sound
    or picture where it names none; `.txt` is the text `caption`, unless the row has one. Without `.json`, `.cls` is the label `class`.
    Members of several extensions (`.left.wav`) are of the kind that the last one tells.

    Args:
        path: a tar, a folder of tars, or a pattern (`shards/*.tar`).
        split: taken and not used: shards of a split lie in a folder of their own.

    Raises:
        DatasetError: there is no tar, one cannot be read, or a sample is not as the format says.
    """

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        del split
        where = Path(path)
        shards = sorted(where.glob("*.tar")) if where.is_dir() else [Path(p) for p in sorted(glob.glob(str(path)))]
        if not shards:
            raise DatasetError(f"{path} is no tar and holds none;", remedy="name a shard, a folder of shards, or a pattern.")
        self._samples: list[tuple[Path, str, dict[str, tuple[int, int]]]] = []
        for shard in shards:
            self._samples += [(shard, stem, members) for stem, members in stems(shard).items()]
        if not self._samples:
            raise DatasetError(f"{path} holds no samples;", remedy="members are called STEM.EXTENSION.")

    def __len__(self) -> int:
        """Samples."""
        return len(self._samples)

    def __getitem__(self, index: int) -> Example:
        """The sample at `index`."""
        if not 0 <= index < len(self._samples):
            raise IndexError(f"sample {index} of {len(self._samples)}")
        shard, stem, members = self._samples[index]
        where = f"{shard}, sample {stem}"
        read = _Reader(shard, members, where)
        if "json" in members:
            try:
                row = json.loads(read("json"))
            except (ValueError, RecursionError) as error:
                raise DatasetError(f"{where}: its .json is none ({error});", remedy="write the shard again.") from error
            if not isinstance(row, Mapping):
                raise DatasetError(f"{where}: its .json is a {type(row).__name__};", remedy="wanted keys and values.")
            files = {} if (_NAMED | {"media"}) & set(row) or ("messages" in row and not marked(row)) else read.media()
            said = {"caption": _text(read("txt"), where)} if "txt" in members and not {"caption", "captions"} & set(row) else {}
            return example_of({**files, **said, **row}, stem, where, read.member)
        texts = {"caption": _text(read("txt"), where)} if "txt" in members else {}
        labels = {"class": _text(read("cls"), where)} if "cls" in members else {}
        media = tuple(Media(kind=KINDS[end.rpartition(".")[2]], source=read(end)) for end in members if end.rpartition(".")[2] in KINDS)
        return Example(id=stem, media=media, texts=texts, labels=labels)


def _text(raw: bytes, where: str) -> str:
    """What a member of text says."""
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where}: a text is no UTF-8;", remedy="write the shard again.") from error


class _Reader:
    """Bytes of the members of one sample."""

    def __init__(self, shard: Path, members: Mapping[str, tuple[int, int]], where: str) -> None:
        self.shard, self.members, self.where = shard, members, where

    def __call__(self, end: str) -> bytes:
        """The bytes of the member with this extension."""
        return bytes_at(self.shard, *self.members[end])

    def media(self) -> dict[str, list[str]]:
        """Key and names of every clip, sound and picture."""
        found: dict[str, list[str]] = {}
        for end in self.members:
            if (kind := KINDS.get(end.rpartition(".")[2])) is not None:
                found.setdefault(kind, []).append(f"_.{end}")
        return found

    def member(self, name: str) -> bytes:
        """The bytes of a file that the row names: by extension, since the stem is the sample's.

        Raises:
            DatasetError: there is no such member.
        """
        ends = name.partition(".")[2].lower(), name.rpartition(".")[2].lower()  # clip.left.wav is `left.wav` of its sample, or its `wav`
        kind_of_name(f"_.{ends[1]}", self.where)
        end = next((e for e in ends if e in self.members), None)
        if end is None:
            raise DatasetError(f"{self.where}: names {name!r}, it has {', '.join(self.members)};", remedy="write the shard again.")
        return self(end)
