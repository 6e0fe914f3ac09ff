"""Mutated clips through the public reader, each frame that comes back held against the clip it came from.

    python -m tests.media.fuzz --count 500 -o out.jsonl

One JSON line for each case, and `out.summary.json` beside it with the counts, healthy clips, bombs and attacks.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.media import clips, hostile
from tests.media.mutations import MUTATIONS, mutate
from unifusion.conversation import Clip
from unifusion.errors import LimitError, MediaError, UniFusionError
from unifusion.limits import Limits
from unifusion.media import Sampling, read_clip

SOURCES = (
    "mp4",
    "mkv",
    "fragmented",
    "webm_vp9",
    "ts",
    "avi",
    "edit_list",
    "vfr",
    "h264_10bit",
    "hevc_open_gop",
    "slices",
    "mkv_av1",
    "cabac",
)
HANG_S = 10.0
PIXEL_ERROR = 8.0
LIMITS = Limits(decode_timeout_s=HANG_S, decode_memory_bytes=2 * 1024**3)
_SAMPLING = Sampling(count=8)


def references(clip: clips.Clip) -> dict[int, np.ndarray]:
    """Every frame of the whole clip by its number, those hidden by an edit list too."""
    with av.open(io.BytesIO(clip.data), options={"ignore_editlist": "1"}) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return {clips.number_of(frame): frame for frame in frames}


def judge(clip: clips.Clip, read: Clip, truth: dict[int, np.ndarray], damage_ok: bool = False) -> dict[str, int]:
    """Count frames that are wrong pictures, and frames whose time is not the one their number had.

    A wrong picture is one whose number cannot be read or is none of the clip's, or that differs from the true picture of
    its number by more than 8 levels on average. A picture turned over or mirrored by a header edit counts as moved. With `damage_ok`,
    frames that are flagged as damaged are not counted.
    """
    wrong = moved = 0
    for frame, time_s, corrupt in zip(read.frames_THWC, read.frame_times_s, read.corrupt_T, strict=True):
        if damage_ok and corrupt:
            continue
        number = clips.number_of(frame)
        if not _same(truth.get(number), frame):
            others = (frame[::-1, ::-1], frame[:, ::-1], frame[::-1])
            turned = any(_same(truth.get(clips.number_of(other)), other) for other in others)
            wrong, moved = wrong + (not turned), moved + turned
        elif clip.number_at(float(time_s)) != number:
            moved += 1
    return {"wrong": wrong, "moved": moved}


def _same(reference: np.ndarray | None, frame: np.ndarray) -> bool:
    """Whether a frame is the true picture, within the tolerance."""
    return reference is not None and reference.shape == frame.shape and np.abs(reference.astype(np.int16) - frame).mean() <= PIXEL_ERROR


def run_case(clip: clips.Clip, truth: dict[int, np.ndarray], mutation: str, seed: int, folder: Path, strict: bool = True) -> dict[str, Any]:
    """Mutate, read in the child, judge."""
    path = folder / f"case_{seed}{clip.suffix}"
    path.write_bytes(mutate(clip.data, mutation, seed))
    row: dict[str, Any] = {"seed": seed, "source": clip.name, "mutation": mutation, "strict": strict}
    began = time.monotonic()
    try:
        read = read_clip(path, video=_SAMPLING, audio=clip.has_audio, limits=LIMITS, strict=strict, isolate=True)
    except MediaError as error:
        text = str(error)
        row |= {"outcome": type(error).__name__, "error": text.replace(str(folder), ""), "names_file": path.name in text}
        row["died"] = "the decoder died" in text
        row["hang"] = isinstance(error, LimitError) and "not decoded within" in text
    except UniFusionError as error:
        row |= {"outcome": "other error", "error": repr(error)}
    else:
        row |= {"outcome": "read", "frames": 0 if read.frames_THWC is None else len(read.frames_THWC), "notes": list(read.notes)}
        if read.frames_THWC is not None:
            row |= judge(clip, read, truth, damage_ok=not strict)
            row["flagged"] = int(read.corrupt_T.sum())
    row["seconds"] = round(time.monotonic() - began, 3)
    path.unlink()
    return row


def healthy(draws: int, seed: int = 0) -> dict[str, Any]:
    """Random times of every whole clip: how many frames are not the one on screen then."""
    rng, wrong, asked = np.random.default_rng(seed), {}, 0
    for name in clips.NAMES:
        clip = clips.make(name)
        first = max(0.0, clip.times_s[0] + clip.zero_s) + (0.33 if name == "ts_cut" else 0.0)
        times = np.sort(rng.uniform(first, clip.times_s[-1] + clip.zero_s + 0.03, draws))
        read = read_clip(clip.data, video=Sampling(times_s=tuple(times.tolist())), audio=False)
        wrong[name] = sum(clips.number_of(f) != clip.number_at(float(t)) for f, t in zip(read.frames_THWC, times, strict=True))
        asked += draws
    return {"clips": len(wrong), "frames": asked, "wrong": sum(wrong.values()), "by_clip": wrong}


def refused_in(work: Callable[[], Any]) -> dict[str, Any]:
    """Whether something is refused, and after how many seconds."""
    began = time.monotonic()
    try:
        work()
    except MediaError as error:
        return {"refused": True, "seconds": round(time.monotonic() - began, 3), "error": type(error).__name__}
    return {"refused": False, "seconds": round(time.monotonic() - began, 3)}


def bombs(folder: Path, frames: int) -> dict[str, Any]:
    """Files that are too much, by their header."""
    made = {
        "8192x8192 mp4": hostile.huge_picture(),
        "50000x50000 png": hostile.huge_png(),
        "2,000,000 frames declared": hostile.many_frames(),
        f"{frames} frames present": hostile.really_many_frames(frames),
        "1000 Hz": hostile.fast_rate(),
        "10 h opus": hostile.long_opus(),
    }
    results = {}
    for name, data in made.items():
        path = folder / "bomb.bin"
        path.write_bytes(data)
        results[name] = refused_in(lambda path=path: read_clip(path, video=_SAMPLING, audio=True))
    return results


def attacked(folder: Path) -> dict[str, Any]:
    """The attacks of hostile.attacks, with a loopback server watching."""
    with hostile.canary() as (address, hits):
        results = {
            name: refused_in(lambda p=path: read_clip(p, video=_SAMPLING, audio=True))
            for name, path in hostile.attacks(folder, address).items()
        }
        return {
            "attacks": len(results),
            "refused": sum(r["refused"] for r in results.values()),
            "server_hits": len(hits),
            "by_attack": results,
        }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over all cases."""
    failed = [r for r in rows if r["outcome"] != "read"]
    return {
        "cases": len(rows),
        "outcomes": dict(Counter(r["outcome"] for r in rows)),
        "decoder_deaths": sum(r.get("died", False) for r in rows),
        "hangs_over_10_s": sum(r.get("hang", False) or r["seconds"] > HANG_S for r in rows),
        "failures_not_naming_the_file": sum(not r.get("names_file", False) for r in failed),
        "failures_not_media_error": sum(r["outcome"] == "other error" for r in rows),
        "files_with_wrong_frames_by_source": dict(Counter(r["source"] for r in rows if r.get("wrong", 0))),
        "files_with_wrong_frames": sum(r.get("wrong", 0) > 0 for r in rows),
        "wrong_frames": sum(r.get("wrong", 0) for r in rows),
        "files_with_moved_times": sum(r.get("moved", 0) > 0 for r in rows),
        "moved_times_by_mutation": dict(Counter(r["mutation"] for r in rows if r.get("moved", 0))),
        "frames_returned": sum(r.get("frames", 0) for r in rows),
        "slowest_s": max(r["seconds"] for r in rows),
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--lenient", type=int, default=0, help="how many more cases with strict=False")
    parser.add_argument("--frames", type=int, default=2_000_000, help="frames of the long file that is made")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    made = {name: clips.make(name) for name in SOURCES}
    truth = {name: references(clip) for name, clip in made.items()}
    names = list(MUTATIONS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, options.output.open("w") as out:
        for case in range(options.count + options.lenient):
            source = SOURCES[case % len(SOURCES)]
            row = run_case(
                made[source], truth[source], names[case // len(SOURCES) % len(names)], case, Path(folder), strict=case < options.count
            )
            rows.append(row)
            out.write(json.dumps(row) + "\n")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        (Path(folder) / "attacks").mkdir()
        summary = {
            "strict": summarise(rows[: options.count]),
            "lenient": summarise(rows[options.count :]) if options.lenient else None,
            "host_memory_growth_mib": round(grown / 1024, 1),
            "healthy": healthy(100),
            "bombs": bombs(Path(folder), options.frames),
            "ssrf": attacked(Path(folder) / "attacks"),
            "cores": os.cpu_count(),
        }
    options.output.with_suffix(".summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
