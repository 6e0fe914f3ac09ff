"""IEMOCAP: ten actors in five sessions of two, scripted and improvised talks, with classes and dimensions of emotion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Listed, is_pointer, text_of
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["IEMOCAP"]

_FOUR = {"ang": "angry", "hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral"}
_SIX = {**_FOUR, "exc": "excited", "fru": "frustrated"}
_ALL = {**_SIX, "fea": "fear", "sur": "surprise", "dis": "disgust", "oth": "", "xxx": ""}
_TURN = re.compile(
    r"^\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+(?P<name>(?P<session>Ses0[1-5])[FM]_\S+_(?P<who>[FM])\w*)\s+(?P<emotion>\w+)\s+"
    r"\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]\s*$"
)
_SAID = re.compile(r"^(?P<name>Ses0[1-5][FM]_\S+) \[[\d.]+-[\d.]+\]: ?(?P<text>.*)$")
_WHERE = "sail.usc.edu/iemocap (doi 10.1007/s10579-008-9076-6)"


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """One line of an evaluation file."""

    name: str
    dialog: str
    session: str
    who: str
    emotion: str
    start_s: float
    end_s: float
    dimensions: tuple[float, float, float]


class IEMOCAP(Listed):
    """IEMOCAP's turns with their sound, words and the lines before them; emotions in four classes, in six, or as annotated.

    Source: Busso et al., 2008. Licence: by agreement with its authors, research only. Layout on disk: `Session1` to `Session5`, each with
    `dialog/EmoEvaluation/<dialog>.txt`, `dialog/transcriptions/<dialog>.txt` and `sentences/wav/<dialog>/<turn>.wav`. One raw row:

        [6.2901 - 8.2357]\\tSes01F_impro01_F000\\tneu\\t[2.5000, 2.5000, 2.5000]

    Of the lines below such a row, which hold what single evaluators said, nothing is read. Four classes: angry, happy (with excitement),
    sad, neutral; six: angry, happy, excited, sad, neutral, frustrated. Turns of another class, or on which the evaluators did not agree
    (`xxx`), are left out; with `classes: null` they stay, without `labels["emotion"]` where there is none. Valence, arousal and dominance
    are given from 1 to 5 and read from -1 to 1; a mean outside of 1 to 5 counts as the nearer end.

    Who speaks is told by the letter of the turn (`_F000`), not by that of the dialog (`Ses01F`), which is the one with the markers. The
    group is the speaker. A fold tests on one session, validates on the next one and trains on the other three, so that neither speakers
    nor talks are in two splits.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        fold: 1 to 5, the session that is tested.
        classes: 4, 6, or None.

    Raises:
        DatasetError: a file is missing or a row is broken, with file and line.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, fold: int = 5, classes: Literal[4, 6] | None = 4) -> None:
        if fold not in range(1, 6) or classes not in (4, 6, None):
            raise DatasetError(f"fold {fold} in {classes} classes;", remedy="give a fold from 1 to 5 and 4, 6 or no classes.")
        names = {4: _FOUR, 6: _SIX, None: _ALL}[classes]
        super().__init__(_read(Path(path), fold, names), split, f"IEMOCAP in {path}")


def _read(root: Path, fold: int, names: dict[str, str]) -> Iterator[Example]:
    """Rows by session, dialog and time."""
    sessions = [root / f"Session{n}" for n in range(1, 6) if (root / f"Session{n}").is_dir()]
    if not sessions:
        raise LayoutError(f"{root} holds no Session1 to Session5;", remedy=f"name the folder it was unpacked in; it is got from {_WHERE}.")
    for folder in sessions:
        number = int(folder.name[-1])
        split = {fold: "test", fold % 5 + 1: "val"}.get(number, "train")
        evaluations = folder / "dialog" / "EmoEvaluation"
        files = sorted(p for p in evaluations.glob("Ses*.txt") if not p.name.startswith("._"))
        if not files:
            raise DatasetError(f"{evaluations} holds no Ses*.txt;", remedy=f"unpack the whole of {folder.name}; it is got from {_WHERE}.")
        for file in files:
            yield from _dialog(folder, file, split, names)


def _dialog(folder: Path, file: Path, split: str, names: dict[str, str]) -> Iterator[Example]:
    """The turns of one dialog in order of time."""
    said = _transcripts(folder / "dialog" / "transcriptions" / file.name)
    before: list[dict[str, str]] = []
    for turn in sorted(_turns(file), key=lambda t: (t.start_s, t.name)):
        speaker, text = f"{turn.session}{turn.who}", said.get(turn.name, "")
        if turn.emotion in names:
            valence, arousal, dominance = turn.dimensions
            emotion = names[turn.emotion]
            yield Example(
                id=f"iemocap/{turn.name}",
                media=_sound(folder / "sentences" / "wav" / turn.dialog / f"{turn.name}.wav", text),
                texts={"transcript": text} if text else {},
                labels={
                    **({"emotion": emotion} if emotion else {}),
                    "valence": valence, "arousal": arousal, "dominance": dominance, "language": "english", "speaker": speaker,
                    "gender": "female" if turn.who == "F" else "male", "acted": "improvised" if "impro" in turn.dialog else "scripted",
                    "history": tuple(before),
                    "metadata": {"speaker_gender": "female" if turn.who == "F" else "male", "turn": len(before)},
                },
                group=f"iemocap_{speaker}",
                split=split,
            )  # fmt: skip
        before.append({"speaker": speaker, "text": text})


def _turns(file: Path) -> Iterator[_Turn]:
    """The rows of an evaluation file."""
    for number, line in enumerate(text_of(file).splitlines(), 1):
        if not line.startswith("["):
            continue  # the header, an empty line, or what one evaluator said
        found = _TURN.match(line)
        if found is None:
            raise DatasetError(f"{file}, line {number}: {line[:80]!r};", remedy="wanted [start - end], turn, emotion and [V, A, D].")
        if found["emotion"] not in _ALL:
            raise DatasetError(f"{file}, line {number}: emotion {found['emotion']!r};", remedy=nearest(found["emotion"], list(_ALL)))
        valence, arousal, dominance = (max(-1.0, min(1.0, (float(found[k]) - 3) / 2)) for k in ("valence", "arousal", "dominance"))
        yield _Turn(
            name=found["name"], dialog=file.stem, session=found["session"], who=found["who"], emotion=found["emotion"],
            start_s=float(found["start"]), end_s=float(found["end"]), dimensions=(valence, arousal, dominance),
        )  # fmt: skip


def _transcripts(file: Path) -> dict[str, str]:
    """Turn -> words; lines that name no turn (such as an actor's question to the director) are not used."""
    if not file.is_file():
        raise DatasetError(f"{file} is missing;", remedy=f"unpack the transcriptions too; IEMOCAP is got from {_WHERE}.")
    return {found["name"]: found["text"].strip() for line in text_of(file).splitlines() if (found := _SAID.match(line))}


def _sound(file: Path, text: str) -> tuple[Media, ...]:
    """The sound of a turn; none where it was not unpacked."""
    if not file.is_file():
        return ()
    if is_pointer(file):
        raise DatasetError(f"{file} is a pointer of git-lfs, not the file;", remedy="run `git lfs pull` where it was cloned.")
    return (Media(kind="audio", source=str(file), transcript=text or None),)
