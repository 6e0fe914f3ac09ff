"""How turns are written for a language model: six control strings, found once and stored with the checkpoint.

User text is never rendered into a template. A conversation becomes a list of segments (control string, text, media), each
tokenised by itself, so the supervised positions are known as they are made and nothing is recovered by splitting.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from unifusion.errors import ConfigError

__all__ = ["ChatFormat"]

_MARKS = ("zqsystemqz", "zqfirstqz", "zqsecondqz", "zqthirdqz", "zqfourthqz")


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """The control strings around the contents of a conversation.

    Attributes:
        first: before the first user's content when there is no system message.
        system: before the system's content; None when the model knows no system role (its text then opens the user's).
        system_to_user: between the system's content and the first user's.
        user_to_assistant: between a user's content and the answer; also the generation prompt.
        assistant_end: what ends an answer; supervised with it.
        next_user: after `assistant_end`, before the next user's content.
        before_text: before each text of a user, behind the clips.
    """

    first: str = "<|user|>"
    system: str | None = "<|system|>"
    system_to_user: str = "<|end|><|user|>"
    user_to_assistant: str = "<|end|><|assistant|>"
    assistant_end: str = "<|end|>"
    next_user: str = "<|user|>"
    before_text: str = ""

    SPECIAL = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    """Control tokens of the default format."""

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ChatFormat:
        """Read the form written to processor_config.json."""
        return cls(**raw)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {k: v for k, v in asdict(self).items() if k != "before_text" or v}

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, *, parts: bool = False) -> ChatFormat:
        """Find the control strings of a tokenizer's own chat template, or take the default where it has none.

        Probe conversations with known marks as contents are rendered and cut at the marks; a template that drops or doubles
        a mark cannot be used so and raises. Templates that can think aloud are asked not to, since labels are scored as answers.

        Args:
            tokenizer: of the language model.
            parts: contents are shown to the template as lists of parts, as templates of multimodal models want them.

        Raises:
            ConfigError: the template does not keep contents in order, or nothing ends an answer.
        """
        if not getattr(tokenizer, "chat_template", None):
            return cls()
        system, first, second, third, fourth = _MARKS
        roles = ("user", "assistant", "user", "assistant")
        talk = [_turn(role, mark, parts) for role, mark in zip(roles, (first, second, third, fourth), strict=True)]
        start, _, to_user, _, end = _cut(tokenizer, talk, [first, second, third, fourth])
        _, prompt = _cut(tokenizer, talk[:1], [first], generate=True)
        answer_end = _shared_start(tokenizer, to_user, end)
        before_system, after_system = None, ""
        try:
            before_system, after_system, _ = _cut(tokenizer, [_turn("system", system, parts), talk[0]], [system, first], generate=True)
        except Exception as error:  # a template without a system role says so by a jinja2 error of its own making: there is none then
            if not isinstance(error, ConfigError) and "jinja2" not in type(error).__module__:
                raise
        return cls(
            first=start, system=before_system, system_to_user=after_system, user_to_assistant=prompt,
            assistant_end=answer_end, next_user=to_user.removeprefix(answer_end),
        )  # fmt: skip

    def jinja(self) -> str:
        """A chat_template.jinja that renders the same text, for tools that want one; media parts become `<|video|>` and so on."""
        q = repr
        joint = self.system_to_user if self.system is not None else "\n"
        before_user = f"{q(self.first)} if loop.first else ({q(joint)} if loop.previtem.role == 'system' else {q(self.next_user)})"
        return (
            "{%- macro show(c) -%}{%- if c is string -%}{{ c }}{%- else -%}{%- for p in c -%}"
            "{%- if p.type == 'text' -%}{{ p.text }}{%- else -%}{{ '<|' + p.type + '|>' }}{%- endif -%}"
            "{%- endfor -%}{%- endif -%}{%- endmacro -%}{%- for m in messages -%}"
            f"{{%- if m.role == 'system' -%}}{{{{ {q(self.system or self.first)} + show(m.content) }}}}"
            f"{{%- elif m.role == 'user' -%}}{{{{ ({before_user}) + show(m.content) + {q(self.user_to_assistant)} }}}}"
            f"{{%- else -%}}{{% generation %}}{{{{ show(m.content) + {q(self.assistant_end)} }}}}{{% endgeneration %}}"
            "{%- endif -%}{%- endfor -%}"
        )


def _turn(role: str, content: str, parts: bool) -> dict[str, Any]:
    """One message as tokenizers take it, or as multimodal processors do."""
    return {"role": role, "content": [{"type": "text", "text": content}] if parts else content}


def _shared_start(tokenizer: Any, to_user: str, end: str) -> str:
    """What ends an answer wherever it stands: the common start of both ends that no token straddles, else the tokenizer's end token.

    Raises:
        ConfigError: there is neither.
    """

    def splits(text: str, at: int) -> bool:
        whole = tokenizer.encode(text, add_special_tokens=False)
        return bool(tokenizer.encode(text[:at], add_special_tokens=False) + tokenizer.encode(text[at:], add_special_tokens=False) == whole)

    length = next((i for i, (a, b) in enumerate(zip(to_user, end, strict=False)) if a != b), min(len(to_user), len(end)))
    shared = end[:length]
    for at in range(len(shared), 0, -1):
        if all(splits(text, at) for text in (to_user, end)):
            return shared[:at]
    if not (shared or tokenizer.eos_token):
        raise ConfigError(
            "nothing ends an answer in the tokenizer's chat template;", remedy="give a ChatFormat of your own (chat_format=...)."
        )
    return shared or str(tokenizer.eos_token)


def _cut(tokenizer: Any, talk: list[dict[str, Any]], marks: list[str], *, generate: bool = False) -> list[str]:
    """Render `talk` and return the texts before, between and after the marks."""
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=generate, enable_thinking=False)
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise ConfigError(
                f"the tokenizer's chat template does not show each message once and in order (lost {mark!r});",
                remedy="give a ChatFormat of your own (chat_format=...).",
            )
        pieces.append(before)
    return [*pieces, text]
