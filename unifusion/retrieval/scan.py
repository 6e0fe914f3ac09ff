"""Which clips a person named for indexing, and what is known of them. No clip is decoded here, and torch is not imported."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from unifusion.errors import DatasetError, MediaError
from unifusion.limits import Limits
from unifusion.media.below import files_below, is_media
from unifusion.retrieval.entry import Name, name_of
from unifusion.retrieval.said import BESIDE, Said, read_beside
from unifusion.rows import NamedClips, json_row, take_clips

__all__ = ["Wanted", "absolute", "scan"]

_NO_CLIPS = (*BESIDE, ".jsonl", ".json")
_RENDERED = "clip-world://"
_NOT_METADATA = ("texts", "metadata", "transcript", "subtitles", "caption", "messages")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A clip that was named.

    Attributes:
        path: absolute, links not followed; or a `clip-world://` reference.
        root: the word that named it, absolute.
        listed: it stands in a manifest.
        start_s, end_s: span of the file.
        asked: "video", "audio" or "image" where the manifest says so.
        said: what is said in it.
        texts: further words about it, by name.
        metadata: what searches can be filtered by.
        problem: why its words cannot be read.
    """

    path: str
    root: str
    listed: bool = False
    start_s: float | None = None
    end_s: float | None = None
    asked: str = ""
    said: Said = Said()  # noqa: RUF009 - frozen
    texts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problem: MediaError | None = None

    @property
    def name(self) -> Name:
        """By what it is known from run to run."""
        return name_of(self.path, self.start_s, self.end_s, self.asked)

    @property
    def rendered(self) -> bool:
        """Whether there is no file: clip world renders it."""
        return self.path.startswith(_RENDERED)

    @property
    def told(self) -> str:
        """Hash of all that is known beside the file."""
        if self.said == Said() and not (self.texts or self.metadata or self.problem):
            return _nothing()
        return _hash([self.said.cues, self.said.text, self.texts, self.metadata, str(self.problem or "")])

    def key(self, sha256: str) -> str:
        """Hash of what the vectors depend on, given that of the file's bytes."""
        return _hash([sha256, self.start_s, self.end_s, self.asked, self.said.cues, self.said.text])


@lru_cache(maxsize=1)
def _nothing() -> str:
    """The hash of a clip of which nothing is known."""
    return _hash([(), "", {}, {}, ""])


def _hash(value: Any) -> str:
    """Of something that JSON can write."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()


def absolute(word: str | Path) -> str:
    """A path from the root, whatever the working directory; links stay what they are."""
    return str(word) if str(word).startswith(_RENDERED) else os.path.abspath(word)


def scan(words: Sequence[str | Path], *, without: Path | None = None, limits: Limits = Limits()) -> tuple[list[Wanted], int]:
    """Clips of folders, files and `.jsonl` manifests, and how many files of folders were passed over as no media.

    Below a folder a clip is what begins like one, or is called like one. A manifest's row holds `path` (or `video`, `audio`, `image`),
    perhaps `start_s`, `end_s`, `transcript`, `subtitles`, `caption`, `texts` and `metadata`; every other plain value of it is metadata as
    well. A clip that several words name is one, as the manifest has it. Words are also read from a file beside a clip (`BESIDE`).

    Args:
        words: names of folders, files, manifests.
        without: a folder that is passed over (the index itself).
        limits: of what is read.

    Raises:
        DatasetError: a word that names nothing, or a manifest that is not as its format says.
    """
    found: dict[Name, Wanted] = {}
    passed_over = 0
    for word in words:
        root = absolute(word)
        if not root.startswith(_RENDERED) and not os.path.exists(root):
            raise DatasetError(f"{word} is not there;", remedy="name folders, clips or .jsonl manifests.")
        if os.path.isdir(root):
            inside = [p for p in files_below(Path(root)) if without is None or not str(p).startswith(f"{without}{os.sep}")]
            names = {str(p) for p in inside}
            clips = [p for p in inside if p.suffix.lower() not in _NO_CLIPS and is_media(p)]
            passed_over += len(names - {str(p) for p in clips} - _words_of(clips))
            new = [_with_words(Wanted(path=str(p), root=root), names, limits) for p in clips]
        elif root.endswith(".jsonl"):
            new = [_with_words(wanted, None, limits) for wanted in _rows(Path(root))]
        else:
            new = [_with_words(Wanted(path=root, root=root), None, limits)]
        for wanted in new:
            if wanted.listed or wanted.name not in found:
                found[wanted.name] = wanted
    return list(found.values()), passed_over


def _words_of(clips: Sequence[Path]) -> set[str]:
    """What files of words beside clips would be called."""
    return {os.path.splitext(p)[0] + ending for p in clips for ending in BESIDE}


def _with_words(wanted: Wanted, names: set[str] | None, limits: Limits) -> Wanted:
    """The clip with the words beside it, unless its manifest has told them.

    Args:
        wanted: the clip.
        names: files that are there, where they were listed already.
        limits: of what is read.
    """
    if wanted.rendered or wanted.said.whole:
        return wanted
    for ending in BESIDE:
        beside = os.path.splitext(wanted.path)[0] + ending
        if beside in names if names is not None else os.path.isfile(beside):
            try:
                return _changed(wanted, said=read_beside(Path(beside), limits))
            except MediaError as error:
                return _changed(wanted, problem=error)
    return wanted


def _changed(wanted: Wanted, **changes: Any) -> Wanted:
    """A copy with changes."""
    return Wanted(**{**vars(wanted), **changes})


def _rows(path: Path) -> Iterator[Wanted]:
    """The clips of a manifest; paths follow its folder.

    Raises:
        DatasetError: a line is not as the format says, by number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the manifest {path}: {error};", remedy="give a JSONL file with one row per line.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield from _of_row(json_row(line, f"{path}:{number}"), f"{path}:{number}", path)


def _of_row(fields: dict[str, Any], where: str, manifest: Path) -> Iterator[Wanted]:
    """The clips of one row."""
    clips = take_clips(fields, where)
    if not clips.files:
        raise DatasetError(f"{where}: names no file;", remedy="give one under path, video, audio or image.")
    texts, metadata = _known(fields, where)
    for number, (key, name) in enumerate(clips.files):
        path = name if name.startswith(_RENDERED) else absolute(manifest.parent / name)
        yield Wanted(
            path=path, root=str(manifest), listed=True, start_s=clips.start_s, end_s=clips.end_s, asked="" if key == "path" else key,
            said=_said(clips, number), texts=texts, metadata=metadata,
        )  # fmt: skip


def _said(clips: NamedClips, number: int) -> Said:
    """What a row says of the words in one of its clips: with their times where it has them."""
    lines = clips.lines(number).get("subtitles", ())
    if lines:
        return Said(cues=tuple((line.start_s, line.end_s, line.text) for line in lines))
    return Said(text=" ".join((clips.said(number) or "").split()))


def _known(fields: dict[str, Any], where: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Words about a clip and metadata of it, from the keys of a row that are left."""
    texts, metadata = (dict(fields.get(key) or {}) if isinstance(fields.get(key) or {}, dict) else None for key in ("texts", "metadata"))
    if texts is None or metadata is None or not all(isinstance(text, str) for text in texts.values()):
        remedy = 'write {"texts": {"caption": "a dog"}, "metadata": {"label": "dog"}}.'
        raise DatasetError(f"{where}: texts or metadata are not as wanted;", remedy=remedy)
    if isinstance(fields.get("caption"), str):
        texts.setdefault("caption", fields["caption"])
    for key, value in fields.items():
        if key not in _NOT_METADATA and isinstance(value, str | int | float | bool | list):
            metadata.setdefault(key, value)
    if any(isinstance(value, float) and not math.isfinite(value) for value in metadata.values()):
        raise DatasetError(f"{where}: a number that is none;", remedy="leave unknown values out.")
    return texts, metadata
