"""What the engine gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unifusion.batch import ModalityReport
from unifusion.errors import CheckpointError

__all__ = ["Answer", "EmotionAnswer", "LabelScores"]


@dataclass(kw_only=True)
class Answer:
    """One answer in words.

    Attributes:
        text: what the model said.
        report: which streams it really heard and saw.
        timing: seconds: decode_s, encode_s, prefill_s, first_token_s, total_s; and new_tokens.
        stopped: it ended by itself; False when it was cut by `max_new_tokens` or cancelled.
        cancelled: somebody pressed stop.
        ids: the tokens of `text`.
    """

    text: str
    report: ModalityReport
    timing: dict[str, float] = field(default_factory=dict)
    stopped: bool = True
    cancelled: bool = False
    ids: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `unifusion chat --json`."""
        timing = {k: round(v, 4) for k, v in self.timing.items()}
        return {"answer": self.text, "report": self.report.to_dict(), "timing": timing, "stopped": self.stopped}


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """Log-likelihood of each label as the whole answer, its end included, and their softmax as a checkpoint calibrates it.

    Attributes:
        labels: the closed set.
        log_probs: of each.
        report: which streams were really heard and seen.
        temperature: the log-likelihoods are divided by it; 1 is the model's own confidence.
        biases: label -> what is added to that; labels without one get nothing (vector scaling, Guo et al. 2017).
        threshold: probability of the best label below which it is better to abstain; 0 where nothing was fitted.
    """

    labels: tuple[str, ...]
    log_probs: tuple[float, ...]
    report: ModalityReport
    temperature: float = 1.0
    threshold: float = 0.0
    biases: Mapping[str, float] = field(default_factory=dict)

    def checked(self) -> LabelScores:
        """These.

        Raises:
            CheckpointError: they are not numbers, so that none is the best.
        """
        if any(math.isnan(p) for p in self.probabilities):
            raise CheckpointError("the likelihoods are not numbers (NaN);", remedy="compute in float32, or look for NaN among the weights.")
        return self

    @property
    def _scaled(self) -> list[float]:
        """What the softmax is taken of."""
        return [x / self.temperature + self.biases.get(k, 0.0) for k, x in zip(self.labels, self.log_probs, strict=True)]

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Softmax over the labels."""
        scaled = self._scaled
        weights = [math.exp(x - max(scaled)) for x in scaled]
        return tuple(w / sum(weights) for w in weights)

    @property
    def best(self) -> str:
        """The most likely label; the first of equals."""
        return max(zip(self.labels, self._scaled, strict=True), key=lambda pair: pair[1])[0]

    @property
    def sure(self) -> bool:
        """Whether the best label is likely enough to be given."""
        return max(self.probabilities) >= self.threshold


@dataclass(kw_only=True)
class EmotionAnswer:
    """Label with probabilities, valence and arousal, and a rationale with evidence and times."""

    label: str
    probabilities: dict[str, float]
    valence: float | None
    arousal: float | None
    rationale: str
    evidence: list[dict[str, Any]]
    report: ModalityReport
    timing: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `unifusion emotion --json`."""
        return {
            "label": self.label, "probabilities": {k: round(v, 6) for k, v in self.probabilities.items()}, "valence": self.valence,
            "arousal": self.arousal, "rationale": self.rationale, "evidence": self.evidence, "report": self.report.to_dict(),
            "timing": {k: round(v, 4) for k, v in self.timing.items()},
        }  # fmt: skip
