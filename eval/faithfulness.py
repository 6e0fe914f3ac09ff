"""Suite: does the model listen and look? Streams muted, swapped, out of order; whether answers follow, and cite what moved them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.suite.conditions import TAMPERED
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

COMPOSED = {
    "voices_en": {"dataset": "ravdess", "path": "ravdess_speech", "weight": 0},
    "voices_de": {"dataset": "emodb", "path": "emodb", "weight": 0},
    "faces": {"dataset": "fer2013", "path": "fer2013", "weight": 0},
    "together": {"dataset": "composed", "faces": ["faces"], "voices": ["voices_en", "voices_de"], "options": {"agree": 1.0, "noisy": 0.0}},
}
"""Real faces with real voices of the same emotion; paths are beside that of the part."""
PARTS = {
    "sound: kind": Source.world("open_qa", 400, "sound_kind"),
    "sound: emotion of the voice": Source.world("open_qa", 300, "voice_emotion"),
    "picture: expression": Source.world("open_qa", 300, "expression"),
    "picture: shape": Source.world("open_qa", 300, "object_shape"),
    "both: agreement": Source.world("open_qa", 300, "agreement"),
    "both: what appears after": Source.world("open_qa", 300, "appears_after"),
    "emotion": Source.world("emotion", 300, "overall_emotion"),
    "rationale": Source.world("emotion_rationale", 300, "emotion_rationale"),
    "composed": Source(dataset="mixture", task="emotion", path="fer2013", split="val", options={"written": COMPOSED}),
}


@dataclass(frozen=True, kw_only=True)
class Choices(SuiteChoices):
    """Questions about one stream or both, with streams tampered with; any set with both streams by --dataset or a YAML of parts."""

    conditions: tuple[str, ...] = ("blind", *TAMPERED)
    """all, blind, text, no sound, no picture, other sound, other picture, shuffled, other clip."""
    most: int = 100
    """Rows of each part, evenly from the whole split; 0 for all."""


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print what tampering costs, write the report."""
    suite("faithfulness", PARTS, Choices, argv)


if __name__ == "__main__":
    script(main)
