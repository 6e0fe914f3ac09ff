"""AvaMERG: empathetic talks between a speaker and a listener, each line said by an avatar."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from unifusion.conversation import Example, Media
from unifusion.datasets._empathetic import class_of
from unifusion.datasets._files import Listed, file_of, media_files, number_of, part_of, rows_of
from unifusion.datasets._talks import Line, Talk, talks_of
from unifusion.errors import DatasetError, nearest

__all__ = ["AvaMERG"]

_PARTS = {"train": ("train.json",), "val": ("val.json", "dev.json", "valid.json"), "test": ("test.json",)}
_WHERE = "avamerg.github.io (AvaMERG, Zhang et al., 2025)"


class AvaMERG(Listed):
    """AvaMERG as it is published: each line of a talk, its clip, what was said before, and what is known of the people and the talk.

    Source: Zhang et al., "Towards Multimodal Empathetic Response Generation: A Rich Text-Speech-Vision Avatar-based Benchmark", 2025.
    Licence: research use, on the authors' page. Layout on disk: `train.json`, `val.json` (or `dev.json`, `valid.json`) and `test.json`,
    in the folder or below it; clips anywhere below it as `dia{conversation_id}utt{index}_{profile ID}.mp4` and `.wav` (such as
    `train_audio/audio_v5_0/dia00001utt0_12.wav`); a response's index is that of the last line before it, plus one. Names that begin with
    `._` are skipped. `affect.csv` (`name,valence,arousal`, name as that of a clip, both in [-1, 1]) is read where it lies in the folder;
    the published set has none. One raw entry:

        {"conversation_id": "00001", "speaker_profile": {"age": "young", "gender": "female", "timbre": "high", "ID": 12},
         "listener_profile": {..}, "topic": "..", "turns": [{"turn_id": "0", "context": "..", "dialogue_history": [{"index": 0,
         "role": "speaker", "utterance": ".."}], "response": "..", "chain_of_empathy": {"speaker_emotion": "lonely",
         "event_scenario": "..", "emotion_cause": "..", "goal_to_response": ".."}}]}

    The flattened form with `turn: {"dialogue": [{"index", "role", "text", "audio_name", "video_name"}]}` is read alike.

    `speaker_emotion` is one of 32 words, or another one that its writers chose: `labels["emotion"]` is its class of seven,
    `labels["emotion32"]` the word itself. It is about the speaker, so lines of the listener have neither; they are in the history and rows
    of their own. A speaker's line that no response follows has the emotion of the turn in which it is first told. Scenario, cause and goal
    were written by somebody who knew the emotion: a model that reads them does not have to look or listen.

    The group is the conversation. Profiles are shared by conversations of all parts as published; `labels["people"]` names those of a row.
    Where only `train.json` or one file of another name is there, a tenth of its conversations is val and a tenth is test, by a hash of
    their ids.

    Args:
        path: the folder, or one JSON file.
        split: train, val, test, or None for all.
        turns: all lines, or only the last one of the speaker before each response, which the annotated emotion is about.
        take: the mp4 where there is one, else the wav; or only one of them.
        words: further words for emotions -> their class.
        unknown: refuse words that have no class, or leave such rows without an emotion.

    Raises:
        DatasetError: a file is missing or broken, words are unknown, two clips have one name, or a conversation is in two parts.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, turns: Literal["all", "last"] = "all",
        take: Literal["any", "video", "audio"] = "any", words: Mapping[str, str] | None = None,
        unknown: Literal["refuse", "unlabelled"] = "refuse",
    ) -> None:  # fmt: skip
        for name, found, known in (("turns", turns, ("all", "last")), ("take", take, ("any", "video", "audio"))):
            if found not in known:
                raise DatasetError(f"{name} is {found!r};", remedy=nearest(found, list(known)))
        if unknown not in ("refuse", "unlabelled"):
            raise DatasetError(f"unknown is {unknown!r};", remedy=nearest(unknown, ["refuse", "unlabelled"]))
        root = Path(path)
        folder = root.parent if root.is_file() else root
        self._folder, self._turns, self._words = folder, turns, {k.lower(): v for k, v in (words or {}).items()}
        suffixes = {"any": (".mp4", ".wav"), "video": (".mp4",), "audio": (".wav",)}[take]
        self._clips = _clips(folder, suffixes)
        self._affect = _affect(folder)
        files = _files(root)
        parts = [(part, file, talks_of(file)) for part, file in files.items()]
        if unknown == "refuse":
            self._refuse_unknown(parts)
        official = list(files) != ["train"]
        rows = (row for part, _, talks in parts for talk in talks for row in self._rows(talk, part if official else ""))
        super().__init__(rows, split, f"AvaMERG in {path}")

    def _refuse_unknown(self, parts: Sequence[tuple[str, Path, list[Talk]]]) -> None:
        """Name all words without a class at once."""
        for _, file, talks in parts:
            spoken = ((line.empathy, talk) for talk in talks for line in talk.lines.values() if line.role == "speaker")
            told = ((str(empathy["emotion"]), talk) for empathy, talk in spoken if "emotion" in empathy)
            unknown = [(word, talk.where) for word, talk in told if not class_of(word, self._words)]
            if unknown:
                counts = ", ".join(f"{word} ({n})" for word, n in Counter(word for word, _ in unknown).most_common(20))
                raise DatasetError(
                    f"{file}, {unknown[0][1]}: emotions without a class: {counts};",
                    remedy="say which class they are (words: {wistful: sad}), or leave them without one (unknown: unlabelled).",
                )

    def _rows(self, talk: Talk, part: str) -> Iterator[Example]:
        """The lines of one conversation in their order."""
        before: list[dict[str, str]] = []
        for index in sorted(talk.lines):
            line = talk.lines[index]
            if self._turns == "all" or line.asked:
                yield self._row(talk, line, tuple(before), part)
            before.append({"speaker": line.role, "text": line.text})

    def _row(self, talk: Talk, line: Line, before: tuple[dict[str, str], ...], part: str) -> Example:
        """One line."""
        group, name = f"avamerg/{talk.id}", f"dia{talk.id}utt{line.index}_{talk.people[line.role]}"
        about = {k: v for k, v in line.empathy.items() if k != "emotion"}
        labels: dict[str, Any] = {
            "history": before,
            "metadata": {**talk.about, **about, "role": line.role, "turn": line.index},
            "people": (talk.people["speaker"], talk.people["listener"]),
        }
        word = str(line.empathy.get("emotion", ""))
        if line.role == "speaker" and word:
            found = class_of(word, self._words)
            labels |= {"emotion32": word} | ({"emotion": found} if found else {})
        if name in self._affect:
            labels["valence"], labels["arousal"] = self._affect[name]
        texts = {"transcript": line.text} | ({"reply": line.reply} if line.asked and line.reply else {})
        split = part or part_of(group)
        return Example(id=f"avamerg/{name}", media=self._media(name, line, split), texts=texts, labels=labels, group=group, split=split)

    def _media(self, name: str, line: Line, part: str) -> tuple[Media, ...]:
        """The clip of a line: by the name the annotation tells, else by the rule; none where it was not downloaded."""
        told = {Path(n).suffix: Path(n).name for n in line.names}
        for suffix in (".mp4", ".wav"):
            found = self._clips.get(told.get(suffix, f"{name}{suffix}"), [])
            near = [p for p in found if any(at.startswith(part) for at in p.relative_to(self._folder).parts[:-1])]
            near = near if len(found) > 1 else found
            if len(near) > 1 or (found and not near):
                raise DatasetError(f"{found[0]} and {found[1]} have one name;", remedy="keep clips in folders named after their part.")
            if near:
                return (Media(kind="video" if suffix == ".mp4" else "audio", source=str(near[0]), transcript=line.text),)
        return ()


def _files(root: Path) -> dict[str, Path]:
    """The annotation of each part that is there."""
    if root.is_file():
        return {"train": root}
    found = {}
    for part, names in _PARTS.items():
        for name in names:
            paths = sorted(p for p in root.rglob(name) if p.is_file())
            if len(paths) > 1:
                raise DatasetError(f"{paths[0]} and {paths[1]} both tell of {part};", remedy="keep one of them.")
            if paths:
                found[part] = paths[0]
                break
    return found or {"train": file_of(root, "train.json", "val.json", "test.json", where=_WHERE)}


def _clips(folder: Path, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """Name -> files of that name below the folder."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in media_files(folder, suffixes, _WHERE):
        found[path.name].append(path)
    return found


def _affect(folder: Path) -> dict[str, tuple[float, float]]:
    """Name -> valence and arousal, where the file is there."""
    path = folder / "affect.csv"
    if not path.is_file():
        return {}
    columns = ("name", "valence", "arousal")
    return {
        row["name"]: (number_of(row["valence"], path, line, -1, 1), number_of(row["arousal"], path, line, -1, 1))
        for line, row in rows_of(path, columns)
    }
