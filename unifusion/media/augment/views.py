"""Two views of one sample, for losses that bring them together (NT-Xent, VICReg): two changed copies, a function of the key alone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np

from unifusion.conversation import Clip, Example
from unifusion.errors import ConfigError
from unifusion.media.augment.choices import Augmentation, augmented
from unifusion.media.augment.wording import TextAugmentation, augmented_text

__all__ = ["two_views", "view_keys"]

T = TypeVar("T")
_TRIES = 16


def view_keys(seed: int, sample_id: str, epoch: int) -> Iterator[str]:
    """The keys that a sample's views are drawn by in one epoch: the first view's, then those the second tries in turn."""
    return (f"{seed}/{sample_id}/{epoch}/view {number}" for number in range(1 + _TRIES))


@overload
def two_views(given: Clip, choices: Augmentation, *, seed: int, sample_id: str, epoch: int, others: Sequence[np.ndarray] = ()
              ) -> tuple[Clip, Clip]: ...  # fmt: skip
@overload
def two_views(given: str, choices: TextAugmentation, *, seed: int, sample_id: str, epoch: int) -> tuple[str, str]: ...
@overload
def two_views(given: Example, choices: TextAugmentation, *, seed: int, sample_id: str, epoch: int, names: Sequence[str] = ("caption",)
              ) -> tuple[Example, Example]: ...  # fmt: skip
def two_views(
    given: Any, choices: Any, *, seed: int, sample_id: str, epoch: int, others: Sequence[np.ndarray] = (),
    names: Sequence[str] = ("caption",),
) -> tuple[Any, Any]:  # fmt: skip
    """Return two changed copies of a clip, of a text, or of an example with its texts changed (`processor.TwoViews` opens its media).

    The two differ wherever 16 draws of the second give one that does: a text of one word, or one that nothing fits, stays the same twice.

    Args:
        given: the sample; it is left alone.
        choices: `Augmentation` for a clip, `TextAugmentation` for texts.
        seed, sample_id, epoch: the key.
        others: as for `augmented`.
        names: texts of an example that are changed; labels and answers are not among them.

    Raises:
        ConfigError: choices that change nothing, or those of another kind.
    """
    wanted: type[Any] = Augmentation if isinstance(given, Clip) else TextAugmentation
    if not isinstance(choices, wanted):
        raise ConfigError(f"{type(choices).__name__} for a {type(given).__name__};", remedy=f"give {wanted.__name__}.")
    if _of_clips(choices) == wanted():
        raise ConfigError("two views by choices that change nothing;", remedy=f"say in {wanted.__name__} what may change.")
    view, same = _changing(given, choices, others, names)
    return _pair(view, same, view_keys(seed, sample_id, epoch))


def _changing(given: Any, choices: Any, others: Sequence[np.ndarray], names: Sequence[str]) -> tuple[Callable[[str], Any], Any]:
    """What gives the view of a key, and what tells whether two are the same."""
    if isinstance(given, Clip):
        return (lambda key: augmented(given, choices, key=key, others=others)), _same_clip
    if isinstance(given, str):
        return (lambda key: augmented_text(given, choices, key=key)), operator.eq
    texts = {name: given.texts[name] for name in names if name in given.texts}

    def view(key: str) -> Example:
        """The example with other wordings."""
        changed = {name: augmented_text(text, choices, key=f"{key}/{name}") for name, text in texts.items()}
        new: Example = replace(given, texts={**given.texts, **changed})
        return new

    return view, lambda a, b: a.texts == b.texts


def _of_clips(choices: Any) -> Any:
    """The choices without masks over features, which are no change of a clip."""
    if not isinstance(choices, Augmentation):
        return choices
    return replace(choices, time_masks=0, time_width=0.1, feature_masks=0, feature_width=0.1)


def _pair(view: Callable[[str], T], same: Callable[[T, T], bool], keys: Iterator[str]) -> tuple[T, T]:
    """The first view, and the first other one that differs from it."""
    first = view(next(keys))
    second = first
    for key in keys:
        second = view(key)
        if not same(first, second):
            break
    return first, second


def _same_clip(a: Clip, b: Clip) -> bool:
    """Whether nothing tells two clips apart."""
    pairs = ((a.frames_THWC, b.frames_THWC), (a.frame_times_s, b.frame_times_s), (a.waveform_N, b.waveform_N))
    return a.duration_s == b.duration_s and all(x is y or (x is not None and y is not None and np.array_equal(x, y)) for x, y in pairs)
