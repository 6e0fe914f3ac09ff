"""Fusing runs: put side by side by id, seed and label; fitted on val, written as a run; mistakes told by file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.models.late_fusions.crowds import crowd, right
from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError, DatasetError
from unifusion.evaluation.fuse import best_of, figures_of, fuse, load_fusion, write_fused
from unifusion.evaluation.predictions import Prediction, read_predictions, write_predictions
from unifusion.evaluation.systems import drop, read_systems, tables
from unifusion.models.late_fusions.late_fusion import Said

LABELS = ("angry", "happy", "neutral", "sad", "surprise")


def rows_of(m, seed=0, count=160, strengths=(2.0, 1.6, 0.0)):
    """One made-up model's predictions: the first half is val, the rest test."""
    said, truth, groups = crowd(seed, count, strengths=strengths, heats=(1.0,) * len(strengths))
    return [
        Prediction(
            id=f"clip {n}", group=str(groups[n]), split="val" if n < count // 2 else "test", truth=LABELS[truth[n]],
            probabilities=dict(zip(LABELS, said.probabilities_NMK[n, m].tolist(), strict=True)), seed=seed,
            valence=float(said.affect_NM2[n, m, 0]), arousal=float(said.affect_NM2[n, m, 1]), streams=("audio", "video")[m : m + 1],
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    def write(*parts, names=("voice", "face", "noise")):
        return [write_predictions(tmp_path / name / "predictions.jsonl", rows).parent for name, rows in zip(names, parts, strict=False)]

    return write


def side_by_side(paths, **more):
    systems = read_systems(paths, **more)
    return systems, tables(systems)


def test_rows_are_found_by_id_and_labels_by_name(runs):
    first, second = rows_of(0), rows_of(1)
    turned = [replace(r, probabilities=dict(reversed(r.probabilities.items()))) for r in reversed(second)]
    systems, (table,) = side_by_side(runs(first, turned))
    assert [s.name for s in systems] == ["voice", "face"] and table.labels == LABELS and len(table.rows) == 160
    np.testing.assert_allclose(table.said.probabilities_NMK[:, 1], [list(r.probabilities.values()) for r in second])
    assert table.rows[0].streams == ("audio", "video")
    assert len(table.of("val")) == len(table.of("test")) == 80


def test_a_label_somebody_does_not_know_is_0_and_a_row_somebody_lacks_is_missing(runs):
    more = [replace(r, probabilities={**{k: v * 0.9 for k, v in r.probabilities.items()}, "boredom": 0.1}) for r in rows_of(1)]
    _, (table,) = side_by_side(runs(rows_of(0)[5:], more))
    assert table.labels == ("angry", "boredom", *LABELS[1:])
    by_id = {r.id: n for n, r in enumerate(table.rows)}
    assert np.isnan(table.said.probabilities_NMK[by_id["clip 0"], 0]).all()
    assert table.said.probabilities_NMK[by_id["clip 9"], 0, 1] == 0.0
    assert figures_of([table], 0)["val"]["missing"] == 5 and figures_of([table], 1)["val"]["missing"] == 0


def test_seeds_are_fused_one_by_one_or_averaged(runs, tmp_path):
    both = [rows_of(m, 0) + rows_of(m, 1) for m in (0, 1)]
    _, found = side_by_side(runs(*both))
    assert [t.seed for t in found] == [0, 1]
    fused = fuse(found, "weighted")
    assert set(fused.states) == {0, 1} and len(fused.rows) == 320
    same_truth = [replace(r, seed=7) for r in rows_of(0)] + rows_of(0)
    _, (table,) = side_by_side(runs(same_truth, rows_of(1)))
    np.testing.assert_allclose(table.said.probabilities_NMK[0, 0], list(rows_of(0)[0].probabilities.values()))


@pytest.mark.parametrize("method", [n for n in catalog.names("late_fusions") if n not in ("attention", "gating")])
def test_a_fusion_is_better_than_its_systems_and_is_kept(runs, tmp_path, method):
    systems, found = side_by_side(runs(rows_of(0), rows_of(1), rows_of(2)))
    fused = fuse(found, method)
    singles = {s.name: figures_of(found, m) for m, s in enumerate(systems)}
    for split in ("val", "test"):
        assert fused.figures[split]["uar"] > max(s[split]["uar"] for s in singles.values()) - 0.02
        assert fused.figures[split]["n"] == 80
    write_fused(fused, tmp_path / "out", systems, singles=singles, more={})
    kept = read_predictions(tmp_path / "out" / "predictions.jsonl")
    assert [r.id for r in kept] == [f"clip {n}" for n in range(160)] and kept[0].truth and kept[0].group
    assert abs(sum(kept[3].probabilities.values()) - 1) < 1e-9 and -1 <= kept[3].valence <= 1
    fusion, names, labels = load_fusion(tmp_path / "out")
    assert names == ("voice", "face", "noise") and labels == LABELS
    test = found[0].of("test")
    told = fusion.fuse(Said(probabilities_NMK=found[0].said.probabilities_NMK[test]))
    np.testing.assert_allclose(told, [list(kept[n].probabilities.values()) for n in test], atol=1e-12)
    assert right(told, found[0].truth_N[test]) == pytest.approx(fused.figures["test"]["accuracy"])


def test_val_rows_are_answered_by_fits_without_their_group(runs):
    """Truth that has nothing to do with what was said: a regression still fits it, and must not be told to be right."""
    rng = np.random.default_rng(99)
    lies = [replace(r, truth=str(t)) for r, t in zip(rows_of(0), rng.choice(LABELS, 160), strict=True)]
    _, found = side_by_side(runs(lies, [replace(r, truth=lies[n].truth) for n, r in enumerate(rows_of(1))]))
    assert fuse(found, "stacking", choices={"C": 100.0}).figures["val"]["accuracy"] < 0.4


def test_test_rows_change_nothing_of_the_fit(runs):
    first, second = rows_of(0), rows_of(1)
    whole = fuse(side_by_side(runs(first, second))[1], "stacking")
    other = [replace(r, truth="sad", probabilities=dict.fromkeys(LABELS, 0.2)) if r.split == "test" else r for r in first]
    judged = [replace(r, truth="sad") if r.split == "test" else r for r in second]
    assert fuse(side_by_side(runs(other, judged))[1], "stacking").states == whole.states


def test_a_system_can_go_missing(runs):
    systems, (table,) = side_by_side(runs(rows_of(0), rows_of(1)))
    gone = drop(table, systems, {"face": 0.3}, 0)
    share = np.isnan(gone.said.probabilities_NMK[:, 1]).all(axis=1)
    assert 0.2 < share.mean() < 0.4 and not np.isnan(gone.said.probabilities_NMK[:, 0]).any()
    assert np.isnan(gone.said.affect_NM2[share, 1]).all()
    again = drop(table, systems, {"face": 0.3}, 0)
    np.testing.assert_array_equal(again.said.probabilities_NMK, gone.said.probabilities_NMK)
    fused = fuse([gone], "weighted")
    assert all(r.probabilities for r in fused.rows) and fused.figures["val"]["missing"] == share[:80].sum()
    with pytest.raises(DatasetError, match="name one of voice, face"):
        drop(table, systems, {"fase": 0.3}, 0)
    nothing = fuse([drop(table, systems, {"face": 1.0, "voice": 1.0}, 0)], "averaging")
    assert not any(r.probabilities for r in nothing.rows) and nothing.figures["test"]["accuracy"] == 0.0


def test_the_best_is_told_by_val(runs):
    _, found = side_by_side(runs(rows_of(0), rows_of(1), rows_of(2)))
    fused = [fuse(found, name) for name in ("averaging", "product_of_experts", "stacking")]
    best = best_of(fused)
    assert best.figures["val"]["uar"] == max(f.figures["val"]["uar"] for f in fused)


def test_answers_with_a_manifest_beside(runs, tmp_path):
    """What `unifusion emotion -o` writes, errors and all, with the truth of a manifest, beside another run."""
    rows = rows_of(0)
    manifest = [{"id": r.id, "path": "x.wav", "emotion": r.truth, "split": r.split, "speaker": r.group} for r in rows]
    told = [
        {"id": r.id, "label": r.answer, "probabilities": dict(r.probabilities), "valence": 0.1, "arousal": None, "mark": "x",
         "report": {"streams": {"audio": {"present": True}, "video": {"present": False}}}}
        for r in rows
    ]  # fmt: skip
    told[3] = {"id": rows[3].id, "error": "cannot be read", "error_kind": "MediaError"}
    for name, lines in (("manifest", manifest), ("answers", told)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (other,) = runs(rows_of(1))
    systems, (table,) = side_by_side([tmp_path / "answers.jsonl", other], truth=tmp_path / "manifest.jsonl")
    assert systems[0].name == "answers" and systems[0].rows[0].streams == ("audio",) and systems[0].rows[0].group == rows[0].group
    assert np.isnan(table.said.probabilities_NMK[3, 0]).all() and table.truth_N[3] >= 0
    assert fuse([table], "weighted").figures["test"]["accuracy"] > 0.6
    with pytest.raises(DatasetError, match=r"answers\.jsonl holds answers without the truth; give it: --truth"):
        read_systems([tmp_path / "answers.jsonl", other])


def test_what_cannot_be_fused_is_told_by_file(runs, tmp_path):
    voice, face = runs(rows_of(0), [replace(r, id=f"other {r.id}") for r in rows_of(1)])
    with pytest.raises(DatasetError, match=r"no id is common to .*voice.*, .*face"):
        side_by_side([voice, face])
    voice, face = runs(rows_of(0), [replace(r, truth="sad" if r.truth != "sad" else "happy") for r in rows_of(1)])
    with pytest.raises(DatasetError, match=r"the truth of 'clip 0' is .* in .*voice.* and .* in .*face"):
        side_by_side([voice, face])
    voice, face = runs(rows_of(0), [replace(r, split="test") for r in rows_of(1)])
    with pytest.raises(DatasetError, match=r"the split of 'clip 0' is 'val'"):
        side_by_side([voice, face])
    test_only = [[replace(r, split="test") for r in rows_of(m)] for m in (0, 1)]
    found = side_by_side(runs(*test_only))[1]
    with pytest.raises(DatasetError, match="no row of split val"):
        fuse(found, "weighted")
    assert fuse(found, "averaging").figures["test"]["n"] == 160
    voice, face = runs(rows_of(0), rows_of(1) + rows_of(1)[:1])
    with pytest.raises(DatasetError, match="'clip 0' stands twice"):
        side_by_side([voice, face])
    voice, face = runs(rows_of(0), [replace(r, probabilities={}) for r in rows_of(1)])
    with pytest.raises(DatasetError, match=r"face/predictions\.jsonl has no row .* with probabilities"):
        side_by_side([voice, face])
    with pytest.raises(DatasetError, match="1 different runs"):
        read_systems([voice, voice])
    with pytest.raises(DatasetError, match="there is no"):
        read_systems([voice, tmp_path / "none"])
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(DatasetError, match="is not JSON lines"):
        read_systems([voice, tmp_path / "broken.jsonl"])
    for line in ("[1]", '{"id": "a", "truth": "sad", "probabilities": [0.5, 0.5]}'):
        (tmp_path / "broken.jsonl").write_text(line)
        with pytest.raises(DatasetError, match=r"broken\.jsonl holds lines that are no answers"):
            read_systems([voice, tmp_path / "broken.jsonl"])
    with pytest.raises(ConfigError, match="did you mean 'ridge'"):
        fuse(found, "weighted", choices={"rigde": 1})
    with pytest.raises(CheckpointError, match="cannot take the fusion"):
        load_fusion(tmp_path)


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [write_predictions(tmp_path / name / "run" / "predictions.jsonl", rows_of(m)).parent for m, name in enumerate(("a", "b"))]
    assert [s.name for s in read_systems(paths)] == ["a/run", "b/run"]
