"""AudioSet: ten seconds of YouTube with the sounds that are heard in them, of 527 kinds."""

from __future__ import annotations

from array import array
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._audioset import PAGE, SPLITS, TABLES, Segment, classes_in, segments_in, tables_in
from unifusion.datasets._captioned import VIDEO, Downloads, cut_names, log, tell_missing
from unifusion.datasets._files import SOUND
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, nearest

__all__ = ["AudioSet"]

_M4A = (".m4a", ".opus")
_PICTURES = 10
_UNTOLD = -1.0


class AudioSet(Dataset):
    """AudioSet by its tables, one row a segment of ten seconds; kept as numbers, so that two million rows fit in memory.

    Source: Gemmeke et al., 2017, research.google.com/audioset. Licence: CC BY 4.0 (the tables); the videos are their authors'. Layout on
    disk: `balanced_train_segments.csv`, `unbalanced_train_segments.csv`, `eval_segments.csv` (or .gz; three lines of comments, then rows)
    and `class_labels_indices.csv` or `ontology.json`, all of them also in `csv`, `segments`, `metadata` or `data`; or in their places what
    CAV-MAE (Gong et al., 2023) calls `audioset_20k_cleaned.json`, `audioset_2m_cleaned.json` and `audioset_eval_cleaned.json`. Sounds, or
    videos of which the sound is taken, anywhere below, called
    `{youtube_id}`, `Y{youtube_id}`, or `{youtube_id}_` and the start (also with six digits), or start and end (also in milliseconds), or
    where the json says; or what video2dataset wrote, in the folder or in `shards`. A row whose sound is not there has no media. One raw
    row of each, and the line of a class:

        --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
        {"video_id": "--4gqARaEJE", "wav": "/data/audio/--4gqARaEJE.flac", "video_path": "/data/frames/", "labels": "/m/068hy,/m/07q6cd_"}
        0,/m/09x0r,"Speech"

    `labels["sounds"]` are the names of a segment's classes, `labels["sound"]` is the name where it is one; `start_s` and `end_s` the span
    in the video, where the table tells it. Balanced and unbalanced are train, eval is test; there is no val. The group is the YouTube
    video. What comes a second time is left out and counted in `left_out`, as are segments of train whose video is in test.

    Args:
        path: the folder.
        split: train, test, or None for both.
        part: balanced (22,160 rows), unbalanced (2,041,789) or eval (20,371); None takes all of the split that are there.
        take: audio, or video: the picture too. Of CAV-MAE's ten pictures of a segment a video is made, with the sound beside it.
        only_downloaded: leave out rows without a clip.
        whole: files called `{youtube_id}` are whole videos, of which the ten seconds are taken; otherwise they are the ten seconds.

    Raises:
        DatasetError: no table, or a broken row (with file and line).
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, part: str | None = None, take: str = "audio", only_downloaded: bool = False,
        whole: bool = False,
    ) -> None:  # fmt: skip
        name = f"AudioSet in {path}"
        for told, known in ((split, ("train", "test")), (part, tuple(TABLES)), (take, ("audio", "video"))):
            if told is not None and told not in known:
                raise DatasetError(f"{name} has no {told!r};", remedy=nearest(told, list(known)))
        self.root, self._take, self._whole = Path(path), take, whole
        if not self.root.is_dir():
            raise DatasetError(f"{path} is no folder;", remedy=f"name the folder its tables lie in; the set is got from {PAGE}.")
        self._kinds, self._numbers = classes_in(self.root)
        found = (*VIDEO, *SOUND, *_M4A) if take == "video" else (*SOUND, *_M4A, *VIDEO)
        self._downloads = Downloads(self.root, found, None if take == "video" else "audio")
        self._heads = {name[at : at + 11] for name in self._downloads.names() for at in (0, 1)}  # YouTube ids of files, among others
        self._ids, self._parts, self._sounds = bytearray(), array("b"), array("H")
        self._starts, self._ends, self._at = array("d"), array("d"), array("Q", [0])
        self._told: dict[int, tuple[str, str]] = {}
        self.missing = self.left_out = 0
        self._index(split, part, only_downloaded)
        if self.left_out:
            log.warning("%s: %d segments that came before, or whose video is in test, are left out", name, self.left_out)
        tell_missing(self.missing, len(self) + only_downloaded * self.missing, name)
        if not len(self):
            raise DatasetError(
                f"{name} holds no rows of {part or split or 'any part'}{' with a clip' if only_downloaded else ''};",
                remedy="download clips: docs/question_sets.md has the command." if only_downloaded else "check the tables.",
            )

    def _index(self, split: str | None, part: str | None, only_downloaded: bool) -> None:
        """Take the rows of the tables, those of test first: AudioSet has one segment of a video, so a video that came before is done."""
        seen: set[str] = set()
        for table_part, path in tables_in(self.root, split, part):
            asked = part in (None, table_part) and split in (None, SPLITS[table_part])
            for segment in segments_in(path, self._numbers):
                new = segment.name not in seen
                seen.add(segment.name)
                if not asked or not new:
                    self.left_out += asked
                    continue
                there = bool(self._find(segment))
                self.missing += not there
                if there or not only_downloaded:
                    self._add(segment, list(TABLES).index(table_part))

    def _add(self, segment: Segment, part: int) -> None:
        """Keep a row."""
        if self._sound_of(segment) or self._pictures_of(segment):
            self._told[len(self)] = segment.wav, segment.pictures
        self._ids += segment.name.encode()
        self._parts.append(part)
        start_s, end_s = segment.span or (_UNTOLD, _UNTOLD)
        self._starts.append(start_s)
        self._ends.append(end_s)
        self._sounds.extend(segment.sounds)
        self._at.append(len(self._sounds))

    def __len__(self) -> int:
        """Rows."""
        return len(self._parts)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; what lies in a shard is read, and pictures are put together."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        name, start_s, end_s = self._ids[11 * index : 11 * index + 11].decode(), self._starts[index], self._ends[index]
        sounds = tuple(self._sounds[self._at[index] : self._at[index + 1]])
        span = None if start_s == _UNTOLD else (start_s, end_s)
        segment = Segment(name, span, sounds, *self._told.get(index, ("", "")))
        media = self._downloads.read(_ident(segment), self._find(segment))
        if media and media[0].source == b"" and (pictures := self._pictures_of(segment)):
            media = (self._video(pictures, name), *media[1:])
        kinds = tuple(self._kinds[n] for n in sounds)
        return Example(
            id=_ident(segment),
            media=media,
            labels={
                "sounds": kinds,
                **({"sound": kinds[0]} if len(kinds) == 1 else {}),
                **({"start_s": start_s, "end_s": end_s} if span else {}),
            },
            group=name,
            split=SPLITS[list(TABLES)[self._parts[index]]],
        )

    def _find(self, segment: Segment) -> tuple[Media, ...]:
        """The clip of a row without its bytes, or nothing: where the json says, else by its name."""
        sound = self._sound_of(segment)
        told = (Media(kind="audio", source=str(sound)),) if sound else ()
        if self._take == "video" and self._pictures_of(segment):
            return (Media(kind="video", source=b""), *told)
        if self._take == "audio" and told:
            return told
        own = [segment.name, f"Y{segment.name}"]
        cut, start_s, end_s = [] if self._whole else own, *(segment.span or (0.0, 0.0))
        known = segment.span is not None and segment.name in self._heads
        named = [name for base in own for name in cut_names(base, start_s, end_s)] if known else []
        return self._downloads.find(_ident(segment), cut=[*named, *cut], whole=own, source=segment.name, span=segment.span)

    def _sound_of(self, segment: Segment) -> Path | None:
        """The sound where the json says, as it is written there or from the set's folder."""
        places = (Path(segment.wav), self.root / segment.wav) if segment.wav else ()
        return next((p for p in places if p.suffix.lower() in (*SOUND, *_M4A) and p.is_file()), None)

    def _pictures_of(self, segment: Segment) -> Path | None:
        """The folder of `frame_0` .. where a segment's pictures are."""
        places = (Path(segment.pictures), self.root / segment.pictures) if segment.pictures else ()
        return next((p for p in places if (p / "frame_0" / f"{segment.name}.jpg").is_file()), None)

    def _video(self, folder: Path, name: str) -> Media:
        """Ten pictures of ten seconds, one a second, as a video."""
        from unifusion.media.frames import frames_to_video

        frames = {n: p for n in range(_PICTURES) if (p := folder / f"frame_{n}" / f"{name}.jpg").is_file()}
        return Media(kind="video", source=frames_to_video(frames, 1))


def _ident(segment: Segment) -> str:
    """The id of a row."""
    return f"audioset/{segment.name}" + (f"_{segment.span[0]:g}" if segment.span else "")
