"""FER2013: grey stills of faces, 48 x 48, in seven emotions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._copies import copies
from unifusion.datasets._files import file_of, half, media_files, prove_apart, rows_of
from unifusion.datasets._shelf import Shelf
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["FER2013"]

_NUMBERS = dict(enumerate(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")))
_CLASSES = {w: w for w in _NUMBERS.values()} | {"anger": "angry", "happiness": "happy", "sadness": "sad", "surprised": "surprise"}
_USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_IMAGE = (".jpg", ".jpeg", ".png")
_WHERE = "Kaggle's challenges-in-representation-learning-facial-expression-recognition-challenge"
_Raw: TypeAlias = tuple[str, str, str, int]
"""(id, class, split, number of the image)."""


class FER2013(Dataset):
    """FER2013 as the challenge's table, as folders of classes, or as webdataset tars with such names inside.

    Source: Goodfellow et al., 2013 (challenges-in-representation-learning of Kaggle). Licence: unclear (web images; research use).
    Layouts on disk: `fer2013.csv` or `icml_face_data.csv` (`emotion,pixels,Usage`); `<split>/<class>/<name>.jpg`; `<split>.tar` whose
    members end so. One raw row:

        0,70 80 82 72 .. (2304 numbers),Training

    Training is train. PublicTest (a folder `val`) is cut in halves by name: val and test; PrivateTest is test. Who is seen is not
    told, so the group is the image.

    Args:
        path: the table or the folder.
        split: train, val, test, or None for all.
        without_copies: leave out of val and test what is another crop or copy of an image of train; the published splits hold some.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, without_copies: bool = False) -> None:
        root = Path(path)
        self._shelf: Shelf | None = None
        self._pixels: list[str] = []
        every = list(self._table(root) if _is_table(root) else self._files(root))
        prove_apart((Example(id=r[0], group=self._group(r), split=r[2]) for r in every), f"FER2013 in {path}")
        self._rows = [r for r in every if split in (None, r[2])]
        if not self._rows:
            raise (DatasetError if every else LayoutError)(
                f"FER2013 in {path} has no rows of split {split!r};", remedy=nearest(str(split), sorted({r[2] for r in every}))
            )
        if without_copies:
            self._leave_copies_out([r for r in every if r[2] == "train"])

    def _leave_copies_out(self, known: list[_Raw]) -> None:
        """Drop rows of other splits whose image shows what one of train shows."""
        own = [r for r in self._rows if r[2] != "train"]
        if own and known:
            found = copies(*(np.stack([_grey(self._source(r)) for r in rows]) for rows in (own, known)))
            dropped = {r[3] for r, copy in zip(own, found, strict=True) if copy}
            self._rows = [r for r in self._rows if r[3] not in dropped]

    def _table(self, root: Path) -> Iterator[_Raw]:
        """(id, class, split, row) of the challenge's table."""
        path = file_of(root, "fer2013.csv", "icml_face_data.csv", where=_WHERE)
        columns = ("emotion", "pixels", "Usage")
        for line, raw in rows_of(path, columns):
            row = {k.strip(): v for k, v in raw.items()}
            if row["emotion"] not in {str(n) for n in _NUMBERS} or row["Usage"] not in _USAGE:
                raise DatasetError(f"{path}, line {line}: emotion {row['emotion']!r}, usage {row['Usage']!r};", remedy="download it again.")
            self._pixels.append(row["pixels"])
            number = len(self._pixels) - 1
            yield _row(f"fer2013/{number:05}", _NUMBERS[int(row["emotion"])], _USAGE[row["Usage"]], number)

    def _files(self, root: Path) -> Iterator[_Raw]:
        """(id, class, split, row) of images in folders or tars."""
        self._shelf = Shelf(root)
        loose = [p.relative_to(root).as_posix() for p in media_files(root, _IMAGE, _WHERE)]
        self._pixels = [n for n in (*self._shelf.names(), *loose) if Path(n).suffix.lower() in _IMAGE]
        for number, name in enumerate(self._pixels):
            parts = Path(name).parts
            if len(parts) < 3:
                raise LayoutError(f"{root}: {name} does not tell split and class;", remedy="name images <split>/<class>/<name>.jpg.")
            if (folder := parts[-2].lower()) not in _CLASSES:
                raise LayoutError(f"{root / name}: {folder!r} is none of its classes;", remedy=nearest(folder, list(_CLASSES)))
            label = _CLASSES[folder]
            published = {"training": "train", "publictest": "val", "privatetest": "test"}.get(parts[-3].lower(), parts[-3].lower())
            yield _row(f"fer2013/{label}/{Path(name).stem}", label, published, number)

    def __len__(self) -> int:
        """Images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The image at `index`; of a table as an array, of a tar as the bytes of its file."""
        name, label, split, _ = row = self._rows[index]
        media = Media(kind="image", source=self._source(row))
        return Example(id=name, media=(media,), labels={"emotion": label}, group=self._group(row), split=split)

    def _group(self, row: _Raw) -> str:
        """The image: nobody tells who is seen. Of files it is the path, since a name may stand in every split."""
        return row[0] if self._shelf is None else f"fer2013/{self._pixels[row[3]]}"

    def _source(self, row: _Raw) -> str | bytes | Clip:
        """Where a row's image is."""
        name, *_, number = row
        if self._shelf is None:
            return _still(self._pixels[number], name)
        found = self._shelf.source(self._pixels[number])
        if found is None:
            raise DatasetError(f"{self._shelf.folder}: {self._pixels[number]} is gone;", remedy="read the set again.")
        return found


def _is_table(root: Path) -> bool:
    """Whether the challenge's table lies there."""
    return root.is_file() or any((root / f"{n}{end}").is_file() for n in ("fer2013.csv", "icml_face_data.csv") for end in ("", ".gz"))


def _row(name: str, label: str, published: str, number: int) -> _Raw:
    """A row with its split: the published val is cut in two."""
    return name, label, half(name) if published == "val" else published, number


def _still(pixels: str, name: str) -> Clip:
    """An image (1, 48, 48, 3) of 2304 grey values."""
    try:
        grey = np.array(pixels.split(), dtype=np.uint8).reshape(48, 48)
    except ValueError as error:
        raise DatasetError(f"{name}: {error};", remedy="download fer2013.csv again.") from error
    return Clip(frames_THWC=np.repeat(grey[None, :, :, None], 3, axis=3), frame_times_s=np.zeros(1))


def _grey(source: str | bytes | Clip) -> np.ndarray:
    """An image (48, 48) of grey values."""
    if isinstance(source, Clip):
        return np.asarray(source.frames_THWC)[0, :, :, 0]
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("L").resize((48, 48)))
