"""One file of features: some items of one stream, written once as a whole and then only read.

A shard is one safetensors file, so that a kill cannot part an index from its data. Its tensors, N items of S_i tokens of D_i numbers,
of which the first R_i are there and the rest is padding (a whisper pads 4 s to 30: seven eighths of what it gives are zeros):

| name | shape | what |
|---|---|---|
| `keys` | bytes | the items' keys, one a line |
| `shapes` | (N, 3) int64 | S_i, D_i and R_i |
| `record_ends` | (N,) int64 | where each record ends in `records` |
| `records` | bytes | JSON, one object an item |
| `times` | (sum of S_i,) float32 | seconds of each token |
| `mask` | (sum of S_i,) bool | which tokens are real |
| `tokens` | (sum of R_i x D_i,) bfloat16 | the features |

Opening one reads its header and its keys: 100,000 items in 1,613 shards open in 0.3 to 0.5 s, however long they are (with records of 1,500
times in JSON, as earlier versions wrote them, it took 37 s).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from unifusion.atomic import sync
from unifusion.errors import DatasetError

__all__ = ["Item", "Shard", "as_item", "sweep", "write_shard"]

_TYPES = {"U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_), "I64": np.dtype("<i8"), "F32": np.dtype("<f4"), "BF16": np.dtype("<i2")}
_MOST_HEADER_BYTES = 1 << 20
_NO_LOCKS_S = 24 * 3600.0
"""Where a file system has no locks, a leftover this old is taken to be nobody's."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is stored of one clip.

    Attributes:
        tokens_SD: bf16.
        times_S: float32 seconds of the tokens.
        mask_S: bool.
        record: what the report says, as JSON has it.
    """

    tokens_SD: torch.Tensor
    times_S: torch.Tensor
    mask_S: torch.Tensor
    record: dict[str, Any]

    @property
    def n_real(self) -> int:
        """R: tokens up to the last one that is real."""
        return int(self.mask_S.nonzero()[-1]) + 1 if bool(self.mask_S.any()) else 0

    @property
    def n_bytes(self) -> int:
        """Bytes that its numbers take on disk."""
        return 2 * self.n_real * self.tokens_SD.shape[1] + self.times_S.nbytes + self.mask_S.nbytes


def as_item(tokens_SD: torch.Tensor, times_S: torch.Tensor | None, mask_S: torch.Tensor | None, record: dict[str, Any]) -> Item:
    """An item as it is read again: bf16 (S, D) with times and mask (S,), on the CPU, padding zero; no mask is all real."""
    count = len(tokens_SD)
    times = torch.zeros(count) if times_S is None else times_S.to("cpu", torch.float32).contiguous()
    mask = torch.ones(count, dtype=torch.bool) if mask_S is None else mask_S.to("cpu", torch.bool).contiguous()
    tokens = tokens_SD.detach().to("cpu", torch.bfloat16).contiguous().masked_fill(~mask[:, None], 0.0)
    return Item(tokens_SD=tokens, times_S=times, mask_S=mask, record=record)


def write_shard(folder: Path, items: dict[str, Item]) -> tuple[str, int]:
    """Write items as one shard of `folder`, under a name that follows from their keys; return the name and its bytes.

    It is synced to disk under another name and renamed, so a reader finds all of it or nothing. Whoever writes the same items again
    takes the place of the file with an equal one; a process that has it mapped keeps the old one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("".join(items).encode()).hexdigest()[:24]
    records = [json.dumps(item.record).encode() for item in items.values()]
    arrays = {
        "keys": ("U8", [np.frombuffer("\n".join(items).encode(), np.uint8)]),
        "shapes": ("I64", [np.array([(*item.tokens_SD.shape, item.n_real) for item in items.values()], "<i8")]),
        "record_ends": ("I64", [np.cumsum([len(r) for r in records], dtype="<i8")]),
        "records": ("U8", [np.frombuffer(b"".join(records), np.uint8)]),
        "times": ("F32", [item.times_S.numpy() for item in items.values()]),
        "mask": ("BOOL", [item.mask_S.numpy() for item in items.values()]),
        "tokens": ("BF16", [item.tokens_SD[: item.n_real].view(torch.int16).numpy() for item in items.values()]),
    }
    with _part(folder, name) as (file, part):
        file.write(_header(arrays))
        file.flush()  # from here on a leftover is not empty, which `sweep` goes by
        for _, pieces in arrays.values():
            for piece in pieces:
                file.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
        n_bytes = file.tell()
        os.replace(part, folder / f"{name}.safetensors")
    sync(folder)
    return name, n_bytes


def _header(arrays: dict[str, tuple[str, list[np.ndarray]]]) -> bytes:
    """The header of a safetensors file of arrays, each in pieces."""
    at, told = 0, {}
    for name, (kind, pieces) in arrays.items():
        size = sum(p.nbytes for p in pieces)
        shape = list(pieces[0].shape) if name == "shapes" else [size // _TYPES[kind].itemsize]
        told[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@contextlib.contextmanager
def _part(folder: Path, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A new hidden file that nobody else writes; locked while it is written, so that `sweep` sees that its writer lives."""
    path = folder / f".{name}.{secrets.token_hex(4)}.part"
    with path.open("xb") as file:
        try:
            with contextlib.suppress(OSError):  # a file system without locks: `sweep` goes by age there
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file, path
        finally:
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> int:
    """Remove what writers that are dead left in `folder`; return how many files. Those that others are writing stay.

    A lock tells the living from the dead, on other machines of a shared file system as well. A writer has no lock for an instant
    after it made its file: that file is empty, and stays until it is a minute old.
    """
    removed = 0
    for path in (*folder.glob(".*.part"), *folder.glob(".*.tmp")):
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            found = os.fstat(file.fileno())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                dead = found.st_size > 0 or time.time() - found.st_mtime > 60
            except BlockingIOError:
                dead = False
            except OSError:
                dead = time.time() - found.st_mtime > _NO_LOCKS_S
            if dead:
                path.unlink()
                removed += 1
    return removed


class Shard:
    """A shard on disk; only its header and keys are read until an item is asked for.

    Args:
        path: of the file; `.json` names a shard of two files as earlier versions wrote them.

    Raises:
        DatasetError: the file is cut, or is no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, np.ndarray] = {}
        self._places: tuple[np.ndarray, np.ndarray] | None = None
        self.keys: list[str]
        if path.suffix == ".json":
            self.keys = self._open_pair()
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MOST_HEADER_BYTES, size - 8):
                raise _broken(path, f"{size} bytes, of which the header claims {length}")
            try:
                told = json.loads(file.read(length))
                self._told = {n: (_TYPES[t["dtype"]], t["data_offsets"], t["shape"]) for n, t in told.items() if n != "__metadata__"}
                begin, end = self._told["keys"][1]
                wanted = 8 + length + max(offsets[1] for _, offsets, _ in self._told.values())
            except (ValueError, KeyError, TypeError) as error:
                raise _broken(path, f"a header that cannot be read ({error})") from error
            if size != wanted:
                raise _broken(path, f"{size} bytes, its index says {wanted}")
            self._start = 8 + length
            file.seek(self._start + begin)
            self.keys = file.read(end - begin).decode().split("\n")

    def item(self, number: int) -> Item:
        """One item; its numbers are copied from the mapped file."""
        if self.path.suffix == ".json":
            return self._item_of_pair(number)
        rows, numbers = self._places or self._map()
        arrays = self._arrays
        ends = arrays["record_ends"]
        record = arrays["records"][ends[number - 1] if number else 0 : ends[number]]
        count, width, real = arrays["shapes"][number].tolist()
        tokens = np.empty((count, width), np.int16)
        tokens[:real] = arrays["tokens"][numbers[number] : numbers[number + 1]].reshape(real, width)
        tokens[real:] = 0
        some = slice(rows[number], rows[number + 1])
        return Item(
            tokens_SD=torch.from_numpy(tokens).view(torch.bfloat16),
            times_S=torch.from_numpy(np.array(arrays["times"][some])),
            mask_S=torch.from_numpy(np.array(arrays["mask"][some])),
            record=json.loads(record.tobytes()),
        )

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it maps the file itself."""
        return {**self.__dict__, "_arrays": {}, "_places": None}

    def _map(self) -> tuple[np.ndarray, np.ndarray]:
        """Map the file and cut it into its arrays; return where each item's tokens begin, and its numbers."""
        whole = np.asarray(np.memmap(self.path, dtype=np.uint8, mode="r"))
        for name, (kind, (begin, end), shape) in self._told.items():
            piece = whole[self._start + begin : self._start + end]
            # Arrays of a few numbers, read for every item, are copied: the mapped ones need not be aligned.
            self._arrays[name] = piece.copy().view(kind).reshape(shape) if kind.itemsize == 8 else _unaligned(piece, kind)
        count_N, width_N, real_N = self._arrays["shapes"].T
        rows, numbers = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (count_N, real_N * width_N))
        self._places = (rows, numbers)
        return self._places

    def _open_pair(self) -> list[str]:
        """Read the index of a shard of two files, `.json` and `.bf16`."""
        data = self.path.with_suffix(".bf16")
        try:
            self._index = json.loads(self.path.read_text(encoding="utf-8"))
            keys, wanted = list(self._index["keys"]), 2 * int(self._index["offsets"][-1])
        except (ValueError, KeyError, TypeError) as error:
            raise _broken(self.path, f"an index that cannot be read ({error})") from error
        found = data.stat().st_size if data.is_file() else 0
        if found != wanted:
            raise _broken(data, f"{found} bytes, its index says {wanted}")
        return keys

    def _item_of_pair(self, number: int) -> Item:
        """One item of a shard of two files; its times and mask are in its record, each once for `repeat` tokens."""
        index, record = self._index, dict(self._index["records"][number])
        begin, end = index["offsets"][number], index["offsets"][number + 1]
        shape = tuple(index["shapes"][number])
        if begin == end:  # a file of nothing but absent streams cannot be mapped
            tokens = torch.zeros(shape, dtype=torch.bfloat16)
        else:
            if "tokens" not in self._arrays:
                self._arrays["tokens"] = np.asarray(np.memmap(self.path.with_suffix(".bf16"), dtype=np.int16, mode="r"))
            tokens = torch.from_numpy(np.array(self._arrays["tokens"][begin:end]).reshape(shape)).view(torch.bfloat16)
        repeat = record.pop("repeat", 1)
        times = torch.tensor(record.pop("times", []), dtype=torch.float32).repeat_interleave(repeat)
        mask = torch.tensor(record.pop("mask", []), dtype=torch.bool).repeat_interleave(repeat)
        return Item(tokens_SD=tokens, times_S=times, mask_S=mask, record=record)


def _unaligned(piece: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Bytes as numbers of one kind, wherever they begin."""
    return np.ndarray((len(piece) // kind.itemsize,), kind, buffer=piece.data) if len(piece) else np.zeros(0, kind)


def _broken(path: Path, found: str) -> DatasetError:
    """What is told about a file that is no whole shard."""
    return DatasetError(f"{path} has {found};", remedy="remove this shard; its clips are encoded again.")
