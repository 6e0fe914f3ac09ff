"""VideoInstruct: questions and answers about videos of ActivityNet, by people and by models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.datasets._captioned import file_name
from unifusion.datasets._instructed import Instructed, by_stem, inner_path
from unifusion.errors import DatasetError

__all__ = ["VideoInstruct"]


class VideoInstruct(Instructed):
    """VideoInstruct100K of Video-ChatGPT, as it is published and as its training script converts it.

    Source: Maaz et al., 2023, huggingface.co/datasets/MBZUAI/VideoInstruct-100K. Licence: CC BY-SA 4.0 (text); videos are those of
    ActivityNet. Layout on disk: `VideoInstruct100K.json`, `video_chatgpt_training.json`, or Video-LLaVA's `videochatgpt_tune_.json`; videos
    anywhere below the folder as `<video_id>.mp4|mkv|webm|avi|mov`. One raw row of each form:

        {"q": "What is happening in the video?", "a": "A man plays the drums ..", "video_id": "v_k_ZXmr8pmrs"}
        {"id": "v_k_ZXmr8pmrs", "video": "v_k_ZXmr8pmrs.pkl", "conversations": [{"from": "human", "value": "What is ..?\\n<video>"},
        {"from": "gpt", "value": "A man plays the drums .."}]}

    `.pkl` names features that its authors stored; they are not read, the video of that name is. Every row has `texts["question"]` and
    `texts["answer"]`. The group is the video as ActivityNet-QA calls it, so that a mixture of both is kept apart by it.

    Args:
        path: the JSON file, or the folder that holds it.
        split: train, val, or None for both: all is published as train.
        media: folder of the videos; that of the JSON file when it is not given.
        val: share of the videos, by a hash of their names, whose rows are val.
        only_downloaded: leave out rows whose video is not there.
    """

    title, page = "VideoInstruct", "huggingface.co/datasets/MBZUAI/VideoInstruct-100K"
    tables = ("VideoInstruct100K.json", "VideoInstruct_Dataset.json", "video_chatgpt_training.json", "videochatgpt_tune_.json")

    def look(self, root: Path) -> None:
        """Videos by their names."""
        self._videos = by_stem(root)

    def row(self, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The row with its video where it lies; a question of the first form is text whatever stands in it."""
        if isinstance(raw.get("conversations"), list):
            return {"conversations": raw["conversations"], "video": self.clips(raw, where)}
        asked, answer = raw.get("q"), raw.get("a")
        if not isinstance(asked, str) or not isinstance(answer, str):
            raise DatasetError(f"{where}: neither q and a nor conversations;", remedy="check that it is a file of VideoInstruct.")
        shown = [{"type": "video", "path": self.clips(raw, where)[0]}, {"type": "text", "text": asked}]
        return {"messages": [{"role": "user", "content": shown}, {"role": "assistant", "content": answer}]}

    def _video(self, raw: Mapping[str, Any], where: str) -> str:
        """The name of a row's video without its end."""
        named = raw.get("video_id", raw.get("video"))
        alone = inner_path(named, where).rpartition("/")[2] if isinstance(named, str) else ""
        name = file_name(alone, self.file, f"row {where.rpartition(' ')[2]}")
        return name if "video_id" in raw else Path(name).stem

    def clips(self, raw: Mapping[str, Any], where: str) -> list[str]:
        """The video of that name, or where it would lie."""
        name = self._video(raw, where)
        return [str(self._videos.get(name, self.root / f"{name}.mp4"))]

    def group(self, raw: Mapping[str, Any], where: str) -> str:
        """The id on YouTube."""
        return self._video(raw, where).removeprefix("v_")
