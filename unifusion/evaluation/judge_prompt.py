"""What a judge is asked, and the strict reading of what it replies."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from unifusion.errors import PromptError, UniFusionError
from unifusion.prompts.rendering import compile_source, fields_of, render

__all__ = ["ANSWERS", "PAIRS", "JudgePrompt", "Verdict", "read_judge_prompt"]

ANSWERS = Path(__file__).with_name("judge_answers.yaml")
"""Video-ChatGPT's wording: right or not, and a score from 0 to 5."""
PAIRS = Path(__file__).with_name("judge_pairs.yaml")
"""Two answers beside each other, from 1 to 10 each."""
_FORMS = {"answer": {"question", "truth", "answer"}, "pair": {"question", "truth", "first", "second"}}
_LONGEST_REPLY = 2000
_FENCE = re.compile(r"^```(?:python|json)?\s*(.*?)\s*```$", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What a reply says. Of a pair `first` and `second`, in the order in which they were shown, and no `right`."""

    right: bool | None = None
    score: float | None = None
    first: float | None = None
    second: float | None = None

    @property
    def places(self) -> tuple[float, float] | None:
        """Scores of the first and the second place; None of a single answer."""
        return None if self.first is None or self.second is None else (self.first, self.second)

    def to_dict(self) -> dict[str, Any]:
        """What it holds, as plain data."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class JudgePrompt:
    """A prompt of a judge, as its file has it.

    Attributes:
        name, description, source: what it is and where its wording is from.
        form: `answer`, one answer beside the right one; `pair`, two answers.
        lowest, highest: scores that there are.
        system, user: Jinja templates; an answer's may read question, truth, answer; a pair's question, truth, first, second.
    """

    name: str
    description: str
    source: str
    form: str
    lowest: float
    highest: float
    system: str
    user: str

    @cached_property
    def sha256(self) -> str:
        """Of the wording and the scores, by which results are stored: another wording is another judge."""
        told = {key: getattr(self, key) for key in ("form", "lowest", "highest", "system", "user")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The request's messages. Values are filled in as text and never read as a template."""
        parts = {"system": self.system, "user": self.user}
        return [{"role": role, "content": render(compile_source(text), values)} for role, text in parts.items() if text]

    def read(self, reply: str) -> Verdict | str:
        """The verdict of a reply, or why there is none: nothing but the dictionary that was asked for is one."""
        text = reply.strip()
        match = _FENCE.match(text)
        found = _dictionary(match[1] if match else text)
        wanted = {"pred", "score"} if self.form == "answer" else {"first", "second"}
        if found is None or set(found) != wanted:
            return f"no dictionary of {' and '.join(sorted(wanted))}"
        scores = {key: value for key, value in found.items() if key != "pred"}
        for key, value in scores.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not self.lowest <= value <= self.highest:
                return f"{key} is {value!r}, no number from {self.lowest:g} to {self.highest:g}"
        if self.form == "pair":
            return Verdict(first=float(scores["first"]), second=float(scores["second"]))
        said = found["pred"].strip().lower() if isinstance(found["pred"], str) else None
        if said not in ("yes", "no"):
            return f"pred is {found['pred']!r}, not yes or no"
        return Verdict(right=said == "yes", score=float(scores["score"]))


def _dictionary(text: str) -> dict[str, Any] | None:
    """A dictionary as Python or JSON writes it; None where the text is anything else."""
    if len(text) > _LONGEST_REPLY:
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return found if isinstance(found, dict) and all(isinstance(key, str) for key in found) else None


def read_judge_prompt(path: str | Path) -> JudgePrompt:
    """Read a judge's prompt from a YAML file; see `judge_answers.yaml` for the keys.

    Raises:
        PromptError: names the file and what is wrong with it.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PromptError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())};", remedy="mend the file.") from error
    keys = JudgePrompt.__dataclass_fields__
    if not isinstance(raw, dict) or set(raw) != set(keys):
        found = f"{path}: holds {', '.join(sorted(map(str, raw))) if isinstance(raw, dict) else type(raw).__name__};"
        raise PromptError(found, remedy=f"exactly these keys are wanted: {', '.join(keys)}.")
    numbers = [isinstance(raw[k], int | float) and not isinstance(raw[k], bool) for k in ("lowest", "highest")]
    texts = [isinstance(raw[k], str) for k in ("name", "description", "source", "form", "system", "user")]
    if not all(numbers + texts) or raw["form"] not in _FORMS or not raw["lowest"] < raw["highest"]:
        remedy = "form answer or pair, numbers lowest < highest, the others texts."
        raise PromptError(f"{path}: a value is not what its key wants;", remedy=remedy)
    try:
        used = fields_of(raw["system"]) | fields_of(raw["user"])
    except UniFusionError as error:
        raise PromptError(f"{path}: {error.found}", remedy=error.remedy) from error
    lacking = _FORMS[raw["form"]] - {"question", "truth"} - used
    if lacking or used - _FORMS[raw["form"]]:
        found = f"{path}: the texts read {', '.join(sorted(used)) or 'nothing'};"
        raise PromptError(found, remedy=f"a prompt of form {raw['form']} reads {', '.join(sorted(_FORMS[raw['form']]))}.")
    return JudgePrompt(**raw)
