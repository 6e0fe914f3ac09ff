"""A template: an Example becomes messages, and an answer becomes a typed result.

```yaml
name: emotion                       # the file's stem
description: Which emotion is shown.
task: emotion                       # stem of the task that uses it
fields: [labels, emotion]           # exactly what the texts below read
phrasings:                          # one is picked by (seed, example id)
  - "Which of these does the person feel: {{ labels | join(', ') }}?"
held_out_phrasings: []              # never shown in training
before: "{% if history %}..{% endif %}"  # on lines of its own before any of them; what it reads may be missing
answer: "{{ emotion }}"             # supervised
parser: label                       # a file of unifusion/prompts/parsers
parser_options: {aliases: {happy: [joy]}}
```

A field is looked up in what the caller passes, then in the example's `texts`, then in its `labels`. Filters beyond Jinja's
own: `lettered` ("A. .." lines) and `seconds` (one decimal).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from unifusion import catalog, share
from unifusion.conversation import Example, Message
from unifusion.errors import PromptError, nearest
from unifusion.prompts.parsed import Parsed
from unifusion.prompts.parsers import load_parser
from unifusion.prompts.rendering import compile_source, fields_of, render
from unifusion.prompts.source import TemplateSource, read_source

__all__ = ["Template", "load_template"]


class Template:
    """One prompt template, checked and compiled.

    Args:
        source: the keys of the file, as `source.read_source` checked them.
    """

    def __init__(self, source: TemplateSource) -> None:
        self.source = source
        self.name = source.name
        self._parser = load_parser(source.parser)
        self._phrasings = [compile_source(p) for p in source.phrasings]
        self._held_out = [compile_source(p) for p in source.held_out_phrasings]
        self._system, self._before, self._answer = (compile_source(s) for s in (source.system, source.before, source.answer))
        self._asked = fields_of(source.system) | fields_of(source.phrasings[0])
        self._perhaps = fields_of(source.before) - self._asked
        self._answered = fields_of(source.answer)

    def messages(
        self,
        example: Example,
        *,
        seed: int = 0,
        with_answer: bool = False,
        labels: Sequence[str] = (),
        fields: Mapping[str, Any] | None = None,
        held_out: bool = False,
        phrasing: int | None = None,
    ) -> tuple[Message, ...]:
        """Ask about `example`: a system message where the template has one, media then question, and the answer when wanted.

        Args:
            example: its media come before the question, its texts and labels fill in the fields.
            seed: with the example's id, picks the phrasing; the same on every machine.
            with_answer: adds the supervised answer.
            labels: value of the field `labels`.
            fields: further values, which go before the example's own.
            held_out: picks among the held-out phrasings.
            phrasing: number of the phrasing, from 0, instead of picking one.

        Raises:
            PromptError: a field has no value, or the template has no answer, no held-out phrasings or no phrasing of that number.
        """
        given = {**({"labels": tuple(labels)} if labels else {}), **(fields or {})}
        asked = self._values(example, given, self._asked)
        turns = [Message(role="system", parts=(render(self._system, asked),))] if self.source.system else []
        question = render(self._pick(example, seed, held_out, phrasing), asked)
        if before := render(self._before, {**asked, **self._values(example, given, self._perhaps, missing="")}).strip():
            question = f"{before}\n{question}"
        turns.append(Message(role="user", parts=(*example.media, question)))
        if with_answer:
            turns.append(Message(role="assistant", parts=(self.answer(example, labels=labels, fields=fields),), supervised=True))
        return tuple(turns)

    def answer(self, example: Example, *, labels: Sequence[str] = (), fields: Mapping[str, Any] | None = None) -> str:
        """Return the supervised answer of `example`.

        Raises:
            PromptError: the template has no answer, a field has no value, or the answer comes out empty.
        """
        if not self.source.answer:
            raise PromptError(f"prompt {self.name!r} has no 'answer';", remedy="add one to train with it.")
        given = {**({"labels": tuple(labels)} if labels else {}), **(fields or {})}
        text = render(self._answer, self._values(example, given, self._answered)).strip()
        if not text:
            raise PromptError(
                f"prompt {self.name!r} gives example {example.id!r} an empty answer;", remedy="an empty target trains nothing."
            )
        return text

    def parse(self, answer: str, *, choices: Sequence[str] = ()) -> Parsed:
        """Read an answer with the template's parser; `choices` is the closed set (labels, texts of options). Never raises."""
        return self._parser(answer, choices=choices, **self.source.parser_options)

    def _pick(self, example: Example, seed: int, held_out: bool, phrasing: int | None) -> Any:
        """The phrasing of this example; a function of (seed, template, id) alone, unless its number is told."""
        pool = self._held_out if held_out else self._phrasings
        if not pool:
            raise PromptError(f"prompt {self.name!r} has no 'held_out_phrasings';", remedy="add some, or ask with held_out=False.")
        if phrasing is not None:
            if not 0 <= phrasing < len(pool):
                raise PromptError(f"prompt {self.name!r} has no phrasing {phrasing};", remedy=f"numbers go from 0 to {len(pool) - 1}.")
            return pool[phrasing]
        key = f"{seed}\0{self.name}\0{example.id}".encode("utf-8", "surrogatepass")
        return pool[int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % len(pool)]

    def _values(self, example: Example, given: Mapping[str, Any], wanted: set[str], *, missing: str | None = None) -> dict[str, Any]:
        """The value of each wanted field; `missing` stands for one without, unless that is an error."""
        values: dict[str, Any] = {}
        for name in sorted(wanted):
            value = next((m[name] for m in (given, example.texts, example.labels) if m.get(name) is not None), missing)
            if value is None:
                known = sorted({*given, *example.texts, *example.labels})
                raise PromptError(
                    f"prompt {self.name!r} needs field {name!r}, example {example.id!r} has {', '.join(known) or 'no fields'};",
                    remedy="fill it in the dataset reader, or pick another task.",
                )
            values[name] = value
        return values


def load_template(name_or_path: str | Path) -> Template:
    """Return a template that ships with the package by its stem, or one of your own by the path of its .yaml file.

    Raises:
        PromptError: there is none of that name, or the file is not a valid template (names file and key).
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")) or "/" in text or "\\" in text:
        path = Path(text)
    elif text in catalog.names("prompts"):
        path = share.folder("prompts") / f"{text}.yaml"
    else:
        raise PromptError(f"no prompt {text!r};", remedy=nearest(text, catalog.names("prompts")) + "; or give the path of a .yaml file.")
    if not path.is_file():
        raise PromptError(f"{path}: no such template file;", remedy="check the path.")
    return _load(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load(path: Path, changed_ns: int) -> Template:
    """Compile once per state of the file; an edited file is read again."""
    del changed_ns
    return Template(read_source(path))
