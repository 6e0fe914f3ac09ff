"""Conversations in the spellings that other projects train on, as one: messages whose parts name their clips.

| spelling | conversation | clips |
|---|---|---|
| OpenAI, Hugging Face | `messages` of role and content | content parts that name their file, or take the next of `images` .. |
| ShareGPT, LLaVA | `conversations` of from (human, gpt, system, tool) and value | `<image>` in the text, file under `image` |
| LLaMA-Factory | `messages`, or `conversations` | `<video>`, `<audio>`, `<image>`, files under `videos`, `audios`, `images` |
| ms-swift | the same, of human and assistant, or `query`, `response`, `history`, `system` | the same |
| Alpaca | `instruction`, `input`, `output`, `history`, `system` | the same |
| NExT-GPT | `conversations` | `<audio>` in the text, file under `input_audio` |

A mark in the text of a user stands for the next file of its kind, and there must be as many of both; where a row's files are of one other
kind and it has `<image>` marks only, they stand for these (LLaVA's video sets). What a tool said (tool, observation, tool_response) is a
user's turn, a call of it (function_call, tool_call) an assistant's. `loss: false` (ms-swift) or `weight: 0` (OpenAI) of an assistant's
turn: it is shown, not learnt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from unifusion.conversation import MediaKind
from unifusion.errors import DatasetError, nearest
from unifusion.rows import PART_KINDS, PART_SOURCES

__all__ = ["marked", "spelled"]

_TURNS = ("messages", "conversations", "conversation")
_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "tool": "user", "observation": "user",
    "tool_response": "user", "tool_call": "assistant",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "function_call": "assistant",
}  # fmt: skip
_KINDS: tuple[MediaKind, ...] = ("image", "video", "audio")
_MARK = re.compile(r"<(image|video|audio)>")
_ENCODED = ("data", "base64")

Files = dict[MediaKind, list[Any]]


def spelled(
    row: Mapping[str, Any], where: str, *, held: Mapping[MediaKind, Sequence[Any]] | None = None, bare_marks: bool = False
) -> tuple[dict[str, Any], frozenset[MediaKind]]:  # fmt: skip
    """Return a row with its conversation under `messages`, each clip a content part, and the kinds of held clips that became parts.

    Args:
        row: in any spelling of the table above; one without a conversation is returned as it is.
        where: how errors call it.
        held: clips that the row holds itself (bytes or names), for marks that no file of the row belongs to.
        bare_marks: marks in a row that names no file at all are text, as its writer may have typed them; otherwise they are an error, since
            a file was probably lost. Text of content parts is never looked at: a mark there is text.

    Raises:
        DatasetError: a turn or a file's name is none, or there are not as many marks as files.
    """
    fields = {key: value for key, value in row.items() if key != "messages" or value is not None}  # a table with rows that have none
    turns = _turns(fields, where)
    if turns is None:
        return fields, frozenset()
    files = {kind: [name for key in (f"{kind}s", kind, f"input_{kind}") for name in _names(fields.get(key), key, where)] for kind in _KINDS}
    found = [mark for turn in turns for mark in _marks(turn)]
    own = any(_names_file(p) for turn in turns for p in _parts(turn))
    if own and not found:  # clips are named where they are shown; what lies beside is a label
        return {**fields, "messages": turns}, frozenset()
    for kind in _KINDS:
        for key in (f"{kind}s", kind, f"input_{kind}"):
            fields.pop(key, None)
    used: list[MediaKind] = [kind for kind in _KINDS if not files[kind] and kind in found and (held or {}).get(kind)]
    files |= {kind: list((held or {})[kind]) for kind in used}
    if bare_marks and not any(files.values()) and not any(_sourceless(p) for turn in turns for p in _parts(turn)):
        return {**fields, "messages": turns}, frozenset()
    alias = _alias(files, found)
    _check_counts(files, [alias.get(kind, kind) for kind in found], turns, where)
    return {**fields, "messages": [_placed(turn, files, alias) for turn in turns]}, frozenset(used)


def marked(row: Mapping[str, Any]) -> bool:
    """Whether the texts of a row's conversation hold marks that stand for files."""
    turns: list[Any] = next((row[key] for key in _TURNS if isinstance(row.get(key), list)), [])
    texts = [text for turn in turns if isinstance(turn, Mapping) for text in turn.values() if isinstance(text, str)]
    return any(_MARK.search(text) for text in texts)


def _turns(fields: dict[str, Any], where: str) -> list[dict[str, Any]] | None:
    """The conversation of a row as messages of role and content, taken out of it; None where it has none."""
    given = [key for key in _TURNS if isinstance(fields.get(key), list)]
    if len(given) > 1:
        raise DatasetError(f"{where}: holds {' and '.join(given)};", remedy="keep one of them.")
    if given:
        turns: list[dict[str, Any]] = [turn for raw in fields.pop(given[0]) for turn in _turn(raw, where)]
    elif isinstance(fields.get("query"), str) and isinstance(fields.get("response"), str):
        turns = _asked(fields, where)
    elif all(isinstance(fields.get(key), str) for key in ("instruction", "output")) and isinstance(fields.get("input"), str | None):
        asked = [text for text in (fields.pop("instruction"), fields.pop("input", None)) if text]
        turns = _asked({**fields, "query": "\n".join(asked), "response": fields.pop("output")}, where)
        fields.pop("history", None)
    else:
        return None
    system = fields.get("system")
    if isinstance(system, str) and not (turns and turns[0]["role"] == "system"):
        del fields["system"]
        turns = [{"role": "system", "content": system}] * bool(system) + turns
    return turns


def _asked(fields: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """A conversation from `query`, `response` and `history`."""
    before = fields.pop("history", None) or []
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(t, str) for t in pair) for pair in before):
        raise DatasetError(f"{where}: history is {before!r};", remedy='write [["question", "answer"], ..].')
    pairs = [*before, (fields.pop("query"), fields.pop("response"))]
    return [{"role": role, "content": text} for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]


def _turn(raw: Any, where: str) -> Iterator[dict[str, Any]]:
    """A turn of any spelling, or two of the one that pairs them."""
    if not isinstance(raw, Mapping):
        raise DatasetError(f"{where}: a turn is {raw!r};", remedy='write {"role": "user", "content": ..}.')
    if "role" not in raw and "from" not in raw and {"human", "assistant"} <= set(raw):
        yield from ({"role": role, "content": _said(raw[key], where)} for key, role in (("human", "user"), ("assistant", "assistant")))
        return
    name = raw.get("role", raw.get("from"))
    if not isinstance(name, str) or name not in _ROLES:
        raise DatasetError(f"{where}: a turn is of {name!r};", remedy=nearest(str(name), list(_ROLES)))
    if raw.get("tool_calls"):
        raise DatasetError(f"{where}: a turn holds tool_calls;", remedy="write the call as the text of a turn of function_call.")
    turn: dict[str, Any] = {"role": _ROLES[name], "content": _said(raw.get("content", raw.get("value")), where)}
    silent = raw.get("loss") is False or (raw.get("weight") == 0 and not isinstance(raw.get("weight"), bool))
    if turn["role"] == "assistant" and (silent or raw.get("supervised") is False):
        turn["supervised"] = False
    yield turn


def _said(content: Any, where: str) -> str | list[Any]:
    """What a turn says: a text, or content parts."""
    if isinstance(content, str) or (isinstance(content, list) and all(isinstance(p, str | Mapping) for p in content)):
        return content
    raise DatasetError(f"{where}: a turn says {content!r:.60};", remedy="write a text, or a list of content parts.")


def _names(value: Any, key: str, where: str) -> list[Any]:
    """Files under a key: names, or objects that name one."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    for name in names:
        held = name.get("path") or name.get("url") or name.get("bytes") if isinstance(name, Mapping) else name
        if not held or not isinstance(held, str | bytes):
            raise DatasetError(f"{where}: {key} is {value!r:.80};", remedy="give a file's name, or a list of them.")
    return [name.get("path") or name.get("url") or name["bytes"] if isinstance(name, Mapping) else name for name in names]


def _parts(turn: Mapping[str, Any]) -> list[Any]:
    """Content parts of a turn; none where it is a text."""
    return turn["content"] if isinstance(turn["content"], list) else []


def _names_file(part: Any) -> bool:
    """Whether a content part is a clip and names its file."""
    is_clip = isinstance(part, Mapping) and str(part.get("type")) in PART_KINDS
    return is_clip and any(part.get(key) is not None for key in (*PART_SOURCES, *_ENCODED))


def _sourceless(part: Any) -> MediaKind | None:
    """What a content part is that stands for a clip and does not name it."""
    if not isinstance(part, Mapping) or _names_file(part):
        return None
    return PART_KINDS.get(str(part.get("type")))


def _marks(turn: Mapping[str, Any]) -> list[MediaKind]:
    """Kinds of the marks of a user's turn, in order."""
    if isinstance(turn["content"], str):
        found = _MARK.findall(turn["content"]) if turn["role"] == "user" else []
        return [kind for name in found for kind in _KINDS if kind == name]
    return [kind for part in turn["content"] if (kind := _sourceless(part))]


def _alias(files: Files, found: Collection[MediaKind]) -> dict[MediaKind, MediaKind]:
    """What `<image>` stands for where the row's files are of one other kind and have no marks of their own."""
    others = [kind for kind in _KINDS if files[kind]]
    return {"image": others[0]} if "image" in found and len(others) == 1 and set(found) == {"image"} else {}


def _check_counts(files: Files, found: Sequence[MediaKind], turns: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuse rows that do not have as many marks as files, and marks where no clip can stand."""
    for kind in _KINDS:
        marks, named = found.count(kind), len(files[kind])
        if marks != named:
            remedy = f"write <{kind}> once for each of them." if named > marks else (
                "name a file for each; a mark that is meant as text goes into a content part, {\"type\": \"text\", \"text\": ..}."
            )  # fmt: skip
            raise DatasetError(f"{where}: names {named} {kind} file(s), its messages show {marks} <{kind}>;", remedy=remedy)
    for turn in turns:
        if turn["role"] != "user" and isinstance(turn["content"], str) and (mark := _MARK.search(turn["content"])):
            raise DatasetError(f"{where}: {mark[0]} in a turn of {turn['role']};", remedy="clips stand in turns of the user.")


def _placed(turn: dict[str, Any], files: Files, alias: Mapping[MediaKind, MediaKind]) -> dict[str, Any]:
    """A turn with a part for each mark; files are taken from the front of their lists."""
    if turn["role"] != "user" or not _marks(turn):
        return turn
    if isinstance(turn["content"], list):
        return {**turn, "content": [_filled(part, files, alias) for part in turn["content"]]}
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(_MARK.split(turn["content"])):
        if number % 2:
            kind = next(alias.get(kind, kind) for kind in _KINDS if kind == piece)
            parts.append({"type": kind, "path": files[kind].pop(0)})
        elif piece.strip():
            parts.append({"type": "text", "text": piece.strip("\n")})
    return {**turn, "content": parts}


def _filled(part: Any, files: Files, alias: Mapping[MediaKind, MediaKind]) -> Any:
    """A content part, with the next file where it names none."""
    kind = _sourceless(part)
    return part if kind is None else {**part, "type": alias.get(kind, kind), "path": files[alias.get(kind, kind)].pop(0)}
