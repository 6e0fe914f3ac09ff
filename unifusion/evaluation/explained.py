"""What is written of an explanation: `explanation.json`, the time line, and where the model looked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.conversation import Media
from unifusion.engine import EmotionAnswer
from unifusion.engine.explain import Asked, Explanation
from unifusion.engine.maps import StreamMap, maps
from unifusion.evaluation.map_pictures import draw_maps
from unifusion.evaluation.timeline import draw_timeline, read_strips

__all__ = ["explanation_dict", "write_explanation"]


def explanation_dict(found: Explanation, looked: Sequence[StreamMap] = ()) -> dict[str, Any]:
    """The JSON form, with maps where there are some."""
    return {**found.to_dict(), **({"maps": [m.to_dict() for m in looked]} if looked else {})}


def write_explanation(
    folder: Path, media: Sequence[Media], asked: Asked, answer: EmotionAnswer, found: Explanation, *, want_maps: bool = False
) -> list[Path]:
    """Write an explanation twice, for machines and for people.

    Args:
        folder: made if need be; `explanation.json`, `timeline.png` and `.svg`, and with maps `map-STREAM.png` and `.svg`.
        media: the clips.
        asked: the same, opened.
        answer: what was told.
        found: what it hangs on.
        want_maps: where the model looked too.

    Returns:
        the files.
    """
    looked = maps(asked, answer) if want_maps else []
    folder.mkdir(parents=True, exist_ok=True)
    told = {"clips": [m.name for m in media], **answer.to_dict(), "explanation": explanation_dict(found, looked)}
    atomic.write_text(folder / "explanation.json", json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    strips = read_strips(media, max(asked.duration_s + 1.0, 1.0))
    return [folder / "explanation.json", *draw_timeline(folder / "timeline", found, strips), *draw_maps(folder, looked, strips)]
