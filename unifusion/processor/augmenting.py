"""Clips that are changed on the way from the decoder to the encoders' preprocessing, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from unifusion.conversation import Clip, Media
from unifusion.media.augment import Augmentation, augmented, two_views
from unifusion.processor.opening import MediaOpener, OpenedMedia

__all__ = ["AugmentingOpener", "TwoViews"]


class AugmentingOpener:
    """Opens clips as `opener` does, each changed by `choices` before any stream takes it; all streams get the same changed clip.

    Masks over features (`time_masks`, `feature_masks`) are no change of a clip: `media.augment.masked` lays them over tokens.

    Args:
        opener: decodes and preprocesses.
        choices: how far a clip may be changed.
        key: "seed/id/epoch" of the row that is opened, or what gives it for a span. Media of equal keys are changed by equal draws.
        others: sounds (N,) for the noise of kind `other`, at the rate that the clips are read at.
    """

    def __init__(
        self, opener: MediaOpener, choices: Augmentation, key: str | Callable[[Media], str], *, others: Sequence[np.ndarray] = ()
    ) -> None:  # fmt: skip
        self.opener, self.choices, self.key, self.others = opener, choices, key, others

    def open(self, media: Media) -> OpenedMedia:
        """Decode the span of `media`, change it and preprocess it for every stream.

        Raises:
            MediaError: the file cannot be decoded, or holds nothing that any stream takes.
        """
        return self.opener.open(media, between=self._changed)

    def _changed(self, clip: Clip, media: Media) -> Clip:
        """What the streams get to see and hear."""
        key = self.key if isinstance(self.key, str) else self.key(media)
        return augmented(clip, self.choices, key=key, others=self.others)


class TwoViews:
    """Opens clips twice, each time changed otherwise, for losses over two views (NT-Xent); the file is decoded once.

    Args:
        opener: decodes and preprocesses.
        choices: how far a clip may be changed.
        seed: with the sample's id and the epoch it decides both views, whatever the worker and the order.
        others: as for `AugmentingOpener`.
    """

    def __init__(self, opener: MediaOpener, choices: Augmentation, *, seed: int, others: Sequence[np.ndarray] = ()) -> None:
        self.opener, self.choices, self.seed, self.others = opener, choices, seed, others

    def open(self, media: Media, *, sample_id: str, epoch: int) -> tuple[OpenedMedia, OpenedMedia]:
        """Decode the span of `media` and preprocess two changed copies of it for every stream.

        Raises:
            MediaError: as `MediaOpener.open`.
            ConfigError: the choices change nothing of a clip.
        """
        second: list[Clip] = []

        def changed(clip: Clip, _: Media) -> Clip:
            """The first view; the second is kept."""
            one, other = two_views(clip, self.choices, seed=self.seed, sample_id=sample_id, epoch=epoch, others=self.others)
            second.append(other)
            return one

        first = self.opener.open(media, between=changed)
        whole = replace(media, source=Clip(duration_s=second[0].duration_s), start_s=None, end_s=None)
        return first, replace(self.opener.open(whole, between=lambda *_: second[0]), media=media)
