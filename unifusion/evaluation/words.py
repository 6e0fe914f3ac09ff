"""How far aligned words are from where they are said, beside naive splits: clip world, and spoken digits put in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unifusion.errors import ConfigError, DatasetError
from unifusion.words.align import Alignment, align_sound

__all__ = ["METHODS", "Spoken", "digit_rows", "evaluate_words", "joined_rows", "words_table", "world_rows"]

_RATE_HZ = 16_000
_FRAME = 160
_ACTIVE_DB = 25.0
_NOISES = ("nothing", "not over the words", "10 dB or more below", "0 to 10 dB below", "louder than the voice")


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """A sound (N,) at 16 kHz with its words and when each is said (K, 2) in seconds; `noise` tells what else is heard."""

    id: str
    waveform_N: np.ndarray
    words: tuple[str, ...]
    times_K2: np.ndarray
    language: str
    noise: str


def world_rows(split: Literal["test_iid", "test_new_people", "test_new_combinations"], count: int, *, seed: int) -> Iterator[Spoken]:
    """The first `count` clips of a split of clip world in which somebody speaks; no voice there is that of a reader."""
    from unifusion.world.sample import sample_script
    from unifusion.world.sound import render_sound, stems
    from unifusion.world.speakers import READERS

    index = -1
    while count:
        index += 1
        script = sample_script(seed, index, split=split)
        if script.utterance is None or not script.has_sound:
            continue
        if script.utterance.voice.variant in READERS:
            raise ConfigError(f"{script.utterance.voice.variant} is a reader and speaks;", remedy="take it out of world.yaml.")
        count -= 1
        waveform_N, spoken = render_sound(script)
        said, tracks = spoken.utterance, stems(script)
        if said is None:
            raise ConfigError(f"clip {index} of {split} was spoken without words;", remedy="report this.")
        span = slice(round(said.start_s * _RATE_HZ), round(said.end_s * _RATE_HZ))
        yield Spoken(
            id=f"clip-world/{seed}/{split}/{index}", waveform_N=waveform_N, words=tuple(w.text for w in said.words),
            times_K2=np.array([(w.start_s, w.end_s) for w in said.words]), language=said.language,
            noise=_noise(tracks["voice"], tracks["sounds"] + tracks["background"], span),
        )  # fmt: skip


def joined_rows(rows: Sequence[Spoken], count: int, *, seed: int, clips: int = 3) -> Iterator[Spoken]:
    """Sounds of several clips of one language one after the other, with whatever is heard between what is said.

    Raises:
        ConfigError: no language has so many rows.
    """
    by: dict[str, list[Spoken]] = {}
    for row in rows:
        by.setdefault(row.language, []).append(row)
    languages = sorted(name for name, found in by.items() if len(found) >= clips)
    if not languages:
        raise ConfigError(f"{len(rows)} rows to join {clips} at a time;", remedy="give more rows.")
    rng = np.random.default_rng(seed)
    for number in range(count):
        among = by[languages[number % len(languages)]]
        chosen = [among[k] for k in rng.choice(len(among), clips, replace=False)]
        starts = np.cumsum([0, *(len(r.waveform_N) for r in chosen[:-1])]) / _RATE_HZ
        yield Spoken(
            id=f"joined/{seed}/{number}", waveform_N=np.concatenate([r.waveform_N for r in chosen]),
            words=tuple(w for r in chosen for w in r.words), language=chosen[0].language, noise="",
            times_K2=np.concatenate([r.times_K2 + start for r, start in zip(chosen, starts, strict=True)]),
        )  # fmt: skip


def _noise(voice_N: np.ndarray, rest_N: np.ndarray, span: slice) -> str:
    """What is heard beside a voice, by the power of both over the time it speaks."""
    if not rest_N.any():
        return _NOISES[0]
    power = float(np.mean(rest_N[span] ** 2))
    if power < 1e-10:
        return _NOISES[1]
    ratio_db = 10 * np.log10(float(np.mean(voice_N[span] ** 2)) / power)
    return _NOISES[2] if ratio_db >= 10 else _NOISES[3] if ratio_db >= 0 else _NOISES[4]


def digit_rows(path: str | Path, count: int, *, seed: int, split: str | None = None) -> Iterator[Spoken]:
    """Rows of 4 to 7 digits spoken by one real person each (FSDD), with known times.

    Recordings are cut to their sound, brought to one level, and joined: half of them without a pause, half after up to 0.25 s. 0.3 to 1.2 s
    of quiet stand at both ends, white noise 15 to 35 dB below the voice lies over all.
    """
    from unifusion.datasets.fsdd import FSDD
    from unifusion.media.read import read_audio

    people: dict[str, list[tuple[str, str]]] = {}
    dataset = FSDD(path, split=split)
    for example in (dataset[k] for k in range(len(dataset))):
        people.setdefault(example.group, []).append((example.texts["transcript"], str(example.media[0].source)))
    rng = np.random.default_rng(seed)
    for number in range(count):
        takes = people[sorted(people)[rng.integers(len(people))]]
        pieces, words, times, at = [np.zeros(int(rng.uniform(0.3, 1.2) * _RATE_HZ))], [], [], 0
        for k in rng.choice(len(takes), rng.integers(4, 8)):
            word, source = takes[k]
            heard_N = read_audio(source).waveform_N
            if heard_N is None:
                raise DatasetError(f"{source} has no sound;", remedy="fetch it again.")
            heard_N = _cut(heard_N)
            at = sum(map(len, pieces))
            words.append(word)
            times.append((at / _RATE_HZ, (at + len(heard_N)) / _RATE_HZ))
            pieces += [0.1 * heard_N / np.sqrt(np.mean(heard_N**2)), np.zeros(int(rng.integers(2) * rng.uniform(0, 0.25) * _RATE_HZ))]
        sound_N = np.concatenate([*pieces, np.zeros(int(rng.uniform(0.3, 1.2) * _RATE_HZ))])
        sound_N = sound_N + 0.1 * 10 ** (-rng.uniform(15, 35) / 20) * rng.standard_normal(len(sound_N))
        yield Spoken(
            id=f"digits/{seed}/{number}", waveform_N=sound_N.astype(np.float32), words=tuple(words), times_K2=np.array(times),
            language="english", noise="white, 15 to 35 dB below",
        )  # fmt: skip


def _cut(waveform_N: np.ndarray) -> np.ndarray:
    """From the first to the last 10 ms within 30 dB of the loudest."""
    power = np.convolve(waveform_N**2, np.ones(_FRAME) / _FRAME, mode="same")
    loud = np.flatnonzero(power > power.max() * 1e-3)
    return waveform_N[loud[0] : loud[-1] + 1]


def _levels(waveform_N: np.ndarray) -> np.ndarray:
    """Decibels of each 10 ms, smoothed over five."""
    frames = waveform_N[: len(waveform_N) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return 10 * np.log10(np.convolve(np.mean(frames.astype(np.float64) ** 2, axis=1), np.ones(5) / 5, mode="same") + 1e-10)


def _active(waveform_N: np.ndarray) -> tuple[float, float]:
    """First and last second within 25 dB of the loudest: speech, where nothing else sounds."""
    levels = _levels(waveform_N)
    loud = np.flatnonzero(levels > levels.max() - _ACTIVE_DB)
    return loud[0] * _FRAME / _RATE_HZ, (loud[-1] + 1) * _FRAME / _RATE_HZ


def _between(edges: np.ndarray) -> np.ndarray:
    """Words (K, 2) that end where the next begins."""
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _uniform(row: Spoken) -> np.ndarray:
    """The active part in equal pieces."""
    return _between(np.linspace(*_active(row.waveform_N), len(row.words) + 1))


def _letters(row: Spoken) -> np.ndarray:
    """The active part in pieces as long as the words are in letters."""
    start_s, end_s = _active(row.waveform_N)
    letters = np.cumsum([0, *map(len, row.words)])
    return _between(start_s + (end_s - start_s) * letters / letters[-1])


def _energy(row: Spoken) -> np.ndarray:
    """The active part, parted at its quietest moments, 60 ms apart at least."""
    start_s, end_s = _active(row.waveform_N)
    levels = _levels(row.waveform_N)
    first, last = round(start_s * 100), round(end_s * 100)
    edges: list[int] = []
    for k in first + 6 + np.argsort(levels[first + 6 : max(last - 6, first + 6)]):
        if len(edges) + 1 == len(row.words):
            break
        if all(abs(int(k) - other) >= 6 for other in edges):
            edges.append(int(k))
    while len(edges) + 1 < len(row.words):  # too short for so many words
        edges.append(last)
    return _between(np.array([first, *sorted(edges), last]) / 100)


def _known(row: Spoken) -> np.ndarray:
    """The true span of speech, which no method is told, in equal pieces."""
    return _between(np.linspace(row.times_K2[0, 0], row.times_K2[-1, 1], len(row.words) + 1))


def _times(found: Alignment) -> np.ndarray:
    """Starts and ends (K, 2)."""
    return np.array([(w.start_s, w.end_s) for w in found.words])


def _aligned(row: Spoken) -> np.ndarray:
    """As `unifusion align` has it."""
    return _times(align_sound(row.waveform_N, " ".join(row.words), language=row.language))


METHODS: dict[str, Callable[[Spoken], np.ndarray]] = {
    "aligned": _aligned, "uniform": _uniform, "by letters": _letters, "energy": _energy, "uniform in the true span": _known,
}  # fmt: skip
"""Each gives when words begin and end (K, 2), all but the last from sound, words and language alone."""


def evaluate_words(rows: Sequence[Spoken], *, on_row: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Return errors of boundaries in seconds, over all starts and ends of words, by method; by language and by noise; and scores.

    `scores` are those of the right words, and of those of the next row in the same language, at most half of them the same.
    """
    errors: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    right, wrong = [], []
    for number, row in enumerate(rows):
        found = align_sound(row.waveform_N, " ".join(row.words), language=row.language)
        right.append(found.score)
        for name, method in METHODS.items():
            times_K2 = _times(found) if name == "aligned" else method(row)
            errors[name].append(np.abs(times_K2 - row.times_K2).ravel())
        others = [*rows[number + 1 :], *rows[:number]]
        other = next((o for o in others if o.language == row.language and 2 * len(set(o.words) & set(row.words)) <= len(row.words)), None)
        if other is not None:
            wrong.append(align_sound(row.waveform_N, " ".join(other.words), language=row.language).score)
        if on_row is not None:
            on_row(number)
    groups: dict[str, dict[str, Any]] = {}
    for kind in ("language", "noise"):
        for value in sorted({getattr(r, kind) for r in rows} - {""}, key=lambda v: (_NOISES.index(v) if v in _NOISES else -1, v)):
            inside = [k for k, r in enumerate(rows) if getattr(r, kind) == value]
            groups[f"{kind}: {value}"] = {name: _summary([errors[name][k] for k in inside]) for name in METHODS}
    return {
        "rows": len(rows), "all": {name: _summary(found) for name, found in errors.items()}, "groups": groups,
        "scores": {"right": _percentiles(right), "wrong": _percentiles(wrong)},
    }  # fmt: skip


def _summary(errors: Sequence[np.ndarray]) -> dict[str, float]:
    """Clips, boundaries, and percentiles of their errors."""
    every = np.concatenate(errors)
    median, high = np.percentile(every, [50, 90])
    return {
        "clips": len(errors), "boundaries": len(every), "median_s": round(float(median), 4), "p90_s": round(float(high), 4),
        "over_150_ms": round(float((every > 0.15).mean()), 4),
    }  # fmt: skip


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Percentiles 5, 25, 50, 75, 95."""
    return {str(p): round(float(np.percentile(values, p)), 3) for p in (5, 25, 50, 75, 95)} if values else {}


def words_table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: median / 90th percentile in seconds of each set and group by method."""
    lines = [f"| set | clips | {' | '.join(METHODS)} |", f"|---|---|{'---|' * len(METHODS)}"]
    for name, found in results.items():
        for group, cells in {"all": found["all"], **found["groups"]}.items():
            told = " | ".join(f"{cells[m]['median_s']:.3f} / {cells[m]['p90_s']:.3f}" for m in METHODS)
            lines.append(f"| {name}{'' if group == 'all' else f', {group}'} | {cells['aligned']['clips']} | {told} |")
    return "\n".join(lines) + "\n"
