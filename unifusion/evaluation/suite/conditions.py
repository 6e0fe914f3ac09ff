"""What a row is asked under: as it is, without its clip, with a stream muted, swapped, out of order, or with another clip."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from unifusion.conversation import Altered, Clip, Example, Media, Mix
from unifusion.errors import UniFusionError

__all__ = ["BASELINES", "CONDITIONS", "TAMPERED", "Donors", "Shown", "streams_of", "under"]

BASELINES = ("all", "blind", "text")
"""As it is; no clip and no words; the words that are said, without the clip."""
TAMPERED = ("no sound", "no picture", "other sound", "other picture", "shuffled", "other clip")
"""What faithfulness is measured by."""
CONDITIONS = (*BASELINES, *TAMPERED)


_KINDS = ("family", "type")


@dataclass(frozen=True)
class Shown:
    """A row as it is asked, and the row that lent it a sound, a picture or its whole clip."""

    row: Example
    lender: Example | None = None


class Donors:
    """Who lends a row a sound, a picture or a whole clip: a function of (seed, ids of the set), never of the order of rows.

    Args:
        rows: of a part.
        truth: the right answer of a row; a lender of the same answer would change nothing, and is taken only where there is no other.
        seed: another one lends otherwise.
    """

    def __init__(self, rows: Sequence[Example], truth: Callable[[Example], str], *, seed: int = 0) -> None:
        self.rows, self.seed = rows, seed
        self._truth, self._told = truth, dict[str, str]()
        self._having: dict[str, list[Example]] = {}

    def of(self, row: Example, stream: str) -> Example | None:
        """A row of another group that has the stream and is asked the same kind of thing, of another true answer if possible.

        Rows stand in an order that the seed draws; each is lent to by the next that fits, from a place of its own.
        """
        having = self._rows_with(stream)
        start = random.Random(f"{self.seed}/{row.id}/{stream}").randrange(max(1, len(having)))
        found: dict[bool, Example] = {}
        for other in (*having[start:], *having[:start]):
            if other.id == row.id or (row.group and other.group == row.group) or (stream == "any" and _kinds(other) != _kinds(row)):
                continue
            alike = all(other.labels.get(k) == row.labels.get(k) for k in _KINDS)
            if alike and self._answer(other) != self._answer(row):
                return other
            found.setdefault(alike, other)
        return found.get(True, found.get(False))

    def _rows_with(self, stream: str) -> list[Example]:
        """Rows that have a stream, in the order of the seed."""
        if stream not in self._having:
            having = sorted((r for r in self.rows if stream in _streams(r)), key=lambda r: r.id)
            random.Random(self.seed).shuffle(having)
            self._having[stream] = having
        return self._having[stream]

    def _answer(self, row: Example) -> str:
        """The true answer of a row, told once."""
        if row.id not in self._told:
            self._told[row.id] = self._truth(row)
        return self._told[row.id]


def _kinds(row: Example) -> list[str]:
    """What a row's clips are; a whole clip takes the place of one like it."""
    return [m.kind for m in row.media]


def under(condition: str, row: Example, donors: Donors) -> Shown | None:
    """A row under a condition; None where it says nothing of this row (a stream that is not there cannot be muted).

    Under `text` and `blind` the clip is not there at all; muted streams are left out, and the others stay as they are. Whose sound is lent,
    his words are lent too.
    """
    has = _streams(row)
    if condition == "all":
        return Shown(row)
    if condition == "blind":
        return Shown(_without_words(replace(row, media=())))
    if condition == "text":
        said = words_of(row)
        return Shown(replace(row, media=(), texts={**row.texts, "transcript": said})) if said and row.media else None
    if condition == "shuffled":
        seed = int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:4], "big")
        return Shown(_changed(row, "picture", lambda m: _altered(m, shuffle=seed))) if _moves(row) else None
    if condition == "other clip":
        donor = donors.of(row, "any") if has else None
        if donor is None:
            return None
        texts = {k: v for k, v in row.texts.items() if k != "transcript"}
        said = words_of(donor)
        return Shown(replace(row, media=donor.media, texts={**texts, "transcript": said} if said else texts), donor)
    return _one_stream(condition, row, donors) if {"sound", "picture"} <= has else None  # else nothing is left to answer by


def _one_stream(condition: str, row: Example, donors: Donors) -> Shown | None:
    """A row with a stream muted or lent."""
    how, _, stream = condition.partition(" ")
    if how == "no":
        muted = replace(row, media=tuple(m.muted("audio" if stream == "sound" else "video") for m in row.media))
        return Shown(_without_words(muted) if stream == "sound" else muted)
    donor = donors.of(row, stream)
    if donor is None:
        return None
    lent = next(m for m in donor.media if stream in streams_of(m))
    if stream == "sound":
        return Shown(_with_words(_changed(row, stream, lambda m: _altered(m, sound=lent)), donor), donor)
    return Shown(_changed(row, stream, lambda m: _altered(m, picture=lent)), donor)


def _altered(media: Media, **how: object) -> Media:
    """A clip as one that is altered when it is opened."""
    base = replace(media, mute=(), transcript=None, subtitles=(), words_from="", at_least_db=None)
    altered = Altered(base=base, **how)  # type: ignore[arg-type]
    return replace(media, source=altered, start_s=None, end_s=None, subtitles=media.lines(math.inf))


def _changed(row: Example, stream: str, change: Callable[[Media], Media]) -> Example:
    """A row whose clips with a stream are changed."""
    return replace(row, media=tuple(change(m) if stream in streams_of(m) else m for m in row.media))


def _without_words(row: Example) -> Example:
    """A row of which nobody tells what is said."""
    texts = {k: v for k, v in row.texts.items() if k != "transcript"}
    silent = tuple(replace(m, transcript=None, subtitles=(), words_from="") for m in row.media)
    return replace(row, texts=texts, media=silent)


def _with_words(row: Example, donor: Example) -> Example:
    """A row in which is said what is said in another one, where either has words."""
    bare = _without_words(row)
    said = words_of(donor)
    if not said or bare == row:
        return bare
    voice = next((m for m in donor.media if "sound" in streams_of(m)), None)
    told: dict[str, Any] = {"transcript": said}
    if voice is not None and voice.subtitles:
        told = {"subtitles": voice.lines(math.inf), "words_from": voice.words_from}
    media = tuple(replace(m, **told) if "sound" in streams_of(m) else m for m in bare.media)
    return replace(bare, media=media, texts={**bare.texts, "transcript": said})


def words_of(row: Example) -> str:
    """What is said in a row's clips, where somebody has told."""
    return row.texts.get("transcript") or " ".join(m.transcript or " ".join(line.text for line in m.subtitles) for m in row.media).strip()


def _streams(row: Example) -> frozenset[str]:
    """Streams of a row's clips, and "any" where it has a clip."""
    found = frozenset(s for m in row.media for s in streams_of(m))
    return found | {"any"} if found else found


def _moves(row: Example) -> bool:
    """Whether a row has a picture that moves."""
    return any(m.kind == "video" and "picture" in streams_of(m) for m in row.media)


def streams_of(media: Media) -> frozenset[str]:
    """Which of `picture` and `sound` a clip has and shows, by its header; nothing where it cannot be read."""
    shown = {"sound": "audio", "picture": "video"}
    kept = {"audio": ("sound",), "image": ("picture",), "video": ("picture", "sound")}[media.kind]
    return frozenset(s for s in _inside(media) if s in kept and shown[s] not in media.mute)


def _inside(media: Media) -> frozenset[str]:
    """What the source of a clip holds."""
    source = media.source
    if isinstance(source, Clip):
        return _named(source.frames_THWC is not None, source.waveform_N is not None)
    if isinstance(source, Mix):
        return _named(source.still is not None, source.voice is not None or source.background is not None)
    if isinstance(source, Altered):
        return _inside(source.base) | _named(source.picture is not None, source.sound is not None)
    return _of_file(source if isinstance(source, bytes) else str(source))


@lru_cache(maxsize=1 << 16)
def _of_file(source: str | bytes) -> frozenset[str]:
    """What a file's header, or the script of a clip of clip world, tells."""
    if isinstance(source, str) and source.startswith("clip-world://"):
        from unifusion.world.render import parse_reference

        script = parse_reference(source)
        return _named(script.has_picture, script.has_sound)
    from unifusion.media import probe

    try:
        info = probe(source)
    except UniFusionError:
        return frozenset()
    return _named(info.has_video or info.is_image, info.has_audio)


def _named(picture: bool, sound: bool) -> frozenset[str]:
    """Streams by name."""
    return frozenset(name for name, there in (("picture", picture), ("sound", sound)) if there)
