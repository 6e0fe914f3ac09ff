"""Corpora of clip world in the layouts of published sets, written so that a run that was cut short goes on where it stopped."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.datasets._empathetic import CLASSES
from unifusion.datasets._layouts_acted import acted_crema_d, acted_ravdess
from unifusion.errors import ConfigError, DatasetError, nearest
from unifusion.world.dialogues import Dialogue, Line, dialogue
from unifusion.world.draw import Draw
from unifusion.world.render import render, write_mp4, write_wav
from unifusion.world.script import Script
from unifusion.world.talks import Profile

__all__ = ["LAYOUTS", "write_layout"]

_TIMBRES = {"bright": "high", "clear": "high", "soft": "mid", "warm": "mid", "deep": "low", "rough": "low"}
_AGES = {"old": "elderly"}
_NAME_OF_PART = {"train": "train", "val": "dev", "test": "test"}
_MELD_CLIPS = {"train": "train_splits", "val": "dev_splits_complete", "test": "output_repeated_splits_test"}
_MELD_EMOTIONS = {"happy": "joy", "sad": "sadness", "angry": "anger"}
_SENTIMENTS = {"happy": "positive", "surprise": "positive", "neutral": "neutral"}
_MELD_COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode", "StartTime", "EndTime",
)  # fmt: skip
_GAP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What decides a corpus, besides how much of it is written."""

    seed: int = 0
    duration_s: float = 4.0
    size_px: int = 112


Files = dict[str, str]
Clips = Iterator[tuple[Script, tuple[str, ...]]]


def write_layout(
    out_dir: Path, layout: str, *, count: int, on_clip: Callable[[Path], None] | None = None, seed: int = 0, duration_s: float = 4.0,
    size_px: int = 112,
) -> Path:  # fmt: skip
    """Write a corpus and return the first of its annotation files.

    Clips that lie there are kept, so a run that was cut short goes on, and one with a larger count adds to a smaller one; annotations are
    written when all clips are there. Which choices a folder was begun with is in its `world.json`.

    Args:
        out_dir: folder to write, made when missing.
        layout: one of LAYOUTS.
        count: conversations of `avamerg` and `meld`, clips of `crema_d` and `ravdess`.
        on_clip: called with the path of each file that is there now.
        seed: another one, another corpus.
        duration_s: of each clip.
        size_px: of each clip.

    Raises:
        ConfigError: an unknown layout, no count, or a clip the world has no room for.
        DatasetError: the folder was begun with other choices.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"clip world cannot be written in the layout {layout!r};", remedy=nearest(layout, ["jsonl", *LAYOUTS]))
    if count < 1:
        raise ConfigError(f"{count} clips or conversations;", remedy="ask for at least one.")
    choices = Choices(seed=seed, duration_s=duration_s, size_px=size_px)
    out_dir.mkdir(parents=True, exist_ok=True)
    _begin(out_dir, {"layout": layout, **vars(choices)})
    clips, files = LAYOUTS[layout](choices, count)
    for script, names in clips:
        for path in _written(out_dir, script, names):
            if on_clip is not None:
                on_clip(path)
    for name, text in files.items():
        (out_dir / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(out_dir / name, text)
    return out_dir / next(iter(files))


def _begin(folder: Path, choices: Mapping[str, Any]) -> None:
    """Write down the choices, or hold them against those that the folder was begun with."""
    path = folder / "world.json"
    if path.is_file():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: {error};", remedy="write into another folder.") from error
        if begun != dict(choices):
            raise DatasetError(f"{folder} was begun with {begun}, now {dict(choices)} are asked for;", remedy="write into another folder.")
        return
    atomic.write_text(path, json.dumps(dict(choices)))


def _written(folder: Path, script: Script, names: Sequence[str]) -> list[Path]:
    """The files of a clip, rendered once where one of them is not there."""
    paths = [folder / name for name in names]
    lacking = [p for p in paths if not p.is_file()]
    if lacking:
        clip, spoken = render(script, picture=any(p.suffix != ".wav" for p in lacking))
        for path in lacking:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.tmp")
            if path.suffix == ".wav":
                write_wav(part, clip)
            else:
                write_mp4(part, clip, spoken, form=path.suffix[1:])
            os.replace(part, path)
    return paths


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def _avamerg(choices: Choices, count: int) -> tuple[Clips, Files]:
    """AvaMERG: three JSON files, a wav and an mp4 of each line, and valence and arousal beside."""
    talks = [dialogue(choices.seed, i, duration_s=choices.duration_s, size_px=choices.size_px) for i in range(count)]
    files = {f"{part}.json": json.dumps([_entry(t) for t in talks if t.part == part], indent=1) for part in ("train", "val", "test")}
    rows = [(_name(t, k), line.valence, line.arousal) for t in talks for k, line in enumerate(t.lines)]
    files["affect.csv"] = table(("name", "valence", "arousal"), rows)
    clips = (
        (line.script, (f"{t.part}_video/video_v5_0/{_name(t, k)}.mp4", f"{t.part}_audio/audio_v5_0/{_name(t, k)}.wav"))
        for t in talks
        for k, line in enumerate(t.lines)
    )
    return clips, files


def _name(talk: Dialogue, turn: int) -> str:
    """What a clip of a talk is called."""
    return f"dia{talk.index:05}utt{turn}_{talk.people[turn % 2].profile.id}"


def _entry(talk: Dialogue) -> dict[str, Any]:
    """A talk as an entry of AvaMERG; a turn is a line of the speaker and the response to it."""
    said = [{"index": k, "role": "listener" if k % 2 else "speaker", "utterance": line.text} for k, line in enumerate(talk.lines)]
    turns = [
        {
            "turn_id": str(k // 2),
            "context": talk.scenario,
            "dialogue_history": said[: k + 1],
            "response": talk.lines[k + 1].text,
            "chain_of_empathy": {
                "speaker_emotion": _fine(talk, k, talk.lines[k]), "event_scenario": talk.scenario, "emotion_cause": talk.cause,
                "goal_to_response": talk.goal,
            },
        }
        for k in range(0, len(talk.lines), 2)
    ]  # fmt: skip
    speaker, listener = (_profile(p.profile) for p in talk.people)
    about = {"conversation_id": f"{talk.index:05}", "speaker_profile": speaker, "listener_profile": listener, "topic": talk.topic}
    return {**about, "turns": turns}


def _profile(who: Profile) -> dict[str, Any]:
    """A person in AvaMERG's words; personality is told beside."""
    timbre, age = _TIMBRES[who.timbre], _AGES.get(who.age, who.age)
    return {"age": age, "gender": who.gender, "timbre": timbre, "personality": who.personality, "ID": who.id}


def _fine(talk: Dialogue, turn: int, line: Line) -> str:
    """One of the 32 words for the emotion of a line."""
    return Draw("word for", line.script.seed, talk.index).pick(f"turn{turn}", CLASSES[line.emotion])


def _meld(choices: Choices, count: int) -> tuple[Clips, Files]:
    """MELD: a table for each part and an mp4 of each line."""
    talks = [dialogue(choices.seed, i, duration_s=choices.duration_s, size_px=choices.size_px) for i in range(count)]
    files = {}
    for part, name in _NAME_OF_PART.items():
        lines = [(t, k, line) for t in talks if t.part == part for k, line in enumerate(t.lines)]
        rows = [_meld_row(n, t, k, line, choices.duration_s) for n, (t, k, line) in enumerate(lines, 1)]
        files[f"{name}_sent_emo.csv"] = table(_MELD_COLUMNS, rows)
    clips = ((line.script, (f"{_MELD_CLIPS[t.part]}/dia{t.index}_utt{k}.mp4",)) for t in talks for k, line in enumerate(t.lines))
    return clips, files


def _meld_row(number: int, talk: Dialogue, turn: int, line: Line, duration_s: float) -> tuple[object, ...]:
    """A line as a row of MELD's table; each talk is an episode that begins at 0."""
    start = turn * (duration_s + _GAP_S)
    emotion, sentiment = _MELD_EMOTIONS.get(line.emotion, line.emotion), _SENTIMENTS.get(line.emotion, "negative")
    who = f"Person {talk.people[turn % 2].profile.id}"
    return (number, line.text, who, emotion, sentiment, talk.index, turn, 1, talk.index, _clock(start), _clock(start + duration_s))


def _clock(time_s: float) -> str:
    """A time as subtitles write it."""
    ms = round(time_s * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def _crema_d(choices: Choices, count: int) -> tuple[Clips, Files]:
    """CREMA-D: an flv and a wav of each clip, and the tables of clips, actors and votes."""
    acted = [acted_crema_d(choices.seed, i, choices.duration_s, choices.size_px) for i in range(count)]
    people = {a.name[:4]: a.who for a in acted}
    sexes = {"male": "Male", "female": "Female"}
    ages = {"young": 25, "middle-aged": 45, "old": 68}
    files = {
        "SentenceFilenames.csv": table(("Stimulus_Number", "Filename"), [(n, a.name) for n, a in enumerate(acted, 1)]),
        "VideoDemographics.csv": table(
            ("ActorID", "Age", "Sex", "Race", "Ethnicity"),
            [(i, ages[p.age], sexes[p.gender], "Unknown", "Not Hispanic") for i, p in sorted(people.items())],
        ),
        "processedResults/summaryTable.csv": table(
            ("", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"),
            [(n, a.name, *(cell for vote in a.votes for cell in vote)) for n, a in enumerate(acted, 1)],
        ),
    }
    return ((a.script, (f"VideoFlash/{a.name}.flv", f"AudioWAV/{a.name}.wav")) for a in acted), files


def _ravdess(choices: Choices, count: int) -> tuple[Clips, Files]:
    """RAVDESS: an mp4 (modality 01) and a wav (03) of each clip; the names are the annotation."""
    acted = [acted_ravdess(choices.seed, i, choices.duration_s, choices.size_px) for i in range(count)]
    clips = ((a.script, (f"Actor_{a.name[-2:]}/01-{a.name}.mp4", f"Actor_{a.name[-2:]}/03-{a.name}.wav")) for a in acted)
    return clips, {"names.txt": "".join(f"{a.name}\n" for a in acted)}


LAYOUTS: dict[str, Callable[[Choices, int], tuple[Clips, Files]]] = {
    "avamerg": _avamerg, "meld": _meld, "crema_d": _crema_d, "ravdess": _ravdess,
}  # fmt: skip
"""Name -> what gives its clips (with the names of their files) and its annotations."""
