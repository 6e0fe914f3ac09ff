"""Clotho: sounds of 15 to 30 seconds from Freesound, each with five captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example
from unifusion.datasets._captioned import Captioned, Downloads, captions_of, file_name, parts_there
from unifusion.datasets._files import SOUND, file_of, place_of, rows_of

__all__ = ["Clotho"]

_CAPTIONS = tuple(f"caption_{n}" for n in range(1, 6))
_PUBLISHED = {"train": "development", "val": "validation", "test": "evaluation"}


class Clotho(Captioned):
    """Clotho v2 (and v1, which has no validation part) by its tables, one row a sound, five captions in `labels["captions"]`.

    Source: Drossos et al., 2020, doi 10.5281/zenodo.3490683 (v2.1: 4783391). Licence: captions of Tampere University for research, not for
    trade; each sound has the Creative Commons licence that its row of metadata names, here `labels["licence"]`. Layout on disk:
    `clotho_captions_development.csv`, `.._validation.csv`, `.._evaluation.csv` (or .gz), beside them the `clotho_metadata_*.csv` where they
    were downloaded (all also in `clotho_csv_files`), and the sounds in `development`, `validation` and `evaluation`, as the archives hold
    them, also in `clotho_audio_development` .. or in `clotho_audio_files`. A row whose sound is not there has no media. One raw row:

        Distorted AM Radio noise.wav,A muddled noise of broken channel of the TV,A television blares the rhythm of a static TV.,..

    Development is train, validation val, evaluation test. The group is the sound on Freesound (`freesound:4211`), without metadata, or
    where those say "Not found", the file. `labels["keywords"]` are those of its author. Should a sound be
    in two parts, rows of the earlier give way.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        only_downloaded: leave out rows without a sound.
        as_published: keep rows of train whose sound is held out as well; then a group is a row.
    """

    title, page = "Clotho", "zenodo.org/records/4783391 (doi 10.5281/zenodo.4783391)"
    published_leaks = True
    tables: ClassVar[Mapping[str, str]] = {part: f"clotho_captions_{name}.csv" for part, name in _PUBLISHED.items()}

    def look(self, root: Path | None) -> Downloads:
        """Nothing yet: names are only known apart within a part."""
        return Downloads(None, SOUND)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Sounds in the order of their tables."""
        tables = place_of(root, ("", "clotho_csv_files"), self.tables.values())
        for part in parts_there(tables, self.tables, split):
            yield from self._part(root, tables, part)

    def _part(self, root: Path, tables: Path, part: str) -> Iterator[Example]:
        """Sounds of one table."""
        table, name = file_of(tables, self.tables[part], where=self.page), _PUBLISHED[part]
        folders = [f for f in (root / below for below in (name, f"clotho_audio_{name}", f"clotho_audio_files/{name}")) if f.is_dir()]
        sounds = [Downloads(folder, SOUND, "audio") for folder in folders]
        known = _metadata(tables, name)
        for line, row in rows_of(table, ("file_name", *_CAPTIONS), exact=True):
            file = file_name(row["file_name"], table, line)
            ident, told = f"clotho/{name}/{file}", known.get(file, {})
            said = captions_of([row[c] for c in _CAPTIONS], table, line)
            yield Example(
                id=ident,
                media=next((found for s in sounds if (found := s.find(ident, cut=[Path(file).stem]))), ()),
                texts=said["texts"],
                labels=said["labels"] | {k: v for k, v in told.items() if k != "sound"},
                group=f"freesound:{told['sound']}" if "sound" in told else ident,
                split=part,
            )


def _metadata(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """File -> number on Freesound, keywords and licence, as far as they are known."""
    if not any((root / f"clotho_metadata_{name}.csv{end}").is_file() for end in ("", ".gz")):
        return {}
    found = {}
    for _, row in rows_of(file_of(root, f"clotho_metadata_{name}.csv"), ("file_name", "keywords", "sound_id", "license")):
        told: dict[str, Any] = {"keywords": tuple(k.strip() for k in row["keywords"].split(";") if k.strip())}
        told |= {"licence": row["license"]} if row["license"].strip() else {}
        found[row["file_name"]] = told | ({"sound": row["sound_id"]} if row["sound_id"].strip().isdigit() else {})
    return found
