"""JSON lines, or a JSON list: whole conversations with clips, or clips with fields that a task asks about."""

from __future__ import annotations

from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._rows import example_of, is_of
from unifusion.datasets._spans import kept_spans
from unifusion.datasets._within import Within
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError

__all__ = ["Messages"]


class Messages(Dataset):
    """Rows of a JSONL file, read when they are asked for: a file of millions of lines costs 16 bytes a line. Or of a JSON list.

    Source: your own data; what licence it has is yours to know. Layout: one file, media beside it or at absolute paths. Four rows:

        {"id": "a", "messages": [
          {"role": "user", "content": [{"type": "video", "path": "a.mp4"}, {"type": "text", "text": "What happens?"}]},
          {"role": "assistant", "content": "A dog barks."}]}
        {"id": "b", "path": "b.wav", "emotion": "joy", "group": "speaker 3"}
        {"messages": [{"role": "user", "content": "<video>Why?"}, {"role": "assistant", "content": "A joke."}], "videos": ["c.mp4"]}
        {"image": "d.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]}

    The first holds its conversation as OpenAI and Hugging Face spell it; the second is asked about by a task, to which strings are texts
    and labels, all else labels; the others are spelled as LLaMA-Factory and LLaVA do. `_spellings` lists all that is read. There must be
    as many marks such as <video> as files; a mark that is meant as text stands in a content part. `transcript`, of a row or of a part
    that is a clip, is what is said in it, for streams that read text. What the second kind cannot say (clips of different spans, a string
    that is a label alone), `media` and `labels` do: `unifusion data convert` writes them.

    Args:
        path: the file; a list must be called `.json`.
        split: keep rows whose `split` is this, and rows that have none.
        root: folder that files must lie in, links followed; without it they may lie anywhere.

    Raises:
        DatasetError: the file cannot be read, has no rows, or a row is not as the format says (with its number).
    """

    def __init__(self, path: str | Path, *, split: str | None = None, root: str | Path | None = None) -> None:
        self.path = Path(path)
        self._place = Within(self.path.parent, root)
        self._rows = kept_spans(self.path, None if split is None else lambda line: is_of(line, split))
        if not len(self._rows):
            raise DatasetError(f"{self.path} has no rows{f' of split {split!r}' if split else ''};", remedy="write one JSON object a line.")

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        where = f"{self.path}, row {index + 1}"
        return example_of(self._rows.row(index, where), str(index + 1), where, lambda name: self._place(name, where))
