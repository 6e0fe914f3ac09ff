"""Rows to ground encoders with: clips, sentences packed closely, real recordings and pictures, each with the truth of its windows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import Dataset

from unifusion.conversation import Clip
from unifusion.processor import StreamSpec
from unifusion.training.augment import augment_clip
from unifusion.training.clip_cache import ClipCache
from unifusion.training.known import Known
from unifusion.training.packed import Sentences
from unifusion.training.pieces import Grounded, Pieces
from unifusion.world.phrases import window_truth
from unifusion.world.script import Script
from unifusion.world.world_file import ranges

__all__ = ["ALPHABET", "GroundingData", "collate_grounding", "spoken_words", "window_of"]

ALPHABET = " 'abcdefghijklmnopqrstuvwxyzàáâäçèéêëíîïñóôöùúûüß"
"""Letters that words are spelt in, from 1 on; 0 is none."""


@lru_cache(maxsize=1)
def spoken_words() -> dict[str, int]:
    """Every word of the sentences that training speaks, with its number from 1 on; 0 is no word."""
    world = ranges()
    parts = [text for meanings in world["sentences"].values() for part in meanings.values() for text in part["train"]]
    found = {w for text in parts for w in plain(text).split() if w != "{w}"} | set(world["words"])
    return {w: i for i, w in enumerate(sorted(found), 1)}


def plain(text: str) -> str:
    """Lower case, without punctuation at the ends of words."""
    return " ".join(w.strip(".,!?;:") for w in text.lower().split())


def spell(text: str) -> list[int]:
    """Letters of a sentence as numbers; what is no letter is left out."""
    return [ALPHABET.index(c) + 1 for c in text.lower() if c in ALPHABET]


def window_of(spec: StreamSpec, otherwise_s: float = 1.0) -> float:
    """Length of a stream's windows: its adapter's, where that has any."""
    return float(getattr(spec.adapter_choices, "window_s", otherwise_s))


class GroundingData(Dataset[dict[str, Any]]):
    """Clips of a cache with the truth of each window.

    Args:
        cache: rendered clips.
        specs: streams to align.
        window_s: length of a window for streams whose adapter has none of its own; must hold a whole number of the encoder's tokens.
        augment: change light, noise and level, seeded by the row.
        pack: share of rows, where only sound is trained, whose sound is sentences of many clips close together.
        pieces: real recordings or pictures of a stream, which stand in `pieces.share` of the rows instead of the clip.
        epochs: passes over the clips, each with other changes; row `i` is a pure function of `i`, in whatever process it is read.
        seed: of the augmentation.
    """

    def __init__(
        self, cache: ClipCache, specs: Mapping[str, StreamSpec], *, window_s: float = 1.0, augment: bool = True, pack: float = 0.0,
        pieces: Pieces | None = None, epochs: int = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        self.cache, self.specs, self.augment, self.epochs, self.seed = cache, dict(specs), augment, epochs, seed
        self.window_s = {n: window_of(s, window_s) for n, s in self.specs.items()}
        self.pieces, self.known = pieces, pieces.known if pieces is not None else Known({})
        self.index = {stream: {p: i for i, p in enumerate(self.known.bank[stream])} for stream in self.specs}
        self.pack = pack
        self.sentences = Sentences(cache, seed=seed) if pack else None

    def __len__(self) -> int:
        """Clips times epochs."""
        return len(self.cache) * self.epochs

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One clip: stream -> (EncoderInput, truth (K, P) int8 with 1 true, 0 false, -1 unknown, group (K,), kind -> names (S,))."""
        turn, index = divmod(index, len(self.cache))
        rng = random.Random(f"{self.seed}/{index}/{turn}")
        if self.pieces is not None and rng.random() < self.pieces.share:
            changed = self.augment and "changes" not in self.pieces.without
            return self.real(self.pieces.pack(index, turn), (self.seed, index, turn) if changed else None)
        scripts: tuple[Script, ...] = (self.cache.script(index),)
        if self.sentences is not None and rng.random() < self.pack:
            sound, scripts = self.sentences.pack(index, turn)
            clip = Clip(waveform_N=sound, duration_s=self.cache.choices.duration_s)
        else:
            clip = self.cache.clip(index, scripts[0], streams=tuple(self.specs))
        if self.augment:
            clip = augment_clip(clip, seed=(self.seed, index, turn))
        out: dict[str, Any] = {}
        for stream, spec in self.specs.items():
            if (clip.frames_THWC if stream == "video" else clip.waveform_N) is None:
                continue
            given = spec.encoder_class.preprocess(spec.encoder_choices, clip)
            truth_KP = self.truth(scripts, stream)
            out[stream] = (given, truth_KP, torch.full((len(truth_KP),), -1), spoken_names(scripts, given.times_S))
        return out

    def real(self, piece: Grounded, seed: tuple[int, ...] | None) -> dict[str, Any]:
        """A row of real pieces of one stream; nobody knows when their words are said."""
        stream = "video" if piece.clip.waveform_N is None else "audio"
        # Pieces are louder or softer already, and whether a voice is called loud follows from that.
        clip = augment_clip(piece.clip, seed=seed, level=False) if seed is not None else piece.clip
        spec = self.specs[stream]
        given = spec.encoder_class.preprocess(spec.encoder_choices, clip)
        unnamed = torch.full((len(given.times_S),), -1)
        return {stream: (given, piece.truth_KP, piece.group_K, {"words": unnamed, "letters": unnamed})}

    def truth(self, scripts: Sequence[Script], stream: str) -> torch.Tensor:
        """Truth (K, P) of all windows of one clip; of several scripts that each know a part of it, what any of them says."""
        index, window_s = self.index[stream], self.window_s[stream]
        windows = round(self.cache.choices.duration_s / window_s)
        truth_KP = torch.zeros(windows, len(index), dtype=torch.int8)
        truth_KP[:, self.known.unsure_of(stream)] = -1
        for k in range(windows):
            for script in scripts:
                for phrase, value in window_truth(script, stream, k * window_s, (k + 1) * window_s).items():
                    if phrase in index and value is not False and truth_KP[k, index[phrase]] != 1:
                        truth_KP[k, index[phrase]] = -1 if value is None else 1
        return truth_KP


def spoken_names(scripts: Sequence[Script], times_S: torch.Tensor) -> dict[str, torch.Tensor]:
    """The word and the letter each token lies in (S,): 0 where none is said, -1 where a noise covers it or the word is no listed one."""
    named = {kind: torch.zeros(len(times_S), dtype=torch.long) for kind in ("words", "letters")}
    for script in scripts:
        covered = script.profile.get("scene") == "louder"
        for word in script.utterance.words if script.utterance is not None else ():
            inside_S = (times_S >= word.start_s) & (times_S < word.end_s)
            letters = torch.tensor(spell(word.text) or [-1])
            place = (times_S[inside_S] - word.start_s) / (word.end_s - word.start_s) * len(letters)
            named["words"][inside_S] = -1 if covered else spoken_words().get(plain(word.text), -1)
            named["letters"][inside_S] = -1 if covered else letters[place.long().clamp(max=len(letters) - 1)]
    return named


def collate_grounding(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows of GroundingData -> stream -> tensors, as GroundingModel takes them."""
    batch: dict[str, Any] = {}
    for stream in {s for row in rows for s in row}:
        items: list[Any] = [row[stream] for row in rows if stream in row]
        inputs = [i[0] for i in items]
        batch[stream] = {
            **{key: torch.cat([i.tensors[key] for i in inputs]) for key in inputs[0].tensors},
            "chunks": torch.tensor([len(next(iter(i.tensors.values()))) for i in inputs]),
            "times": torch.stack([i.times_S for i in inputs]), "mask": torch.stack([i.mask_S for i in inputs]),
            "truth": torch.stack([i[1] for i in items]), "group": torch.stack([i[2] for i in items]),
            "names": {kind: torch.stack([i[3][kind] for i in items]) for kind in items[0][3]},
        }  # fmt: skip
    return batch
