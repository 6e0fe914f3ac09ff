"""Flickr8k: photographs with five captions each, and the Flickr Audio Caption Corpus, in which every caption is spoken."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._captioned import IMAGE, Captioned, Downloads, captions_of, file_name, log
from unifusion.datasets._files import SOUND, file_of, part_of, text_of
from unifusion.errors import DatasetError, nearest

__all__ = ["Flickr8k"]

_TOKEN = re.compile(r"^(\S+)#(\d)\s+(.*\S)\s*$")
_SPOKEN = re.compile(r"^(\S+\.wav)\s+(\S+)\s+#(\d)\s*$")
_SPEAKER = re.compile(r"^(\S+\.wav)\s+(\d+)\s*$")
_SPOKEN_TABLE = "wav2capt.txt"
_GHOST = re.compile(r"\.jpg\.\d+$")
_LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
_FOLDERS = ("", "Flickr8k_text/", "flickr_audio/", "text/")
Captions = dict[str, dict[int, str]]


class Flickr8k(Captioned):
    """Flickr8k by its token file, a row a photograph; or with `take: spoken` a row a spoken caption, with photograph and sound.

    Source: Hodosh et al., 2013 (photographs, captions); Harwath and Glass, 2015, groups.csail.mit.edu/sls/downloads/flickraudio (speech).
    Licence: the photographs for research only, by their owners on Flickr; the speech CC BY-SA. Layout on disk: `Flickr8k.token.txt` and
    `Flickr_8k.trainImages.txt`, `.devImages.txt`, `.testImages.txt`, in the folder or in `Flickr8k_text`; or `captions.txt` with the
    columns image and caption, as Kaggle has it; photographs anywhere below (`Flicker8k_Dataset`, `Images`). Of the speech,
    `wav2capt.txt` and `wav2spk.txt`, in the folder or in `flickr_audio`, and `<image>_<n>.wav` anywhere below (`wavs`). One raw row of
    each:

        1000268201_693b08cb0e.jpg#0	A child in a pink dress is climbing up a set of stairs in an entry way .
        1000268201_693b08cb0e_0.wav 1000268201_693b08cb0e.jpg #0
        1000268201_693b08cb0e_0.wav 7

    The lists have 6,000 photographs in train, 1,000 in val and 1,000 in test; some hundred that no list names are left out, and so is
    `2258277193_586949ec62.jpg.1`, which has captions and does not exist. Without lists (Kaggle) a tenth each is val and test, by a hash of
    the name: not the published split. Where no photograph lies there at all, spoken captions are sounds alone. The group is the photograph;
    the 183 speakers (`labels["speaker"]`) are in all parts.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        take: pictures or spoken; None is spoken where `wav2capt.txt` and no photograph lies there, else pictures.
        only_downloaded: leave out rows without photograph, or with `spoken` without photograph or sound.
    """

    title, page = "Flickr8k", "the authors' form, forms.illinois.edu/sec/1713398, or kaggle.com/datasets/adityajn105/flickr8k"

    def __init__(self, path: str | Path, *, split: str | None = None, take: str | None = None, only_downloaded: bool = False) -> None:
        if take not in (None, "pictures", "spoken"):
            raise DatasetError(f"take is {take!r};", remedy=nearest(str(take), ["pictures", "spoken"]))
        self._take = take
        super().__init__(path, split=split, only_downloaded=only_downloaded)

    def look(self, root: Path | None) -> Downloads:
        """The photographs, and the spoken captions."""
        pictures = Downloads(root, IMAGE, "image")
        self._pictured = any(True for _ in pictures.names())
        told = root is not None and any((root / f"{folder}{_SPOKEN_TABLE}").is_file() for folder in _FOLDERS)
        self._spoken = self._take == "spoken" or (self._take is None and told and not self._pictured)
        if told and self._take is None and not self._spoken:
            log.info("%s: its photographs are read; take: spoken reads its spoken captions", root)
        self._sounds = Downloads(root if self._spoken else None, SOUND, "audio")
        return pictures

    def whole(self, row: Example) -> bool:
        """Whether photograph and sound are there, or the sound where there are no photographs."""
        return len(row.media) == (1 + self._pictured if self._spoken else 1)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Photographs, or spoken captions, in the order of their table."""
        table, captions = _captions(root, self.page)
        parts = _parts(root)
        if self._spoken:
            yield from self._said(root, captions, parts)
            return
        for image, told in captions.items():
            if parts and image not in parts:
                continue
            said = captions_of([told[n] for n in sorted(told)], table, image)
            yield Example(
                id=f"flickr8k/{image}",
                media=self.downloads.find(image, cut=[Path(image).stem]),
                texts=said["texts"],
                labels=said["labels"],
                group=f"flickr8k/{image}",
                split=parts.get(image) or part_of(image),
            )

    def _said(self, root: Path, captions: Captions, parts: dict[str, str]) -> Iterator[Example]:
        """Spoken captions in the order of their table."""
        table = file_of(root, *(f"{folder}{_SPOKEN_TABLE}" for folder in _FOLDERS), where="groups.csail.mit.edu/sls/downloads/flickraudio")
        speakers = _speakers(table.parent)
        for line, (wav, image, number) in _lines(table, _SPOKEN, "<image>_<n>.wav <image>.jpg #<n>"):
            file_name(wav, table, line)
            if parts and image not in parts:
                continue
            if int(number) not in captions.get(image, {}):
                raise DatasetError(f"{table}, line {line}: no caption {image}#{number};", remedy="take the captions of the same release.")
            said = captions_of([captions[image][int(number)]], table, line)
            media = self.downloads.find(image, cut=[Path(image).stem]) + self._sounds.find(wav, cut=[Path(wav).stem])
            yield Example(
                id=f"flickr8k/{wav}",
                media=media,
                texts=said["texts"],
                labels={**said["labels"], **({"speaker": speakers[wav]} if wav in speakers else {})},
                group=f"flickr8k/{image}",
                split=parts.get(image) or part_of(image),
            )


def _captions(root: Path, page: str) -> tuple[Path, Captions]:
    """The table of captions, and image -> number -> caption."""
    names = [f"{folder}{name}" for name in ("Flickr8k.token.txt", "captions.txt") for folder in _FOLDERS]
    table = file_of(root, *names, where=page)
    found: Captions = {}
    kaggle = text_of(table).lstrip().startswith("image,")
    for line, (image, number, caption) in _kaggle(table) if kaggle else _lines(table, _TOKEN, "<image>.jpg#<n><tab>caption"):
        if _GHOST.search(image):
            continue
        told = found.setdefault(file_name(image, table, line), {})
        at = len(told) if kaggle else int(number)
        if at in told:
            raise DatasetError(f"{table}, line {line}: {image}#{at} is there twice;", remedy="download it again.")
        told[at] = caption
    return table, found


def _kaggle(table: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, (image, nothing, caption)); commas in captions are not always quoted there, so a row is cut at its first."""
    reader = csv.reader(io.StringIO(text_of(table), newline=""))
    next(reader)
    try:
        for row in reader:
            if len(row) < 2:
                raise DatasetError(f"{table}, line {reader.line_num}: too few fields;", remedy="wanted image,caption.")
            yield reader.line_num, (row[0], "", ",".join(row[1:]))
    except csv.Error as error:
        raise DatasetError(f"{table}, line {reader.line_num}: {error};", remedy="download it again.") from error


def _parts(root: Path) -> dict[str, str]:
    """Image -> part, by the lists; nothing where there is none of them.

    Raises:
        DatasetError: only some of the lists are there, or an image is in two.
    """
    there = {part: p for part, n in _LISTS.items() if (p := next((root / f / n for f in _FOLDERS if (root / f / n).is_file()), None))}
    if there and len(there) < len(_LISTS):
        lacking = next(name for part, name in _LISTS.items() if part not in there)
        raise DatasetError(f"{root} lacks {lacking};", remedy="unpack all of Flickr8k_text.zip.")
    found: dict[str, str] = {}
    for part, path in there.items():
        for line, word in enumerate(text_of(path).split("\n"), 1):
            if word.strip() and found.setdefault(file_name(word.strip(), path, line), part) != part:
                raise DatasetError(
                    f"{path}, line {line}: {word.strip()} is in {found[word.strip()]} too;", remedy="download the lists again."
                )
    return found


def _speakers(folder: Path) -> dict[str, str]:
    """Wav -> number of its speaker."""
    path = folder / "wav2spk.txt"
    return {wav: number for _, (wav, number) in _lines(path, _SPEAKER, "<wav> <speaker>")} if path.is_file() else {}


def _lines(path: Path, form: re.Pattern[str], wanted: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, fields) of a text file; empty lines are skipped."""
    for line, text in enumerate(text_of(path).split("\n"), 1):
        if not text.strip():
            continue
        found = form.match(text)
        if found is None:
            raise DatasetError(f"{path}, line {line}: {text[:80]!r};", remedy=f"wanted {wanted}.")
        yield line, found.groups()
