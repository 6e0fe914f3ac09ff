"""Single words said by the voices of clip world, made when they are asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._files import DIGITS
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError
from unifusion.world.signal import RATE_HZ
from unifusion.world.speakers import SPEAKERS
from unifusion.world.voice import speak

__all__ = ["Said"]


class Said(Dataset):
    """Words by espeak-ng, each by one of 24 speakers with another pitch, melody and rate.

    Encoders that were not trained on these voices are as unsure of them as of people they have never met, so a language model learns
    from them to read what an encoder tells of strangers.

    Source: this package (espeak-ng through `espeakng-loader`, extra `world`). Licence: that of the package. Layout on disk: none. One
    raw row:

        Example(id="said/english/seven/high03/12", media=(Media(kind="audio", source=Clip(..)),), texts={"transcript": "seven"},
                labels={"digit": "seven", "language": "english"}, group="voice high03", split="train")

    Args:
        path: not read.
        split: train is all there is.
        words: what is said, each as often as the others.
        label: key of the word among the labels.
        language: of the voices.
        count: rows.
        seed: another seed draws other speakers, pitches and rates.

    Raises:
        DatasetError: no words, no rows, or a split that is not there.
    """

    reads_files = False

    def __init__(
        self, path: str | Path | None = None, *, split: str | None = None, words: Sequence[str] = DIGITS, label: str = "digit",
        language: str = "english", count: int = 1000, seed: int = 0,
    ) -> None:  # fmt: skip
        del path
        if split not in (None, "train") or not words or count < 1:
            raise DatasetError(f"{count} rows of split {split!r} with {len(words)} words;", remedy="ask for train, one word and one row.")
        self.words, self.label, self.language, self.count, self.seed = tuple(words), label, language, count, seed
        self._spoken: Callable[[int], np.ndarray] = lru_cache(maxsize=count)(self._speak)

    def _drawn(self, index: int) -> tuple[str, random.Random]:
        """The speaker of a row, and what its pitch and rate are drawn from."""
        rng = random.Random(f"{self.seed}/said {index}")
        return rng.choice(sorted(SPEAKERS)), rng

    def _speak(self, index: int) -> np.ndarray:
        """A row's sound."""
        name, rng = self._drawn(index)
        pitch, melody, rate = rng.randint(30, 70), rng.randint(20, 80), rng.randint(110, 220)
        return speak(self.words[index % len(self.words)], self.language, name, pitch, melody, rate).waveform_N.astype(np.float32)

    def __len__(self) -> int:
        """Rows."""
        return self.count

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of {self.count}")
        word, (name, _) = self.words[index % len(self.words)], self._drawn(index)
        sound = self._spoken(index)
        clip = Clip(waveform_N=sound, sampling_rate_hz=RATE_HZ, duration_s=len(sound) / RATE_HZ)
        return Example(
            id=f"said/{self.language}/{word}/{name}/{index}",
            media=(Media(kind="audio", source=clip),),
            texts={"transcript": word},
            labels={self.label: word, "language": self.language},
            group=f"voice {name}",
            split="train",
        )
