"""Many requests of lmms-eval at once: grouped by how answers are wanted, batched by length, given back in their order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from unifusion.conversation import Conversation
from unifusion.engine import Engine
from unifusion.engine.labels import label_ids
from unifusion.errors import UniFusionError
from unifusion.integrations.lmms_eval.generation import Wanted

__all__ = ["ask", "rounds", "score"]

LOG = logging.getLogger(__name__)
Begin = Callable[..., Any]
"""`doc_to_messages` of a task of several rounds."""


def ask(
    engine: Engine, conversations: Sequence[Conversation], wanted: Sequence[Wanted], *, batch_size: int = 1, on_error: str = "raise"
) -> list[tuple[str, int]]:  # fmt: skip
    """Answer requests.

    Args:
        engine: answers.
        conversations: the requests.
        wanted: how each is to be answered.
        batch_size: requests that are read together; answers equal those of one at a time.
        on_error: "raise", or "empty": a request that fails has the answer "", which is logged, and which no task takes for an answer.

    Returns:
        Of each its text, cut where the task says, and the number of its tokens.

    Raises:
        UniFusionError: a request failed, and `on_error` is "raise".
    """
    found: list[tuple[str, int]] = [("", 0)] * len(conversations)
    groups: dict[Wanted, list[int]] = {}
    for number, one in enumerate(wanted):
        groups.setdefault(replace(one, until=()), []).append(number)
    for how, numbers in groups.items():
        ordered = sorted(numbers, key=lambda n: _length(conversations[n]))
        for some in _shown(ordered, batch_size, "answers"):
            answers = engine.answer(
                [conversations[n] for n in some], max_new_tokens=how.max_new_tokens, batch_size=batch_size, sampling=how.sampling
            )
            for n, answer in zip(some, answers, strict=True):
                if told := _good(answer, conversations[n], on_error):
                    found[n] = (wanted[n].cut(told.text), len(told.ids))
    return found


def rounds(
    engine: Engine, begin: Sequence[Begin], names: Sequence[str], to_conversation: Callable[[Any, str], Conversation],
    wanted: Sequence[Wanted], **options: Any,
) -> list[list[str]]:  # fmt: skip
    """Answer tasks of several rounds; all that are still in one are answered together.

    Args:
        engine: answers.
        begin: of each request `doc_to_messages`; called bare for the first round, later with `round_idx`, `previous_output` and
            `previous_round_info`, when it gives (messages, whether it ended, .., info).
        names: of the requests.
        to_conversation: messages and a name -> conversation.
        wanted: how each is to be answered.
        options: of `ask`.
    """
    said: list[list[str]] = [[] for _ in begin]
    info: list[Any] = [None] * len(begin)
    going, number = list(range(len(begin))), 0
    while going:
        shown = {}
        for n in going:
            if not number:
                shown[n] = begin[n]()
                continue
            told = begin[n](round_idx=number, previous_output=list(said[n]), previous_round_info=info[n])
            if isinstance(told, tuple) and len(told) == 4 and not told[1]:
                shown[n], info[n] = told[0], told[3]
        going = list(shown)
        talks = [to_conversation(shown[n], names[n]) for n in going]
        for n, (text, _) in zip(going, ask(engine, talks, [wanted[n] for n in going], **options), strict=True):
            said[n].append(text)
        number += 1
    return said


def score(
    engine: Engine, conversations: Sequence[Conversation], endings: Sequence[str], *, batch_size: int = 1, on_error: str = "raise"
) -> list[tuple[float, bool]]:  # fmt: skip
    """Score one ending of each conversation; those of one conversation (the options of a question) share its prefix.

    Returns:
        Of each its negative log-likelihood as the whole answer, and whether it is what greedy decoding gives. lmms-eval's interface speaks
        of a log-likelihood, but its tasks take the smallest number for the best option, and its own models return a loss.

    Raises:
        UniFusionError: a request failed, and `on_error` is "raise"; with "empty" it has an infinite loss.
    """
    asked: dict[Conversation, list[int]] = {}
    for number, conversation in enumerate(conversations):
        asked.setdefault(conversation, []).append(number)
    found: list[tuple[float, bool]] = [(float("inf"), False)] * len(conversations)
    ordered = sorted(asked, key=_length)
    for some in _shown(ordered, batch_size, "options"):
        options = [list(dict.fromkeys(endings[n].strip() for n in asked[c])) for c in some]
        longest = max(len(label_ids(engine.processor, option)) for own in options for option in own)
        scored = engine.score_labels(some, options, batch_size=batch_size)
        spoken = engine.answer(some, max_new_tokens=longest, batch_size=batch_size)
        for conversation, scores, answer in zip(some, scored, spoken, strict=True):
            told, text = _good(scores, conversation, on_error), _good(answer, conversation, on_error)
            if told is None or text is None:
                continue
            losses = dict(zip(told.labels, told.log_probs, strict=True))
            for n in asked[conversation]:
                ending = endings[n].strip()
                found[n] = (-losses[ending], text.stopped and text.text == ending)
    return found


def _good(found: Any, conversation: Conversation, on_error: str) -> Any:
    """What came, or None where it failed and that is allowed."""
    if not isinstance(found, UniFusionError):
        return found
    if on_error == "raise":
        raise found
    LOG.error("%s has no answer: %s", conversation.id, found)
    return None


def _length(conversation: Conversation) -> tuple[int, int]:
    """What a conversation is sorted by: its clips, then its words."""
    return len(conversation.media), sum(len(m.text) for m in conversation.messages)


def _shown(items: Sequence[Any], size: int, unit: str) -> Iterator[Sequence[Any]]:
    """Some at a time, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=len(items), unit=unit, disable=None) as bar:
        for start in range(0, len(items), size):
            some = items[start : start + size]
            yield some
            bar.update(len(some))
