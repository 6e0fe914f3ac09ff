"""Kills indexing again and again with SIGKILL, at random moments and inside its writes, and looks after each at what is there.

    python -m tests.retrieval.kills OUT --kills 200
"""

import argparse
import hashlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tests.retrieval.toys import WIDTH, Report, Stream, ToyBackend, ToyEmbedder, Vectors, axis, tone, unit
from unifusion import atomic
from unifusion.errors import UniFusionError
from unifusion.retrieval import layout, library, repair, segment
from unifusion.retrieval.library import Library
from unifusion.retrieval.scan import scan
from unifusion.retrieval.summary import IndexOptions

OPTIONS = IndexOptions(flush_windows=4, batch_size=2, workers=2, prune=True)


class Quick(ToyEmbedder):
    """Vectors that follow from a file's bytes and the span: nothing is decoded."""

    def open(self, media):
        return hashlib.sha256(Path(media.source).read_bytes()).hexdigest(), media.start_s or 0.0

    def embed_opened(self, clips):
        time.sleep(0.001)
        return [Vectors(expected(*clip), Report({"audio": Stream(True)}), 1.0) for clip in clips]


def expected(content, start_s):
    """The vectors of a window."""
    audio = axis(f"{content} {start_s:.3f}")
    return {"clip": unit(audio + 0.1 * axis("clip")), "audio": audio}


def run(folder, index):
    """One indexing, as the command does it."""
    if (index / "manifest.json").exists():
        made = Library.open(index, Quick())
    else:
        backend = f"{ToyBackend.__module__}:ToyBackend"
        made = Library.create(index, Quick(), backend=backend, window_s=1.0, overwrite=True)
    made.index([folder], OPTIONS)


def dying(at):
    """Let this process kill itself at the at-th thing that is done to the disk."""
    count = [0]

    def watched(function):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    places = [
        (atomic, "sync"), (atomic.os, "replace"), (atomic.shutil, "rmtree"), (segment.np, "save"), (segment, "sha256_of"),
        (layout, "write_text"), (library, "write_manifest"), (library, "compact"), (repair, "sweep_merged"), (Path, "rename"),
        (Path, "write_text"),
    ]  # fmt: skip
    for place, name in places:
        setattr(place, name, watched(getattr(place, name)))


def ended(pid, limit_s=100.0):
    """The status of a child that has ended; one that hangs is an error of its own."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    raise SystemExit(f"an attempt hung for {limit_s} s")


def attempt(folder, index, rng, aimed, seconds):
    """One indexing that is killed if it does not end before; returns whether it was."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if aimed:
                dying(rng.randrange(1, 100))
            run(folder, index)
            code = 0
        finally:
            os._exit(code)
    if not aimed:
        time.sleep(rng.uniform(0.0, seconds))
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(ended(pid))
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt ended with {code}")
    return code != 0


def looked_at(index):
    """Windows that are there as {(path, start, end): ids}, each held against what its vectors must be; None where there is no library."""
    if not (index / "manifest.json").exists():
        return None
    found = Library.open(index, Quick())
    spaces = {space: dict(zip(*found.vectors(space), strict=True)) for space in found.spaces}
    snapshot = found._snapshot
    held = {}
    for id in snapshot.ids_N[snapshot.alive_N]:
        window = snapshot.window(int(id))
        entry = snapshot.entries[window.clip]
        for space, vector in expected(entry.sha256, window.start_s).items():
            np.testing.assert_allclose(spaces[space][id], vector, atol=1e-6)
        assert (entry.path, window.start_s, window.end_s) not in held, "a window stands twice"
        held[entry.path, window.start_s, window.end_s] = entry.sha256
    for entry in snapshot.entries.values():
        assert entry.windows == sum(path == entry.path for path, _, _ in held), "a clip counts other windows than are there"
    if held:
        path, start_s, end_s = next(iter(held))
        best = found.search(expected(held[path, start_s, end_s], start_s)["audio"], k=1, space="audio")[0]
        assert held[best.path, best.start_s, best.end_s] == held[path, start_s, end_s] and best.score > 0.999
    return held


def change(folder, rng):
    """Something happens to the files."""
    files = sorted(folder.glob("*.wav"))
    what = rng.randrange(5)
    if what == 0:
        rng.choice(files).rename(folder / f"{rng.random():.12f}.wav")
    elif what == 1 or len(files) > 25:
        rng.choice(files).unlink()
    else:
        path = rng.choice(files) if what == 2 else folder / f"{rng.random():.12f}.wav"
        tone(path, *rng.choices(["low", "middle", "high"], k=rng.choice([1, 1, 3])), seconds=rng.uniform(0.3, 2.5), rate=1000)


def killed(out, *, kills, seed=0):
    """Kill that often; returns the figures."""
    # A child that is killed while it holds tqdm's lock, which processes share, would leave it held for the parent and all after it.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0
    rng, folder, index = random.Random(seed), out / "clips", out / "index"
    folder.mkdir(parents=True)
    for number in range(20):
        tone(folder / f"{number}.wav", "low", "high", seconds=0.3 + number / 20, rate=1000)
    began = time.perf_counter()
    run(folder, out / "whole")
    seconds = time.perf_counter() - began
    figures = {"kills": 0, "aimed": 0, "ended": 0, "typed": 0, "windows": 0, "merged": 0}
    while figures["kills"] < kills:
        aimed = rng.random() < 0.5
        if attempt(folder, index, rng, aimed, seconds):
            figures["kills"] += 1
            figures["aimed"] += aimed
            seconds *= 1.1
        else:
            figures["ended"] += 1
            seconds *= 0.7  # what is left to do takes less and less time, and is to be met as well
            for _ in range(rng.randrange(4, 16)):
                change(folder, rng)
        try:
            held = looked_at(index)
            figures["windows"] += len(held or ())
        except UniFusionError as error:
            figures["typed"] += 1
            print(error)
        figures["merged"] += any(p.name[:8] != p.name[9:] for p in (index / "segments").glob("[0-9]*"))
    run(folder, index)
    wanted = {w.path: hashlib.sha256(Path(w.path).read_bytes()).hexdigest() for w in scan([folder])[0]}
    held = looked_at(index)
    assert {path for path, _, _ in held} == set(wanted) and all(wanted[path] == content for (path, _, _), content in held.items())
    figures["litter"] = len(list(index.rglob(".*.tmp")))
    return figures


def main(*words):
    """Kill as a command line says, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words or None)
    assert WIDTH == Quick().width
    print(json.dumps(killed(given.out, kills=given.kills, seed=given.seed)))


if __name__ == "__main__":
    main()
