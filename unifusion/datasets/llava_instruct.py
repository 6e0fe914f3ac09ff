"""LLaVA-Instruct: conversations about pictures, written by a language model that read their captions; and those of text alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from unifusion.datasets._captioned import IMAGE
from unifusion.datasets._instructed import Instructed, by_stem
from unifusion.errors import DatasetError

__all__ = ["LlavaInstruct"]


class LlavaInstruct(Instructed):
    """LLaVA-Instruct as it is published: 80k, 150k, its three parts, and the mix of 665k rows.

    Source: Liu et al., 2023, huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K. Licence: CC BY 4.0 (conversations; OpenAI's terms hold
    for them, too); pictures are those of COCO, GQA, OCR-VQA, TextVQA and Visual Genome. Layout on disk: `llava_instruct_150k.json` (or
    another of its names) and the folder of pictures that its names lead into: `000000033471.jpg` in `train2017` (or any other below), or,
    of the mix, `coco/train2017/000000033471.jpg`. Rows without `image` are text alone; a mark in them is text. One raw row:

        {"id": "000000033471", "image": "000000033471.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat are the colors of
        the bus in the image?"}, {"from": "gpt", "value": "The bus in the image is white and red."}]}

    The group is the picture; of a row of text alone, its id. Ids are not unique there, so a row is called by its number.

    Args:
        path: the JSON file, or the folder that holds it.
        split: train, val, or None for both: all is published as train.
        media: folder of the pictures; that of the JSON file when it is not given.
        val: share of the pictures, by a hash of their names, whose rows are val.
        only_downloaded: leave out rows whose picture is not there.
    """

    title, page = "LLaVA-Instruct", "huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K"
    tables = (
        "llava_v1_5_mix665k.json", "llava_instruct_150k.json", "llava_instruct_80k.json", "conversation_58k.json", "detail_23k.json",
        "complex_reasoning_77k.json",
    )  # fmt: skip

    def row(self, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The row with its pictures where they lie."""
        if not isinstance(raw.get("conversations"), list):
            raise DatasetError(f"{where}: no conversations;", remedy="check that it is a file of LLaVA-Instruct.")
        pictures = self.clips(raw, where)
        return {"conversations": raw["conversations"], **({"image": pictures} if pictures else {})}

    def clips(self, raw: Mapping[str, Any], where: str) -> list[str]:
        """Below the folder of pictures, under their names, or wherever one of a name without folders lies there."""
        return [str(self._place(name)) for name in self.pictures(raw, where)]

    def _place(self, name: str) -> Path:
        """Where a picture lies, or would."""
        place = self.root / name
        return place if "/" in name or place.is_file() else self._pictures.get(PurePosixPath(name).stem, place)

    @cached_property
    def _pictures(self) -> dict[str, Path]:
        """Pictures anywhere below the folder by their names: listed when the first is not where the row says."""
        return by_stem(self.root, IMAGE)

    def group(self, raw: Mapping[str, Any], where: str) -> str:
        """The name of the picture, which is the same in all files of the set."""
        pictures = self.clips(raw, where)
        return f"llava/{PurePosixPath(pictures[0]).stem}" if pictures else f"llava/text/{raw.get('id', where.rpartition(' ')[2])}"
