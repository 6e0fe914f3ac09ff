"""Suite: what sessions, shared prefixes and batches save, measured side by side in one run; outputs are compared first."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unifusion.cli import script
from unifusion.conversation import Conversation, Media, Message
from unifusion.engine import Answer, Engine
from unifusion.engine.labels import score_labels, score_labels_slowly
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.suite.asking import ask_part
from unifusion.evaluation.suite.parts import Part, Source, part_of
from unifusion.evaluation.suite.running import SuiteRun
from unifusion.evaluation.suite.system import EngineSystem
from unifusion.training.choices import parse

LABELS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Interleaved rounds; medians of per-round ratios of process CPU time, of a suite's of wall time, which threads share."""

    model: str = "checkpoints/tiny-chat"
    clip: str = "clip-world://1000/3?split=test_iid"
    """A file, or a clip-world reference."""
    out: str = "runs/eval/speed.json"
    rounds: int = 9
    suite_rows: int = 32
    """Of each part that a suite is measured on; 0 leaves it out."""
    threads: int = 1


def timed(run: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, Any]:
    """Seconds, and the result."""
    began = clock()
    result = run()
    return clock() - began, result


def ratios(
    slow: Callable[[], Any], fast: Callable[[], Any], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:  # fmt: skip
    """Interleave both, order turned each round, after one warm-up; median, least and greatest ratio."""
    slow(), fast()
    found, times = [], []
    for number in range(rounds):
        pair = [timed(f, clock)[0] for f in ((slow, fast) if number % 2 else (fast, slow))]
        slow_s, fast_s = pair if number % 2 else pair[::-1]
        found.append(slow_s / fast_s)
        times.append((slow_s, fast_s))
    return {
        "ratio": round(statistics.median(found), 2),
        "least": round(min(found), 2),
        "greatest": round(max(found), 2),
        "slow_ms": round(1e3 * statistics.median(t[0] for t in times), 1),
        "fast_ms": round(1e3 * statistics.median(t[1] for t in times), 1),
    }


def second_turn(engine: Engine, media: Media, rounds: int) -> dict[str, Any]:
    """First token of turn 2 in a session, against the same two turns made afresh: with encoding, and with decoding as well."""
    first, second = "What do you see?", "What do you hear?"
    opened = engine.processor.open(media)
    said = _session(engine, media, first).answer.ids

    def fresh(decode: bool) -> list[int]:
        """A new session told turn 1, then turn 2's first token."""
        session = engine.session()
        session.show(engine.encode(engine.processor.open(media) if decode else opened))
        session.tell(first, said)
        return list(session.ask(second, max_new_tokens=1).ids)

    ready: list[Any] = []

    def kept() -> list[int]:
        """Turn 2's first token in a session that has had turn 1."""
        return list(ready.pop().ask(second, max_new_tokens=1).ids)

    found: dict[str, Any] = {}
    for name, decode in (("without_decoding", False), ("with_decoding", True)):
        ready += [_session(engine, media, first) for _ in range(rounds + 2)]
        found["first_token_equal"] = fresh(decode) == kept() and found.get("first_token_equal", True)
        found[name] = ratios(lambda decode=decode: fresh(decode), kept, rounds)  # type: ignore[misc]
    return found


def _session(engine: Engine, media: Media, text: str) -> Any:
    """A session after its first turn."""
    session = engine.session()
    session.add(media)
    session.ask(text, max_new_tokens=24)
    return session


def labels(engine: Engine, media: Media, rounds: int) -> dict[str, Any]:
    """Seven labels over one shared prefix, against one full prompt per label."""
    talk = Conversation(
        messages=(Message(role="user", parts=(media, f"Which emotion does the person show? Answer with one of: {', '.join(LABELS)}.")),)
    )
    row = engine.processor.row(talk, opened=[engine.open(media)[0]], generate=True)
    fast = score_labels(engine.model, engine.processor, row, LABELS)
    slow = score_labels_slowly(engine.model, engine.processor, row, LABELS)
    gap = max(abs(a - b) for a, b in zip(fast.log_probs, slow.log_probs, strict=True))
    run = ratios(
        lambda: score_labels_slowly(engine.model, engine.processor, row, LABELS),
        lambda: score_labels(engine.model, engine.processor, row, LABELS),
        rounds,
    )
    return {"prompt_tokens": len(row.ids), "largest_log_probability_difference": gap, **run}


def batches(engine: Engine) -> dict[str, Any]:
    """Eight mixed clips together, padded left and right, against one at a time."""
    mutes: list[tuple[str, ...]] = [(), ("audio",), ("video",), (), (), ("audio",), (), ()]
    talks = [
        Conversation(
            messages=(
                Message(
                    role="user",
                    parts=(
                        Media(kind="video", source=f"clip-world://1000/{i + 40}?split=test_iid&duration={4 + i % 5}", mute=m),
                        "Describe the clip.",
                    ),
                ),
            )
        )
        for i, m in enumerate(mutes)
    ]

    def ids(answers: Sequence[Any]) -> list[list[int]]:
        """Token ids of answers."""
        return [a.ids for a in answers if isinstance(a, Answer)]

    alone = ids([engine.answer([t])[0] for t in talks])
    return {"clips": len(talks), **{f"{side}_padding_equal": ids(engine.answer(talks, side=side)) == alone for side in ("left", "right")}}


class OneByOne:
    """A system that is asked one question at a time, each about a clip that is opened for it."""

    name, weights, can_score = "one by one", "", True

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answer(self, conversations: Sequence[Conversation], *, max_new_tokens: int, batch_size: int) -> list[Any]:
        """Answers in words."""
        return [self.engine.answer([talk], max_new_tokens=max_new_tokens)[0] for talk in conversations]

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str, batch_size: int
    ) -> list[Any]:  # fmt: skip
        """Likelihoods."""
        return [self.engine.score_labels([talk], [own], task=task)[0] for talk, own in zip(conversations, labels, strict=True)]

    def forget(self) -> None:
        """Nothing is kept."""


def suites(engine: Engine, c: Choices, rounds: int) -> dict[str, Any]:
    """A part of a suite, in batches of 16 with each clip opened and read once, against one question at a time."""
    found = {}
    asked = (("options", "which_of", "which_of"), ("labels", "emotion", "overall_emotion"), ("captions", "caption", "caption"))
    for name, task, family in asked:
        part = part_of(name, Source.world(task, 12 * c.suite_rows, family), None, most=c.suite_rows)
        slow, fast = (partial(_answers, system, part) for system in (OneByOne(engine), EngineSystem(engine, c.model)))
        said = (slow(), fast())
        questions = sum(len(v) if isinstance(v, list) else 1 for v in said[0].values())
        told = {"questions": questions, "rows": len(part.rows), "answers_equal": said[0] == said[1]}
        found[name] = {**told, **ratios(slow, fast, rounds, time.perf_counter)}
    return found


def _answers(system: Any, part: Part) -> dict[str, Any]:
    """What is said to every question."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        with OutFile.open(path, SuiteRun(suite="speed", model="", weights="", seed=0)) as sink:
            ask_part(system, part, sink, ("all", "blind"), batch_size=16)
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {r["id"]: r["answer"] for r in records}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write JSON."""
    c = parse(Choices, argv, prog="unifusion eval speed")
    torch.set_num_threads(c.threads)
    engine = Engine.from_pretrained(c.model)
    media = Media(kind="video", source=c.clip)
    found = {
        "second_turn": second_turn(engine, media, c.rounds),
        "seven_labels": labels(engine, media, c.rounds),
        "batch": batches(engine),
        "suite": suites(engine, c, min(c.rounds, 5)) if c.suite_rows else {},
        "threads": c.threads,
    }
    path = Path(c.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    script(main)
