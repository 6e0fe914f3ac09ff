"""Suite: sounds, voices, captions of sounds and questions about them, of the published sets that lie in the folder of data."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

PARTS = {
    "esc10": Source(dataset="esc10", task="sound", path="esc10", split="val"),
    "vggsound": Source(dataset="vggsound", task="sound", path="vggsound"),
    "audioset": Source(dataset="audioset", task="sounds", path="audioset", options={"only_downloaded": True}),
    "audiocaps": Source(dataset="audiocaps", task="caption", path="audiocaps"),
    "clotho": Source(dataset="clotho", task="caption", path="clotho"),
    "music_avqa": Source(dataset="music_avqa", task="open_qa", path="music_avqa"),
    "avqa": Source(dataset="avqa", task="multiple_choice", path="avqa", split="val"),
    "ravdess": Source(dataset="ravdess", task="emotion", path="ravdess_speech", split="val"),
    "fsdd": Source(dataset="fsdd", task="digit", path="fsdd", split="val"),
    "clip_world": Source.world(
        "open_qa", 300, "sound_kind", "voice_emotion", "voice_pitch", "voice_tempo", "language", "chord", "count_strokes"
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write the report."""
    suite("audio", PARTS, SuiteChoices, argv)


if __name__ == "__main__":
    script(main)
