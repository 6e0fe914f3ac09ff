"""The generation kwargs of lmms-eval's tasks: honoured, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unifusion.engine.decoding import Sampling
from unifusion.errors import ConfigError, nearest

__all__ = ["Wanted", "read_wanted"]

_HONOURED = ("max_new_tokens", "until", "do_sample", "temperature", "top_p", "seed")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,), "top_k": (0, -1), "repetition_penalty": (1, 1.0), "length_penalty": (1, 1.0), "num_return_sequences": (1,),
    "use_cache": (True,), "visual_cot": (False,),
}  # fmt: skip
"""Keys that ask for nothing in these values. In others they would change answers in a way that the engine does not have."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How one answer is wanted.

    Attributes:
        max_new_tokens: longest answer.
        until: the answer is cut before the first of these that it holds.
        sampling: greedy unless the task samples.
    """

    max_new_tokens: int
    until: tuple[str, ...] = ()
    sampling: Sampling = Sampling()  # noqa: RUF009 - frozen

    def cut(self, text: str) -> str:
        """An answer as far as it is wanted."""
        for end in self.until:
            text = text.split(end, 1)[0]
        return text.strip()


def read_wanted(kwargs: Mapping[str, Any], *, max_new_tokens: int) -> Wanted:
    """Read a request's generation kwargs; a key that is None asks for nothing.

    `do_sample: false` is greedy whatever the temperature, and a temperature above 0 without `do_sample` samples, as lmms-eval's own models
    read them.

    Args:
        kwargs: as the task has them.
        max_new_tokens: where the task does not say.

    Raises:
        ConfigError: a key that the engine does not have, or a value that it cannot take.
    """
    given = {key: value for key, value in kwargs.items() if value is not None}
    for key, value in given.items():
        if key not in _HONOURED and value not in _NEUTRAL.get(key, ()):
            remedy = nearest(key, list(_HONOURED)) if key not in _NEUTRAL else f"wanted {_NEUTRAL[key][0]!r}"
            raise ConfigError(
                f"the task asks for {key}={value!r}, which this model does not do;", remedy=f"{remedy} (lmms-eval: --gen_kwargs {key}=..)."
            )
    until = given.get("until", ())
    ends = (until,) if isinstance(until, str) else tuple(until)
    longest = given.get("max_new_tokens", max_new_tokens)
    if not all(isinstance(end, str) for end in ends) or isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        raise ConfigError(
            f"the task asks for max_new_tokens={longest!r}, until={until!r};", remedy="wanted a number of tokens from 1 on, and texts."
        )
    return Wanted(max_new_tokens=longest, until=tuple(end for end in ends if end), sampling=_sampling(given))


def _sampling(given: Mapping[str, Any]) -> Sampling:
    """Greedy, or how it is drawn.

    Raises:
        ConfigError: a value out of range.
    """
    temperature = float(given.get("temperature", 1.0 if given.get("do_sample") else 0.0))
    if not given.get("do_sample", temperature > 0):
        return Sampling()
    top_p = float(given.get("top_p", 1.0))
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ConfigError(
            f"the task samples with temperature={temperature:g}, top_p={top_p:g};", remedy="wanted a temperature above 0, top_p up to 1."
        )
    return Sampling(temperature=temperature, top_p=top_p, seed=int(given.get("seed", 0)))
