"""LAION and other sets of addresses of pictures, as img2dataset downloads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.datasets._captioned import log
from unifusion.datasets._shards import Shards, stats_of
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError

__all__ = ["LAION"]

_OWN = ("caption", "key", "status", "error_message", "exif")
_HASHES = ("sha256", "md5", "url")
_PAGE = "laion.ai, or relaion2B-en-research-safe on huggingface.co"
_CAPTIONS = "run img2dataset with --caption_col; other shards are read by the reader webdataset."
_PARQUET = "run img2dataset with --output_format webdataset or files."


class LAION(Dataset):
    """Pictures with captions in shards of img2dataset, read from their places: nothing is unpacked, a row costs 200 bytes of memory.

    Source: Schuhmann et al., 2021 and 2022, laion.ai; github.com/rom1504/img2dataset. Licence: CC BY 4.0 (addresses and captions); the
    pictures are their owners'. Layout on disk: what `--output_format webdataset` or `files` gives,

        00000.tar with 000000000.jpg, 000000000.txt, 000000000.json ..    or 00000/000000000.jpg, .txt, .json ..
        00000.parquet, 00000_stats.json

    One raw row (`.json`; columns of the addresses' table that were kept, `similarity`, `NSFW`, `punsafe` .., are in it too):

        {"caption": "Aerial photography of a dam", "url": "https://..", "key": "000000017", "status": "success", "width": 256,
         "height": 171, "original_width": 1200, "original_height": 800, "sha256": "4f2a..", "similarity": 0.31}

    `labels` has all of it but `key`, `status` and `exif`. Pictures of one hash are one group: a caption is relevant to each of them. All is
    train. What could not be downloaded is no member of a tar: `missing` counts it by the `_stats.json`, and with `failed` the parquet
    beside gives a row without media for each, after all others.

    Args:
        path: the folder that img2dataset wrote, or one of its tars.
        split: train or None.
        failed: with rows of pictures that could not be downloaded (needs pyarrow, extra `data`).

    Raises:
        DatasetError: no shard, a broken one, one with fewer pictures than its statistics tell, or a row without a caption.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, failed: bool = False) -> None:
        root, name = Path(path), f"LAION in {path}"
        if split not in (None, "train"):
            raise DatasetError(f"{name} has no rows of split {split!r};", remedy="train is all there is.")
        self._shards = Shards(root)
        if not self._shards.places:
            only = root.is_dir() and next(root.glob("*.parquet"), None)
            remedy = _PARQUET if only else f"name the folder that img2dataset wrote; the addresses are got from {_PAGE}."
            raise LayoutError(f"{path} holds no 00000.tar and no folder 00000;", remedy=remedy)
        self.missing = self._counted()
        if self.missing:
            log.warning("%s: %d of %d pictures could not be downloaded", name, self.missing, self.missing + len(self._shards))
        self._failed = [row for place in self._shards.places for row in _failures(place)] if failed else []
        if not len(self):
            raise DatasetError(f"{name} holds no rows;", remedy="see the _stats.json of its shards for why nothing was downloaded.")

    def _counted(self) -> int:
        """How many pictures could not be downloaded; shards that are cut short or of something else are refused."""
        here: Counter[Path] = Counter()
        for index in range(len(self._shards)):
            here[self._shards.place(index)] += 1
            if self._shards.kinds(index) != ("image",) or not self._shards.has_words(index):
                raise LayoutError(f"{self._shards.where(index)}: no picture, or no .txt and no .json;", remedy=_CAPTIONS)
        missing = 0
        for place in self._shards.places:
            asked, got = stats_of(place) or (here[place], here[place])
            if got != here[place]:
                raise DatasetError(
                    f"{place}: {here[place]} pictures, {got} by its _stats.json;", remedy="copy the shard again, or let the download end."
                )
            missing += asked - got
        return missing

    def __len__(self) -> int:
        """Rows."""
        return len(self._shards) + len(self._failed)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; of a tar, its picture is read."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        if index >= len(self._shards):
            return _row(*self._failed[index - len(self._shards)], ())
        where, told = self._shards.where(index), self._shards.told(index)
        caption = self._shards.text(index)
        if caption is None:
            caption = told.get("caption") or ""
        if not isinstance(caption, str):
            raise DatasetError(f"{where}: caption is {caption!r};", remedy="wanted a text.")
        return _row(self._shards.name(index), caption, told, self._shards.media(index))


def _row(name: str, caption: str, told: Mapping[str, Any], media: tuple[Media, ...]) -> Example:
    """A row; an empty caption is none."""
    said = caption.strip()
    group = next((str(told[key]) for key in _HASHES if told.get(key)), name)
    return Example(
        id=f"laion/{name}",
        media=media,
        texts={"caption": said} if said else {},
        labels={**{k: v for k, v in told.items() if k not in _OWN and v is not None}, "captions": (said,) if said else ()},
        group=f"laion/{group}",
        split="train",
    )


def _failures(place: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, caption, what is told) of what could not be downloaded, by the parquet beside a shard."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError("the library pyarrow is missing;", remedy="pip install 'unifusion-x[data]'.") from error
    path = place.with_name(f"{place.stem}.parquet")
    try:
        rows = parquet.read_table(path, columns=["key", "status", "caption", "url", "error_message"]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: {str(error)[:200]};", remedy="download the shard again, or leave failed out.") from error
    for number, row in enumerate(rows, 1):
        if row["status"] != "success":
            told = {k: v for k, v in (("url", row["url"]), ("error", row["error_message"])) if v}
            if not isinstance(row["key"], str) or not isinstance(row["caption"], str | None):
                raise DatasetError(f"{path}, row {number}: {row['key']!r}, {row['caption']!r};", remedy="wanted a key and a text.")
            yield f"{place.stem}/{row['key']}", row["caption"] or "", told
