"""Clip world as a dataset: rendered clips with known truth, one row per question."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._layouts import LAYOUTS, write_layout
from unifusion.datasets.dataset import Dataset
from unifusion.errors import ConfigError, DatasetError, nearest
from unifusion.world.captions import caption, evidence, overall_emotion
from unifusion.world.circumplex import clip_mean
from unifusion.world.families_picture import face_emotion
from unifusion.world.questions import Question, ask
from unifusion.world.render import reference, render, with_words, write_mp4, write_wav
from unifusion.world.sample import sample_script
from unifusion.world.script import Script, Split

__all__ = ["ClipWorld"]

_LAID_OUT = ("seed", "count", "size_px", "duration_s")
"""Choices of the layouts of published sets."""


class ClipWorld(Dataset):
    """Questions about rendered clips; nothing lies on disk, a clip is drawn and sounded when somebody opens its reference.

    Source: this package (`unifusion/world`). Licence: that of the package. Layout on disk: none. One raw row:

        Example(id="clip-world/7/train/12/expression",
                media=(Media(kind="video", source="clip-world://7/12?split=train&size=112&duration=6"),),
                texts={"question": "What does the face express?", "answer": "happy", "caption": "The face is happy.", "transcript": ".."},
                labels={"family": "expression", "needs": "picture", "options": ("neutral", ..), "checker": "exact", ..},
                group="person 17, voice 4", split="train")

    Args:
        seed: another seed is another world.
        start: index of the first clip.
        count: clips.
        split: pools and clips: train, val, test_iid, test_new_people, test_new_combinations.
        per_clip: questions of each clip, each of another family. A clip that lacks so many gives fewer rows only with `families`.
        families: ask only these; None asks all.
        size_px: width and height.
        duration_s: length of each clip, 2 to 12 s.

    Raises:
        ConfigError: a value that clip world has no room for.
    """

    reads_files = False

    def __init__(
        self, *, seed: int = 0, start: int = 0, count: int = 1000, split: Split = "train", per_clip: int = 4,
        families: Sequence[str] | None = None, size_px: int = 112, duration_s: float = 6.0,
    ) -> None:  # fmt: skip
        if count < 1 or per_clip < 1:
            raise ConfigError(f"{count} clips with {per_clip} questions each;", remedy="give at least one of both.")
        self.seed, self.start, self.count, self.split, self.per_clip = seed, start, count, split, per_clip
        self.families = tuple(families) if families is not None else None
        self.size_px, self.duration_s = size_px, duration_s
        self._asked: Callable[[int], list[Question]] = lru_cache(maxsize=256)(self._ask)
        self._ask_check()
        self._rows = self._scan() if self.families is not None else None

    def _ask_check(self) -> None:
        """Fail at construction, not in a worker: unknown families, splits and sizes are refused here."""
        ask(self.script(0), per_clip=0, families=self.families)

    def script(self, clip: int) -> Script:
        """The script of clip number `clip` of this dataset, words not filled in."""
        return sample_script(self.seed, self.start + clip, split=self.split, duration_s=self.duration_s, size_px=self.size_px)

    def _ask(self, clip: int) -> list[Question]:
        return ask(self.script(clip), per_clip=self.per_clip, families=self.families, speak=with_words)

    def _scan(self) -> list[tuple[int, int]]:
        """(clip, question) of each row where clips differ in how many questions they give."""
        return [(clip, k) for clip in range(self.count) for k in range(len(self._asked(clip)))]

    def __len__(self) -> int:
        """Rows: questions of all clips."""
        return self.count * self.per_clip if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The question at `index`.

        Raises:
            IndexError: outside the dataset.
            DatasetError: the clip has fewer questions than `per_clip`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of clip world with {len(self)} rows")
        clip, k = divmod(index, self.per_clip) if self._rows is None else self._rows[index]
        questions = self._asked(clip)
        if k >= len(questions):
            found = f"clip {self.start + clip} gives {len(questions)} questions, wanted {self.per_clip};"
            raise DatasetError(found, remedy="lower per_clip.")
        return example_of(self.script(clip), questions[k])


def example_of(script: Script, question: Question) -> Example:
    """Return one question about one clip as an Example; its media is the clip's reference string."""
    valence, arousal = clip_mean(script)
    said = script.utterance
    texts = {"question": question.text, "answer": question.answer, "caption": caption(script), **question.texts}
    labels: dict[str, Any] = {
        "family": question.family, "needs": question.needs, "stream_needs": question.stream_needs, "options": question.options,
        "checker": question.checker, "tolerance": question.tolerance, "valence": round(valence, 4), "arousal": round(arousal, 4),
        "spans": spans(script), **question.labels,
    }  # fmt: skip
    facts: dict[str, Any] = {"emotion": overall_emotion(script), "agreement": script.agreement, "metadata": metadata_of(script)}
    facts["face_emotion"] = face_emotion(script) if script.identity is not None else ""
    facts["voice_emotion"] = said.emotion if said is not None else ""
    facts["sound"] = script.sounds[0].kind if len(script.sounds) == 1 else ""
    labels |= {k: v for k, v in facts.items() if v and k not in labels}
    if said is not None:
        texts["transcript"] = said.text
    person = "nobody" if script.identity is None else f"person {script.identity.seed}"
    voice = "no voice" if said is None else f"voice {said.voice.seed}"
    return Example(
        id=f"clip-world/{script.seed}/{script.split}/{script.index}/{question.family}",
        media=(Media(kind="video", source=reference(script)),), texts=texts, labels=labels,
        group=f"{person}, {voice}", split=script.split,
    )  # fmt: skip


def metadata_of(script: Script) -> dict[str, Any]:
    """Return what is known of the person and the talk, as `Example` spells it; of a single clip it is the register of the voice."""
    known = script.profile
    about = {f"speaker_{key}": known[key] for key in ("age", "gender", "timbre", "personality") if key in known}
    about |= {key: known[key] for key in ("topic", "role", "turn", "scenario", "cause", "goal") if key in known}
    return about or ({"speaker_timbre": script.utterance.voice.register} if script.utterance is not None else {})


def spans(script: Script) -> list[dict[str, Any]]:
    """Return each event's `stream`, `start_s`, `end_s`, `text`. An utterance that was not spoken yet has no end and is left out."""
    found = [{"stream": "picture", "start_s": e.start_s, "end_s": e.end_s, "text": e.emotion} for e in script.expressions]
    found += [{"stream": "picture", "start_s": o.start_s, "end_s": o.end_s, "text": f"{o.colour} {o.shape}"} for o in script.objects]
    found += [{"stream": "sound", "start_s": s.start_s, "end_s": s.end_s, "text": s.kind} for s in script.sounds]
    if script.utterance is not None and script.utterance.end_s > 0:
        said = script.utterance
        found.append({"stream": "sound", "start_s": said.start_s, "end_s": said.end_s, "text": said.text})
    return found


def write_world(out_dir: str | Path, *, layout: str = "jsonl", on_clip: Callable[[Path], None] | None = None, **choices: Any) -> Path:
    """Write clips and what is known of them; return the manifest's path, or that of the first annotation file.

    In the layout `jsonl` a clip is an mp4 (a wav where there is no picture), and there is one row per question: `out_dir/manifest.jsonl`
    has one object per question: `id`, `path` (relative), `question`, `answer`, `labels`, `texts` and `script` (the clip's whole truth). A
    run that was cut short leaves no manifest under its final name. The other layouts are those of published sets (`avamerg`, `meld`,
    `crema_d`, `ravdess`), read back by the readers of these names; they go on where they stopped.

    Args:
        out_dir: folder to write, made when missing.
        layout: how the folder lies.
        on_clip: called with each file's path when it is written.
        choices: of `ClipWorld`: seed, start, count, split, per_clip, families, size_px, duration_s; of other layouts: seed, count (of
            conversations, or of acted clips), size_px, duration_s.

    Raises:
        ConfigError: an unknown layout, or choices that clip world has no room for.
    """
    if layout != "jsonl":
        for name in choices:
            if layout in LAYOUTS and name not in _LAID_OUT:
                raise ConfigError(f"the layout {layout} has no choice {name!r};", remedy=nearest(name, list(_LAID_OUT)))
        return write_layout(Path(out_dir), layout, on_clip=on_clip, **{"count": 8, **choices})
    dataset, folder = ClipWorld(**choices), Path(out_dir)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    partial = folder / "manifest.jsonl.part"
    with partial.open("w", encoding="utf-8") as manifest:
        for number in range(dataset.count):
            clip, script = render(dataset.script(number))
            path = _write_clip(folder / "clips", clip, script)
            for question in ask(script, per_clip=dataset.per_clip, families=dataset.families):
                manifest.write(_row(example_of(script, question), script, str(path.relative_to(folder))) + "\n")
            if on_clip is not None:
                on_clip(path)
    return partial.replace(folder / "manifest.jsonl")


def _write_clip(folder: Path, clip: Clip, script: Script) -> Path:
    """Write one clip with the streams it has."""
    path = folder / f"{script.split}_{script.seed}_{script.index:06d}.{'mp4' if script.has_picture else 'wav'}"
    if script.has_picture:
        write_mp4(path, clip, script)
    else:
        write_wav(path, clip)
    return path


def _row(example: Example, script: Script, path: str) -> str:
    """One line of the manifest."""
    row = {
        "id": example.id, "path": path, "question": example.texts["question"], "answer": example.texts["answer"],
        "labels": {"evidence": evidence(script), **example.labels}, "texts": dict(example.texts), "script": asdict(script),
    }  # fmt: skip
    return json.dumps(row, ensure_ascii=False, sort_keys=True)
