"""How well a model does on real people and sounds it has never met: labels scored per set, streams muted, intervals by speaker."""

from __future__ import annotations

import copy
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Message
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine, LabelScores
from unifusion.errors import DatasetError
from unifusion.evaluation.world import Kept
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.bootstrap import bootstrap
from unifusion.metrics.ece import ece
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.paired_permutation import paired_permutation
from unifusion.metrics.weighted_f1 import weighted_f1
from unifusion.training.facts import MIDDLE, NOUNS
from unifusion.training.grammar import Grammar
from unifusion.training.known import THIRDS, third_of
from unifusion.training.real_talks import measured_prosody
from unifusion.world.captions import adjective

__all__ = ["PROBES", "Probe", "evaluate_people", "people_table"]

METRICS: dict[str, Callable[[Sequence[Any], Sequence[Any]], float]] = {
    "accuracy": accuracy, "macro_recall": macro_recall, "weighted_f1": weighted_f1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question about the rows of some parts.

    Attributes:
        parts: of the mixture.
        key: of the labels, or the measure of the voice, that holds the truth.
        family: of the grammar's questions; empty for the words of the task that `key` names.
        metric: see METRICS.
        mute: streams left out.
        where: which rows are asked about.
    """

    parts: tuple[str, ...]
    key: str
    family: str = ""
    metric: str = "accuracy"
    mute: tuple[str, ...] = ()
    where: Callable[[Mapping[str, Any]], bool] = lambda labels: True

    @property
    def task(self) -> str:
        """The task whose temperature, biases and threshold the scores get; "" for none."""
        return self.family if self.family == WORDS else "" if self.family else self.key


def _agree(labels: Mapping[str, Any]) -> bool:
    return "emotion" in labels


def _conflict(labels: Mapping[str, Any]) -> bool:
    return "emotion" not in labels


_BOTH = ("together",)
WORDS = "text_emotion"
"""Task, and family of the questions, where what is said is all there is."""
WHICH = "which_stream"
"""Key of a truth that no label holds: which of face and voice shows one of their two emotions, drawn for each row."""
PROBES: dict[str, Probe] = {
    "voices_en": Probe(parts=("voices_en",), key="emotion", metric="macro_recall"),
    "voices_de": Probe(parts=("voices_de",), key="emotion", metric="macro_recall"),
    "faces": Probe(parts=("faces",), key="emotion"),
    "sounds": Probe(parts=("sounds",), key="sound"),
    "digits": Probe(parts=("digits",), key="digit"),
    "lines": Probe(parts=("lines",), key="emotion", family=WORDS, metric="weighted_f1"),
    "composed": Probe(parts=_BOTH, key="emotion", metric="macro_recall", where=_agree),
    "composed, picture only": Probe(parts=_BOTH, key="emotion", metric="macro_recall", where=_agree, mute=("audio",)),
    "composed, sound only": Probe(parts=_BOTH, key="emotion", metric="macro_recall", where=_agree, mute=("video",)),
    "composed, neither": Probe(parts=_BOTH, key="emotion", metric="macro_recall", where=_agree, mute=("video", "audio")),
    "conflict, face": Probe(parts=_BOTH, key="face_emotion", family="face_emotion", where=_conflict),
    "conflict, face, sound muted": Probe(parts=_BOTH, key="face_emotion", family="face_emotion", where=_conflict, mute=("audio",)),
    "conflict, face, picture muted": Probe(parts=_BOTH, key="face_emotion", family="face_emotion", where=_conflict, mute=("video",)),
    "conflict, voice": Probe(parts=_BOTH, key="voice_emotion", family="voice_emotion", where=_conflict),
    "conflict, voice, picture muted": Probe(parts=_BOTH, key="voice_emotion", family="voice_emotion", where=_conflict, mute=("video",)),
    "conflict, voice, sound muted": Probe(parts=_BOTH, key="voice_emotion", family="voice_emotion", where=_conflict, mute=("audio",)),
    "which stream": Probe(parts=_BOTH, key=WHICH, family=WHICH, where=_conflict),
    "agreement": Probe(parts=_BOTH, key="agreement", family="agreement"),
    "loudness": Probe(parts=("voices_en", "voices_de"), key="level_db", family="level_db"),
    "pitch": Probe(parts=("voices_en", "voices_de"), key="pitch_hz", family="pitch_hz"),
    "tempo": Probe(parts=("voices_en", "voices_de"), key="rate_hz", family="rate_hz"),
}
"""What is asked of the mixture `people`, by the names of its parts."""
SINGLE = {"composed": ("composed, picture only", "composed, sound only")}
"""Probe -> those of one stream alone; it is compared with the best of them."""
MUTED = {
    "conflict, face": ("conflict, face, picture muted", "conflict, face, sound muted"),
    "conflict, voice": ("conflict, voice, sound muted", "conflict, voice, picture muted"),
}
"""Probe -> the same without the stream that tells, and without the other one."""


def evaluate_people(
    engine: Engine, mixture: Mixture, grammar: Grammar, *, known: Mixture | None = None, probes: Mapping[str, Probe] | None = None,
    most: int = 800, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Ask every probe of the rows of a mixture, greedily, by the likelihood of each label as the whole answer.

    Args:
        engine: the model.
        mixture: of a split that was not trained on.
        grammar: questions, where a probe names a family.
        known: the mixture that was trained on: labels of its rows are offered too, if none of the measured rows has them.
        probes: default PROBES; those whose parts the mixture lacks are left out.
        most: rows of a probe; more are thinned evenly.
        seed: of the questions' words.

    Returns:
        `probes`: per probe its metric with a 95 % interval (speakers, then recordings drawn), rows, the metric of always answering the
        most frequent label, ECE, a table of classes with what was answered, and the surest mistakes;
        `muting`: per probe of MUTED what is lost without the stream that tells, and without the other one, with 95 % intervals;
        `paired`: per probe of both streams what it gains over the best stream alone, and two-sided p, recordings swapped as wholes;
        `predictions`: one record per probe and row.
    """
    kept = Kept.of(engine)
    engine = copy.copy(engine)
    engine.processor = engine.processor.with_opener(kept)
    out: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    for name, probe in (probes or PROBES).items():
        rows = _rows(mixture, probe, most, known)
        if not rows:
            continue
        found = _asked(engine, name, probe, rows, grammar, seed)
        told = [
            {"probe": name, "id": row.id, "group": row.group, "recording": row.labels.get("voice", row.id), "truth": truth}
            for row, _, truth in rows
        ]
        records += [{**t, **f} for t, f in zip(told, found, strict=True)]
        out[name] = _figures(probe, [r for r in records if r["probe"] == name])
        if probe.parts != _BOTH:  # whose rows are asked about many times, with streams muted
            kept.clips.clear()
    paired = {name: _paired(out, records, name, [s for s in single if s in out]) for name, single in SINGLE.items() if name in out}
    return {
        "probes": out, "paired": {k: v for k, v in paired.items() if v}, "muting": _muting(records), "predictions": records,
        "split": mixture.split,
    }  # fmt: skip


def _rows(mixture: Mixture, probe: Probe, most: int, known: Mixture | None) -> list[tuple[Example, tuple[str, ...], str]]:
    """Rows with the labels to choose from and the true one."""
    found = []
    for part in probe.parts:
        rows = [r for r in mixture.parts.get(part, ()) if probe.where(r.labels)]
        told = [(r, truth) for r in rows if (truth := _truth(r, probe.key)) is not None]
        met = known.parts.get(part, ()) if known is not None and probe.key not in THIRDS else ()
        labels = tuple(sorted({truth for _, truth in told} | {t for r in met if probe.where(r.labels) and (t := _truth(r, probe.key))}))
        if probe.key in THIRDS:
            labels = (THIRDS[probe.key][0], MIDDLE[probe.key], THIRDS[probe.key][1])
        found += [(r, labels, truth) for r, truth in told if len(labels) > 1]
    return found[:: -(-len(found) // most)] if len(found) > most else found


def _truth(row: Example, key: str) -> str | None:
    """A row's true answer; None where it has none."""
    if key == WHICH:
        return f"the {_drawn(row)}"
    if key not in THIRDS:
        return str(row.labels[key]) if key in row.labels else None
    prosody = measured_prosody(row)
    third = third_of(prosody, row.labels["thirds"]).get(key) if prosody is not None and "thirds" in row.labels else None
    return None if third is None else {"low": THIRDS[key][0], "middle": MIDDLE[key], "high": THIRDS[key][1]}[third]


def _drawn(row: Example) -> str:
    """The stream whose emotion a row is asked for."""
    return random.Random(f"which/{row.id}").choice(("face", "voice"))


def _slots(row: Example, key: str) -> dict[str, str]:
    """What a question's words leave open."""
    emotion = str(row.labels[f"{_drawn(row)}_emotion"]) if key == WHICH else ""
    return {"e": adjective(emotion), "n": NOUNS[emotion]} if emotion else {}


def _asked(
    engine: Engine, name: str, probe: Probe, rows: Sequence[tuple[Example, tuple[str, ...], str]], grammar: Grammar, seed: int
) -> list[dict[str, Any]]:  # fmt: skip
    """The scored labels of each row."""
    talks = [_talk(name, probe, row, labels, grammar, seed) for row, labels, _ in rows]
    scored = engine.score_labels(talks, [labels for _, labels, _ in rows], task=probe.task)
    out = []
    for (row, labels, _), scores in zip(rows, scored, strict=True):
        if not isinstance(scores, LabelScores):
            raise DatasetError(f"{row.id}: {scores}", remedy="check the file with `unifusion chat`.") from scores
        told = {"probabilities": scores.probabilities, "log_probs": scores.log_probs}
        out.append({"answer": scores.best, **{kind: dict(zip(labels, values, strict=True)) for kind, values in told.items()}})
    return out


def _talk(name: str, probe: Probe, row: Example, labels: tuple[str, ...], grammar: Grammar, seed: int) -> Conversation:
    """A probe's question about one row."""
    media = tuple(m.muted(*probe.mute) for m in row.media)
    if not probe.family:
        return cast(Conversation, catalog.load("tasks", probe.key)(seed=seed, labels=labels).conversation(replace(row, media=media)))
    question = grammar.ask(probe.family, random.Random(f"{seed}/{name}/{row.id}"), _slots(row, probe.key))
    if not media:
        question = f'Somebody says: "{row.texts["transcript"]}" {question}'
    return Conversation(id=row.id, messages=(Message(role="user", parts=(*media, question)),))


def _figures(probe: Probe, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One probe's numbers."""
    metric = METRICS[probe.metric]
    pairs = np.array([(r["answer"], r["truth"]) for r in records], dtype=object)
    groups = [r["group"] or r["id"] for r in records]
    recordings = [r["recording"] for r in records]
    interval = bootstrap(pairs, groups, statistic=lambda rows: metric(list(rows[:, 0]), list(rows[:, 1])), within=recordings)
    truths = Counter(r["truth"] for r in records)
    errors = []
    for labels in dict.fromkeys(tuple(r["probabilities"]) for r in records):
        own = [r for r in records if tuple(r["probabilities"]) == labels]
        chances = np.array([[r["probabilities"][k] for k in labels] for r in own])
        errors.append((len(own), ece(chances / chances.sum(1, keepdims=True), np.array([labels.index(r["truth"]) for r in own]))))
    return {
        "metric": probe.metric, "value": interval.estimate, "low": interval.low, "high": interval.high, "groups": interval.groups,
        "n": len(records), "most frequent": metric([truths.most_common(1)[0][0]] * len(records), [r["truth"] for r in records]),
        "ece": sum(n * e for n, e in errors) / len(records), "classes": _classes(records), "failures": _failures(records),
    }  # fmt: skip


def _paired(figures: Mapping[str, Any], records: Sequence[Mapping[str, Any]], name: str, single: Sequence[str]) -> dict[str, Any]:
    """What a probe gains over the best of others on the same rows; empty where there is no other one."""
    if not single:
        return {}
    best = max(single, key=lambda s: figures[s]["value"])
    both = {r["id"]: r for r in records if r["probe"] == name}
    alone = {r["id"]: r for r in records if r["probe"] == best}
    rows = [(both[i]["answer"], alone[i]["answer"], both[i]["truth"], both[i]["recording"]) for i in both if i in alone]
    first, second, truth, recordings = ([row[k] for row in rows] for k in range(4))
    told = paired_permutation(first, second, truth, METRICS[figures[name]["metric"]], groups=recordings)
    return {"over": best, "difference": told.difference, "p": told.p, "recordings": told.groups, "n": len(rows)}


def _muting(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy lost on the same rows, for each probe that was asked with either stream muted."""
    by: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for r in records:
        by[r["probe"]][r["id"]] = r
    out: dict[str, Any] = {}
    for name, others in MUTED.items():
        for kind, other in zip(("needed", "other"), others, strict=True):
            rows = [(by[name][i], by[other][i]) for i in by[name] if i in by[other]]
            if rows:
                lost = [float(a["answer"] == a["truth"]) - float(b["answer"] == b["truth"]) for a, b in rows]
                interval = bootstrap(lost, [a["group"] or a["id"] for a, _ in rows], within=[a["recording"] for a, _ in rows])
                told = {"muted": other, "lost": interval.estimate, "low": interval.low, "high": interval.high, "n": len(rows)}
                out.setdefault(name, {})[kind] = told
    return out


def _classes(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """True label -> rows, recall, and how often each label was answered."""
    out = {}
    for label in sorted({r["truth"] for r in records} | {r["answer"] for r in records}):
        told = Counter(r["answer"] for r in records if r["truth"] == label)
        out[label] = {"n": told.total(), "recall": told[label] / max(told.total(), 1), "answered": dict(told)}
    return out


def _failures(records: Sequence[Mapping[str, Any]], most: int = 10) -> list[dict[str, Any]]:
    """The wrong answers that were surest."""
    wrong = [r for r in records if r["answer"] != r["truth"]]
    wrong.sort(key=lambda r: -max(r["probabilities"].values()))
    return [{**{k: r[k] for k in ("id", "truth", "answer")}, "probability": max(r["probabilities"].values())} for r in wrong[:most]]


def people_table(results: Mapping[str, Any]) -> str:
    """The probes as a Markdown table."""
    lines = ["| probe | metric | value | 95 % interval | groups | n | best constant | ECE |", "|---|---|---|---|---|---|---|---|"]
    for name, f in results["probes"].items():
        shown = [f"{f[k]:.3f}" for k in ("most frequent", "ece")]
        interval = f"{f['low']:.3f} to {f['high']:.3f}"
        numbers = " | ".join([f"{f['value']:.3f}", interval, str(f["groups"]), str(f["n"]), *shown])
        lines.append(f"| {name} | {f['metric']} | {numbers} |")
    for name, f in results.get("paired", {}).items():
        test = f"two-sided paired permutation test over {f['recordings']} recordings"
        lines += ["", f"{name}: {f['difference']:+.3f} over {f['over']} on the same {f['n']} rows (p = {f['p']:.4f}; {test})."]
    for name, kinds in results.get("muting", {}).items():
        told = "; ".join(
            f"{f['muted'].rpartition(', ')[2]} {-f['lost']:+.3f} ({-f['high']:+.3f} to {-f['low']:+.3f})" for f in kinds.values()
        )  # fmt: skip
        lines += ["", f"{name}, against nothing muted on the same rows: {told}."]
    return "\n".join(lines)
