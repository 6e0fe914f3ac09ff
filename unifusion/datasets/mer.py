"""MER2023, MER2024, MERR and EMER: clips of Chinese films and series with emotions, lines and the reasons for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Listed, file_of, media_files, number_of, one_of, part_of, rows_of, text_of, value
from unifusion.errors import DatasetError

__all__ = ["MER"]

_EMOTIONS = {e: e for e in ("neutral", "angry", "happy", "sad", "worried", "surprise", "fear", "contempt", "doubt")}
_TABLES = {
    "train-label.csv": ("train", "train"), "test1-label.csv": ("test", "test1"), "test2-label.csv": ("test", "test2"),
    "test3-label.csv": ("test", "test3"), "label-disdim.csv": ("train", "video-labeled"), "semi-label.csv": ("test", "video-unlabeled"),
}  # fmt: skip
"""Name -> split, folder of its clips. The first four are MER2023's, the others MER2024's."""
_LISTS = ("MERR_coarse_grained.txt", "MERR_fine_grained.txt")
_REASONS = {"MERR_coarse_grained.json": "caption", "MERR_fine_grained.json": "smp_reason_caption"}
_SPOKEN = {"transcription_en_all.csv": ("sentence", "sentence_en"), "label-transcription.csv": ("english", "chinese")}
_WHERE = "merchallenge.cn and github.com/ZebangCheng/Emotion-LLaMA (MERR), github.com/zeroQiaoba/AffectGPT (EMER)"


class MER(Listed):
    """The sets of the MER challenge, by whichever of their tables lie in the folder.

    Source: Lian et al., 2023 and 2024; MERR: Cheng et al., 2024; EMER: Lian et al., 2023. Licence: by agreement, research only. Layout on
    disk: `train-label.csv`, `test1-label.csv`, `test2-label.csv`, `test3-label.csv` (MER2023) or `label-disdim.csv`, `semi-label.csv`
    (MER2024) with `name,discrete` and mostly `valence`; or `MERR_coarse_grained.txt`, `MERR_fine_grained.txt` (name, number of frames,
    emotion, with spaces between); or `gt-eng.csv` (EMER: `names,emotions,subtitles,reasons`); tables also in folders below. Where they
    are there: `MERR_coarse_grained.json`, `MERR_fine_grained.json` (`{name: {"caption": ..}}`, `{name: {"smp_reason_caption": ..}}`),
    `transcription_en_all.csv` (`name,sentence`), `label-transcription.csv` (`name,chinese,english`). Clips anywhere below as
    `<name>.mp4` or `.avi`. One raw row of a table, and one of a list:

        sample_00000007,worried,-1.5
        sample_00000047 85 happy

    `label-6way.npz`, into which the challenge's tools put all this, is a pickle and is not read: the tables hold the same. Emotions are
    neutral angry happy sad worried surprise, in MERR also fear contempt doubt; in EMER several may be told, then there is only
    `labels["emotions"]`. `texts["caption"]` is the coarse description, `texts["rationale"]` the fine one or EMER's reasons. Valence is
    divided by `valence_scale`. A tenth of a published train part, by a hash of the name, is val; lists of MERR are train, EMER is test. A
    clip of two tables is one row, with the emotion of the first of them in the order above. Nobody tells who is seen: a group is a clip.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        valence_scale: largest valence of the annotation.

    Raises:
        DatasetError: no table is there, or one is broken, with file and line.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, valence_scale: float = 5.0) -> None:
        if valence_scale <= 0:
            raise DatasetError(f"valence_scale is {valence_scale:g};", remedy="give the largest valence, such as 5.")
        root = Path(path)
        found = {p.name: p for p in sorted(root.rglob("*"), reverse=True) if p.is_file() and not p.name.startswith("._")}
        rows = _joined(_tables(found, valence_scale), _lists(found), _reasoned(found))
        if not rows:
            file_of(root, *_TABLES, *_LISTS, "gt-eng.csv", where=_WHERE)
        clips = {p.stem: p for p in media_files(root, (".mp4", ".avi"))}
        said, told = _spoken(found), _reasons(found)
        super().__init__((_row(raw, clips, said, told) for raw in rows.values()), split, f"MER in {path}")


def _joined(*sources: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> row; the first one that tells of a name counts, and later ones add their texts."""
    rows: dict[str, dict[str, Any]] = {}
    for source in sources:
        for row in source:
            known = rows.setdefault(row["name"], row)
            known["texts"] = {**row.get("texts", {}), **known.get("texts", {})}
    return rows


def _tables(found: Mapping[str, Path], scale: float) -> Iterator[dict[str, Any]]:
    """Rows of the challenge's tables."""
    for table, (split, folder) in _TABLES.items():
        if table not in found:
            continue
        path = found[table]
        for line, row in rows_of(path, ("name", "discrete")):
            labels: dict[str, Any] = {"emotion": one_of(row["discrete"].strip(), _EMOTIONS, path, line), "part": folder}
            if (row.get("valence") or "").strip():
                labels["valence"] = number_of(row["valence"], path, line, -scale, scale) / scale
            yield {"name": row["name"].strip(), "labels": labels, "split": split}


def _lists(found: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Rows of MERR's lists."""
    for name in _LISTS:
        for line, text in enumerate(text_of(found[name]).splitlines() if name in found else (), 1):
            fields = text.split()
            if fields and len(fields) < 3:
                raise DatasetError(f"{found[name]}, line {line}: {text!r};", remedy="wanted a name, a number of frames and an emotion.")
            if fields:
                emotion = one_of(fields[2], _EMOTIONS, found[name], line)
                yield {"name": fields[0], "labels": {"emotion": emotion, "part": Path(name).stem}, "split": "train"}


def _reasoned(found: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
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


def _spoken(found: Mapping[str, Path]) -> dict[str, str]:
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


def _reasons(found: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Name -> caption and rationale."""
    texts: dict[str, dict[str, str]] = {}
    for table, key in _REASONS.items():
        if table not in found:
            continue
        try:
            raw = json.loads(text_of(found[table]))
        except json.JSONDecodeError as error:
            raise DatasetError(f"{found[table]}, line {error.lineno}: {error.msg};", remedy="download it again.") from error
        if not isinstance(raw, dict) or not all(isinstance(entry, dict) for entry in raw.values()):
            raise DatasetError(f"{found[table]} is no object of objects;", remedy="check that it is the annotation file.")
        for name, entry in raw.items():
            texts.setdefault(name, {})["caption" if key == "caption" else "rationale"] = str(value(entry, key, found[table], name))
    return texts


def _row(raw: Mapping[str, Any], clips: Mapping[str, Path], said: Mapping[str, str], told: Mapping[str, Mapping[str, str]]) -> Example:
    """One clip."""
    name = raw["name"]
    spoken = {"transcript": said[name]} if said.get(name) else {}
    texts = {k: v for k, v in {**told.get(name, {}), **spoken, **raw["texts"]}.items() if v}
    group = f"mer/{name}"
    media = (Media(kind="video", source=str(clips[name]), transcript=texts.get("transcript")),) if name in clips else ()
    split = part_of(group, 0.1, 0.0) if raw["split"] == "train" else raw["split"]
    return Example(id=group, media=media, texts=texts, labels={"language": "chinese", **raw["labels"]}, group=group, split=split)
