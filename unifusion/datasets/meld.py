"""MELD: lines of a TV series with their emotion, in dialogues; with their clips where they were downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Published, file_of, one_of, rows_of

__all__ = ["MELD"]

EMOTIONS = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "fear", "disgust": "disgust", "surprise": "surprise",
}  # fmt: skip
_PARTS = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "val": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}
_WHERE = "affective-meld.github.io (doi 10.18653/v1/P19-1050)"
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


class MELD(Published):
    """MELD as it is published; `labels["history"]` holds the lines of the dialogue before a row's own.

    Source: Poria et al., 2019 (affective-meld.github.io). Licence: GPL-3.0 (annotations); the dialogues are those of the series Friends,
    research use. Layout on disk: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv` (or .gz); clips in `train_splits`,
    `dev_splits_complete` and `output_repeated_splits_test` as `dia{D}_utt{U}.mp4`. One raw row:

        1,"Oh my God, he's lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"

    The group is the dialogue, numbered anew in each part. The cast is the same in all parts, as published: figures on MELD are not figures
    on people who were never met. `labels["metadata"]` holds the place of the line in its dialogue.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
    """

    title = "MELD"
    tables: ClassVar[Mapping[str, str]] = {p: name for p, (name, _) in _PARTS.items()}

    @classmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its table; ids are not contiguous."""
        path = file_of(root, _PARTS[part][0], where=_WHERE)
        said: dict[str, list[dict[str, str]]] = {}
        for line, row in rows_of(path, _COLUMNS):
            dialogue, name = row["Dialogue_ID"], f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            clip = root / _PARTS[part][1] / f"{name}.mp4"
            before = said.setdefault(dialogue, [])
            yield Example(
                id=f"meld/{part}/{name}",
                media=(Media(kind="video", source=str(clip), transcript=row["Utterance"]),) if clip.is_file() else (),
                texts={"transcript": row["Utterance"]},
                labels={
                    "emotion": one_of(row["Emotion"], EMOTIONS, path, line),
                    "sentiment": row["Sentiment"],
                    "speaker": row["Speaker"],
                    "history": tuple(before),
                    "language": "english",
                    "metadata": {"turn": len(before)},
                },
                group=f"meld/{part}/dia{dialogue}",
                split=part,
            )
            before.append({"speaker": row["Speaker"], "text": row["Utterance"]})
