"""AvaMERG's JSON in both of its forms as one: conversations, their profiles and the lines said in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion.datasets._files import json_list, value
from unifusion.errors import DatasetError

__all__ = ["Line", "Talk", "talks_of"]

_PROFILE = ("age", "gender", "timbre", "personality")
_EMPATHY = {"event_scenario": "scenario", "emotion_cause": "cause", "goal_to_response": "goal"}


@dataclass(kw_only=True)
class Line:
    """One thing said.

    Attributes:
        index: place in the conversation.
        role: speaker or listener.
        text: words.
        names: of its files as the annotation tells them, if it does.
        empathy: chain of empathy of the turn it is said in.
        asked: it is the last line of the speaker before a response: what the chain of empathy is about.
        reply: the response to it, where it is asked.
    """

    index: int
    role: str
    text: str
    names: tuple[str, ...] = ()
    empathy: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False
    reply: str = ""


@dataclass(kw_only=True)
class Talk:
    """One conversation.

    Attributes:
        id: five digits where it is a number.
        about: metadata of both people, topic included.
        people: role -> profile ID.
        lines: by index.
        where: in the file, for errors.
    """

    id: str
    about: dict[str, Any]
    people: dict[str, str]
    lines: dict[int, Line] = field(default_factory=dict)
    where: str = ""


def talks_of(path: Path) -> list[Talk]:
    """Conversations of a file in the order of their first entry; entries of one conversation are joined.

    Raises:
        DatasetError: a key is missing, or an entry contradicts another; names file and entry.
    """
    found: dict[str, Talk] = {}
    for number, entry in enumerate(json_list(path)):
        where = f"entry {number}"
        talk = _talk(entry, path, where)
        talk = found.setdefault(talk.id, talk)
        turns = value(entry, "turns", path, where) if "turn" not in entry else [entry["turn"]]
        if not isinstance(turns, list) or not all(isinstance(t, Mapping) for t in turns):
            raise DatasetError(f"{path}, {where}: turns are no list of objects;", remedy="check that it is the annotation file.")
        for turn in turns:
            _add(talk, list(_lines(turn, path, where)), turn, f"{path}, {where}, turn {turn.get('turn_id', '?')}")
    return list(found.values())


def _talk(entry: Mapping[str, Any], path: Path, where: str) -> Talk:
    """A conversation without its lines."""
    name = str(value(entry, "conversation_id", path, where))
    about: dict[str, Any] = {"topic": entry["topic"]} if entry.get("topic") else {}
    people = {}
    for role in ("speaker", "listener"):
        profile = value(entry, f"{role}_profile", path, where)
        if not isinstance(profile, Mapping):
            raise DatasetError(f"{path}, {where}: {role}_profile is {profile!r};", remedy="wanted age, gender, timbre and ID.")
        people[role] = str(value(profile, "ID", path, where))
        about |= {f"{role}_{key}": profile[key] for key in _PROFILE if profile.get(key)}
    return Talk(id=name.zfill(5) if name.isdigit() else name, about=about, people=people, where=where)


def _lines(turn: Mapping[str, Any], path: Path, where: str) -> Iterator[Line]:
    """What is said in one turn: the history and the response, or the flattened form's dialogue."""
    flat = "dialogue" in turn
    said = turn["dialogue"] if flat else value(turn, "dialogue_history", path, where)
    last = -1
    for raw in said:
        index = _index(value(raw, "index", path, where), path, where)
        # Converters of the flattened form call the response's role listener_response.
        role = str(value(raw, "role", path, where)).strip().lower().removesuffix("_response")
        if role not in ("speaker", "listener"):
            raise DatasetError(f"{path}, {where}: role {role!r};", remedy="wanted speaker or listener.")
        names = tuple(str(raw[key]) for key in ("video_name", "audio_name") if raw.get(key))
        last = max(last, index)
        yield Line(index=index, role=role, text=str(value(raw, "text" if flat else "utterance", path, where)), names=names)
    if not flat and turn.get("response"):
        yield Line(index=last + 1, role="listener", text=str(turn["response"]))


def _index(found: Any, path: Path, where: str) -> int:
    """The place of a line, written as a number or as a text."""
    try:
        return int(found)
    except (TypeError, ValueError):
        raise DatasetError(f"{path}, {where}: index {found!r};", remedy="wanted a number.") from None


def _add(talk: Talk, lines: Sequence[Line], turn: Mapping[str, Any], where: str) -> None:
    """Put a turn's lines into its conversation; those that an earlier turn told keep its chain of empathy unless they are asked here."""
    empathy = turn.get("chain_of_empathy") or {}
    told = {new: empathy[old] for old, new in _EMPATHY.items() if empathy.get(old)}
    told |= {"emotion": empathy["speaker_emotion"]} if empathy.get("speaker_emotion") else {}
    asked = _last(lines, "speaker")
    reply = next((line.text for line in lines if asked is not None and line.index == asked.index + 1 and line.role == "listener"), "")
    for line in lines:
        known = talk.lines.get(line.index)
        if known is None:
            known = talk.lines[line.index] = line
            known.empathy = told
        elif (known.role, known.text) != (line.role, line.text):
            raise DatasetError(
                f"{where}: line {line.index} of conversation {talk.id} is {line.text!r}, before it was {known.text!r};",
                remedy="give each conversation an id of its own.",
            )
        if asked is not None and line.index == asked.index:
            known.asked, known.reply, known.empathy = True, reply or known.reply, told


def _last(lines: Iterable[Line], role: str) -> Line | None:
    """The last line of one role."""
    return max((line for line in lines if line.role == role), key=lambda line: line.index, default=None)
