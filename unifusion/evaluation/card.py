"""The model card, written from a checkpoint's results files: nothing in it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from unifusion import atomic
from unifusion.errors import CheckpointError
from unifusion.evaluation.calibrate import calibration_table
from unifusion.evaluation.free import free_table
from unifusion.evaluation.people import people_table
from unifusion.evaluation.rationales import rationales_table
from unifusion.evaluation.world import table

__all__ = ["RESULTS", "card", "write_card"]

RESULTS = "evaluation"
"""Folder of a checkpoint with `world.json` and, where real sets were trained on, `people.json`, `free.json`, `rationales.json`,
`calibration.json`."""
OTHERS = ("people", "free", "rationales", "calibration")
_WORST = 3


def write_card(folder: str | Path) -> Path:
    """Write README.md of a checkpoint from what lies in it.

    Raises:
        CheckpointError: its provenance or its results are missing.
    """
    root = Path(folder)
    provenance = _json(root / "provenance.json")
    world = _json(root / RESULTS / "world.json")
    others = {name: _json(path) for name in OTHERS if (path := root / RESULTS / f"{name}.json").is_file()}
    target = root / "README.md"
    atomic.write_text(target, card(root.name, _weights(root), provenance, world, others))
    return target


def _json(path: Path) -> dict[str, Any]:
    """A file of the checkpoint."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error};", remedy="the last stage of `unifusion train tiny` writes it.") from error
    return found


def _weights(root: Path) -> int:
    """Numbers in all weight files."""
    total = 0
    for path in sorted(root.glob("model*.safetensors")):
        with safe_open(path, "np") as file:
            for name in file.keys():
                size = 1
                for n in file.get_slice(name).get_shape():
                    size *= n
                total += size
    return total


def card(
    name: str, weights: int, provenance: Mapping[str, Any], world: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]
) -> str:  # fmt: skip
    """The card's text.

    Args:
        name: of the checkpoint.
        weights: how many.
        provenance: stages with their choices and seconds, and the data.
        world: results on clip world.
        others: those of OTHERS that there are.
    """
    people = others.get("people")
    parts = [
        _head(name, weights, bool(people)),
        _limits(bool(people)),
        *([_people(people, others)] if people else []),
        _world(world),
        _training(provenance),
        _data(provenance),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _head(name: str, weights: int, people: bool) -> str:
    """Front matter, and what the model is."""
    seen = (
        "rendered clips of clip world, and short clips of real voices, faces, sounds and digits"
        if people
        else "rendered clips of clip world"
    )
    kept = "no pretrained weights are in it." if people else "no pretrained weights and no recorded people are in it."
    licence = "other\nlicense_name: research-only" if people else "apache-2.0"
    return f"""---
license: {licence}
library_name: unifusion-x
pipeline_tag: any-to-any
---
# {name}

A very small chat model ({weights / 1e6:.1f} million weights in all) that sees and hears {seen}. It
shows that every stage of UniFusion-X works, offline and on a few CPU cores. It was trained from nothing by the recipes
of `make tiny`; {kept}"""


def _limits(people: bool) -> str:
    """What it cannot do."""
    if people:
        return """## What it can't do
Beside clip world it has met acted voices in two languages, grey stills of faces that were made to move a little, ten
everyday sounds and ten spoken digits; no real clip in which face and voice belong together. It must not be used to judge
people: acted emotions are not felt ones, and its figures below say how often it is wrong. Its English is short answers to
short questions. Clips over twelve seconds are cropped, and the report says so."""
    return """## What it can't do
It has met only clip world: drawn faces, synthetic voices in four languages, thirteen synthetic sounds and coloured
shapes, in clips of six seconds. On real clips it answers in the words of clip world, mostly wrongly. Its English is
the questions and answers of clip world. Clips over twelve seconds are cropped, and the report says so."""


def _people(people: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    """Figures on real sets."""
    text = [
        f"""## Real voices, faces, sounds and lines
Rows of split `{people["split"]}`: none was trained on or chosen by, and no speaker or recording of them was trained on. Every label of
the set is scored as the whole answer. Intervals are of 1,000 draws of speakers (column "groups") and of recordings within each; with so few
speakers they say little about how much other speakers differ. "Composed" is a still of a face that
moves a little with a voice of the same split; its p-value is about recordings, and with three speakers says nothing of other people. Loud,
soft, high, low, fast and slow are thirds of the voice's own set, so they tell little of a recording from elsewhere.
`python eval/people.py --data SETS --free tests/data/free_questions.jsonl` measures all of this section again.

{people_table(people)}"""
    ]
    if "free" in others:
        text.append(f"Questions in words that no template has, answered in words:\n\n{free_table(others['free'])}")
    if "rationales" in others:
        told = "What rationales name of held-out clips (`unifusion emotion`), against what was measured of the voice and the labels:"
        text.append(f"{told}\n\n{rationales_table(others['rationales'])}")
    if "calibration" in others:
        text.append(_calibrated(others["calibration"]))
    for name, figures in people["probes"].items():
        if "classes" in figures and "," not in name:
            text.append(_classes(name, figures))
    return "\n\n".join(text)


def _calibrated(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What was fitted, a line a task, and the curves."""
    return f"""Calibration, fitted on split `val` (temperature, a bias a label, and the threshold above which 80 % of it are answered) and
measured on the rows above; "before" is how many of all were wrong without. Where one speaker alone is held out, as of the digits, both
splits have recordings of the same voice.

{calibration_table(tasks)}

![Wrong answers against answers given; dots: the thresholds](evaluation/risk_coverage.png)"""


def _classes(name: str, figures: Mapping[str, Any]) -> str:
    """Confusions of one probe, and its most confident mistakes."""
    labels = list(figures["classes"])
    lines = [f"{name}: true (rows) against answered", "", "| | " + " | ".join(labels) + " | recall |", "|---|" + "---|" * (len(labels) + 1)]
    for label, told in figures["classes"].items():
        lines.append(f"| {label} | " + " | ".join(str(told["answered"].get(other, 0)) for other in labels) + f" | {told['recall']:.2f} |")
    wrong = [f"`{w['id']}` is {w['truth']}, answered {w['answer']} ({w['probability']:.2f})" for w in figures.get("failures", ())[:_WORST]]
    return "\n".join(lines) + (f"\n\nSurest mistakes: {'; '.join(wrong)}." if wrong else "")


def _world(world: Mapping[str, Any]) -> str:
    """Figures on clip world."""
    better = [n for n, row in world["needs"].items() if row["all"] > row["most frequent answer"]]
    return f"""## Clip world
{world["questions"]} questions about held-out clips (split `test_iid`, a seed that training never drew), greedy,
strict parsing. "Muted" columns: the same questions with a stream taken away. "Most frequent answer": the best
constant answer of each question family. It beats the most frequent answer on questions about: {", ".join(better) or "nothing yet"}.

{table(dict(world))}

By family:

{table(dict(world), "families")}"""


def _training(provenance: Mapping[str, Any]) -> str:
    """Stages and minutes of every round."""
    rounds = _rounds(provenance)
    minutes = [", ".join(f"{s} {v['seconds'] / 60:.0f}" for s, v in stages.items()) for stages in rounds]
    trained = minutes[0]
    if len(rounds) > 1:
        told = "\n".join(f"- round {i}: {text}" for i, text in enumerate(minutes, 1))
        trained = f"{told}\n\nA later round goes on from the checkpoint before (`unifusion train tiny --on`)."
    total = sum(v["seconds"] for stages in rounds for v in stages.values())
    cores = f" on {provenance['cores']} CPU cores" if "cores" in provenance else ""
    return f"""## Training
Stages, minutes{cores} ({total / 3600:.1f} hours in all; energy was not measured):

{trained}

Choices of every stage are in `provenance.json`, losses in `training_log.csv`, drawn (of the last round) in `training_log.png`."""


def _rounds(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stages of each round of training, the first one first."""
    earlier = _rounds(provenance["before"]) if provenance.get("before") else []
    return [*earlier, provenance["stages"]]


def _data(provenance: Mapping[str, Any]) -> str:
    """What it was trained on, with licences."""
    sets: Sequence[Mapping[str, Any]] = provenance["data"].get("sets", ())
    lines = [f"- {s['name']} ({s['dataset']}): {s['rows']} rows. {s['source']}" for s in sets]
    own = "Clip world (this project, Apache-2.0), rendered from seeds: `provenance.json` holds the hash of all scripts."
    use = "\nWeights trained on these sets are for research only." if sets else ""
    return "## Data\n" + own + ("\n" + "\n".join(lines) if lines else "") + use
