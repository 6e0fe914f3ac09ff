"""The models that lmms-eval makes: `--model unifusion`. Imported by lmms-eval alone, through the entry point."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms

from unifusion.conversation import Conversation
from unifusion.engine import Engine
from unifusion.errors import ConfigError
from unifusion.integrations.lmms_eval.asking import ask, rounds, score
from unifusion.integrations.lmms_eval.generation import Wanted, read_wanted
from unifusion.integrations.lmms_eval.messages import conversation_of, messages_of
from unifusion.limits import Limits

__all__ = ["UniFusionChat", "UniFusionSimple"]

_LONGEST = 32_768
"""Tasks ask for up to so many new tokens; the model's context bounds an answer anyway."""


class UniFusionChat(lmms):  # type: ignore[misc]
    """A chat model of this package, or an existing one of transformers, behind lmms-eval's chat interface.

    Args:
        pretrained: folder, name of a shipped checkpoint, or hub name.
        device: `cpu`, `cuda:0` ..
        batch_size: requests that are read together; answers equal those of one at a time.
        max_batch_size: refused, lmms-eval's "auto" is not there.
        max_new_tokens: of tasks that do not say.
        isolate: decode in a killable child process.
        strict: damaged clips are errors.
        on_error: "raise", or "empty": a request that fails is answered by "", and logged.

    Raises:
        ConfigError: an argument that it does not take, or several processes.
        CheckpointError: the model cannot be loaded.
    """

    is_simple = False

    def __init__(
        self, pretrained: str = "checkpoints/tiny-chat", *, device: str | None = None, batch_size: int | str = 1,
        max_batch_size: int | None = None, max_new_tokens: int = 64, isolate: bool = False, strict: bool = True, on_error: str = "raise",
    ) -> None:  # fmt: skip
        super().__init__()
        if max_batch_size is not None or not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ConfigError(f"batch_size={batch_size!r}, max_batch_size={max_batch_size!r};", remedy="give --batch_size a number.")
        if on_error not in ("raise", "empty"):
            raise ConfigError(f"on_error={on_error!r};", remedy="wanted raise or empty.")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("this model runs in one process;", remedy="start lmms-eval without torchrun or accelerate launch.")
        self.max_new_tokens = max_new_tokens
        self.options: dict[str, Any] = {"batch_size": int(batch_size), "on_error": on_error}
        limits = replace(Limits(), max_new_tokens=_LONGEST)
        self.engine = Engine.from_pretrained(pretrained, device=device or "cpu", limits=limits, isolate=isolate, strict=strict)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests in words; each with the number of its tokens."""
        parted = [self._parted(request) for request in requests]
        talks = [conversation_of(begin(), name) for begin, _, name in parted]
        answers = ask(self.engine, talks, [how for _, how, _ in parted], **self.options)
        return [GenerationResult(text=text, token_counts=TokenCounts(output_tokens=count)) for text, count in answers]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[list[str]]:
        """Answer requests of several rounds; each its list of answers."""
        parted = [self._parted(request) for request in requests]
        begin, names = [b for b, _, _ in parted], [name for _, _, name in parted]
        return rounds(self.engine, begin, names, conversation_of, [how for _, how, _ in parted], **self.options)

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Score endings: of each its loss as the whole answer (see `asking.score`), and whether it is the greedy one.

        Each pair comes as the text of a GenerationResult: a bare pair is made into a string by lmms-eval 0.7.3, on which its own tasks of
        options then fail, whatever the model.
        """
        shown: dict[tuple[Any, ...], Conversation] = {}
        talks, endings = [], []
        for request in requests:
            text, ending, *where = request.args
            key = (text, *where[1:])
            if not where:  # an option without its question (acc_mutual_info)
                shown.setdefault(key, conversation_of(messages_of((), text), "an option alone"))
            elif key not in shown:
                doc, name = self._doc(*where[1:])
                shown[key] = conversation_of(messages_of(where[0](doc), text), name)
            talks.append(shown[key])
            endings.append(ending if isinstance(ending, str) else str(ending(self._doc(*where[1:])[0])))
        return [GenerationResult(text=pair) for pair in score(self.engine, talks, endings, **self.options)]

    def _parted(self, request: Any) -> tuple[Callable[..., Any], Wanted, str]:
        """What gives a chat request's messages, how the answer is wanted, and what errors call it.

        Raises:
            ConfigError: the request is not one of the lmms-eval that this was made for.
        """
        if len(request.args) != 6 or not callable(request.args[1]):
            raise ConfigError(f"a chat request has {len(request.args)} parts;", remedy="install the lmms-eval of docs/lmms_eval.md.")
        _, messages, kwargs, *where = request.args
        doc, name = self._doc(*where)
        return partial(messages, doc), read_wanted(kwargs, max_new_tokens=self.max_new_tokens), name

    def _doc(self, number: int, task: str, split: str) -> tuple[Any, str]:
        """A row of a task and what errors call it."""
        return self.task_dict[task][split][number], f"{task}, {split}, row {number}"


class UniFusionSimple(UniFusionChat):
    """The same behind lmms-eval's simple interface (`--force_simple`), which alone has tasks that compare options by likelihood."""

    is_simple = True

    def _parted(self, request: Any) -> tuple[Callable[..., Any], Wanted, str]:
        """What gives a simple request's messages, how the answer is wanted, and what errors call it."""
        text, kwargs, visual, *rest = request.args
        doc, name = self._doc(*rest[-3:])
        wanted = read_wanted(kwargs, max_new_tokens=self.max_new_tokens)
        if len(rest) == 3:
            return lambda: messages_of(visual(doc), text), wanted, name
        return partial(_round, text, visual, rest[0], doc), wanted, name


def _round(
    text: str, visual: Callable[[Any], Any], again: Callable[..., Any], doc: Any, *, round_idx: int | None = None, **before: Any
) -> Any:
    """The first question of a simple task of several rounds; later ones as chat tasks give them."""
    if round_idx is None:
        return messages_of(visual(doc), text)
    media, asked, ended, said, info = again(doc, round_idx=round_idx, **before)
    return (None if ended else messages_of(media, asked)), ended, said, info
