"""How a question over passages is put: the template `cited_qa`, filled with words that are quoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from unifusion.conversation import Conversation, Example, Media
from unifusion.errors import ConfigError
from unifusion.prompts import CitedAnswer, Template, Unparsed, load_template
from unifusion.retrieval.asked import Claim
from unifusion.retrieval.passages import Passage, quoted

__all__ = ["checked", "claims_of", "put"]

_TEMPLATE = "cited_qa"


@lru_cache(maxsize=1)
def _template() -> Template:
    """The template, read once: an answer that grows is parsed with every token."""
    return load_template(_TEMPLATE)


def checked(question: str) -> str:
    """The question without space around it.

    Raises:
        ConfigError: it is empty.
    """
    if not question.strip():
        raise ConfigError("the question is empty;", remedy="write what you want to know.")
    return question.strip()


def put(
    question: str, passages: Sequence[Passage], media: Sequence[Media] = (), *, described: Mapping[int, str] | None = None,
    clean: Callable[[str], str] = str,
) -> Conversation:  # fmt: skip
    """The question, after what is known of each passage in words.

    Args:
        question: what a person asked.
        passages: in the order of their numbers.
        media: the passages themselves, for a model that sees and hears.
        described: what somebody wrote of passages, by number.
        clean: what is done to every piece of text from outside.
    """
    windows = []
    for p in passages:
        texts = [(quoted(kind), quoted(words)) for kind, words in p.texts.items()]
        if described and described.get(p.number):
            texts.append(("seen and heard", quoted(described[p.number])))
        windows.append(
            {"number": p.number, "name": clean(quoted(p.name)), "start_s": p.start_s, "end_s": p.end_s,
             "texts": [(clean(kind), clean(words)) for kind, words in texts]}
        )  # fmt: skip
    example = Example(id="ask", media=tuple(media), texts={"question": clean(question)}, labels={"windows": windows})
    return Conversation(messages=_template().messages(example), id="ask")


def claims_of(answer: str) -> list[Claim]:
    """An answer's statements with the numbers that each cites; none where it has no words."""
    parsed = _template().parse(answer)
    if isinstance(parsed, Unparsed):
        return []
    if not isinstance(parsed, CitedAnswer):
        raise ConfigError(f"the prompt {_TEMPLATE} is read as {type(parsed).__name__};", remedy="its parser must be cited.")
    return [Claim(text=s.text, numbers=s.numbers) for s in parsed.statements]
