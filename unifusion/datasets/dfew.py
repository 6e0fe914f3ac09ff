"""DFEW: faces in clips of films, in seven emotions, with five published folds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._files import Listed, media_files, one_of, part_of
from unifusion.datasets._sheets import sheet_rows
from unifusion.errors import DatasetError, LayoutError

__all__ = ["DFEW"]

_EMOTIONS = {"1": "happy", "2": "sad", "3": "neutral", "4": "angry", "5": "surprise", "6": "disgust", "7": "fear"}
_VOTES = ("1happy", "2sad", "3neutral", "4angry", "5surprise", "6disgust", "7fear")
_NUMBER = re.compile(r"^0*(\d+)$")
_FRAME = re.compile(r"^(?:\d+_)?(\d+)$")
_IMAGE = (".jpg", ".jpeg", ".png")
_WHERE = "dfew-dataset.github.io (doi 10.1145/3394171.3413620)"


class DFEW(Listed):
    """The single-labelled part of DFEW in one of its folds.

    Source: Jiang et al., 2020. Licence: by agreement with its authors, research only. Layout on disk: the fold's two tables as
    `EmoLabel_DataSplit/train(single-labeled)/set_1.csv` and `test(single-labeled)/set_1.csv` (also `train_set_1.csv`, or
    `Annotation/DFEW_set_1_train.csv`; each also .xlsx); clips below `Clip` as `<number>.mp4` or `.avi` (`Clip/original/part_1/00001.mp4`)
    or as folders of frames named by that number (`Clip/clip_224x224/00001/00001_00012.jpg`, where 12 is the frame's number in the clip).
    `Annotation/annotation.xlsx` with the ten votes of each clip is read where it lies there. One raw row:

        video_name,label
        1,7

    1 to 7 are happy, sad, neutral, angry, surprise, disgust, fear. `labels["votes"]` has the number of votes for each class. The set tells
    neither actors nor films: a group is a clip, and a face may be in both parts as they are published. A tenth of the published train
    part, by a hash of the number, is val.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        fold: 1 to 5.
        frames_per_s: rate of clips that are folders of frames, which tell the frames' numbers and no times; their sound is not there.

    Raises:
        DatasetError: a table is missing or broken, or two clips have one number.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, fold: int = 1, frames_per_s: float = 25.0) -> None:
        if fold not in range(1, 6) or frames_per_s <= 0:
            raise DatasetError(f"fold {fold} at {frames_per_s:g} frames a second;", remedy="give a fold from 1 to 5 and a rate above 0.")
        self._rate = frames_per_s
        super().__init__(_read(Path(path), fold), split, f"DFEW in {path}")

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; of a folder of frames the frames are read."""
        row = super().__getitem__(index)
        if row.media and Path(str(row.media[0].source)).is_dir():
            clip = _frames(Path(str(row.media[0].source)), self._rate)
            return replace(row, media=(Media(kind="video", source=clip),))
        return row


def _read(root: Path, fold: int) -> Iterator[Example]:
    """Rows of both parts of the fold."""
    clips, votes = _clips(root / "Clip"), _votes(root)
    for part in ("train", "test"):
        path = _table(root, part, fold)
        for line, row in sheet_rows(path, ("video_name", "label")):
            number = _NUMBER.match(Path(row["video_name"].strip()).stem)
            if number is None:
                raise DatasetError(f"{path}, line {line}: video_name {row['video_name']!r};", remedy="wanted the number of a clip.")
            emotion, name = one_of(row["label"].strip(), _EMOTIONS, path, line), f"dfew/{int(number[1]):05}"
            file = clips.get(int(number[1]))
            yield Example(
                id=name,
                media=(Media(kind="video", source=str(file)),) if file is not None else (),
                labels={"emotion": emotion} | ({"votes": votes[int(number[1])]} if int(number[1]) in votes else {}),
                group=name,
                split="test" if part == "test" else part_of(name, 0.1, 0.0),
            )


def _table(root: Path, part: str, fold: int) -> Path:
    """A fold's table of one part."""
    names = [f"EmoLabel_DataSplit/{part}(single-labeled)/{name}set_{fold}" for name in ("", f"{part}_")]
    names += [f"{folder}/DFEW_set_{fold}_{part}" for folder in ("Annotation", "annotation")]
    for name in names:
        for end in (".csv", ".xlsx"):
            if (root / f"{name}{end}").is_file():
                return root / f"{name}{end}"
    raise LayoutError(f"{root} holds no {names[0]}.csv;", remedy=f"unpack EmoLabel_DataSplit there; DFEW is got from {_WHERE}.")


def _clips(folder: Path) -> dict[int, Path]:
    """Number -> the clip: an mp4, else an avi, else a folder of frames."""
    if not folder.is_dir():
        return {}
    found: dict[int, Path] = {}
    for suffix in (".mp4", ".avi"):
        for path in media_files(folder, (suffix,), _WHERE):
            number = _NUMBER.match(path.stem)
            known = found.setdefault(int(number[1]), path) if number is not None else path
            if known != path and known.suffix.lower() == suffix:
                raise DatasetError(f"{known} and {path} have one number;", remedy="keep one kind of clips below Clip.")
    for path in sorted(p for p in folder.rglob("*") if p.is_dir()):
        number = _NUMBER.match(path.name)
        if number is not None and any(f.suffix.lower() in _IMAGE for f in path.iterdir()):
            found.setdefault(int(number[1]), path)
    return found


def _votes(root: Path) -> dict[int, dict[str, int]]:
    """Number of the clip -> votes for each class."""
    for name in ("Annotation", "annotation"):
        for end in (".xlsx", ".csv"):
            path = root / name / f"annotation{end}"
            if path.is_file():
                return {_whole(row["order"], path, n): _of(row, path, n) for n, row in sheet_rows(path, ("order", *_VOTES))}
    return {}


def _of(row: dict[str, str], path: Path, line: int) -> dict[str, int]:
    """The votes of a row."""
    return {name[1:]: _whole(row[name], path, line) for name in _VOTES}


def _whole(word: str, path: Path, line: int) -> int:
    """A whole number."""
    if not word.strip().isdigit():
        raise DatasetError(f"{path}, line {line}: {word!r};", remedy="wanted a whole number.")
    return int(word)


def _frames(folder: Path, rate: float) -> Clip:
    """The frames of a folder by their numbers, which begin at 1; numbers that are missing are gaps in time."""
    named = sorted((int(m[1]), p) for p in folder.iterdir() if p.suffix.lower() in _IMAGE and (m := _FRAME.match(p.stem)))
    pictures = []
    for _, path in named:
        try:
            with Image.open(path) as image:
                pictures.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise DatasetError(f"{path}: {error};", remedy="unpack the clips again.") from error
    if not pictures or len({p.shape for p in pictures}) > 1:
        raise DatasetError(f"{folder}: {len(pictures)} frames of different sizes or none;", remedy="unpack the clips again.")
    times = (np.array([number for number, _ in named], dtype=np.float64) - 1) / rate
    return Clip(frames_THWC=np.stack(pictures), frame_times_s=times, duration_s=float(times[-1] + 1 / rate))
