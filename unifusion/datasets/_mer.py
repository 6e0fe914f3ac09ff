"""Tables and lists of MER, MERR and EMER: names of clips with emotions, lines, captions and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.datasets._files import json_object, one_of, part_of, rows_of, text_of, value
from unifusion.errors import DatasetError

__all__ = ["EMOTIONS", "LISTS", "WHERE", "example", "files_of", "joined", "lists", "reasoned", "reasons", "spoken"]

EMOTIONS = {e: e for e in ("neutral", "angry", "happy", "sad", "worried", "surprise", "fear", "contempt", "doubt")}
LISTS = ("MERR_coarse_grained.txt", "MERR_fine_grained.txt")
_REASONS = {"MERR_coarse_grained.json": "caption", "MERR_fine_grained.json": "smp_reason_caption"}
_SPOKEN = {"transcription_en_all.csv": ("sentence", "sentence_en"), "label-transcription.csv": ("english", "chinese")}
WHERE = "merchallenge.cn and github.com/ZebangCheng/Emotion-LLaMA (MERR), github.com/zeroQiaoba/AffectGPT (EMER)"


def files_of(root: Path) -> dict[str, Path]:
    """Name -> file of everything below a folder; of two with one name the first in order. What macOS leaves in archives is skipped."""
    return {p.name: p for p in sorted(root.rglob("*"), reverse=True) if p.is_file() and not p.name.startswith("._")}


def joined(*sources: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> row; the first one that tells of a name counts, and later ones add their texts."""
    rows: dict[str, dict[str, Any]] = {}
    for source in sources:
        for row in source:
            known = rows.setdefault(row["name"], row)
            known["texts"] = {**row.get("texts", {}), **known.get("texts", {})}
    return rows


def lists(found: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Rows of MERR's lists; where none is there, those of its json."""
    told = any(name in found for name in LISTS)
    for name, table in zip(LISTS, _REASONS, strict=True):
        for clip, entry in ({} if told or table not in found else _entries(found[table])).items():
            emotion = one_of(str(value(entry, "pseu_emotion", found[table], clip)).strip(), EMOTIONS, found[table], clip)
            yield {"name": clip, "labels": {"emotion": emotion, "part": Path(name).stem}, "split": "train"}
        for line, text in enumerate(text_of(found[name]).splitlines() if name in found else (), 1):
            fields = text.split()
            if fields and len(fields) < 3:
                raise DatasetError(f"{found[name]}, line {line}: {text!r};", remedy="wanted a name, a number of frames and an emotion.")
            if fields:
                emotion = one_of(fields[2], EMOTIONS, found[name], line)
                yield {"name": fields[0], "labels": {"emotion": emotion, "part": Path(name).stem}, "split": "train"}


def reasoned(found: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Rows of EMER."""
    if "gt-eng.csv" not in found:
        return
    path = found["gt-eng.csv"]
    for line, row in rows_of(path, ("names", "emotions", "subtitles", "reasons")):
        words = tuple(w.strip(" '\"[]").lower() for w in row["emotions"].split(","))
        if not all(words):
            raise DatasetError(f"{path}, line {line}: emotions {row['emotions']!r};", remedy="wanted one, or several with commas between.")
        labels: dict[str, Any] = {"emotions": words, "part": "EMER"} | ({"emotion": words[0]} if len(words) == 1 else {})
        texts = {"transcript": row["subtitles"].strip(), "rationale": row["reasons"].strip()}
        yield {"name": row["names"].strip(), "labels": labels, "split": "test", "texts": texts}


def spoken(found: Mapping[str, Path]) -> dict[str, str]:
    """Name -> what is said, of the first table that is there."""
    for table, columns in _SPOKEN.items():
        if table not in found:
            continue
        rows = list(rows_of(found[table], ("name",)))
        column = next((c for c in columns if rows and c in rows[0][1]), None)
        if rows and column is None:
            raise DatasetError(f"{found[table]} has no column {columns[0]!r};", remedy=f"its columns are {', '.join(rows[0][1])}.")
        return {row["name"].strip(): (row[column] or "").strip() for _, row in rows if column is not None}
    return {}


def reasons(found: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Name -> caption and rationale."""
    texts: dict[str, dict[str, str]] = {}
    for table, key in _REASONS.items():
        if table not in found:
            continue
        for name, entry in _entries(found[table]).items():
            texts.setdefault(name, {})["caption" if key == "caption" else "rationale"] = str(value(entry, key, found[table], name))
    return texts


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> what a json tells of the clip."""
    raw = json_object(path)
    if not all(isinstance(entry, dict) for entry in raw.values()):
        raise DatasetError(f"{path} is no object of objects;", remedy="check that it is the annotation file.")
    return raw


def example(raw: Mapping[str, Any], clips: Mapping[str, Path], said: Mapping[str, str], told: Mapping[str, Mapping[str, str]]) -> Example:
    """One clip."""
    name = raw["name"]
    spoken = {"transcript": said[name]} if said.get(name) else {}
    texts = {k: v for k, v in {**told.get(name, {}), **spoken, **raw["texts"]}.items() if v}
    group = f"mer/{name}"
    media = (Media(kind="video", source=str(clips[name]), transcript=texts.get("transcript")),) if name in clips else ()
    split = part_of(group, 0.1, 0.0) if raw["split"] == "train" else raw["split"]
    return Example(id=group, media=media, texts=texts, labels={"language": "chinese", **raw["labels"]}, group=group, split=split)
