"""Splits: disjoint by group, near the shares, alike in labels as far as groups allow, the same whatever the order of rows."""

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curation.test_validating import jsonl
from unifusion.conversation import Example, Media
from unifusion.curation.dividing import divide
from unifusion.curation.source import open_source
from unifusion.curation.splitting import Row, plan_splits, row_of
from unifusion.datasets.messages import Messages
from unifusion.errors import ConfigError, DatasetError

ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["joy", "anger", "fear"])), min_size=40, max_size=200)


def rows_of(pairs):
    return [Row(id=str(n), group=f"g{group}", label=label) for n, (group, label) in enumerate(pairs)]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_no_group_is_cut_and_the_order_of_rows_does_not_matter(pairs, seed):
    rows = rows_of(pairs)
    if len({r.group for r in rows}) < 3:
        return
    plan = plan_splits(rows, val=0.2, test=0.2, seed=seed)
    where = dict(zip((r.id for r in rows), plan.splits, strict=True))
    assert all(len({where[r.id] for r in rows if r.group == g}) == 1 for g in {r.group for r in rows})
    assert set(plan.splits) == {"train", "val", "test"} and sum(plan.groups.values()) == len({r.group for r in rows})
    shuffled = rows[:]
    random.Random(seed).shuffle(shuffled)
    again = plan_splits(shuffled, val=0.2, test=0.2, seed=seed)
    assert dict(zip((r.id for r in shuffled), again.splits, strict=True)) == where


def test_many_small_groups_come_within_a_percent_of_shares_and_labels():
    draw = random.Random(1)
    rows = [Row(id=str(n), group=f"g{n // 4}", label=draw.choices(["a", "b", "c"], [8, 3, 1])[0]) for n in range(4000)]
    plan = plan_splits(rows, val=0.1, test=0.15)
    told = plan.to_dict()
    assert told["shares"] == {
        "train": pytest.approx(0.75, abs=0.01),
        "val": pytest.approx(0.1, abs=0.01),
        "test": pytest.approx(0.15, abs=0.01),
    }
    assert told["worst"]["difference"] < 0.01
    other = plan_splits(rows, val=0.1, test=0.15, seed=1)
    assert other.splits != plan.splits and plan_splits(rows, val=0.1, test=0.15).splits == plan.splits


def test_existing_splits_are_kept_unless_again():
    rows = [Row(id=str(n), group=f"g{n}", split="test" if n < 10 else "") for n in range(100)]
    kept = plan_splits(rows, val=0.1, test=0.1)
    assert kept.kept == 10 and kept.splits[:10] == ["test"] * 10 and kept.to_dict()["rows"]["test"] in (10, 11)
    assert plan_splits(rows, val=0.1, test=0.1, again=True).splits[:10] != ["test"] * 10
    mates = [Row(id="a", group="g", split="val"), Row(id="b", group="g"), *rows[20:60]]
    assert plan_splits(mates, val=0.1, test=0.1).splits[1] == "val"


@pytest.mark.parametrize(
    ("rows", "options", "error", "said"),
    [
        (rows_of([(1, "a")] * 5), {"val": 0.1, "test": 0.1}, DatasetError, "1 groups cannot be in 3 splits"),
        (rows_of([(n, "a") for n in range(9)]), {"val": 0.6, "test": 0.4}, ConfigError, "leave nothing to train on"),
        ([Row(id="a", group="g", split="val"), Row(id="b", group="g", split="test")], {"val": 0.1, "test": 0.1}, DatasetError, "--again"),
        ([Row(id="a", group="g", split="dev")], {"val": 0.1, "test": 0.1}, DatasetError, "of split 'dev'"),
    ],
)
def test_what_cannot_be_split(rows, options, error, said):
    with pytest.raises(error, match=said):
        plan_splits(rows, **options)


def test_what_a_row_is_split_by():
    example = Example(id="a", group="talk 3", texts={"place": "hall"}, labels={"speaker": "anna", "emotion": "joy"})
    here = Path("in")
    assert row_of(example, 1, here).group == "talk 3" and row_of(Example(id=""), 7, here).group == "row 7"
    assert row_of(example, 1, here, by="speaker", stratify="emotion") == Row(id="a", group="anna", label="joy")
    with pytest.raises(DatasetError, match="has no 'speaker'"):
        row_of(Example(id="b"), 1, here, by="speaker")
    for source, group in (("in/a.wav", "a.wav"), ("clip-world://0/1", "clip-world://0/1"), (b"RIFF", hashlib.sha256(b"RIFF").hexdigest())):
        assert row_of(Example(id="c", media=(Media(kind="audio", source=source),)), 1, here).group == group


def test_questions_about_one_clip_stay_together_wherever_the_folder_lies(tmp_path, monkeypatch):
    lines = [{"id": str(n), "path": f"{n // 4}.wav", "question": "what?"} for n in range(120)]
    found = []
    for place in ("here", "there/deep"):
        jsonl(tmp_path / place, *lines)
        monkeypatch.chdir(tmp_path / place)
        found.append(divide(open_source("rows.jsonl"), tmp_path / place / "out", val=0.2, test=0.2))
    monkeypatch.chdir(tmp_path)
    random.Random(0).shuffle(lines)
    mixed = divide(open_source(jsonl(tmp_path / "mixed", *lines)), tmp_path / "out", val=0.2, test=0.2)
    parts = [{row["id"]: split for row, split in zip(rows, plan.splits, strict=True)}
             for rows, plan in ((sorted(lines, key=lambda r: int(r["id"])), found[0]), (lines, mixed))]  # fmt: skip
    assert found[0].splits == found[1].splits and parts[0] == parts[1]
    assert all(len({parts[0][str(4 * clip + k)] for k in range(4)}) == 1 for clip in range(30)) and found[0].groups["val"] == 6


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "in" / "rows.jsonl"
    path.parent.mkdir()
    lines = [{"id": f"r{n}", "path": "a.wav", "emotion": "joy" if n % 2 else "anger", "group": f"g{n // 3}"} for n in range(60)]
    path.write_text("".join(json.dumps(r) + "\n" for r in lines))
    return path


def test_rows_are_written_and_read_back_the_same(rows, tmp_path):
    plan = divide(open_source(rows), tmp_path / "out", val=0.2, test=0.2, stratify="emotion")
    whole = {r.id: r for r in Messages(rows)}
    met = {}
    for part in ("train", "val", "test"):
        for row in Messages(tmp_path / "out" / f"{part}.jsonl"):
            assert row.split == part and (row.texts, row.labels, row.group) == (
                whole[row.id].texts,
                whole[row.id].labels,
                whole[row.id].group,
            )
            assert row.media == whole[row.id].media
            met[row.id] = part
    assert met == dict(zip(whole, plan.splits, strict=True))
    told = json.loads((tmp_path / "out" / "split.json").read_text())
    assert told["rows"] == plan.to_dict()["rows"] and told["stratify"] == "emotion"
    with pytest.raises(ConfigError, match="is there already"):
        divide(open_source(rows), tmp_path / "out", val=0.2, test=0.2)


def test_lists_of_ids(rows, tmp_path):
    plan = divide(open_source(rows), tmp_path / "out", val=0.2, test=0.0, ids=True)
    found = {part: (tmp_path / "out" / f"{part}.txt").read_text().split("\n")[:-1] for part in ("train", "val")}
    assert sorted(found["train"] + found["val"]) == sorted(f"r{n}" for n in range(60)) and not (tmp_path / "out" / "test.txt").exists()
    assert [part for part in plan.splits].count("val") == len(found["val"])
    rows.write_text(rows.read_text() + rows.read_text())
    with pytest.raises(DatasetError, match="two rows of one id"):
        divide(open_source(rows), tmp_path / "twice", val=0.2, test=0.2, ids=True)
