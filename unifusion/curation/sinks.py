"""Where rows are written: a JSONL file or tar shards, whole when they are there, gone on with after a kill."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from unifusion import atomic
from unifusion.errors import ConfigError, DatasetError
from unifusion.limits import Limits
from unifusion.media.source import open_source

__all__ = ["JsonlSink", "ShardSink", "State"]

_COMMIT_ROWS = 512


class State:
    """How far a run came, beside its unfinished file.

    Args:
        path: of the record.
        run: what the output depends on; a record of another run is refused.

    Attributes:
        rows: of the source that are done.
        size: bytes of the unfinished file, or shards that are whole.
        more: counts to go on with.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, dict(run)
        self.rows, self.size = 0, 0
        self.more: dict[str, int] = {}
        if not path.is_file():
            return
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            self.rows, self.size, self.more, before = int(told["rows"]), int(told["size"]), dict(told["more"]), told["run"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no record of an unfinished run ({error});", remedy="remove it, or add --overwrite.") from error
        if before != self.run:
            raise ConfigError(
                f"{path.parent} holds an unfinished run of other data or choices;",
                remedy="repeat its command, choose another -o, or --overwrite.",
            )

    def note(self, rows: int, size: int, more: Mapping[str, int]) -> None:
        """Keep how far it is."""
        self.rows, self.size, self.more = rows, size, dict(more)
        atomic.write_text(self.path, json.dumps({"run": self.run, "rows": rows, "size": size, "more": self.more}))


class JsonlSink:
    """Rows of one JSONL file, under another name until all are there.

    Args:
        out: the file.
        state: of the run; what it had done is kept.
    """

    def __init__(self, out: Path, state: State) -> None:
        self.out, self.state = out, state
        self.work = out.with_name(f".{out.name}.part")
        self._waiting = 0
        self._file: BinaryIO = self.work.open("r+b" if state.rows and self.work.is_file() else "wb")
        if state.rows and self.work.stat().st_size < state.size:
            raise DatasetError(f"{self.work} is shorter than its record says;", remedy="begin anew: --overwrite.")
        self._file.truncate(state.size)
        self._file.seek(state.size)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
        self._waiting += 1

    def commit(self, rows: int, more: Mapping[str, int], *, last: bool = False) -> None:
        """All rows of the source up to `rows` are done; on disk now and then, and at the end under its name."""
        if self._waiting < _COMMIT_ROWS and not last:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._waiting = 0
        if not last:
            self.state.note(rows, self._file.tell(), more)
            return
        self._file.close()
        os.replace(self.work, self.out)
        atomic.sync(self.out.parent)
        self.state.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it as it is, to be gone on with."""
        self._file.close()


class ShardSink:
    """Rows and their clips as tar shards that `webdataset` reads; a shard is there whole or not at all.

    Args:
        out: folder of the shards.
        state: of the run.
        per_shard: rows of one.
        base: folder that names of clips follow.
    """

    def __init__(self, out: Path, state: State, *, per_shard: int, base: Path) -> None:
        self.out, self.state, self.per_shard, self.base = out, state, per_shard, base
        out.mkdir(parents=True, exist_ok=True)
        self._rows: list[tuple[str, dict[str, bytes]]] = []
        self._count = state.more.get("written", 0)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; its clips become members.

        Raises:
            DatasetError: two clips of one format, which a sample of a shard cannot hold apart, or a clip that cannot be read.
        """
        members: dict[str, bytes] = {}

        def member(name: str) -> str:
            """Take a clip in; its name in the row is that of its member."""
            end = Path(name).suffix.lower().lstrip(".")
            path = self.base / name
            with open_source(path, Limits()) as source:
                data = source.handle.read()
            if members.setdefault(end, data) != data:
                raise DatasetError(
                    f"row {row.get('id')!r} has two clips of the format {end}, a sample of a shard one of each;",
                    remedy="write JSONL instead.",
                )
            return f"{stem}.{end}"

        stem = f"{self._count:09d}"
        told = _renamed(row, member)
        members["json"] = json.dumps(told, ensure_ascii=False).encode("utf-8")
        self._rows.append((stem, members))
        self._count += 1

    def commit(self, rows: int, more: Mapping[str, int], *, last: bool = False) -> None:
        """All rows of the source up to `rows` are done: a full shard, or the last one, is written."""
        if len(self._rows) >= self.per_shard or (last and self._rows):
            path = self.out / f"{self.state.size:05d}.tar"
            work = path.with_name(f".{path.name}.part")
            with tarfile.open(work, "w") as tar:
                for stem, members in self._rows:
                    for end, data in members.items():
                        info = tarfile.TarInfo(f"{stem}.{end}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
            atomic.sync(work)
            os.replace(work, path)
            self._rows = []
            self.state.note(rows, self.state.size + 1, {**more, "written": self._count})
        if last:
            self.state.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what is not in a shard yet."""
        self._rows = []


def _renamed(row: Mapping[str, Any], member: Any) -> dict[str, Any]:
    """A row whose clips are named by `member`."""

    def part(value: Any) -> Any:
        """A content part."""
        return {k: member(v) if k == "path" else v for k, v in value.items()} if isinstance(value, dict) else value

    out = dict(row)
    if "messages" in row:
        turns = row["messages"]
        out["messages"] = [{**m, "content": [part(p) for p in m["content"]]} if isinstance(m["content"], list) else m for m in turns]
    else:
        for key in ("video", "audio", "image"):
            if key in row:
                out[key] = [member(name) for name in row[key]] if isinstance(row[key], list) else member(row[key])
    if "media" in row:
        out["media"] = [part(p) for p in row["media"]]
    return out
