"""Suite: search of the index's back ends beside FAISS and torch, on vectors without any order and on windows of real sounds."""

from __future__ import annotations

import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unifusion import catalog
from unifusion.cli import script
from unifusion.conversation import Media
from unifusion.errors import ConfigError
from unifusion.features.source import EncoderSource
from unifusion.processor import Row
from unifusion.processor.processor import collate_media
from unifusion.training.choices import parse

K = 10
TUNED = "FAISS flat, tuned"
SETS = ("emodb", "esc10", "fsdd", "ravdess_speech")
WINDOW, HOP = 25, 2
"""Tokens of 40 ms: a window is one second, and one begins every 80 ms."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Interleaved rounds in turned order after one warm-up; medians of per-round ratios of process CPU time."""

    out: str = "runs/eval/search_speed.json"
    data: str = ""
    """Folder with the sets emodb, esc10, fsdd and ravdess_speech; empty leaves the real vectors out."""
    model: str = "checkpoints/tiny-chat"
    """Whose sound encoder makes the real vectors."""
    backends: str = "exact,faiss_flat,faiss_sq8,faiss_pq,faiss_binary,faiss_ivf,faiss_hnsw"
    batches: str = "1,64,1024"
    count: int = 50_000
    width: int = 512
    rounds: int = 9
    many: int = 0
    """Instead: build time, memory and latency with so many vectors (1000000), each back end by itself."""
    kept: str = "runs/eval/search_real.npy"
    """Where the real vectors are kept between runs."""


def uniform(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Vectors (count, width) spread evenly over the sphere: no two are near, so that no code and no list has an easy time."""
    found = np.empty((count, width), np.float32)
    rng = np.random.default_rng(seed)
    for begin in range(0, count, 1 << 16):
        some = rng.standard_normal((min(1 << 16, count - begin), width), np.float32)
        found[begin : begin + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return found


def real(c: Choices) -> np.ndarray:
    """Windows of one second of all recordings of four sets, in random order, as vectors (N, width).

    Each is the means of the encoder's tokens over its first and its second half and their deviation over the whole, 3 x 192 numbers,
    brought to `width` by fixed orthogonal directions and to length one. Recordings are short and windows overlap, so that neighbours
    are near, some are equal (silence), and 22 directions hold most of what differs.
    """
    path = Path(c.kept)
    if path.is_file():
        return np.load(path, allow_pickle=False)
    encoders = EncoderSource(model=c.model, streams=("audio",)).load()
    files = sorted(p for s in SETS for p in (Path(c.data) / s).rglob("*") if p.suffix in (".wav", ".flac"))
    windows = []
    for file in files:
        batch = collate_media([Row(media=[encoders.open(Media(kind="audio", source=file))])], ["audio"])["audio"]
        given = encoders.features("audio", batch)
        tokens = given.tokens_BSD[0][given.mask_BS[0]].numpy()
        for begin in range(0, max(1, len(tokens) - WINDOW + 1), HOP):
            some = tokens[begin : begin + WINDOW]
            windows.append(np.concatenate([some[: len(some) // 2].mean(0), some[len(some) // 2 :].mean(0), some.std(0)]))
    if not windows:
        raise ConfigError(f"{c.data or 'no folder'} holds no recordings of {', '.join(SETS)};", remedy="say --data FOLDER.")
    rng = np.random.default_rng(0)
    wide = len(windows[0])
    directions = np.linalg.qr(rng.standard_normal((wide, wide)))[0][:, : c.width]
    found = (np.stack(windows) @ directions).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, found[rng.permutation(len(found))], allow_pickle=False)
    return real(c)


def filled(name: str, vectors_ND: np.ndarray) -> Any:
    """A back end with its own choices that holds vectors; metadata as a library has it."""
    kind = catalog.load("backends", name)
    backend = kind(vectors_ND.shape[1], kind.Config())
    for begin in range(0, len(vectors_ND), 1 << 16):
        some = vectors_ND[begin : begin + (1 << 16)]
        rows = [{"path": f"clip{i // 20}.mp4", "start_s": i % 20 * 0.5} for i in range(begin, begin + len(some))]
        backend.add(np.arange(begin, begin + len(some)), some, rows)
    backend.search(vectors_ND[:1], K)
    return backend


def recall(found_BK: np.ndarray, queries_BD: np.ndarray, vectors_ND: np.ndarray, least_B: np.ndarray) -> float:
    """Share of the k best that were found; a row as good as the k-th best counts, since equal rows stand for each other."""
    scores = np.einsum("bkd,bd->bk", vectors_ND[found_BK], queries_BD)
    return float((scores >= least_B[:, None] - 1e-6).mean())


def peers(vectors_ND: np.ndarray, batch: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """FAISS's flat index with its threshold at its better value for this batch, twice, and as it comes; FAISS without an index; torch.

    NumPy asks the system for large pages for its arrays and FAISS's index does not, which alone makes reading up to a third quicker, so
    that FAISS is also shown over the array itself.
    """
    import faiss

    flat = faiss.IndexFlatIP(vectors_ND.shape[1])
    flat.add(vectors_ND)
    rows, default = torch.from_numpy(vectors_ND), faiss.cvar.distance_compute_blas_threshold

    def tuned(queries_BD: np.ndarray, threshold: int, over_array: bool = False) -> np.ndarray:
        """One search with another threshold, which is put back."""
        faiss.cvar.distance_compute_blas_threshold = threshold
        if over_array:
            found = faiss.knn(queries_BD, vectors_ND, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
        else:
            found = flat.search(queries_BD, K)[1]
        faiss.cvar.distance_compute_blas_threshold = default
        return np.asarray(found)

    probe = uniform(batch, vectors_ND.shape[1], 7)
    costs = {t: min(timed(lambda t=t: tuned(probe, t))[0] for _ in range(3)) for t in (1, default)}  # type: ignore[misc]
    best = min(costs, key=lambda t: costs[t])
    return {
        TUNED: lambda q: tuned(q, best),
        "FAISS flat, tuned, again": lambda q: tuned(q, best),
        "FAISS tuned, over array": lambda q: tuned(q, best, True),
        "FAISS flat as it comes": lambda q: np.asarray(flat.search(q, K)[1]),
        "torch topk": lambda q: torch.topk(torch.from_numpy(q) @ rows.T, K).indices.numpy(),
    }


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds of this process, wall seconds, and the result."""
    began, wall = time.process_time(), time.perf_counter()
    result = run()
    return time.process_time() - began, time.perf_counter() - wall, result


def race(arms: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Every arm once a round, another one first each time; CPU time against that of tuned FAISS in the same round."""
    names = list(arms)
    for name in names:
        arms[name]()
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            spent = timed(arms[name])
            cpu[name].append(spent[0])
            wall[name].append(spent[1])
    return {name: {**ratio(cpu[TUNED], cpu[name]), "wall_s": statistics.median(wall[name])} for name in names}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Median of per-round ratios, its bootstrapped 90 % interval, the extremes, and the median CPU seconds of `fast`."""
    found = np.array(slow) / np.array(fast)
    drawn = np.median(np.random.default_rng(0).choice(found, (2000, len(found))), axis=1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    return {
        "ratio": float(np.median(found)), "low": float(low), "high": float(high), "least": float(found.min()),
        "greatest": float(found.max()), "cpu_s": statistics.median(fast),
    }  # fmt: skip


def search(c: Choices, all_vectors: np.ndarray) -> list[dict[str, Any]]:
    """All back ends beside the peers for each batch, recall first."""
    vectors, rest = np.ascontiguousarray(all_vectors[: c.count]), all_vectors[c.count :]
    made = {name: filled(name, vectors) for name in c.backends.split(",")}
    found = []
    for batch in map(int, c.batches.split(",")):
        # One query at a time is timed over sixteen, one after the other.
        sets = [rest[i : i + 1] for i in range(16)] if batch == 1 else [rest[:batch]]
        ways = {**peers(vectors, batch), **{n: (lambda q, b=b: b.search(q, K).ids_BK) for n, b in made.items()}}  # type: ignore[misc]
        queries = rest[: max(256, batch)]
        least = made["exact"].search(queries, K).scores_BK[:, -1] if "exact" in made else np.sort(queries @ vectors.T, axis=1)[:, -K]
        recalls = {
            name: recall(np.concatenate([way(queries[i : i + batch]) for i in range(0, len(queries), batch)]), queries, vectors, least)
            for name, way in ways.items()
        }
        arms = {name: (lambda way=way: [way(q) for q in sets]) for name, way in ways.items()}  # type: ignore[misc]  # noqa: B023
        for name, row in race(arms, c.rounds).items():
            each = batch * len(sets)
            ms = {"cpu_ms": 1e3 * row.pop("cpu_s") / each, "wall_ms": 1e3 * row.pop("wall_s") / each}
            found.append({"batch": batch, "name": name, "recall": recalls[name], **ms, **row})
            print(_line(found[-1]), flush=True)
    return found


def _line(row: Mapping[str, Any]) -> str:
    """One row for people."""
    return (
        f"{row['batch']:5} {row['name']:26} {row['cpu_ms']:8.3f} ms a query, {row['ratio']:6.2f} x tuned FAISS "
        f"({row['least']:.2f} to {row['greatest']:.2f}), recall {row['recall']:.4f}"
    )


def variations(vectors_ND: np.ndarray, count: int) -> np.ndarray:
    """As many vectors by moving each a little (a random step of length 0.3) again and again."""
    found = np.empty((count, vectors_ND.shape[1]), np.float32)
    for number, begin in enumerate(range(0, count, len(vectors_ND))):
        room = found[begin : begin + len(vectors_ND)]
        room[:] = vectors_ND[: len(room)] + 0.3 * uniform(len(room), vectors_ND.shape[1], 100 + number) * (number > 0)
        room /= np.linalg.norm(room, axis=1, keepdims=True)
    return found


def many(c: Choices, vectors: np.ndarray, queries: np.ndarray) -> list[dict[str, Any]]:
    """Build time, memory and latency of each back end by itself, with as many threads as OMP_NUM_THREADS says."""
    found: list[dict[str, Any]] = []
    least = None
    for name in c.backends.split(","):
        kind = catalog.load("backends", name)
        before = _resident()
        backend = kind(c.width, kind.Config())
        added = timed(lambda backend=backend: backend.add(np.arange(len(vectors)), vectors, [{}] * len(vectors)))  # type: ignore[misc]
        built = timed(lambda backend=backend: backend.search(queries[:1], K))  # type: ignore[misc]
        memory = _resident() - before
        backend.search(queries[:1], K)
        ones = [timed(lambda q=q, backend=backend: backend.search(q[None], K))[:2] for q in queries]  # type: ignore[misc]
        batch = min(timed(lambda backend=backend: backend.search(queries, K))[1] for _ in range(2))  # type: ignore[misc]
        matches = backend.search(queries, K)
        least = matches.scores_BK[:, -1] if least is None else least  # the first is exact
        row = {
            "name": name, "vectors": len(vectors), "add_s": added[1], "build_s": built[1], "build_cpu_s": built[0], "bytes": memory,
            "one_ms": 1e3 * statistics.median(t[1] for t in ones), "one_cpu_ms": 1e3 * statistics.median(t[0] for t in ones),
            "batch": len(queries), "batch_ms": 1e3 * batch / len(queries), "recall": recall(matches.ids_BK, queries, vectors, least),
            "load": os.getloadavg()[0],
        }  # fmt: skip
        found.append(row)
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        del backend
    return found


def _vectors(c: Choices, name: str) -> np.ndarray:
    """Rows, and behind them queries."""
    if not c.many:
        return uniform(c.count + 1024, c.width) if name == "uniform" else real(c)
    if name == "uniform":
        return uniform(c.many + 64, c.width)
    vectors = variations(real(c), c.many + 64)
    np.random.default_rng(1).shuffle(vectors)
    return vectors


def _resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write JSON."""
    c = parse(Choices, argv, prog="unifusion eval search_speed")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is None:  # NumPy's library reads it when it is loaded, so that it cannot be set from here
        raise ConfigError(
            "OMP_NUM_THREADS is not set;", remedy="say how many threads may compute: OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .."
        )
    import faiss

    torch.set_num_threads(int(threads))
    told: dict[str, Any] = {"threads": int(threads), "load": [os.getloadavg()[0]], "faiss": faiss.__version__, "numpy": np.__version__}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("uniform", "real") if c.data else ("uniform",):
        vectors = _vectors(c, name)  # one kind at a time is held
        print(name, vectors.shape, flush=True)
        found[name] = many(c, vectors[: c.many], vectors[c.many :]) if c.many else search(c, vectors)
        del vectors
    told["load"].append(os.getloadavg()[0])
    path = Path(c.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**told, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    script(main)
