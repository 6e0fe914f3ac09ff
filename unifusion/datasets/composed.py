"""Composed clips: a still of a face that moves a little with a voice that fits it or does not, and a sound behind it."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from unifusion.conversation import Example, Media, Mix
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError

__all__ = ["Composed"]


class Composed(Dataset):
    """Faces of one dataset with voices of another, where no set has both with a label. Call its figures "composed" in every table.

    Source: this package; media and licences are those of the sets given. Layout on disk: none. One raw row:

        Example(id="composed/7/train/12", media=(Media(kind="video", source=Mix(still=.., voice=.., background=.., snr_db=8.3, ..)),),
                labels={"face_emotion": "sad", "voice_emotion": "happy", "agreement": "no", "voice": "ravdess/.."}, ..)

    Rows that agree also have `labels["emotion"]`; `labels["voice"]` is the id of the voice's row. Each voice is taken in turn, so that
    speakers and classes are met as often as the set has them; the face is drawn. Everything random is a function of (seed, row).

    Args:
        faces: rows with an image and `labels["emotion"]`, of one split.
        voices: rows with a sound and `labels["emotion"]`, of the same split.
        sounds: rows with a sound and `labels["sound"]`, of the same split; None for silence behind the voice.
        count: rows.
        agree: share of rows whose face has the voice's emotion. None for pairs: rows 2 k and 2 k + 1 differ in the face alone, or (every
            second pair) in the voice alone, and the first one agrees, so that what is true of one is not of the other and one stream tells.
        noisy: share of rows with a sound behind the voice.
        snr_db: lowest and highest power of the voice over that sound.
        seed: another seed composes others.

    Raises:
        DatasetError: the sets are of different splits, or share no two emotions.
    """

    def __init__(
        self, faces: Dataset, voices: Dataset, *, sounds: Dataset | None = None, count: int = 1000, agree: float | None = 0.5,
        noisy: float = 0.5, snr_db: tuple[float, float] = (5.0, 20.0), seed: int = 0,
    ) -> None:  # fmt: skip
        self.faces, self.voices, self.sounds, self.count = faces, voices, sounds, count
        self.agree, self.noisy, self.snr_db, self.seed = agree, noisy, snr_db, seed
        heard = [voices[i] for i in range(len(voices))]
        shown = [faces[i] for i in range(len(faces))]
        splits = {r.split for r in (*heard, *shown, *(sounds or ()))}
        if len(splits) != 1:
            raise DatasetError(f"faces, voices and sounds are of splits {', '.join(sorted(splits))};", remedy="give all of one split.")
        self.split = splits.pop()
        self._faces: dict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(shown):
            self._faces[str(row.labels["emotion"])].append(i)
        self._voices = [i for i, row in enumerate(heard) if row.labels["emotion"] in self._faces]
        if not self._voices or len(self._faces) < 2:
            raise DatasetError("no voice has an emotion that a face has;", remedy="give sets that share at least two labels.")

    @property
    def a_round(self) -> int:
        """Rows in which each voice is met once."""
        return len(self._voices)

    def __len__(self) -> int:
        """Rows."""
        return self.count

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of {self.count}")
        number, second = divmod(index, 2) if self.agree is None else (index, 0)
        rng = random.Random(f"{self.seed}/{number}")
        order = random.Random(f"{self.seed}/round {number // len(self._voices)}").sample(self._voices, len(self._voices))
        voice = self.voices[order[number % len(self._voices)]]
        said = str(voice.labels["emotion"])
        shown = said if self.agree is None or rng.random() < self.agree else self._other(said, rng)
        face = self.faces[rng.choice(self._faces[shown])]
        if self.agree is None:
            another, unlike = self.faces[rng.choice(self._faces[self._other(said, rng)])], self._unlike(said, rng)
            face, voice = (face, voice) if not second else (another, voice) if number % 2 == 0 else (face, unlike)
            shown, said = str(face.labels["emotion"]), str(voice.labels["emotion"])
        behind = self.sounds[rng.randrange(len(self.sounds))] if self.sounds is not None and rng.random() < self.noisy else None
        mix = Mix(
            still=face.media[0], voice=voice.media[0], background=behind.media[0] if behind else None,
            snr_db=round(rng.uniform(*self.snr_db), 1), seed=rng.randrange(2**31),
        )  # fmt: skip
        labels: dict[str, Any] = {"face_emotion": shown, "voice_emotion": said, "agreement": "yes" if shown == said else "no"}
        labels["voice"] = voice.id
        labels |= {key: voice.labels[key] for key in ("language", "gender", "thirds") if key in voice.labels}
        labels |= {"emotion": said} if shown == said else {}
        labels |= {"sound": behind.labels["sound"]} if behind else {}
        return Example(
            id=f"composed/{self.seed}/{self.split}/{index}", media=(Media(kind="video", source=mix),), texts=voice.texts, labels=labels,
            group=voice.group, split=self.split,
        )  # fmt: skip

    def _other(self, emotion: str, rng: random.Random) -> str:
        """Another emotion that a face has."""
        return rng.choice(sorted(e for e in self._faces if e != emotion))

    def _unlike(self, emotion: str, rng: random.Random) -> Example:
        """A voice with another emotion; where there is none, any."""
        return self.voices[rng.choice([i for i in self._voices if str(self.voices[i].labels["emotion"]) != emotion] or self._voices)]
