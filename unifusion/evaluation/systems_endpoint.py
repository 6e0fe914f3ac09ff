"""A model behind an OpenAI-compatible server, measured like one on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from unifusion.conversation import Conversation, Media
from unifusion.engine import Answer, LabelScores
from unifusion.errors import ConfigError, LimitError, UniFusionError
from unifusion.evaluation.systems_media import Sent, Style, sent
from unifusion.limits import Limits
from unifusion.processor.conversing import check_limits, merge_reports
from unifusion.processor.layout import stamped
from unifusion.wire import EndpointError, Wire, answer_of, with_fields

__all__ = ["EndpointSystem"]


@dataclass(kw_only=True)
class EndpointSystem:
    """Answers by `POST /chat/completions`, at temperature 0; asked as an `Engine` is. It cannot score labels.

    Attributes:
        wire: the server, with time limits and retries.
        model: its name there.
        style: how clips with moving pictures are sent, see `systems_media.sent`.
        concurrency: requests at the same time.
        max_bytes: of the files of one conversation.
        media: further choices of `systems_media.sent`: frames, rate_hz, max_seconds, isolate.
        body: further fields of the request (`seed`, `chat_template_kwargs` ..); they go before ours.
        limits: of texts, number of clips and decoding.
        give_up: requests in a row that failed for the server's own sake (unreachable, refused whatever is asked), after which it is gone.
    """

    wire: Wire
    model: str
    style: Style = "video_url"
    concurrency: int = 4
    max_bytes: int = 64 * 1024**2
    media: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    give_up: int = 10

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("the model of the endpoint is not named;", remedy="--endpoint-model NAME")
        if self.concurrency < 1:
            raise ConfigError(f"{self.concurrency} requests at the same time;", remedy="wanted 1 or more.")
        self._in_a_row = 0

    @classmethod
    def at(cls, url: str, model: str, *, key_env: str = "", timeout_s: float = 120.0, retries: int = 3, **options: Any) -> EndpointSystem:
        """Name a server by its address.

        Args:
            url: such as `http://localhost:8000/v1`.
            model: its name there.
            key_env: environment variable that holds the key; "" sends none.
            timeout_s, retries: of each request.
            options: of the class.

        Raises:
            ConfigError: the address is none, or the variable is empty.
        """
        key = os.environ.get(key_env) if key_env else None
        if key_env and not key:
            raise ConfigError(f"the environment variable {key_env} is empty;", remedy="put the endpoint's key into it.")
        return cls(wire=Wire(url=url, key=key, timeout_s=timeout_s, retries=retries), model=model, **options)

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.model} at {self.wire.host}"

    @property
    def weights(self) -> str:
        """A hash of what answers: nobody can know what is behind a server."""
        return ""

    @property
    def can_score(self) -> bool:
        """No server tells how likely an answer is that it did not give."""
        return False

    @property
    def shown(self) -> dict[str, Any]:
        """How clips are sent, and what is added to requests."""
        return {"style": self.style, **self.media, **({"body": dict(self.body)} if self.body else {})}

    def forget(self) -> None:
        """Let kept clips go: none is kept."""

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int = 64, batch_size: int = 8
    ) -> list[Answer | UniFusionError]:
        """Ask all, `concurrency` at a time; an item that fails holds its error. `batch_size` is the server's own business.

        Raises:
            EndpointError: the server is gone.
        """
        del batch_size
        pool = ThreadPoolExecutor(max_workers=self.concurrency)
        try:
            waiting = [pool.submit(self._answered, c, max_new_tokens) for c in conversations]
            return [self._counted(w.result()) for w in waiting]
        finally:  # interrupted: what has not begun is not begun
            pool.shutdown(wait=True, cancel_futures=True)

    def _counted(self, answer: Answer | UniFusionError) -> Answer | UniFusionError:
        """The answer, where the server is not gone.

        Raises:
            EndpointError: it is.
        """
        failed = isinstance(answer, EndpointError) and answer.gone
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if isinstance(answer, EndpointError) and self._in_a_row >= self.give_up:
            found = f"{self._in_a_row} requests in a row failed, the last: {answer.found}"
            remedy = f"{answer.remedy} What was answered is kept; the same command with --retry-errors goes on."
            raise EndpointError(found, remedy=remedy) from answer
        return answer

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str = "", batch_size: int = 8
    ) -> list[LabelScores | UniFusionError]:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        del conversations, labels, task, batch_size
        raise ConfigError(f"{self.name} does not tell how likely an answer is;", remedy="score options by generation.")

    def _answered(self, conversation: Conversation, max_new_tokens: int) -> Answer | UniFusionError:
        """One answer, or what went wrong."""
        began = time.perf_counter()
        try:
            check_limits(conversation, self.limits)
            clips = [sent(m, style=self.style, limits=self.limits, **self.media) for m in conversation.media]
            heavy = sum(shown.n_bytes for shown in clips)
            if heavy > self.max_bytes:
                raise LimitError(
                    f"{conversation.id or 'a conversation'} holds files of {heavy} bytes, at most {self.max_bytes} are sent;",
                    remedy="show shorter spans, or raise max_bytes.",
                )
            sending = time.perf_counter()
            reply = self.wire.post("/chat/completions", self._request(conversation, clips, max_new_tokens))
            text, ended = answer_of(reply, self.name)
        except UniFusionError as error:
            return error
        now = time.perf_counter()
        usage = reply.get("usage")
        count = usage.get("completion_tokens") if isinstance(usage, dict) else None
        timing = {"open_s": sending - began, "total_s": now - began, "new_tokens": float(count) if isinstance(count, int) else 0.0}
        return Answer(text=text, report=merge_reports([c.opened for c in clips]), timing=timing, stopped=ended)

    def _request(self, conversation: Conversation, clips: Sequence[Sent], max_new_tokens: int) -> dict[str, Any]:
        """The body. A message without clips is plain text, which every server takes."""
        left = iter(clips)
        messages: list[dict[str, Any]] = []
        for message in conversation.messages:
            content: list[Mapping[str, Any]] = []
            for part in message.parts:
                content += _shown(next(left)) if isinstance(part, Media) else [_text(part)]
            plain = all(p["type"] == "text" for p in content)
            messages.append({"role": message.role, "content": "".join(p["text"] for p in content) if plain else content})
        ours = {"model": self.model, "messages": messages, "max_tokens": max_new_tokens, "temperature": 0, "stream": False}
        return with_fields(ours, self.body)


def _shown(clip: Sent) -> list[Mapping[str, Any]]:
    """Content parts of one clip: its files, its timed words."""
    return [*clip.parts, *(_text(stamped(line).text) for line in clip.opened.shown_lines)]


def _text(text: str) -> Mapping[str, Any]:
    """A content part."""
    return {"type": "text", "text": text}
