"""Mixtures: parts by weight, each in turn, of one split, speakers held apart."""

from collections import Counter

import pytest

from unifusion import catalog
from unifusion.datasets.mixture import Mixture
from unifusion.errors import DatasetError

VOICES = ("03a01Fa", "03a02Wb", "08a01Na", "11a01Fa", "11a02Wb")  # speaker 11 is val
DIGITS = ("7_jackson_3", "1_george_0", "2_theo_4")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for folder, names in (("emodb", VOICES), ("fsdd", DIGITS)):
        (root / folder).mkdir()
        for name in names:
            (root / folder / f"{name}.wav").touch()
    return root


def mixture(folder, text, **options):
    path = folder / "mix.yaml"
    path.write_text(text, encoding="utf-8")
    return Mixture(path, **options)


def test_parts_come_in_their_shares_and_in_turn(data, tmp_path):
    rows = mixture(
        tmp_path, "voices: {dataset: emodb, path: emodb, weight: 3}\ndigits: {dataset: fsdd, path: fsdd}\n", data=data, count=4000
    )
    assert catalog.load("datasets", "mixture") is Mixture and list(rows.parts) == ["voices", "digits"] and len(rows) == 4000
    found = Counter(rows[i].id for i in range(0, 1000))
    assert sum(n for name, n in found.items() if name.startswith("emodb")) == 750
    assert {name: n for name, n in found.items() if name.startswith("emodb")} == {f"emodb/{v}": 250 for v in VOICES[:3]}
    assert rows[123] == rows[123] and [rows.place(i) for i in range(50)] != [rows.place(i) for i in range(1000, 1050)]
    with pytest.raises(IndexError):
        rows[4000]


def test_a_part_of_weight_nothing_gives_no_rows(data, tmp_path):
    text = "voices: {dataset: emodb, path: emodb, weight: 0}\ndigits: {dataset: fsdd, path: fsdd}\n"
    rows = mixture(tmp_path, text, data=data, split="val")
    assert len(rows) == 1 and rows[0].labels["digit"] == "two" and len(rows.parts["voices"]) == 2


def test_a_part_may_be_of_one_split_alone(data, tmp_path):
    text = "voices: {dataset: emodb, path: emodb}\ndigits: {dataset: fsdd, path: fsdd, only: train, weight: 3}\n"
    train, val = (mixture(tmp_path, text, data=data, split=s) for s in ("train", "val"))
    assert train.weights == {"voices": 0.25, "digits": 0.75} and val.weights == {"voices": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "holds no named parts"),
        ("a: {path: x}\n", "part 'a' names no dataset"),
        ("a: {dataset: emodb, path: emodb, wieght: 2}\n", "unknown key 'wieght'.*weight"),
        ("a: {dataset: emodb, path: emodb, weight: 0}\n", "no part has a weight"),
        ("a: {dataset: emodb, path: emodb, options: {sang: true}}\n", "part 'a'.*sang"),
        ("a: {dataset: composed, faces: [b], voices: [b]}\n", "no part 'b'"),
        ("a: {dataset: composed}\n", "lacks faces or voices"),
        ("a: {dataset: emodb, path: emodb}\nb: {dataset: composed, faces: [a], voices: [a], rounds: 4}\n", "rounds is 4"),
        ("a: {dataset: emodb, path: emodb}\nb: {dataset: composed, faces: [a], voices: [a], rounds: {train: 0}}\n", "rounds is"),
    ],
)
def test_what_is_wrong_is_named(data, tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        mixture(tmp_path, text, data=data)


def test_clip_world_may_be_a_part(data, tmp_path):
    text = "world: {dataset: clip_world, options: {count: 6, per_clip: 1}, splits: {test: test_iid}}\n"
    found = mixture(tmp_path, text, data=data, split="test")
    assert len(found.parts["world"]) == 6 and {r.split for r in found.parts["world"]} == {"test_iid"}


def test_speakers_are_held_apart(data, tmp_path):
    text = "voices: {dataset: emodb, path: emodb}\n"
    train, val = (mixture(tmp_path, text, data=data, split=s) for s in ("train", "val"))
    train.hold_apart(val)
    both = mixture(tmp_path, "voices: {dataset: emodb, path: emodb, splits: {test: val}}\n", data=data, split="test")
    with pytest.raises(DatasetError, match=r"1 groups are in test and in val .emodb_11"):
        both.hold_apart(val)
