"""Suite: instructions of all kinds mixed: talks in people's own words, questions, options, captions, emotions with reasons."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

PARTS = {
    "talks": Source(dataset="messages", task="instruction", path="talks.jsonl"),
    "llava_instruct": Source(dataset="llava_instruct", task="instruction", path="llava_instruct"),
    "videoinstruct": Source(dataset="videoinstruct", task="instruction", path="videoinstruct"),
    "clip_world": Source.world("open_qa", 200),
    "captions": Source.world("caption", 80, "caption"),
    "descriptions": Source.world("dense_description", 80, "dense_description"),
    "which_of": Source.world("which_of", 300, "which_of"),
    "rationales": Source.world("emotion_rationale", 300, "emotion_rationale"),
    "when": Source.world("when", 120, "sound_start", "voice_start", "object_appears", "word_time"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write the report."""
    suite("instruction", PARTS, SuiteChoices, argv)


if __name__ == "__main__":
    script(main)
