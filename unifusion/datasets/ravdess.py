"""RAVDESS: acted emotional speech and song, 24 actors, two sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._files import SOUND, Listed, media_files

__all__ = ["Ravdess"]

_NAME = re.compile(r"^(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)$")
_WHERE = "doi 10.5281/zenodo.1188976"
_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
_STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")


class Ravdess(Listed):
    """RAVDESS by its file names; the emotion is of eight, `emotion7` folds calm into neutral, as most papers do.

    Source: Livingstone and Russo, 2018 (doi 10.5281/zenodo.1188976). Licence: CC BY-NC-SA 4.0. Layout on disk: any folders; files named
    `MM-VV-EE-II-SS-RR-AA.wav|mp4|flac` (modality, channel, emotion, intensity, statement, repetition, actor). One raw row:

        Actor_01/03-01-06-01-02-01-12.wav

    The set has no official split. The group is the actor; here actors 1 to 16 are train, 17 and 18 val, 19 to 24 test.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        song: with sung files.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, song: bool = False) -> None:
        super().__init__(_read(Path(path), song), split, f"RAVDESS in {path}")


def _read(root: Path, song: bool) -> Iterator[Example]:
    """Rows in the order of their names."""
    for file in media_files(root, (*SOUND, ".mp4"), _WHERE):
        named = _NAME.match(file.stem)
        if named is None or (named[2] == "02" and not song):
            continue
        emotion, actor = _EMOTIONS[int(named[3]) - 1], int(named[7])
        gender = "male" if actor % 2 else "female"
        seven = "neutral" if emotion == "calm" else emotion
        yield Example(
            id=f"ravdess/{file.stem}",
            media=(Media(kind="video" if file.suffix.lower() == ".mp4" else "audio", source=str(file)),),
            texts={"transcript": _STATEMENTS[int(named[5]) - 1]},
            labels={
                "emotion": seven,
                "emotion8": emotion,
                "language": "english",
                "intensity": "strong" if named[4] == "02" else "normal",
                "gender": gender,
                "metadata": {"speaker_gender": gender},
            },
            group=f"ravdess_{actor:02}",
            split="train" if actor <= 16 else "val" if actor <= 18 else "test",
        )
