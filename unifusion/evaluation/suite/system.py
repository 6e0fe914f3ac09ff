"""What a suite measures: something that answers, and perhaps tells how likely answers are."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from unifusion.conversation import Conversation
from unifusion.encoders.encoder import weights_hash
from unifusion.engine import Answer, Engine, LabelScores
from unifusion.engine.prefixes import Prefixes
from unifusion.errors import UniFusionError
from unifusion.evaluation.world import Kept

__all__ = ["EngineSystem", "System"]


class System(Protocol):
    """A chat model behind any door."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def weights(self) -> str:
        """A short hash of what answers, the same on every machine; "" where nobody can know."""

    @property
    def can_score(self) -> bool:
        """Whether `score_labels` may be asked."""

    @property
    def shown(self) -> Mapping[str, Any]:
        """What a person chose of how clips are shown to it, as JSON holds it; {} where there is nothing to choose."""

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, batch_size: int
    ) -> Sequence[Answer | UniFusionError]:  # fmt: skip
        """Answers in words, in order; one that fails holds its error."""

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str, batch_size: int
    ) -> Sequence[LabelScores | UniFusionError]:  # fmt: skip
        """Likelihoods of each conversation's labels, in order; one that fails holds its error."""

    def forget(self) -> None:
        """The clips that were asked about so far do not come again."""


class EngineSystem:
    """An engine that opens and encodes each clip once, whatever is asked about it and whichever streams are muted.

    Args:
        engine: the model.
        name: of the checkpoint, or its folder.
    """

    can_score = True
    shown: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, engine: Engine, name: str) -> None:
        told = f"{weights_hash(engine.model)}{json.dumps(engine.model.config.calibration, sort_keys=True)}"
        self.name, self.weights = Path(name).name, hashlib.sha256(told.encode()).hexdigest()[:16]
        self._kept = Kept.of(engine)
        self.engine = copy.copy(engine)
        self.engine.processor = engine.processor.with_opener(self._kept)
        self.engine.prefixes = Prefixes(self.engine.model, self.engine.processor)

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, batch_size: int
    ) -> list[Answer | UniFusionError]:  # fmt: skip
        """See System; greedy."""
        return self.engine.answer(conversations, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str, batch_size: int
    ) -> list[LabelScores | UniFusionError]:  # fmt: skip
        """See System; with the temperature and biases that the checkpoint holds for the task."""
        return self.engine.score_labels(conversations, labels, task=task, batch_size=batch_size)

    def forget(self) -> None:
        """Let the clips go."""
        self._kept.clips.clear()
        if self.engine.prefixes is not None:
            self.engine.prefixes.forget()
