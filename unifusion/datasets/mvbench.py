"""MVBench: 20 tasks of 200 questions each about what happens in a video over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.datasets._asked import Asked, chosen, inside, span_of, word_of
from unifusion.datasets._captioned import Downloads
from unifusion.datasets._files import file_of, json_list, value
from unifusion.datasets._frames import FrameFolders
from unifusion.errors import DatasetError, nearest

__all__ = ["MVBench"]

_CHARADES, _CLEVRER, _PERCEPTION = "star/Charades_v1_480", "clevrer/video_validation", "perception/videos"
_FOLDERS = {
    "action_antonym": "ssv2_video", "action_count": _PERCEPTION, "action_localization": "sta/sta_video", "action_prediction": _CHARADES,
    "action_sequence": _CHARADES, "character_order": _PERCEPTION, "counterfactual_inference": _CLEVRER, "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq", "fine_grained_action": "Moments_in_Time_Raw/videos", "fine_grained_pose": "nturgbd",
    "moving_attribute": _CLEVRER, "moving_count": _CLEVRER, "moving_direction": _CLEVRER, "object_existence": _CLEVRER,
    "object_interaction": _CHARADES, "object_shuffle": _PERCEPTION, "scene_transition": "scene_qa/video", "state_change": _PERCEPTION,
    "unexpected_action": "FunQA_test/test",
}  # fmt: skip
"""Task -> folder of its videos, as in the authors' evaluation."""
_ELSEWHERE = {"ssv2_video": "ssv2_video_mp4", "nturgbd": "nturgbd_convert"}
"""Where an earlier release had them, made into mp4."""
_PLACES = ("video", "video/data0613", "", "data0613")


class MVBench(Asked):
    """MVBench by its 20 files, all of them `test`.

    Source: Li et al., 2024, huggingface.co/datasets/OpenGVLab/MVBench. Licence: MIT (questions); the videos are those of eleven sets, of
    which NTU RGB+D (`fine_grained_pose`) must be asked for. Layout on disk: `json/action_sequence.json` .. (or .gz), and the archives of
    `video` unpacked where they are: `video/star/Charades_v1_480/ZS9XR.mp4`; what is in `video/data0613` is found as well. Of
    `episodic_reasoning` there are pictures, three a second, in `video/tvqa/frames_fps3_hq/{video}/00001.jpg` ..; they are put together
    into a video when the row is asked for, with nothing decoded. A row whose video is not there has no media. One raw row:

        {"video": "ZS9XR.mp4", "question": "What happened after the person took the food?", "candidates": ["Ate the medicine.", "Tidied up
         the blanket.", "Put down the cup/glass/bottle.", "Took the box."], "answer": "Ate the medicine.", "start": 11.1, "end": 22.4}

    With `start` and `end` only that span is shown; where it is of no length, the whole video. `labels["type"]` is the task. Words of a
    `subtitle` are the transcript. The group is the video.

    Args:
        path: the folder.
        split: test, or None.
        tasks: those that are read; None takes all whose file is there.
        only_downloaded: leave out rows without a video.
    """

    title, page = "MVBench", "huggingface.co/datasets/OpenGVLab/MVBench"

    def __init__(
        self, path: str | Path, *, split: str | None = None, tasks: Sequence[str] | None = None, only_downloaded: bool = False
    ) -> None:  # fmt: skip
        if unknown := [t for t in tasks or () if t not in _FOLDERS]:
            raise DatasetError(f"MVBench has no task {unknown[0]!r};", remedy=nearest(unknown[0], list(_FOLDERS)))
        self._tasks, self._root, self._clips = tasks, Path(path), dict[str, str]()
        super().__init__(path, split=split, only_downloaded=only_downloaded)

    def look(self, root: Path | None) -> Downloads:
        """Folders of pictures; videos are looked for where they belong."""
        if root is None:
            raise DatasetError(f"{self._root} is a file;", remedy="name the folder that json and video lie in.")
        places = [root / place / _FOLDERS["episodic_reasoning"] for place in _PLACES]
        self._frames = FrameFolders(next((p for p in places if p.is_dir()), None))
        return Downloads(None, ())

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions, task by task."""
        there = [t for t in _FOLDERS if any((root / folder / f"{t}.json{z}").is_file() for folder in ("json", "") for z in ("", ".gz"))]
        for task in self._tasks if self._tasks is not None else there or list(_FOLDERS)[:1]:
            path = file_of(root, f"json/{task}.json", f"{task}.json", where=self.page)
            for number, row in enumerate(json_list(path)):
                yield self._row(row, task, path, number)

    def _row(self, row: Mapping[str, Any], task: str, path: Path, number: int) -> Example:
        """One question."""
        entry, ident = f"entry {number}", f"mvbench/{task}/{number}"
        name, answer = inside(word_of(row, "video", path, entry), path, entry), word_of(row, "answer", path, entry)
        options = value(row, "candidates", path, entry)
        told_options = [o.strip() for o in options if isinstance(o, str)] if isinstance(options, list) else []
        if answer not in told_options:
            raise DatasetError(f"{path}, {entry}: answer {answer!r} is none of {str(options)[:120]};", remedy="download it again.")
        told = chosen(word_of(row, "question", path, entry), options, told_options.index(answer), task, path, entry)
        bound = "start" in row or "end" in row
        span = span_of(value(row, "start", path, entry), value(row, "end", path, entry), path, entry) if bound else None
        media = self._media(task, name, span)
        if not media and (media := self._frames.find(name, span) if task == "episodic_reasoning" else ()):
            self._clips[ident] = name
        example = Example(
            id=ident, media=media, group=f"mvbench/{_FOLDERS[task]}/{name}", split="test", texts=told["texts"],
            labels={**told["labels"], **({"start_s": span[0], "end_s": span[1]} if span else {})},
        )  # fmt: skip
        return _with_words(example, row)

    def _media(self, task: str, name: str, span: tuple[float, float] | None) -> tuple[Media, ...]:
        """The video of a row, in any of the places it may lie in."""
        folder = _FOLDERS[task]
        start_s, end_s = span or (None, None)
        other = f"{name.rpartition('.')[0]}.mp4"
        for place in _PLACES:
            for below, file in ((folder, name), *([(_ELSEWHERE[folder], other)] if folder in _ELSEWHERE else [])):
                if (path := self._root / place / below / file).is_file():
                    return (Media(kind="video", source=str(path), start_s=start_s, end_s=end_s),)
        return ()

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; its pictures are put together."""
        row = super().__getitem__(index)
        if row.id not in self._clips:
            return row
        return replace(row, media=(replace(row.media[0], source=self._frames.video(self._clips[row.id])),))


def _with_words(example: Example, row: Mapping[str, Any]) -> Example:
    """The example with the words of its row's `subtitle`, if it has any."""
    words = row.get("subtitle")
    if not isinstance(words, str) or not words.strip():
        return example
    media = tuple(replace(m, transcript=words.strip()) for m in example.media)
    return replace(example, media=media, texts={**example.texts, "transcript": words.strip()})
