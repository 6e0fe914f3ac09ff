"""Whether a rationale names what is in the clip: the voice's level, pitch and rate as measured, the face's expression, the words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.errors import DatasetError, UniFusionError
from unifusion.media.prosody import Prosody
from unifusion.metrics.bootstrap import bootstrap
from unifusion.training.facts import Facts, facts_of
from unifusion.training.known import THIRDS
from unifusion.training.real_talks import measured_prosody

__all__ = ["evaluate_rationales", "named", "rationales_table"]

_KINDS = {"level_db": "loudness", "pitch_hz": "pitch", "rate_hz": "tempo"}
_VOICE = "sound"


def evaluate_rationales(engine: Engine, mixture: Mixture, *, parts: Sequence[str] = (), most: int = 300) -> dict[str, Any]:
    """Let the model write rationales as `unifusion emotion` does, and compare what they name with what was measured.

    A voice of which a rationale says neither loud nor soft is called of medium loudness, and so on. A measure that cannot be taken
    (the pitch of a whisper) is not asked about; evidence that is missing or cannot be parsed is wrong.

    Args:
        engine: the model.
        mixture: of a split that was not trained on.
        parts: whose voices have thirds; default all such.
        most: rows of a part.

    Returns:
        `attributes`: kind -> accuracy with a 95 % interval (speakers, then recordings drawn), rows, and the share of its most frequent
        value, `voice` for loudness, pitch and tempo together; `predictions`, one a row.
    """
    records: list[dict[str, Any]] = []
    for part, rows in mixture.parts.items():
        if parts and part not in parts:
            continue
        step = -(-len(rows) // most)  # thinned evenly, so that no speaker is left out
        known = [(row, prosody) for row in list(rows)[::step] if (prosody := measured_prosody(row)) is not None]
        labels = tuple(sorted({e for row, _ in known for e in _emotions(row)}))
        records += _asked(engine, part, known, labels)
    return {"attributes": _figures(records), "predictions": records, "split": mixture.split}


def named(evidence: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Kind -> what some pieces of evidence say: loudness, pitch and tempo of the voice (low, middle or high), face, words."""
    found: dict[str, str] = {}
    for piece in evidence:
        text = str(piece["text"])
        words = set(re.findall(r"[a-z]+", text.lower()))
        if piece["stream"] == _VOICE and "voice" in words:
            found |= {kind: _third(words, THIRDS[key]) for key, kind in _KINDS.items()}
        elif piece["stream"] == "picture" and "face" in words:
            found["face"] = text.lower().replace("face", "").strip()
        elif piece["stream"] == "words":
            found["words"] = _plain(text.partition('"')[2].rpartition('"')[0])
    return found


def _third(words: set[str], pair: tuple[str, str]) -> str:
    """Low where the lower word stands alone, high where the higher one does, else middle."""
    low, high = (word in words for word in pair)
    return "low" if low and not high else "high" if high and not low else "middle"


def _plain(text: str) -> str:
    """Words alone."""
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _emotions(row: Example) -> list[str]:
    """The emotions a row's labels name."""
    return [str(row.labels[k]) for k in ("emotion", "face_emotion", "voice_emotion") if k in row.labels]


def _true(facts: Facts) -> dict[str, str]:
    """Kind -> what a rationale of this clip should name."""
    found = {_KINDS[key]: third for key, third in facts.thirds.items()}
    found |= {"face": facts.face} if facts.face else {}
    return found | ({"words": _plain(facts.told["statement"])} if "statement" in facts.told else {})


def _asked(engine: Engine, part: str, known: Sequence[tuple[Example, Prosody]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Each row's rationale beside the truth."""
    out = []
    for (row, prosody), answer in zip(known, engine.emotions([row.media for row, _ in known], labels=labels, batch_size=16), strict=True):
        if isinstance(answer, UniFusionError):
            raise DatasetError(f"{row.id}: {answer}", remedy="check the file with `unifusion chat`.") from answer
        truth, said = _true(facts_of(row, prosody)), named(answer.evidence)
        told = {kind: said.get(kind) for kind in truth}
        recording = row.labels.get("voice", row.id)
        out.append(
            {
                "id": row.id,
                "recording": recording,
                "part": part,
                "group": row.group,
                "rationale": answer.rationale,
                "truth": truth,
                "named": told,
            }
        )
    return out


def _figures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy of each kind, and of the voice's three together."""
    pairs = [
        (kind, r["named"][kind], r["truth"][kind], str(r["group"] or r["id"]), r["recording"]) for r in records for kind in r["truth"]
    ]  # fmt: skip
    out: dict[str, Any] = {}
    for name, kinds in {"voice": tuple(_KINDS.values()), **{k: (k,) for k in (*_KINDS.values(), "face", "words")}}.items():
        own = [p for p in pairs if p[0] in kinds]
        if not own:
            continue
        interval = bootstrap([float(p[1] == p[2]) for p in own], [p[3] for p in own], within=[p[4] for p in own])
        constant = sum(max(Counter(p[2] for p in own if p[0] == kind).values(), default=0) for kind in kinds) / len(own)
        out[name] = {"accuracy": interval.estimate, "low": interval.low, "high": interval.high, "n": len(own), "most frequent": constant}
    return out


def rationales_table(results: Mapping[str, Any]) -> str:
    """The attributes as a Markdown table."""
    lines = ["| attribute | right | 95 % interval | n | most frequent |", "|---|---|---|---|---|"]
    for name, f in results["attributes"].items():
        lines.append(f"| {name} | {f['accuracy']:.3f} | {f['low']:.3f} to {f['high']:.3f} | {f['n']} | {f['most frequent']:.3f} |")
    return "\n".join(lines)
