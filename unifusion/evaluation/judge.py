"""A language model as the judge of answers: any OpenAI-compatible server, its name and wording on record, its failures counted apart.

What a judge says changes with its version (FreeVA, Wu 2024), so its name, the version that the server tells and the SHA-256 of the prompt
are kept with every result. A reply that cannot be read, or a server that does not answer, is a failure: never wrong, never neutral, in no
mean.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from unifusion.errors import ConfigError
from unifusion.evaluation.judge_cache import VerdictCache, key_of
from unifusion.evaluation.judge_prompt import ANSWERS, JudgePrompt, Verdict, read_judge_prompt
from unifusion.wire import EndpointError, Wire, answer_of, with_fields

__all__ = ["Judge", "Judged", "JudgedPair", "figures", "pair_figures"]

LOG = logging.getLogger(__name__)
UNREACHABLE, UNPARSED = "unreachable", "unparsed"
"""Kinds of failure: the server gave no answer; the answer was no verdict."""
SIDES = ("first", "second")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of one question to the judge.

    Attributes:
        verdict: None where it failed.
        failure: `unreachable` or `unparsed`, "" where it did not.
        reason: of the failure, in words.
        version: of the judge, as the server told it.
        cached: nothing was asked, the verdict was on disk.
    """

    verdict: Verdict | None = None
    failure: str = ""
    reason: str = ""
    version: str = ""
    cached: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a row has it."""
        if self.verdict is None:
            return {"failure": self.failure, "reason": self.reason}
        return {**self.verdict.to_dict(), "version": self.version}


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """Two answers, shown in both orders.

    Attributes:
        orders: of the first answer shown first, and of the second shown first.
    """

    orders: tuple[Judged, Judged]

    @property
    def each(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Scores of the first and the second answer in either order; None where an order failed."""
        one, two = (j.verdict.places if j.verdict else None for j in self.orders)
        return None if one is None or two is None else (one, (two[1], two[0]))

    @property
    def scores(self) -> tuple[float, float] | None:
        """Of the first and the second answer, each the mean of both orders; None where an order failed."""
        return None if self.each is None else (sum(s[0] for s in self.each) / 2, sum(s[1] for s in self.each) / 2)

    @property
    def preferred(self) -> str | None:
        """`first`, `second` or `tie` by the means; None where an order failed."""
        return None if self.scores is None else _better(*self.scores)

    def to_dict(self) -> dict[str, Any]:
        """As a row has it."""
        if self.scores is None:
            return next(j for j in self.orders if j.verdict is None).to_dict()
        first, second = self.scores
        return {"preferred": self.preferred, "first": first, "second": second, "orders": [j.to_dict() for j in self.orders]}


def _better(first: float, second: float) -> str:
    """Which of two scores is higher."""
    return "tie" if first == second else "first" if first > second else "second"


@dataclass(kw_only=True)
class Judge:
    """A model behind `POST /chat/completions` that judges.

    Attributes:
        wire: the server.
        model: its name there.
        prompt: what it is asked.
        cache: verdicts that are there already, and where new ones go.
        concurrency: requests at a time.
        attempts: times that a reply which is no verdict is asked for again, the first included.
        max_tokens: longest reply.
        give_up: failed requests in a row after which the server counts as gone.
        body: further fields of the request; see `wire.with_fields`.
    """

    wire: Wire
    model: str
    prompt: JudgePrompt = field(default_factory=lambda: read_judge_prompt(ANSWERS))
    cache: VerdictCache = field(default_factory=VerdictCache)
    concurrency: int = 4
    attempts: int = 2
    max_tokens: int = 256
    give_up: int = 10
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.model or min(self.concurrency, self.attempts, self.max_tokens, self.give_up) < 1:
            raise ConfigError("the judge has no name, or a number below 1;", remedy="--endpoint-model NAME")
        self._lock, self._row_of_failures = threading.Lock(), 0

    @property
    def identity(self) -> dict[str, Any]:
        """Who judged by what wording, without what the server says of itself."""
        told = {"name": self.prompt.name, "sha256": self.prompt.sha256, "source": self.prompt.source}
        return {"host": self.wire.host, "prompt": told, **with_fields(self._fields, self.body)}

    @property
    def _fields(self) -> dict[str, Any]:
        """Of each request."""
        return {"model": self.model, "temperature": 0, "max_tokens": self.max_tokens}

    def answers(self, rows: Sequence[Mapping[str, str]]) -> list[Judged]:
        """Judge answers. Each row has question, truth and answer.

        Raises:
            ConfigError: the prompt is one for pairs.
            EndpointError: the server is gone; what was judged until then is in the cache.
        """
        self._wants("answer")
        return self._all([{key: row[key] for key in ("question", "truth", "answer")} for row in rows])

    def pairs(self, rows: Sequence[Mapping[str, str]]) -> list[JudgedPair]:
        """Judge pairs in both orders, which cancels a liking for one place. Each row has question, truth, first and second.

        Raises:
            ConfigError: the prompt is one for single answers.
            EndpointError: the server is gone.
        """
        self._wants("pair")
        shown = []
        for row in rows:
            base = {"question": row["question"], "truth": row["truth"]}
            shown += [{**base, "first": row[a], "second": row[b]} for a, b in (SIDES, SIDES[::-1])]
        found = self._all(shown)
        return [JudgedPair(orders=(one, two)) for one, two in zip(found[::2], found[1::2], strict=True)]

    def _wants(self, form: str) -> None:
        """Refuse a prompt of another form."""
        if self.prompt.form != form:
            raise ConfigError(f"the prompt {self.prompt.name!r} is of form {self.prompt.form};", remedy=f"name one of form {form}.")

    def _all(self, shown: Sequence[dict[str, str]]) -> list[Judged]:
        """Judge what is not in the cache, each text once, several at a time."""
        name = f"{self.model} {json.dumps(self.body, sort_keys=True)}" if self.body else self.model
        keys = [key_of(name, self.prompt.sha256, values) for values in shown]
        found = {key: Judged(verdict=known[0], version=known[1], cached=True) for key in keys if (known := self.cache.get(key))}
        waiting = {key: values for key, values in zip(keys, shown, strict=True) if key not in found}
        gone = threading.Event()
        self._row_of_failures = 0

        def one(item: tuple[str, dict[str, str]]) -> tuple[str, Judged] | None:
            """Judge one text, unless the server is gone."""
            if gone.is_set():
                return None
            try:
                return item[0], self._one(*item)
            except BaseException:
                gone.set()
                raise

        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                done = tqdm(pool.map(one, waiting.items()), total=len(waiting), desc="judge", disable=None)
                found |= dict(pair for pair in done if pair is not None)
            finally:
                gone.set()  # an interrupt ends after the requests that are under way
                pool.shutdown(cancel_futures=True)
        return [found[key] for key in keys]

    def _one(self, key: str, values: Mapping[str, str]) -> Judged:
        """Ask until a reply is a verdict.

        Raises:
            EndpointError: too many requests in a row failed.
        """
        body = with_fields({**self._fields, "messages": self.prompt.messages(values), "stream": False}, self.body)
        why = ""
        for _ in range(self.attempts):
            try:
                told = self.wire.post("/chat/completions", body)
            except EndpointError as error:
                self._count(error)
                return Judged(failure=UNREACHABLE, reason=str(error))
            self._count(None)
            try:
                reply, version = answer_of(told, self.model)[0], str(told.get("model") or "")
            except EndpointError as error:
                why = str(error)
                continue
            verdict = self.prompt.read(reply)
            if isinstance(verdict, Verdict):
                self.cache.put(key, verdict, version=version, reply=reply)
                return Judged(verdict=verdict, version=version)
            why = verdict
            LOG.info("the judge says %r: %s", reply[:80], why)
        return Judged(failure=UNPARSED, reason=why)

    def _count(self, error: EndpointError | None) -> None:
        """Keep the number of failures in a row.

        Raises:
            EndpointError: there are too many of them.
        """
        with self._lock:
            self._row_of_failures = 0 if error is None else self._row_of_failures + 1
            if error is not None and self._row_of_failures >= self.give_up:
                found = f"{self._row_of_failures} requests to the judge failed in a row, the last: {error.found}"
                raise EndpointError(found, remedy=f"{error.remedy} What was judged is kept; the same command goes on.") from error


def _failures(judged: Sequence[Judged]) -> dict[str, int]:
    """How many failed, by kind."""
    return {kind: sum(j.failure == kind for j in judged) for kind in (UNPARSED, UNREACHABLE)}


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Share of right answers and mean score over what was judged, None where nothing was; failures beside them."""
    verdicts = [j.verdict for j in judged if j.verdict is not None]
    scores = [v.score for v in verdicts if v.score is not None]
    return {
        "rows": len(judged), "judged": len(verdicts), "failed": _failures(judged),
        "accuracy": sum(v.right is True for v in verdicts) / len(verdicts) if verdicts else None,
        "score": sum(scores) / len(scores) if scores else None,
    }  # fmt: skip


def pair_figures(judged: Sequence[JudgedPair]) -> dict[str, Any]:
    """How often either answer is preferred, mean scores, and how far the judge goes by the place an answer is shown in.

    `consistent` is the share of pairs of which both orders prefer the same; `first_shown` the share of single judgements without a tie that
    prefer what was shown first, 0.5 for a judge without a liking.
    """
    kept = [(scores, each) for j in judged if (scores := j.scores) is not None and (each := j.each) is not None]
    alone = [(_better(*one), _better(*two)) for _, (one, two) in kept]
    shown = [side == place for pair in alone for side, place in zip(pair, SIDES, strict=True) if side != "tie"]
    told: dict[str, Any] = {"rows": len(judged), "judged": len(kept), "failed": _failures([_worst(j) for j in judged])}
    if kept:
        told |= {side: sum(_better(*scores) == side for scores, _ in kept) / len(kept) for side in (*SIDES, "tie")}
        told |= {f"score_{side}": sum(scores[k] for scores, _ in kept) / len(kept) for k, side in enumerate(SIDES)}
        told["consistent"] = sum(one == two for one, two in alone) / len(alone)
    return told | {"first_shown": sum(shown) / len(shown) if shown else None}


def _worst(pair: JudgedPair) -> Judged:
    """The order that failed, else the first."""
    return next((j for j in pair.orders if j.verdict is None), pair.orders[0])
