"""FSDD: spoken English digits, six speakers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._files import DIGITS, SOUND, Listed, media_files

__all__ = ["FSDD"]

_NAME = re.compile(r"^(\d)_([a-z]+)_(\d+)$")
_TRAIN = ("george", "jackson", "lucas", "nicolas")


class FSDD(Listed):
    """The free spoken digit dataset by its file names.

    Source: Jackson et al., 2018. Licence: CC BY-SA 4.0. Layout on disk: any folders; files named digit, speaker, take. One raw row:

        recordings/7_jackson_32.wav

    The official test part (takes 0 to 4 of every speaker) shares its speakers with the training part. Here george, jackson, lucas and
    nicolas are train, even takes of theo are val, the rest is test, so that no speaker of val or test was trained on.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
    """

    one_held_out = True

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        super().__init__(_read(Path(path)), split, f"FSDD in {path}")


def _read(root: Path) -> Iterator[Example]:
    """Rows in the order of their names."""
    for file in media_files(root, SOUND):
        named = _NAME.match(file.stem)
        if named is None:
            continue
        held_out = "val" if named[2] == "theo" and int(named[3]) % 2 == 0 else "test"
        word = DIGITS[int(named[1])]
        yield Example(
            id=f"fsdd/{file.stem}",
            media=(Media(kind="audio", source=str(file)),),
            texts={"transcript": word},
            labels={"digit": word, "language": "english", "gender": "male"},
            group=f"fsdd_{named[2]}",
            split="train" if named[2] in _TRAIN else held_out,
        )
