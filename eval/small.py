"""Suite: clip world and, with --data, the small real packs; offline, in minutes, the same to the byte each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

PARTS = {
    "questions": Source.world("open_qa", 60),
    "which_of": Source.world("which_of", 300, "which_of"),
    "match": Source.world("match", 300, "match"),
    "when": Source.world("when", 120, "sound_start", "voice_start", "object_appears", "word_time"),
    "captions": Source.world("caption", 60, "caption"),
    "emotion": Source.world("emotion", 300, "overall_emotion"),
    "valence_arousal": Source.world("valence_arousal", 120, "valence_arousal"),
    "sound_kind": Source.world("sound", 300, "sound_kind"),
    "ravdess": Source(dataset="ravdess", task="emotion", path="ravdess_speech", split="val"),
    "emodb": Source(dataset="emodb", task="emotion", path="emodb", split="val"),
    "fer2013": Source(dataset="fer2013", task="emotion", path="fer2013", split="val"),
    "esc10": Source(dataset="esc10", task="sound", path="esc10", split="val"),
    "fsdd": Source(dataset="fsdd", task="digit", path="fsdd", split="val"),
    "meld": Source(dataset="meld", task="emotion", path="text/meld", split="test"),
}


@dataclass(frozen=True, kw_only=True)
class Choices(SuiteChoices):
    """Tasks on clip world and on real packs, each beside chance, the most frequent answer, and the same questions without a clip."""

    most: int = 100
    """Rows of each part, evenly from the whole split; 0 for all."""


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write the report."""
    suite("small", PARTS, Choices, argv)


if __name__ == "__main__":
    script(main)
