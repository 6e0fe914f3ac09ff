"""Fusions and chat models under one protocol: what is left out, what is told of each row, and what a run writes at its end."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import toys
from tests.models.test_affect import LABELS, ROWS, example, model, stream
from unifusion.cli.train import load_script
from unifusion.conversation import Example, Media
from unifusion.engine import Engine
from unifusion.errors import ConfigError, DatasetError, MediaError
from unifusion.evaluation.affect import ChatSystem, FusionSystem, conditions_of, finish, seeds_of, system_of
from unifusion.models.affect_files import load_affect, save_affect
from unifusion.models.opened_rows import RowOpener
from unifusion.share import folder
from unifusion.training.affect import tell_opened
from unifusion.training.affect_data import AffectRows

ALL = ["all"]


def by_condition(told):
    """Condition -> id -> prediction."""
    found = {}
    for row in told:
        found.setdefault(row.condition, {})[row.id] = row
    return found


@pytest.fixture(scope="module")
def own():
    return model()


@pytest.mark.parametrize(
    ("streams", "wanted"),
    [
        (("a",), {"all": ()}),
        (("a", "b"), {"all": (), "only a": ("b",), "only b": ("a",)}),
        (
            ("a", "b", "c"),
            {
                "all": (), "only a": ("b", "c"), "only b": ("a", "c"), "only c": ("a", "b"),
                "without a": ("a",), "without b": ("b",), "without c": ("c",),
            },
        ),
    ],
)  # fmt: skip
def test_conditions_leave_out_each_stream_and_all_but_each(streams, wanted):
    assert conditions_of(streams) == wanted


def test_a_fusion_tells_what_the_model_tells(own):
    (row,) = FusionSystem(own).tell([ROWS[0]], ALL, seed=3)
    found = tell_opened(own, [RowOpener(own).open(ROWS[0])])
    assert (row.id, row.seed, row.condition, row.truth) == ("row 1", 3, "all", "happy")
    assert list(row.probabilities) == list(LABELS)
    np.testing.assert_allclose(list(row.probabilities.values()), found["probabilities"][0])
    np.testing.assert_allclose((row.valence, row.arousal), found["affect"][0])
    assert row.true_valence is None and set(row.streams) == set(own.config.streams)


def test_each_condition_hears_what_it_says_and_batches_do_not_matter(own):
    conditions = list(conditions_of(list(own.config.streams)))
    one, many = (by_condition(FusionSystem(own, batch_size=n).tell(ROWS, conditions)) for n in (1, 4))
    assert list(many) == conditions and {c: set(rows) for c, rows in one.items()} == {c: set(rows) for c, rows in many.items()}
    for condition, rows in many.items():
        left_out = conditions_of(list(own.config.streams))[condition]
        for name, row in rows.items():
            assert row.streams == tuple(s for s in many["all"][name].streams if s not in left_out)
            np.testing.assert_allclose(list(row.probabilities.values()), list(one[condition][name].probabilities.values()), atol=2e-5)
    assert len(many["all"]) == 5 and set(many["only video"]) == {"row 1", "row 2", "row 4"}  # a row of which nothing is left has none
    moved = [many["without text"]["row 1"].probabilities[a] - many["all"]["row 1"].probabilities[a] for a in LABELS]
    assert max(map(abs, moved)) > 1e-6


def test_a_condition_that_is_none(own):
    with pytest.raises(ConfigError, match="no condition 'only smell' for streams video, audio"):
        FusionSystem(own).tell(ROWS[:1], ["only smell"])


@pytest.mark.parametrize("stored", [False, True])
def test_rows_without_a_stream_of_the_model_are_counted_and_told(tmp_path, caplog, stored):
    deaf = FusionSystem(model(streams={"audio": stream("whisper")}), stores=tmp_path if stored else None)
    told = deaf.tell(ROWS, ALL)
    assert [r.id for r in told] == ["row 1", "row 3", "row 4"]
    assert "2 of 5 rows, such as row 2, have no stream of the model" in caplog.text


@pytest.mark.parametrize("stored", [False, True])
def test_a_row_that_cannot_be_read_stops_or_is_told(tmp_path, stored, own):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    rows = [ROWS[0], Example(id="bad", media=(Media(kind="audio", source=str(broken)),), labels={"emotion": "sad"})]
    stores = tmp_path / "features" if stored else None
    with pytest.raises(MediaError, match=r"broken\.wav"):
        FusionSystem(own, stores=stores).tell(rows, ALL)
    bad = []
    told = FusionSystem(own, stores=stores, on_bad=lambda row, error: bad.append((row.id, str(error)))).tell(rows, ALL)
    assert [r.id for r in told] == ["row 1"]
    assert [name for name, _ in bad] == ["bad"] and "no known format" in bad[0][1]  # what is wrong with it, not that it is not stored


def test_features_are_stored_on_the_way(tmp_path, own):
    fresh, stored = (FusionSystem(own, stores=s).tell(ROWS, ALL) for s in (None, tmp_path))
    assert any(tmp_path.iterdir())
    for a, b in zip(fresh, stored, strict=True):
        np.testing.assert_allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=0.02)  # kept in bfloat16


def test_truths_are_the_rows(own):
    felt = replace(ROWS[0], labels={"valence": 0.25, "arousal": -1, "emotion": "bored"}, group="anna", split="test")
    half = replace(ROWS[2], labels={"valence": 0.25, "emotion": ""})
    one, other = FusionSystem(own).tell([felt, half], ALL)
    assert (one.truth, one.true_valence, one.true_arousal, one.group, one.split) == ("bored", 0.25, -1.0, "anna", "test")
    assert (other.truth, other.true_valence, other.true_arousal) == ("", None, None)


@pytest.fixture(scope="module")
def engine():
    return Engine(*toys.chat_model(seed=1))


def test_a_chat_model_tells_the_same_form(engine):
    rows = [example(0, said="", before=False), example(1, said="", before=False, picture=False)]
    rows.append(Example(id="words", texts={"transcript": "hello"}, labels={"emotion": "sad"}))
    system = ChatSystem(engine, LABELS, affect=True)
    found = by_condition(system.tell(rows, list(conditions_of(system.streams)), seed=2))
    assert {c: list(r) for c, r in found.items()} == {
        "all": ["row 0", "row 1"], "only video": ["row 0"], "only audio": ["row 0", "row 1"],
    }  # fmt: skip
    for row in found["all"].values():
        assert list(row.probabilities) == list(LABELS) and sum(row.probabilities.values()) == pytest.approx(1)
        assert row.seed == 2 and row.truth in LABELS
    assert found["only audio"]["row 0"].streams == ("audio",) and set(found["all"]["row 0"].streams) == {"audio", "video"}
    assert found["only audio"]["row 1"].probabilities == pytest.approx(found["all"]["row 1"].probabilities, abs=1e-5)
    assert found["only audio"]["row 0"].probabilities != found["all"]["row 0"].probabilities


def test_a_chat_model_names_the_row_it_cannot_read(engine, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    rows = [Example(id="bad", media=(Media(kind="audio", source=str(broken)),), labels={"emotion": "sad"})]
    with pytest.raises(DatasetError, match=r"bad: .*broken\.wav"):
        ChatSystem(engine, LABELS).tell(rows, ALL)


def test_seeds_of_a_run(tmp_path, own):
    for seed in (10, 2):
        save_affect(own, tmp_path / "run" / f"seed-{seed}", provenance={"choices": {"seed": seed}})
    assert list(seeds_of(str(tmp_path / "run")).items()) == [(s, str(tmp_path / "run" / f"seed-{s}")) for s in (2, 10)]
    assert seeds_of(str(tmp_path / "run" / "seed-10")) == {10: str(tmp_path / "run" / "seed-10")}
    (tmp_path / "run" / "seed-2" / "provenance.json").unlink()
    assert list(seeds_of(str(tmp_path / "run" / "seed-2"))) == [0]
    assert seeds_of("some/chat-model") == {0: "some/chat-model"}


def test_what_a_path_is_decides_the_system(tmp_path, own):
    save_affect(own, tmp_path / "fusion", provenance={})
    system = system_of(str(tmp_path / "fusion"), ROWS, batch_size=7)
    assert isinstance(system, FusionSystem) and system.batch_size == 7 and system.streams == tuple(own.config.streams)
    chat = system_of("checkpoints/tiny-chat", [*ROWS, Example(id="felt", labels={"valence": 0.1, "arousal": 0.1})])
    assert isinstance(chat, ChatSystem) and chat.labels == tuple(sorted({r.labels["emotion"] for r in ROWS})) and chat.affect
    assert not system_of("checkpoints/tiny-chat", ROWS).affect


def choices(tmp_path, **options):
    return load_script(folder("train") / "emotion.py").Choices(out=str(tmp_path / "m"), features=str(tmp_path / "f"), **options)


def splits():
    """Held-out rows of both splits."""
    return {name: [replace(row, id=f"{name} {i}", split=name) for i, row in enumerate(ROWS)] for name in ("val", "test")}


def test_a_run_ends_with_a_calibrated_model_its_predictions_and_a_card(tmp_path):
    own = model()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    told = finish(own, choices(tmp_path), tmp_path / "m", splits(), {"steps": 9}, seed=4)
    again = load_affect(tmp_path / "m")
    assert again.config.temperature != 1.0 and all(torch.equal(v, before[k]) for k, v in again.state_dict().items())
    val = [r for r in told if (r.split, r.condition) == ("val", "all")]
    assert {r.seed for r in told} == {4} and len(val) == 5 and {r.split for r in told} == {"val", "test"}

    def likelihood(temperature):
        """Of the true labels of val rows."""
        logits = [np.log(list(r.probabilities.values())) * again.config.temperature / temperature for r in val]
        return sum(x[LABELS.index(r.truth)] - np.logaddexp.reduce(x) for x, r in zip(logits, val, strict=True))

    assert all(likelihood(again.config.temperature) >= likelihood(t) - 1e-6 for t in (0.1, 0.5, 1.0, 2.0, 10.0))
    made = json.loads((tmp_path / "m" / "provenance.json").read_text())
    assert made["recipe"] == "emotion" and made["result"] == {"steps": 9} and made["choices"]["fusion"] == "attention_pool"
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| val | all | 5 |" in card and "| test | without text |" in card and "(9 steps)" in card


def test_rows_that_cannot_be_read_may_be_left_out_at_the_end(tmp_path, caplog):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    rows = splits()
    for name, part in rows.items():
        part.append(Example(id=f"bad {name}", media=(Media(kind="audio", source=str(tmp_path / "broken.wav")),), split=name,
                            labels={"emotion": "sad"}))  # fmt: skip
    with pytest.raises(MediaError, match="--on-bad-media skip"):
        finish(model(), choices(tmp_path), tmp_path / "m", rows, {}, seed=0)
    told = finish(model(), choices(tmp_path, on_bad_media="skip", max_bad=0.2), tmp_path / "m", rows, {}, seed=0)
    assert len([r for r in told if r.condition == "all"]) == 10 and "bad val of split val is left out" in caplog.text
    with pytest.raises(DatasetError, match="1 of 6 rows of split val cannot be opened"):
        finish(model(), choices(tmp_path, on_bad_media="skip"), tmp_path / "m", rows, {}, seed=0)


def test_without_labels_to_calibrate_by_the_temperature_stays(tmp_path, caplog):
    rows = {n: [replace(r, labels={"valence": 0.1, "arousal": 0.2}) for r in part if r.media] for n, part in splits().items()}
    own = model(streams={"audio": stream("whisper"), "video": stream("videomae"), "before": stream("bert", reads="history")})
    finish(own, choices(tmp_path), tmp_path / "m", rows, {}, seed=0)
    assert load_affect(tmp_path / "m").config.temperature == 1.0
    assert "no row of val or test has the stream 'before'" in caplog.text


def test_rows_of_a_split_keep_their_order_over_rounds(own):
    rows = AffectRows(ROWS, RowOpener(own))
    assert len(rows) == 5 and rows.name(7) == "row 3" and rows[7][0].id == "row 3" and rows[7][1][0] == rows[2][1][0]
    with pytest.raises(DatasetError, match="neither label nor"):
        AffectRows([Example(id="x")], RowOpener(own))
