"""CREMA-D: 91 actors say twelve sentences in six emotions; what was meant, and what people heard and saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Listed, file_of, media_files, one_of, rows_of
from unifusion.errors import DatasetError, nearest

__all__ = ["CremaD"]

_NAME = re.compile(r"^(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)$")
_EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_VOTES = {name[0]: emotion for name, emotion in _EMOTIONS.items()}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}
_SENTENCES = {
    "IEO": "It's eleven o'clock.", "TIE": "That is exactly what happened.", "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.", "TAI": "The airplane is almost full.", "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.", "ITH": "I think I have a doctor's appointment.", "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.", "TSI": "The surface is slick.", "WSI": "We'll stop in a couple of minutes.",
}  # fmt: skip
_RATED = {"voice": "Voice", "face": "Face", "both": "MultiModal"}
_VIDEO, _AUDIO = (".mp4", ".flv"), (".wav", ".mp3", ".flac")
_WHERE = "github.com/CheyneyComputerScience/CREMA-D (doi 10.1109/TAFFC.2014.2336244)"


class CremaD(Listed):
    """CREMA-D by the names of its clips and its tables.

    Source: Cao et al., 2014. Licence: Open Database License. Layout on disk: `VideoFlash/*.flv` (or mp4), `AudioWAV/*.wav` or
    `AudioMP3/*.mp3`, named actor, sentence, emotion, level; `SentenceFilenames.csv`, `VideoDemographics.csv` and
    `processedResults/summaryTable.csv` (each also beside the others or as .gz). Tables that are not there tell nothing; with the first of
    them clips that were not downloaded are rows without media. One raw row of it, and one of the summary:

        1,"1001_IEO_NEU_XX"
        "2","1001_IEO_HAP_LO","N","71.67","H","57","H","57.38"

    `labels["emotion"]` is what was meant, or with `truth: perceived` what most people told who saw and heard the clip; of those clips on
    which they were divided (votes such as `A:D`) there are then no rows. `labels["votes"]` and `["vote_levels"]` hold what was told of the
    voice alone, the face alone and both: one emotion or, in a tie, several, and its mean level from 0 to 100.

    There is no official split: the group is the actor, and actors 1001 to 1063 are train, 1064 to 1077 val, 1078 to 1091 test.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        truth: what the actor meant or what people perceived.
        take: the video where there is one, else the sound; or only one of them.

    Raises:
        DatasetError: neither clips nor tables are there, a row is broken, or a clip is a pointer of git-lfs.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, truth: Literal["acted", "perceived"] = "acted",
        take: Literal["any", "video", "audio"] = "any",
    ) -> None:  # fmt: skip
        suffixes: Mapping[str, Sequence[str]] = {"any": (*_VIDEO, *_AUDIO), "video": _VIDEO, "audio": _AUDIO}
        for name, found, known in (("truth", truth, ["acted", "perceived"]), ("take", take, list(suffixes))):
            if found not in known:
                raise DatasetError(f"{name} is {found!r};", remedy=nearest(found, known))
        super().__init__(_read(Path(path), truth == "perceived", suffixes[take]), split, f"CREMA-D in {path}")


def _read(root: Path, perceived: bool, suffixes: Sequence[str]) -> Iterator[Example]:
    """Rows in the order of their names."""
    clips = _clips(root, suffixes)
    names = sorted(set(clips) | set(_listed(root)))
    people, votes = _people(root), _votes(root)
    if perceived and not votes:
        file_of(root, "summaryTable.csv", "processedResults/summaryTable.csv", where=_WHERE)
    for name in names:
        found = _NAME.match(name)
        if found is None:
            continue
        actor, level = int(found[1]), _LEVELS[found[4]]
        told = votes.get(name)
        emotion = _EMOTIONS[found[3]]
        if perceived:
            if told is None or len(told["votes"]["both"]) != 1:
                continue
            emotion = told["votes"]["both"][0]
        said = _SENTENCES.get(found[2])
        who = people.get(str(actor), {})
        yield Example(
            id=f"crema_d/{name}",
            media=_media(clips.get(name), said),
            texts={"transcript": said} if said else {},
            labels={
                "emotion": emotion, "acted": _EMOTIONS[found[3]], **({"intensity": level} if level else {}), "language": "english",
                **({"gender": who["speaker_gender"]} if who else {}), **({"metadata": who} if who else {}), **(told or {}),
            },
            group=f"crema_d_{actor}",
            split="train" if actor <= 1063 else "val" if actor <= 1077 else "test",
        )  # fmt: skip


def _clips(root: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Name -> file, of several the one whose suffix stands first."""
    found = media_files(root, suffixes, _WHERE)
    return {p.stem: p for p in sorted(found, key=lambda p: -suffixes.index(p.suffix.lower()))}


def _media(file: Path | None, said: str | None) -> tuple[Media, ...]:
    """The clip of a row, if it is there."""
    if file is None:
        return ()
    return (Media(kind="video" if file.suffix.lower() in _VIDEO else "audio", source=str(file), transcript=said),)


def _table(root: Path, *names: str) -> Path | None:
    """A table, if it is there."""
    places = (root / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((p for p in places if p.is_file()), None)


def _listed(root: Path) -> list[str]:
    """The names of all clips, where the table is there."""
    path = _table(root, "SentenceFilenames.csv")
    names = [] if path is None else [(line, row["Filename"]) for line, row in rows_of(path, ("Filename",))]
    for line, name in names:
        if _NAME.match(name) is None:
            raise DatasetError(f"{path}, line {line}: {name!r} is no clip's name;", remedy="wanted such as 1001_IEO_NEU_XX.")
    return [name for _, name in names]


def _people(root: Path) -> dict[str, dict[str, str]]:
    """Actor -> metadata: age in years and gender."""
    path = _table(root, "VideoDemographics.csv")
    if path is None:
        return {}
    rows = rows_of(path, ("ActorID", "Age", "Sex", "Race", "Ethnicity"))
    return {row["ActorID"]: {"speaker_age": row["Age"], "speaker_gender": row["Sex"].lower()} for _, row in rows}


def _votes(root: Path) -> dict[str, dict[str, Any]]:
    """Name -> what people told of voice, face and both."""
    path = _table(root, "processedResults/summaryTable.csv", "summaryTable.csv")
    if path is None:
        return {}
    found = {}
    for line, row in rows_of(path, ("FileName", *(f"{c}{k}" for c in _RATED.values() for k in ("Vote", "Level")))):
        votes = {key: tuple(one_of(v, _VOTES, path, line) for v in row[f"{c}Vote"].split(":")) for key, c in _RATED.items()}
        levels = {key: tuple(_level(v, path, line) for v in row[f"{c}Level"].split(":")) for key, c in _RATED.items()}
        found[row["FileName"]] = {"votes": votes, "vote_levels": levels}
    return found


def _level(word: str, path: Path, line: int) -> float:
    """A mean level."""
    try:
        return float(word)
    except ValueError:
        raise DatasetError(f"{path}, line {line}: level {word!r};", remedy="wanted a number, or two with a colon between.") from None
