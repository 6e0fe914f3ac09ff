"""What an answer is made from: found windows, neighbours of one file joined, numbered, with words that cannot pass for anything else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unifusion.conversation import Media, MediaKind
from unifusion.limits import Limits
from unifusion.retrieval.found import Found

__all__ = ["Passage", "defused", "joined", "place", "quoted"]

_TOUCHING_S = 0.05
_RENDERED = "clip-world://"
_CONTROL = re.compile(r"<(?=[|/!_a-zA-Z<])|(?<=\|)>|\[(?=/?[A-Z_]{2,}\])|\{(?=[{%#])")
"""Where a control string of some model's chat format begins or ends: `<|im_start|>`, `</s>`, `[INST]`, `<<SYS>>`, `{{ .. }}`."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A span of a clip that was found.

    Attributes:
        number: from 1, the most relevant first; by it answers cite.
        path: of the file, or a `clip-world://` reference.
        name: what people call it: the end of its path, as long as it takes to tell it from the others.
        start_s, end_s: span in the file; both 0 for a still.
        score: the best of its windows'.
        weight: its share of what was found: softmax of the scores as the embedder learned to take it; all sum to 1.
        texts: what is known of it in words; under `transcript` what is said in it.
        metadata: of its best window.
        ids: numbers of its windows in the library.
        kind: what its clip was indexed as: video, audio or image; "" goes by the file.
        cropped: characters of its texts that were left out.
    """

    number: int
    path: str
    name: str
    start_s: float
    end_s: float
    score: float
    weight: float = 0.0
    texts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[int, ...] = ()
    kind: str = ""
    cropped: int = 0

    @property
    def mark(self) -> str:
        """How people cite it: `[dogs.mp4 @ 3.2-5.0 s]`."""
        return f"[{place(self.name, self.start_s, self.end_s)}]"

    @property
    def is_still(self) -> bool:
        """Whether it has no length."""
        return self.end_s <= self.start_s

    def media(self, *, limits: Limits = Limits(), isolate: bool = False) -> Media:
        """The reference to the span, with what is said in it; of a video that was indexed for its sound, its sound.

        Raises:
            MediaError: the file is gone, or its header cannot be read.
        """
        said = self.texts.get("transcript")
        if self.is_still:
            return Media(kind="image", source=self.path, transcript=said)
        inside = _kind(self.path, limits, isolate)
        kind: MediaKind = "audio" if self.kind == "audio" else inside
        return Media(kind=kind, source=self.path, start_s=self.start_s, end_s=self.end_s, transcript=said)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "number": self.number, "path": self.path, "start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3),
            "score": round(self.score, 6), "weight": round(self.weight, 6), "texts": dict(self.texts), "metadata": dict(self.metadata),
            "ids": list(self.ids),
        }  # fmt: skip


def _kind(path: str, limits: Limits, isolate: bool) -> MediaKind:
    """What a file with a length is, by its header."""
    if path.startswith(_RENDERED):
        return "video"
    from unifusion.media import probe

    return "video" if probe(path, limits=limits, isolate=isolate).has_video else "audio"


def place(name: str, start_s: float, end_s: float) -> str:
    """A span of a clip for people."""
    return name if end_s <= start_s else f"{name} @ {start_s:.1f}-{end_s:.1f} s"


def joined(found: Sequence[Found], *, longest_s: float, scale: float = 1.0, max_chars: int = 2000) -> list[Passage]:
    """Passages of what was found, the most relevant first; windows of one file that touch or overlap are one.

    Args:
        found: windows.
        longest_s: no passage is longer, except where a window is.
        scale: inverse temperature of `weight`.
        max_chars: of the words of a passage under one name; the rest is left out and counted.
    """
    import numpy as np

    runs: list[list[Found]] = []
    for one in sorted(found, key=lambda f: (f.path, f.start_s, f.end_s)):
        last = runs[-1] if runs else []
        end_s = max((f.end_s for f in last), default=0.0)
        touches = bool(last) and last[-1].path == one.path and one.end_s > one.start_s and one.start_s <= end_s + _TOUCHING_S
        if touches and max(one.end_s, end_s) - last[0].start_s <= longest_s + _TOUCHING_S:
            last.append(one)
        else:
            runs.append([one])
    runs.sort(key=lambda run: (-max(f.score for f in run), run[0].path, run[0].start_s))
    names = _names([run[0].path for run in runs])
    logits = scale * np.array([max(f.score for f in run) for run in runs], np.float64)
    weights = np.exp(logits - logits.max()) if len(runs) else logits
    made = [_passage(number, run, names[run[0].path], max_chars) for number, run in enumerate(runs, 1)]
    return [replace(passage, weight=float(w / weights.sum())) for passage, w in zip(made, weights, strict=True)]


def _passage(number: int, run: Sequence[Found], name: str, max_chars: int) -> Passage:
    """One run of windows as a passage."""
    best = max(run, key=lambda f: f.score)
    texts: dict[str, str] = {}
    cropped = 0
    for kind in dict.fromkeys(k for f in run for k in f.texts):
        words = ""
        for one in run:
            words = _continued(words, " ".join(one.texts.get(kind, "").split()))
        texts[kind] = words[:max_chars]
        cropped += len(words) - len(texts[kind])
    return Passage(
        number=number, path=run[0].path, name=name, start_s=run[0].start_s, end_s=max(f.end_s for f in run), score=best.score,
        texts={k: v for k, v in texts.items() if v}, metadata=best.metadata, ids=tuple(f.id for f in run),
        kind=best.kind, cropped=cropped,
    )  # fmt: skip


def _continued(before: str, after: str) -> str:
    """Words of two windows in a row; what the end of one and the begin of the next share (they may overlap) is said once."""
    first, second = before.split(), after.split()
    if first[-len(second) :] == second:  # a caption of the whole clip stands in each of its windows
        return before
    shared = next((n for n in range(min(len(first), len(second)), 0, -1) if first[-n:] == second[:n]), 0)
    return " ".join([*first, *second[shared:]])


def _names(paths: Sequence[str]) -> dict[str, str]:
    """For each path its shortest end, in whole parts, that no other path has."""
    ends: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        if path.startswith(_RENDERED):
            ends[path] = path
            continue
        parts = path.split(os.sep)
        tails = (os.sep.join(parts[-n:]) for n in range(1, len(parts) + 1))
        others = [other for other in set(paths) if other != path]
        ends[path] = next((t for t in tails if not any(o.endswith(os.sep + t) or o == t for o in others)), path)
    return ends


def defused(text: str) -> str:
    """Text in which no control string of a chat format is left: a space parts what would be one.

    For servers, which may read control tokens out of what users write; our own tokenising does not.
    """
    return _CONTROL.sub(lambda m: f" {m[0]}" if m[0] == ">" else f"{m[0]} ", text)


def quoted(text: str) -> str:
    """Words from a clip, a manifest or a file's name as they may stand in a prompt: on one line, without quotes or marks of citations."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"\[(\s*[^\[\]]{0,20}\d[^\[\]]{0,20})\]", r"(\1)", line).replace('"', "'")
