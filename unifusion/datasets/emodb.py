"""EmoDB: acted emotional speech in German, ten speakers, ten sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._files import SOUND, Listed, media_files

__all__ = ["EmoDB"]

_NAME = re.compile(r"^(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)$")
_EMOTIONS = {"W": "angry", "L": "boredom", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_SPLITS = {**dict.fromkeys(("03", "08", "09", "10", "12", "13"), "train"), "11": "val"}
"""Of speakers; all others are test."""
_MEN = ("03", "10", "11", "12", "15")
_AGES = {"03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25, "16": 31}
_WHERE = "emodb.bilderbar.info"


class EmoDB(Listed):
    """The Berlin database of emotional speech by its file names.

    Source: Burkhardt et al., 2005 (emodb.bilderbar.info). Licence: free for research, no text of a licence. Layout on disk: any folders;
    files named speaker, sentence, emotion (W anger, L boredom, E disgust, A fear, F happiness, T sadness, N neutral), take. One raw row:

        wav/03a01Fa.wav

    The set has no official split. The group is the speaker; here speakers 03, 08, 09, 10, 12 and 13 are train, 11 is val, others test.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
    """

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        super().__init__(_read(Path(path)), split, f"EmoDB in {path}")


def _read(root: Path) -> Iterator[Example]:
    """Rows in the order of their names."""
    for file in media_files(root, SOUND, _WHERE):
        named = _NAME.match(file.stem)
        if named is None:
            continue
        said, gender = _SENTENCES.get(named[2]), "male" if named[1] in _MEN else "female"
        about = {"speaker_gender": gender} | ({"speaker_age": str(_AGES[named[1]])} if named[1] in _AGES else {})
        yield Example(
            id=f"emodb/{file.stem}",
            media=(Media(kind="audio", source=str(file)),),
            texts={"transcript": said} if said else {},
            labels={"emotion": _EMOTIONS[named[3]], "language": "german", "gender": gender, "metadata": about},
            group=f"emodb_{named[1]}",
            split=_SPLITS.get(named[1], "test"),
        )
