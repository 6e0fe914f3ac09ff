"""Augmentation of a batch of features: mixed rows, streams and windows left out.

Every function gives new `Inputs` and leaves the old ones; what is left out has a false mask, which is what absence is. Randomness is the
generator's alone, on the CPU, so that every device and every resumed run sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.fusions.fusion import Inputs

__all__ = ["drop_streams", "drop_windows", "mixup", "soft_targets"]


def soft_targets(labels_B: Tensor, count: int, *, ignore_index: int = -100) -> Tensor:
    """Shares (B, K) float32 of K = `count` labels from their numbers (B,); NaN in rows that are not known."""
    known_B = labels_B != ignore_index
    shares_BK = torch.nn.functional.one_hot(labels_B.clamp(min=0) * known_B, count).float()
    return shares_BK.masked_fill(~known_B[:, None], torch.nan)


def mixup(inputs: Inputs, targets: Mapping[str, Tensor], alpha: float, rng: np.random.Generator) -> tuple[Inputs, dict[str, Tensor]]:
    """Mix each row with another row of the batch: share * own + (1 - share) * other, the share drawn from Beta(alpha, alpha).

    Tokens are mixed where both rows have a real one; where one row is longer its tokens stay as they are, so masks are united. A stream
    that one of the two lacks stays what it is in the row. A row is left as it is where the two have no stream in common, or where one of
    them knows a target that the other does not. Metadata stays the row's own. Zhang et al., "mixup" (2018); on features: Verma et al.,
    "Manifold mixup" (2019).

    Args:
        inputs: B rows.
        targets: output -> float targets (B, ..), NaN where not known; see `soft_targets`.
        alpha: of the distribution: below 1 most rows are nearly one of the two; 0 mixes nothing.
        rng: of the draws.

    Returns:
        mixed inputs, and mixed targets.

    Raises:
        ConfigError: alpha is negative, or a target is not of floats.
    """
    hard = [name for name, t in targets.items() if not t.is_floating_point()]
    if alpha < 0 or hard:
        found = f"mixup with alpha {alpha} of targets {list(targets)};"
        raise ConfigError(found, remedy="take alpha from 0 on, and float targets (soft_targets).")
    if alpha == 0 or not inputs.streams:
        return inputs, dict(targets)
    device = next(iter(inputs.streams.values())).mask_BS.device
    count = next(iter(inputs.streams.values())).mask_BS.shape[0]
    other_B = torch.from_numpy(rng.permutation(count)).to(device)
    share_B = torch.from_numpy(rng.beta(alpha, alpha, count)).float().to(device)
    there_SB = torch.stack([f.mask_BS.any(dim=1) for f in inputs.streams.values()])
    mixes_B = (there_SB & there_SB[:, other_B]).any(dim=0)
    for target in targets.values():
        unknown_B = target.reshape(count, -1).isnan().any(dim=1).to(device)
        mixes_B = mixes_B & (unknown_B == unknown_B[other_B])
    share_B = torch.where(mixes_B, share_B, 1.0)
    streams = {name: _mixed(f, other_B, share_B, mixes_B) for name, f in inputs.streams.items()}
    mixed = {}
    for name, target in targets.items():
        share = share_B.to(target).reshape(count, *[1] * (target.ndim - 1))
        mixed[name] = torch.where(share < 1, share * target + (1 - share) * target[other_B.to(target.device)], target)
    return replace(inputs, streams=streams), mixed


def _mixed(features: Features, other_B: Tensor, share_B: Tensor, mixes_B: Tensor) -> Features:
    """One stream (B, S, D) mixed with its rows in another order."""
    mask_BS, tokens_BSD, times_BS = features.mask_BS, features.tokens_BSD, features.times_BS
    theirs_BS = mask_BS[other_B] & (mixes_B & mask_BS.any(dim=1))[:, None]
    both_BS1, only_BS1 = (mask_BS & theirs_BS)[..., None], (~mask_BS & theirs_BS)[..., None]
    share_B11 = share_B[:, None, None].to(tokens_BSD)
    mean_BSD = share_B11 * tokens_BSD + (1 - share_B11) * tokens_BSD[other_B]
    return Features(
        tokens_BSD=torch.where(both_BS1, mean_BSD, torch.where(only_BS1, tokens_BSD[other_B], tokens_BSD)),
        mask_BS=mask_BS | theirs_BS, times_BS=torch.where(only_BS1[..., 0], times_BS[other_B], times_BS),
    )  # fmt: skip


def drop_streams(inputs: Inputs, p: float, rng: np.random.Generator) -> Inputs:
    """Leave out whole streams of rows, each with probability `p`, but never all that a row has: one of them, drawn, is kept.

    Modality dropout (Neverova et al., "ModDrop", 2016): the model learns to do without.

    Raises:
        ConfigError: p is outside [0, 1].
    """
    _probability(p)
    if not inputs.streams:
        return inputs
    there_BM = torch.stack([f.mask_BS.any(dim=1) for f in inputs.streams.values()], dim=1).cpu().numpy()
    kept_BM = _kept(there_BM, p, rng)
    streams = {}
    for m, (name, f) in enumerate(inputs.streams.items()):
        streams[name] = replace(f, mask_BS=f.mask_BS & torch.from_numpy(kept_BM[:, m]).to(f.mask_BS.device)[:, None])
    return replace(inputs, streams=streams)


def drop_windows(inputs: Inputs, p: float, rng: np.random.Generator, *, window_s: float = 0.5) -> Inputs:
    """Leave out windows of time of each row and stream, each with probability `p`, but never all that have a token.

    The windows lie on a grid of `window_s` seconds; streams are treated apart, so what is out of sight may be heard. Masking in time as
    Park et al., "SpecAugment" (2019).

    Raises:
        ConfigError: p is outside [0, 1], or windows have no length.
    """
    _probability(p)
    if window_s <= 0:
        raise ConfigError(f"windows of {window_s} s;", remedy="give a length above 0.")
    streams = {}
    for name, f in inputs.streams.items():
        real_BS = f.mask_BS.cpu().numpy()
        if not real_BS.any():
            streams[name] = f
            continue
        window_BS = np.where(real_BS, np.floor(f.times_BS.float().cpu().numpy() / window_s), 0).astype(np.int64)
        window_BS -= window_BS.min()
        there_BW = np.zeros((len(real_BS), int(window_BS.max()) + 1), dtype=bool)
        rows_BS = np.broadcast_to(np.arange(len(real_BS))[:, None], real_BS.shape)
        there_BW[rows_BS[real_BS], window_BS[real_BS]] = True
        kept_BS = np.take_along_axis(_kept(there_BW, p, rng), window_BS, axis=1)
        streams[name] = replace(f, mask_BS=f.mask_BS & torch.from_numpy(kept_BS).to(f.mask_BS.device))
    return replace(inputs, streams=streams)


def _kept(there_BM: np.ndarray, p: float, rng: np.random.Generator) -> np.ndarray:
    """Which of the things that are there stay: each with probability 1 - p; where none would, one that is drawn."""
    kept_BM = there_BM & (rng.random(there_BM.shape) >= p)
    saved_B = np.where(there_BM, rng.random(there_BM.shape), -1.0).argmax(axis=1)
    none_B = there_BM.any(axis=1) & ~kept_BM.any(axis=1)
    kept_BM[none_B, saved_B[none_B]] = True
    return kept_BM


def _probability(p: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= p <= 1:
        raise ConfigError(f"a probability of {p};", remedy="give a number in [0, 1].")
