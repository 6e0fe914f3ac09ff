"""Task: do what a talk's last turn asks, whatever that is."""

from __future__ import annotations

from dataclasses import replace

from unifusion.conversation import Conversation, Example, Media, Message
from unifusion.errors import DatasetError
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import FreeAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["Instruction"]


class Instruction(Task):
    """The next answer of a talk, scored by ROUGE-L; `texts["answer"]` is the true one, further ones are in `labels["answers"]`.

    `labels["turns"]` holds the messages so far, the last one the user's; their clips are, in order, those of the example, or none are
    shown where it has none. Without turns `texts["question"]` is all that was said.
    """

    prompt = "instruction"
    metric = "rouge_l"

    def conversation(self, example: Example, *, with_answer: bool = False) -> Conversation:
        """The talk in its own words."""
        turns = example.labels.get("turns")
        if not turns:
            return super().conversation(example, with_answer=with_answer)
        if not isinstance(turns, list | tuple) or not all(isinstance(turn, Message) for turn in turns):
            raise DatasetError(f"example {example.id!r} has turns {turns!r};", remedy="give a list of Message.")
        messages = _with_clips(tuple(turns), example)
        if with_answer:
            messages += (Message(role="assistant", parts=(str(self.truth(example, "answer")),), supervised=True),)
        return Conversation(messages=messages, id=example.id)

    def score(self, answer: str, example: Example) -> Score:
        """ROUGE-L against the best reference; the details hold the overlap F1 of words."""
        references = [str(self.truth(example, "answer")), *self.further(example, "answers")]
        parsed = self.parse(answer, example)
        if not isinstance(parsed, FreeAnswer):
            return Score(value=0.0)
        return Score(value=rouge_l(parsed.text, references), parsed=parsed.text, details={"token_f1": token_f1(parsed.text, references)})


def _with_clips(turns: tuple[Message, ...], example: Example) -> tuple[Message, ...]:
    """The turns with the clips that the example has now.

    Raises:
        DatasetError: it has some, and not as many as the turns.
    """
    count = sum(isinstance(p, Media) for m in turns for p in m.parts)
    if example.media and len(example.media) != count:
        raise DatasetError(f"example {example.id!r} has {len(example.media)} clips, its turns {count};", remedy="give one for each.")
    clips = iter(example.media)
    return tuple(replace(m, parts=tuple(_parts(m, clips))) for m in turns)


def _parts(message: Message, clips: object) -> list[str | Media]:
    """Parts with each clip replaced by the next one; where none is left it is not shown."""
    found = [next(clips, None) if isinstance(p, Media) else p for p in message.parts]  # type: ignore[call-overload]
    return [p for p in found if p is not None]
