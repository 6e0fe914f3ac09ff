"""Aligning encoders and adapters from nothing with what is true of each second of a clip."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import AutoTokenizer

from unifusion.checkpoint import atomic_folder
from unifusion.conversation import Clip
from unifusion.encoders.encoder import EncoderInput
from unifusion.models.grounding import GroundingConfig, GroundingModel, pad_phrases
from unifusion.processor import StreamSpec
from unifusion.training.augment import augment_clip
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices, fit
from unifusion.training.launch import everyone_waits, is_first
from unifusion.training.packed import Sentences
from unifusion.world.phrases import phrase_bank, window_truth
from unifusion.world.script import Script
from unifusion.world.world_file import ranges

__all__ = ["GroundingData", "collate_grounding", "measure", "train_alignment"]

log = logging.getLogger(__name__)
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


class GroundingData(Dataset[dict[str, Any]]):
    """Clips of a cache with the truth of each window.

    Args:
        cache: rendered clips.
        specs: streams to align.
        window_s: length of a window for streams whose adapter has none of its own; must hold a whole number of the encoder's tokens.
        augment: change light, noise and level, seeded by the clip and how often it was read.
        pack: share of rows, where only sound is trained, whose sound is sentences of many clips close together.
        seed: of the augmentation.
    """

    def __init__(
        self, cache: ClipCache, specs: Mapping[str, StreamSpec], *, window_s: float = 1.0, augment: bool = True, pack: float = 0.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.cache, self.specs, self.augment, self.seed = cache, dict(specs), augment, seed
        self.window_s = {n: float(getattr(s.adapter_choices, "window_s", window_s)) for n, s in self.specs.items()}
        bank = phrase_bank()
        self.index = {stream: {p: i for i, p in enumerate(bank[stream])} for stream in self.specs}
        self.pack = pack
        self.sentences = Sentences(cache, seed=seed) if pack else None
        self._reads: dict[int, int] = {}

    def __len__(self) -> int:
        """Clips."""
        return len(self.cache)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One clip: stream -> (EncoderInput, truth (K, P) int8 with 1 true, 0 false, -1 unknown, kind -> names (S,))."""
        turn = self._reads[index] = self._reads.get(index, -1) + 1
        scripts: tuple[Script, ...] = (self.cache.script(index),)
        if self.sentences is not None and random.Random(f"{self.seed}/{index}/{turn}").random() < self.pack:
            sound, scripts = self.sentences.pack(index, turn)
            clip = Clip(waveform_N=sound, duration_s=self.cache.choices.duration_s)
        else:
            clip = self.cache.clip(index, scripts[0])
        if "audio" not in self.specs:
            clip = replace(clip, waveform_N=None)
        if "video" not in self.specs:
            clip = replace(clip, frames_THWC=None)
        if self.augment:
            clip = augment_clip(clip, seed=(self.seed, index, turn))
        out: dict[str, Any] = {}
        for stream, spec in self.specs.items():
            if (clip.frames_THWC if stream == "video" else clip.waveform_N) is None:
                continue
            given = spec.encoder_class.preprocess(spec.encoder_choices, clip)
            out[stream] = (given, self.truth(scripts, stream), spoken_names(scripts, given.times_S))
        return out

    def truth(self, scripts: Sequence[Script], stream: str) -> torch.Tensor:
        """Truth (K, P) of all windows of one clip; of several scripts that each know a part of it, what any of them says."""
        index, window_s = self.index[stream], self.window_s[stream]
        windows = round(self.cache.choices.duration_s / window_s)
        truth_KP = torch.zeros(windows, len(index), dtype=torch.int8)
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
        items: list[tuple[EncoderInput, torch.Tensor, dict[str, torch.Tensor]]] = [row[stream] for row in rows if stream in row]
        inputs = [i[0] for i in items]
        batch[stream] = {
            **{key: torch.cat([i.tensors[key] for i in inputs]) for key in inputs[0].tensors},
            "chunks": torch.tensor([len(next(iter(i.tensors.values()))) for i in inputs]),
            "times": torch.stack([i.times_S for i in inputs]), "mask": torch.stack([i.mask_S for i in inputs]),
            "truth": torch.stack([i[1] for i in items]),
            "names": {kind: torch.stack([i[2][kind] for i in items]) for kind in items[0][2]},
        }  # fmt: skip
    return batch


def train_alignment(
    stream: str, spec: StreamSpec, tokenizer_folder: str | Path, train: ClipCache, val: ClipCache, out: str | Path, *,
    choices: FitChoices, grounding: GroundingConfig, start: str | Path | None = None, pack: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Train one stream's encoder and adapter, save them in `out` with `spec.json`, and measure them on `val`.

    Args:
        stream: its name; with `spec`, its encoder and adapter.
        spec: see `stream`.
        tokenizer_folder: splits the phrases.
        train: clips to learn from.
        val: clips to measure on.
        out: folder of the result.
        choices: how long and how fast.
        grounding: weights of the losses.
        start: folder of an earlier round, whose encoder and adapter this one goes on with.
        pack: see GroundingData.

    Returns:
        the figures, also written to `out/metrics.json`.
    """
    torch.manual_seed(choices.seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    ids = pad_phrases([tokenizer.encode(p, add_special_tokens=False) for p in phrase_bank()[stream]])
    encoder = spec.encoder_class.build(spec.encoder_choices, load_weights=False)
    adapter = spec.adapter_class(encoder.width, grounding.width, spec.adapter_choices)
    model = GroundingModel(
        {stream: encoder},
        {stream: adapter},
        {stream: ids},
        len(tokenizer),
        grounding,
        names={"words": len(spoken_words()) + 1, "letters": len(ALPHABET) + 1},
    )
    for name, part in (("encoder", encoder), ("adapter", adapter)):
        if start is not None:
            part.load_state_dict(load_file(Path(start) / f"{name}.safetensors"))
    data = GroundingData(train, {stream: spec}, pack=pack, seed=choices.seed)
    model.prepare(collate_grounding([next(row for row in (data[i] for i in range(len(data))) if row)]))
    work = Path(out).with_name(Path(out).name + ".fit")
    result = fit(model, data, choices, work, collate=collate_grounding)
    figures = dict(result)
    if is_first():
        figures |= measure(model.eval(), GroundingData(val, {stream: spec}, augment=False))
        _save(Path(out), spec, encoder, adapter, work, figures)
    everyone_waits()
    return figures


def _save(out: Path, spec: StreamSpec, encoder: Any, adapter: Any, work: Path, figures: Mapping[str, Any]) -> None:
    """A stream's weights, what they are, how they came about and what they can do."""
    with atomic_folder(out) as folder:
        encoder.backbone.config.save_pretrained(folder)
        for name, part in (("encoder", encoder), ("adapter", adapter)):
            save_file({k: v.detach().contiguous().clone() for k, v in part.state_dict().items()}, folder / f"{name}.safetensors")
        (folder / "spec.json").write_text(json.dumps(spec.to_dict(), indent=1), encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        for name in ("log.jsonl", "loss.csv", "loss.png"):
            if (work / name).is_file():
                (folder / name).write_bytes((work / name).read_bytes())


@torch.no_grad()
def measure(model: GroundingModel, data: GroundingData, *, batch_size: int = 16, limit: int = 256) -> dict[str, Any]:
    """Average precision of each phrase over windows of held-out clips, and its mean by group of phrases."""
    logits: dict[str, list[np.ndarray]] = {}
    truth: dict[str, list[np.ndarray]] = {}
    for start in range(0, min(limit, len(data)), batch_size):
        batch = collate_grounding([data[i] for i in range(start, min(start + batch_size, limit, len(data)))])
        for stream, inputs in batch.items():
            wanted = inputs.pop("truth")
            del inputs["names"]
            logits.setdefault(stream, []).append(model.score(stream, inputs, wanted.shape[1]).numpy())
            truth.setdefault(stream, []).append(wanted.reshape(-1, wanted.shape[-1]).numpy())
    out: dict[str, Any] = {}
    for stream in logits:
        scores_KP, truth_KP = np.concatenate(logits[stream]), np.concatenate(truth[stream])
        phrases = phrase_bank()[stream]
        each = {p: average_precision(scores_KP[:, i], truth_KP[:, i]) for i, p in enumerate(phrases)}
        known = {p: v for p, v in each.items() if v is not None}
        out[f"{stream}_mean_average_precision"] = float(np.mean(list(known.values()))) if known else None
        out[f"{stream}_average_precision"] = {p: round(v, 3) for p, v in known.items()}
    return out


def average_precision(scores_K: np.ndarray, truth_K: np.ndarray) -> float | None:
    """Average precision over known windows; None when the phrase is never true."""
    known = truth_K >= 0
    hits = (truth_K[known] == 1)[np.argsort(-scores_K[known], kind="stable")]
    if not hits.any():
        return None
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
