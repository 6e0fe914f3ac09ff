"""Clips that a person named for encoding: files, folders of files, manifests, and rows of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from unifusion.conversation import Media
from unifusion.datasets._rows import example_of
from unifusion.errors import DatasetError, UniFusionError
from unifusion.evaluation.manifest import Row, kind_of, read_manifest
from unifusion.features.job import Named
from unifusion.media.below import files_below, is_media
from unifusion.processor.messages import to_conversation
from unifusion.rows import json_row

__all__ = ["named_clips"]

def named_clips(words: Sequence[str | Path]) -> tuple[list[Named], int]:
    """Return the clips of files, folders and `.jsonl` files, and how many files of folders were passed over as no media.

    A `.jsonl` file holds rows of a manifest, or objects with `messages`; its paths follow its folder. Below a folder, what is a clip
    follows from content; a file that is called like one and is not is a bad clip, not passed over. Files are not looked into here,
    but those of folders by their first bytes.

    Raises:
        DatasetError: a `.jsonl` file that is not as its format says, or a folder without a clip.
    """
    found: list[Named] = []
    passed_over = 0
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = list(files_below(path))
            clips = [p for p in inside if is_media(p)]
            if not clips:
                raise DatasetError(f"{path} holds no clips ({len(inside)} other files);", remedy="name one with video, sound or pictures.")
            passed_over += len(inside) - len(clips)
            found += [(str(p), partial(_media, str(p))) for p in clips]
        elif path.suffix == ".jsonl":
            found += _rows(path)
        else:
            found.append((str(word), partial(_media, str(word))))
    return found, passed_over


def _media(path: str) -> Media:
    """A whole file, by what its header says."""
    return Media(kind=kind_of(path), source=path)


def _rows(path: Path) -> list[Named]:
    """The clips of a manifest, or of rows of messages."""
    if not _of_messages(path):
        return [clip for row in read_manifest(path) for clip in _of_row(row)]
    found: list[Named] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            found += [(media.name, partial(_same, media)) for media in _of_talk(line, f"{path}:{number}", path.parent)]
    return found


def _of_messages(path: Path) -> bool:
    """Whether the first row of a file is one of messages; what is wrong with a file is told by who reads all of it."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = json.loads(next((line for line in file if line.strip()), "{}"))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "messages" in first


def _of_row(row: Row) -> Iterator[Named]:
    """The clips of a manifest's row, one by one."""
    for number, (_, path) in enumerate(row.clips.files):
        yield path, partial(row.clip, number)


def _same(media: Media) -> Media:
    """What is a reference already."""
    return media


def _of_talk(line: str, where: str, base: Path) -> Sequence[Media]:
    """The clips of one row of messages; a relative path follows the file.

    Raises:
        DatasetError: it is no such row, by number.
    """
    row = json_row(line, where)
    try:
        told = {key: row.get(key) for key in ("messages", "transcript")}
        example = example_of(told, "", where, lambda name: str(base / name))
        return to_conversation(example.labels["messages"]).media
    except UniFusionError as error:
        raise DatasetError(f"{where}: no row of messages ({error});", remedy='{"messages": [{"role": .., "content": ..}]}') from error
