"""Engine: a model, its processor, and everything that is asked of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unifusion import checkpoint
from unifusion.conversation import Conversation, Media
from unifusion.engine.answers import Answer, EmotionAnswer, LabelScores
from unifusion.engine.decoding import Sampling, decode_batch
from unifusion.engine.labels import score_batch
from unifusion.engine.prefixes import Prefixes
from unifusion.engine.session import Session
from unifusion.errors import CheckpointError, ConfigError, LimitError, UniFusionError
from unifusion.features import StoredOpener, stored_opener
from unifusion.limits import Limits
from unifusion.processor import Conversing, OpenedMedia, Row, UniFusionProcessor
from unifusion.share import resolve_checkpoint

__all__ = ["Engine"]


class Engine:
    """Answers questions about clips.

    Args:
        model: a chat model, ours or another's (`models.reading`), put into eval mode.
        processor: the one that fits it.
        limits: bounds of this door.
        isolate: decode in a killable child process.
        strict: damaged frames are an error; otherwise they are flagged in the report's notes.
        features: folder of a store that `unifusion encode` filled: what it holds is neither decoded nor encoded; the rest is, as without.
            Stored features are rounded to bf16, and answers are those of the rounded ones.
    """

    def __init__(
        self, model: Any, processor: Conversing, *, limits: Limits | None = None, isolate: bool = False, strict: bool = True,
        features: str | Path | None = None,
    ) -> None:  # fmt: skip
        self.prefixes: Prefixes | None = None
        """Where it is set, what is asked of a clip again does not read the clip again."""
        self.model = model.eval()
        self.processor = processor.use(limits=limits, isolate=isolate, strict=strict)
        if features is not None:
            self.processor = processor.with_opener(_from_store(processor, model, features))
        self.limits = self.processor.limits
        length = getattr(model.language_model.config, "max_position_embeddings", None) or self.limits.max_tokens
        self.context = min(int(length), self.limits.max_tokens)

    @classmethod
    def from_pretrained(cls, folder: str | Path = "checkpoints/tiny-chat", *, device: str = "cpu", **options: Any) -> Engine:
        """Load a checkpoint folder, or one that ships, by name.

        An existing multimodal chat model of transformers is taken too, by folder or hub name: see `models.existing.supported`.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        model, processor = _loaded(folder, device)
        return cls(model, processor, **options)

    def session(self, *, system: str = "") -> Session:
        """Begin a conversation."""
        return Session(self, system=system)

    def open(self, media: Media) -> tuple[OpenedMedia, dict[str, float]]:
        """Decode and encode a clip once; returns it with its features, and the seconds spent.

        Raises:
            MediaError: it cannot be decoded.
        """
        began = time.perf_counter()
        opened = self.processor.open(media)
        decoded = time.perf_counter()
        opened = self.encode(opened)
        return opened, {"decode_s": decoded - began, "encode_s": time.perf_counter() - decoded}

    def encode(self, opened: OpenedMedia) -> OpenedMedia:
        """Replace each stream's input by its encoder's output, so that no later question encodes it again."""
        encoded: OpenedMedia = self.model.encoded(opened, self.processor)
        return encoded

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 8,
        side: str = "left",
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    ) -> list[Answer | UniFusionError]:
        """Answer many conversations in batches; an item that fails holds its error, the others are answered.

        Answers equal those asked one at a time (fp32, greedy).
        """
        out: list[Answer | UniFusionError] = []
        for start in range(0, len(conversations), batch_size):
            out += self._answer_batch(conversations[start : start + batch_size], max_new_tokens, side, sampling)
        return out

    def _answer_batch(
        self, conversations: Sequence[Conversation], max_new_tokens: int, side: Any, sampling: Sampling
    ) -> list[Answer | UniFusionError]:
        """One batch of `answer`."""
        began = time.perf_counter()
        rows = [self._row(c) for c in conversations]
        good = [r for r in rows if isinstance(r, Row)]
        opened_s = time.perf_counter() - began
        ids: list[list[int]] = []
        room = [min(max_new_tokens, self.limits.max_new_tokens, self.context - len(r.ids)) for r in good]
        if good:
            read = None if self.prefixes is None else partial(self.prefixes.read, good)
            batch = None if read is not None else self.processor.collate(good, side=side).to(self.model.device)
            ids = decode_batch(
                self.model, batch, end_ids=self.processor.end_ids, max_new_tokens=room,
                pad_id=self.processor.tokenizer.pad_token_id, sampling=sampling, read=read,
            )  # fmt: skip
        total = time.perf_counter() - began
        found = iter(zip(ids, room, strict=True))
        out: list[Answer | UniFusionError] = []
        for row in rows:
            if not isinstance(row, Row):
                out.append(row)
                continue
            said, most = next(found)
            text = self.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
            timing = {"open_s": opened_s / len(rows), "total_s": total / len(rows), "new_tokens": float(len(said))}
            out.append(Answer(text=text, report=row.report, timing=timing, stopped=len(said) < most, ids=said))
        return out

    def _row(self, conversation: Conversation) -> Row | UniFusionError:
        """A conversation as a prompt with its clips encoded, or what went wrong."""
        try:
            opened = [self.open(m)[0] for m in conversation.media]
            return self.fitting(self.processor.row(conversation, opened=opened, generate=True), conversation)
        except UniFusionError as error:
            return error

    def fitting(self, row: Row, conversation: Conversation) -> Row:
        """Return a conversation's prompt.

        Raises:
            LimitError: it is longer than the model can read.
        """
        if len(row.ids) >= self.context:
            raise LimitError(
                f"conversation {conversation.id or '(unnamed)'} has {len(row.ids)} tokens, the model takes {self.context};",
                remedy="show a shorter span of the clip, or ask in fewer words.",
            )
        return row

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str = "", batch_size: int = 8
    ) -> list[LabelScores | UniFusionError]:
        """Likelihood of each label as the answer, per conversation, in batches; an item that fails holds its error.

        Args:
            conversations: the questions.
            labels: of each.
            task: its temperature, biases and threshold are taken from the checkpoint, where it has any.
            batch_size: conversations that are read together.
        """
        out: list[LabelScores | UniFusionError] = []
        for start in range(0, len(conversations), batch_size):
            some = slice(start, start + batch_size)
            rows = [self._row(c) for c in conversations[some]]
            good = [(row, tuple(own)) for row, own in zip(rows, labels[some], strict=True) if isinstance(row, Row)]
            prompts = [row for row, _ in good]
            read = None if self.prefixes is None else partial(self.prefixes.read, prompts)
            found = iter(score_batch(self.model, self.processor, prompts, [own for _, own in good], read=read) if good else ())
            out += [self._told(next(found), task) if isinstance(row, Row) else row for row in rows]
        return out

    def _told(self, scores: LabelScores, task: str) -> LabelScores | UniFusionError:
        """Calibrated scores, or why there are none."""
        try:
            return self.calibrated(scores, task).checked()
        except CheckpointError as error:
            return error

    def calibrated(self, scores: LabelScores, task: str) -> LabelScores:
        """Scores with the temperature, the biases and the threshold that the checkpoint holds for a task."""
        return replace(scores, **(self.model.config.calibration or {}).get(task, {}))

    def emotion(
        self, media: Sequence[Media], *, labels: Sequence[str] | None = None, history: Sequence[Mapping[str, str]] = (), said: str = ""
    ) -> EmotionAnswer:
        """Label with probabilities, valence and arousal, and a rationale with evidence; the clips are opened once.

        Args:
            media: clips of one moment.
            labels: to choose among; None takes the task's default.
            history: what was said before, `{"speaker", "text"}`, the oldest first.
            said: the words, where there is no clip.

        Raises:
            MediaError: a clip cannot be decoded.
        """
        (answer,) = self.emotions([media], labels=labels, history=[history], said=[said])
        if isinstance(answer, UniFusionError):
            raise answer
        return answer

    def emotions(
        self, clips: Sequence[Sequence[Media]], *, labels: Sequence[str] | None = None, batch_size: int = 8,
        history: Sequence[Sequence[Mapping[str, str]]] = (), said: Sequence[str] = (),
    ) -> list[EmotionAnswer | UniFusionError]:  # fmt: skip
        """`emotion` of many groups of clips, in batches; a group that fails holds its error, the others are answered."""
        from unifusion.engine.emotion import answer_emotions

        out = []
        for some in (slice(i, i + batch_size) for i in range(0, len(clips), batch_size)):
            out += answer_emotions(self, clips[some], labels=labels, history=history[some], said=said[some])
        return out


def _from_store(processor: Conversing, model: Any, folder: str | Path) -> StoredOpener:
    """Opens clips from a store, and those that are not there as the processor does.

    Raises:
        ConfigError: there is no such folder, nothing in it is of these encoders, or the model is not one of ours.
    """
    if not isinstance(processor, UniFusionProcessor):
        raise ConfigError("only clips of our own models' encoders are stored;", remedy="leave --features out.")
    stored = stored_opener(processor, model, folder, otherwise=processor.opener.open)
    if not any(len(store) for store in stored.stores.values()):
        wanted = ", ".join(store.folder.name for store in stored.stores.values())
        raise ConfigError(
            f"{folder} holds no features of this model's encoders as it uses them (wanted: {wanted});",
            remedy="fill it with `unifusion encode CLIPS.. --model MODEL -o STORE`, --lenient there where it is said here.",
        )
    return stored


def _loaded(source: str | Path, device: str) -> tuple[Any, Conversing]:
    """A model and its processor: ours, or an existing one."""
    folder = resolve_checkpoint(source)
    if checkpoint.is_ours(folder):
        return checkpoint.load(folder, device=device)
    from unifusion.models.existing import load_existing

    return load_existing(folder, device=device)
