"""LangChain's chat model around the engine: clips in content blocks, streaming, counts of tokens, and what was really seen and heard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

from unifusion.engine import Engine, Session
from unifusion.engine.decoding import Sampling
from unifusion.errors import ConfigError
from unifusion.integrations.langchain.content import Turn, turns_of

__all__ = ["ChatUniFusion"]

_PER_CALL = ("max_tokens", "temperature", "top_p", "seed")


class ChatUniFusion(BaseChatModel):
    """A chat model that sees and hears: ours, or an existing multimodal one of transformers.

    Messages are read anew in each call, and the clips in them decoded anew; `unifusion.engine.Session` keeps both. Tools and structured
    output are not supported: `bind_tools` and `with_structured_output` raise NotImplementedError.

    An answer's `response_metadata` has `model_name`, `modality_report` (`ModalityReport.to_dict()`), `timing` in seconds and
    `finish_reason`: `stop`, `length`, or `timeout`.
    """

    model: str = "checkpoints/tiny-chat"
    """Folder of a checkpoint, or the name of one that ships; loaded when first used."""
    engine: Any = Field(default=None, exclude=True, repr=False)
    """An `Engine` that is loaded already, instead."""
    max_tokens: int = 128
    """Longest answer."""
    temperature: float = 0.0
    """0 is greedy: the same messages give the same answer."""
    top_p: float = 1.0
    seed: int = 0
    stop: list[str] | None = None
    """Texts before which an answer ends."""
    timeout: float | None = None
    """Seconds after which an answer is cut."""
    media_folder: str | None = None
    """Files in messages must lie in it; None takes any file that this process can read, so set it where strangers write messages."""
    device: str = "cpu"
    isolate: bool = False
    """Decode clips in a killable child process."""
    _engine: Any = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        """Name of the kind."""
        return "unifusion"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What answers depend on."""
        return {"model": self.model, "max_tokens": self.max_tokens, "temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}

    def _loaded(self) -> Engine:
        """The engine.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        if self._engine is None:
            self._engine = self.engine or Engine.from_pretrained(self.model, device=self.device, isolate=self.isolate)
        loaded: Engine = self._engine
        return loaded

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:  # fmt: skip
        """The whole answer."""
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:  # fmt: skip
        """The answer as it is made; the last piece has the counts and the report.

        Raises:
            ConfigError: a message or an option that this model does not take.
            MediaError: a clip cannot be decoded.
        """
        if unknown := sorted(set(kwargs) - {*_PER_CALL, "stream"}):
            raise ConfigError(f"options {', '.join(unknown)};", remedy=f"this model takes {', '.join(_PER_CALL)} for one call.")
        chosen = {name: getattr(self, name) if kwargs.get(name) is None else kwargs[name] for name in _PER_CALL}
        session, turn = self._told(messages)
        began, late = time.monotonic(), False
        sampling = Sampling(temperature=chosen["temperature"], top_p=chosen["top_p"], seed=chosen["seed"])
        shown = _Shown(stop if stop is not None else self.stop or [])
        deltas: Any = session.stream(turn.question, max_new_tokens=chosen["max_tokens"], sampling=sampling)
        asked = 0
        with closing(deltas):
            for delta in deltas:
                asked = asked or len(session.row.ids)
                if piece := shown.take(delta):
                    yield self._piece(piece, run_manager)
                late = self.timeout is not None and time.monotonic() - began > self.timeout
                if shown.stopped or late:
                    break
        if rest := shown.rest():
            yield self._piece(rest, run_manager)
        yield self._last(session, asked, "timeout" if late else "stop" if shown.stopped else "")

    def _told(self, messages: list[BaseMessage]) -> tuple[Session, Turn]:
        """A session that knows all but the last turn, whose clips wait in it, and that turn."""
        engine = self._loaded()
        folder = Path(self.media_folder) if self.media_folder is not None else None
        system, turns = turns_of(messages, limits=engine.limits, media_folder=folder)
        session = engine.session(system=system)
        for turn in turns:
            for media in turn.media:
                session.add(media)
            if turn.answer is not None:
                session.tell(turn.question, turn.answer)
        return session, turns[-1]

    def _piece(self, text: str, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
        """A piece of the answer, told to whoever listens."""
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
        if run_manager is not None:
            run_manager.on_llm_new_token(text, chunk=chunk)
        return chunk

    def _last(self, session: Session, asked: int, ended: str) -> ChatGenerationChunk:
        """The empty piece that ends an answer."""
        answer = session.answer
        end = len(session.engine.processor.text.control(session.engine.processor.format.assistant_end))
        total = len(session.row.ids) - end
        new = len(answer.ids) if answer is not None else total - asked
        finish = ended or ("stop" if answer is not None and answer.stopped else "length")
        told = {
            "model_name": self.model, "modality_report": session.report.to_dict(), "finish_reason": finish,
            "timing": dict(answer.timing) if answer is not None else {},
        }  # fmt: skip
        usage = UsageMetadata(input_tokens=total - new, output_tokens=new, total_tokens=total)
        return ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=usage, response_metadata=told, chunk_position="last"),
            generation_info={"finish_reason": finish},
        )  # fmt: skip


class _Shown:
    """Text that may be shown: what could be the beginning of a stop text waits.

    Args:
        stops: texts before which the answer ends.
    """

    def __init__(self, stops: list[str]) -> None:
        self.stops = [text for text in stops if text]
        self.stopped = False
        self._waiting = ""

    def take(self, delta: str) -> str:
        """What may be shown after this piece."""
        self._waiting += delta
        found = [at for text in self.stops if (at := self._waiting.find(text)) >= 0]
        if found:
            self.stopped = True
            shown, self._waiting = self._waiting[: min(found)], ""
            return shown
        kept = max((n for text in self.stops for n in range(1, len(text)) if self._waiting.endswith(text[:n])), default=0)
        shown, self._waiting = self._waiting[: len(self._waiting) - kept], self._waiting[len(self._waiting) - kept :]
        return shown

    def rest(self) -> str:
        """What waited, at the end."""
        shown, self._waiting = self._waiting, ""
        return shown
