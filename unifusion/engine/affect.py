"""AffectEngine: a trained fusion, and what is asked of it; answers have the form of a chat model's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unifusion.conversation import Example, Media
from unifusion.engine.answers import EmotionAnswer
from unifusion.errors import ConfigError, UniFusionError, nearest
from unifusion.models.affect import AffectModel
from unifusion.models.affect_files import load_affect
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, to_device

__all__ = ["AffectEngine"]


class AffectEngine:
    """Tells emotions by a trained fusion.

    Args:
        model: put into eval mode.
        isolate: decode in a killable child process.
        strict: damaged frames are an error; otherwise they are flagged in the report's notes.
        features: folder of a store; clips that are not in it are refused.
    """

    def __init__(
        self, model: AffectModel, *, isolate: bool = False, strict: bool = True, features: str | Path | None = None
    ) -> None:  # fmt: skip
        self.model = model.eval()
        self.opener = RowOpener(model, stores=features, isolate=isolate, strict=strict)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu", **options: Any) -> AffectEngine:
        """Load a folder that `unifusion train emotion` wrote.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        return cls(load_affect(folder, device=device), **options)

    def emotion(
        self, media: Sequence[Media], *, labels: Sequence[str] | None = None, metadata: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, str]] = (),
    ) -> EmotionAnswer:  # fmt: skip
        """Label with probabilities, valence and arousal of clips of one moment.

        Args:
            media: the clips; what is said stands in their `transcript`.
            labels: some of the model's, to choose among; all when not given.
            metadata: what is known of people and talk.
            history: what was said before, `{"speaker", "text"}`, the oldest first.

        Raises:
            MediaError: a clip cannot be decoded.
            ConfigError: a label that the model does not know.
        """
        (answer,) = self.emotions([media], labels=labels, metadata=[metadata or {}], history=[history])
        if isinstance(answer, UniFusionError):
            raise answer
        return answer

    def emotions(
        self, clips: Sequence[Sequence[Media]], *, labels: Sequence[str] | None = None, batch_size: int = 8,
        metadata: Sequence[Mapping[str, Any]] = (), history: Sequence[Sequence[Mapping[str, str]]] = (),
    ) -> list[EmotionAnswer | UniFusionError]:  # fmt: skip
        """`emotion` of many groups of clips, in batches; a group that fails holds its error, the others are answered."""
        self.check_labels(labels)
        out: list[EmotionAnswer | UniFusionError] = []
        for first in range(0, len(clips), batch_size):
            some = range(first, min(first + batch_size, len(clips)))
            found: list[OpenedRow | UniFusionError] = []
            for i in some:
                try:
                    found.append(self.open(clips[i], metadata[i] if metadata else {}, history[i] if history else ()))
                except UniFusionError as error:
                    found.append(error)
            rows = [row for row in found if isinstance(row, OpenedRow)]
            answers = iter(self.answers(rows, labels) if rows else [])
            out += [row if isinstance(row, UniFusionError) else next(answers) for row in found]
        return out

    def check_labels(self, labels: Sequence[str] | None) -> None:
        """Refuse labels that the model was not trained on.

        Raises:
            ConfigError: there is one.
        """
        own = self.model.config.labels
        if labels and not own:
            raise ConfigError("the model tells valence and arousal, and no labels;", remedy="leave the labels out.")
        for label in labels or ():
            if label not in own:
                raise ConfigError(f"the model does not know the label {label!r};", remedy=nearest(label, list(own)))

    def open(self, media: Sequence[Media], metadata: Mapping[str, Any] | None = None, history: Sequence[Any] = ()) -> OpenedRow:
        """Clips of one moment, opened.

        Raises:
            MediaError: one cannot be decoded, or none has a stream of the model.
        """
        labels = {"metadata": metadata or {}, "history": tuple(history)}
        return self.opener.open(Example(id=media[0].name, media=tuple(media), labels=labels))

    @torch.no_grad()
    def encoded(self, row: OpenedRow) -> OpenedRow:
        """The row with each stream's input replaced by its encoder's output."""
        batch = to_device(collate_rows([row], self.model.streams, self.model.config.metadata), self.model.device)
        streams = {}
        for name, item in row.streams.items():
            tokens_SD = self.model.features(name, batch["streams"][name]).tokens_BSD[0, : len(item.times_S)].cpu()
            streams[name] = replace(item, tensors={}, tokens_SD=tokens_SD)
        return replace(row, streams=streams)

    @torch.no_grad()
    def answers(self, rows: Sequence[OpenedRow], labels: Sequence[str] | None) -> list[EmotionAnswer]:
        """Tell some rows."""
        began = time.perf_counter()
        batch = to_device(collate_rows(rows, self.model.streams, self.model.config.metadata), self.model.device)
        out = self.model(batch)
        own = self.model.config.labels
        shares = [[]] * len(rows) if out.logits_BK is None else self.model.probabilities(out.logits_BK).tolist()
        felt: list[list[Any]] = [[None, None]] * len(rows) if out.affect_B2 is None else out.affect_B2.float().tolist()
        timing = {"total_s": time.perf_counter() - began}
        answers = []
        for row, given, (valence, arousal) in zip(rows, shares, felt, strict=True):
            told = {k: v for k, v in zip(own, given, strict=True) if labels is None or k in labels} if given else {}
            total = sum(told.values())
            told = {k: v / total for k, v in told.items()}
            best = max(told, key=lambda k: told[k], default="")
            answers.append(
                EmotionAnswer(
                    label=best, probabilities=told, valence=valence, arousal=arousal, rationale="", evidence=[], report=row.report,
                    timing=dict(timing),
                )
            )
        return answers

