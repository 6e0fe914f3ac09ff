"""What a row looks like under each condition, who lends, and what has none of it."""

import pytest

from tests.evaluation.suite.doubles import KINDS, clip, kind_heard, kind_seen, row
from unifusion.conversation import Altered, Example, Line, Media, Mix
from unifusion.evaluation.suite.conditions import CONDITIONS, Donors, streams_of, under

ROWS = [row(i, KINDS[i % 3], group=f"g{i // 2}") for i in range(12)]


def donors(rows=ROWS, seed=0):
    return Donors(rows, lambda r: r.labels["sound"], seed=seed)


@pytest.mark.parametrize(
    ("condition", "sound", "picture"),
    [
        ("all", "own", "own"),
        ("no sound", None, "own"),
        ("no picture", "own", None),
        ("other sound", "lent", "own"),
        ("other picture", "own", "lent"),
    ],
)
def test_only_the_stream_that_is_named_changes(condition, sound, picture):
    for example in ROWS:
        shown = under(condition, example, donors())
        own = example.labels["sound"]
        lent = shown.lender.labels["sound"] if shown.lender else None
        wanted = {"own": own, "lent": lent, None: None}
        assert (kind_heard(shown.row.media[0]), kind_seen(shown.row.media[0])) == (wanted[sound], wanted[picture])
        assert (shown.lender is None) == ("other" not in condition)


def test_a_lender_is_of_another_group_and_another_answer():
    for example in ROWS:
        lender = donors().of(example, "sound")
        assert lender.group != example.group and lender.labels["sound"] != example.labels["sound"]


def test_who_lends_does_not_depend_on_the_order_of_asking_or_of_the_set_and_does_on_the_seed():
    first, turned, other_way = donors(), donors(), donors(ROWS[::-1])
    a = {r.id: first.of(r, "sound").id for r in ROWS}
    assert a == {r.id: turned.of(r, "sound").id for r in reversed(ROWS)} == {r.id: other_way.of(r, "sound").id for r in ROWS}
    assert a != {r.id: donors(seed=1).of(r, "sound").id for r in ROWS}


def test_the_true_answer_of_a_row_is_told_once():
    many, told = [row(i, KINDS[i % 3]) for i in range(300)], []
    lending = Donors(many, lambda r: told.append(r.id) or r.labels["sound"])
    assert all(lending.of(r, s).labels["sound"] != r.labels["sound"] for r in many for s in ("sound", "picture"))
    assert len(told) == len(set(told)) <= 300


def test_a_whole_clip_is_lent_to_a_row_of_clips_of_the_same_kinds():
    heard = [Example(id=f"a{i}", media=(Media(kind="audio", source=clip(k)),), labels={"sound": k}) for i, k in enumerate(KINDS)]
    twice = Example(id="b", media=(*ROWS[0].media, *ROWS[1].media), labels={"sound": "bell"})
    mixed = donors([*ROWS, *heard, twice])
    assert all(mixed.of(r, "any").id.startswith(r.id[0]) for r in (*ROWS, *heard))
    assert mixed.of(twice, "any") is None and mixed.of(twice, "sound") is not None


def test_a_lender_is_asked_the_same_kind_of_thing_where_there_is_one():
    rows = [Example(id=f"k{i}", media=ROWS[i].media, labels={"family": "ab"[i % 2], "sound": KINDS[i % 3]}, group=str(i)) for i in range(8)]
    found = donors(rows)
    assert all(found.of(r, "sound").labels["family"] == r.labels["family"] for r in rows)


def test_nobody_lends_to_a_row_alone():
    alone = [row(0, "bark"), row(1, "bell", group="g0")]
    assert donors(alone).of(alone[0], "sound") is None
    assert under("other sound", alone[0], donors(alone)) is None and under("other clip", alone[0], donors(alone)) is None


@pytest.mark.parametrize("condition", ["no sound", "no picture", "other sound", "other picture"])
@pytest.mark.parametrize("parts", [{"sound": False}, {"picture": False}])
def test_a_row_of_one_stream_is_not_asked_without_it(condition, parts):
    lone = row(99, "bark", **parts)
    assert under(condition, lone, donors([*ROWS, lone])) is None


def test_blind_and_text():
    said = Example(id="t", media=(Media(kind="video", source=clip("bark"), transcript="hello there"),), texts={"transcript": "hello there"})
    blind, text = under("blind", said, donors()), under("text", said, donors())
    assert blind.row.media == () and "transcript" not in blind.row.texts
    assert text.row.media == () and text.row.texts["transcript"] == "hello there"
    assert under("text", ROWS[0], donors()) is None


def test_words_go_with_the_sound():
    rows = [
        Example(id=f"w{i}", group=str(i), labels={"sound": k}, texts={"transcript": f"word {k}"},
                media=(Media(kind="video", source=clip(k), transcript=f"word {k}"),))
        for i, k in enumerate(KINDS)
    ]  # fmt: skip
    for example in rows:
        heard = under("other sound", example, donors(rows))
        assert heard.row.media[0].transcript == heard.row.texts["transcript"] == heard.lender.texts["transcript"]
        assert under("other picture", example, donors(rows)).row.texts == example.texts
        silent = under("no sound", example, donors(rows)).row
        assert silent.media[0].transcript is None and "transcript" not in silent.texts
        other = under("other clip", example, donors(rows))
        assert other.row.texts["transcript"] == other.lender.texts["transcript"] and other.row.labels == example.labels


def test_timed_words_go_with_the_sound_and_count_from_the_start_of_the_span():
    rows = [
        Example(id=k, group=k, labels={"sound": k},
                media=(Media(kind="video", source=clip(k), start_s=0.5, subtitles=(Line(0.6, 0.9, f"word {k}"),), words_from="a.srt"),))
        for k in KINDS
    ]  # fmt: skip
    for example in rows:
        other = under("other sound", example, donors(rows))
        (line,) = other.row.media[0].subtitles
        assert line.text == f"word {other.lender.id}" and line.start_s == pytest.approx(0.1) and other.row.media[0].words_from == "a.srt"
        (own,) = under("other picture", example, donors(rows)).row.media[0].subtitles
        assert own.text == f"word {example.id}" and own.start_s == pytest.approx(0.1)
        assert under("other clip", example, donors(rows)).row.media[0].subtitles[0].start_s == 0.6  # beside its own span
        assert under("text", example, donors(rows)).row.texts["transcript"] == f"word {example.id}"
        assert under("no sound", example, donors(rows)).row.media[0].subtitles == ()


def test_shuffled_keeps_the_sound_and_needs_pictures_that_move():
    shown = under("shuffled", ROWS[0], donors()).row.media[0]
    assert isinstance(shown.source, Altered) and shown.source.shuffle is not None and shown.source.sound is None
    still = Example(id="s", media=(Media(kind="image", source=clip("bark")),))
    assert under("shuffled", still, donors()) is None
    assert shown.source.shuffle == under("shuffled", ROWS[0], donors()).row.media[0].source.shuffle


def test_the_span_of_a_clip_stays_that_of_the_clip():
    cut = Example(id="c", group="c", labels={"sound": "bark"}, media=(Media(kind="video", source=clip("bark"), start_s=0.2, end_s=0.6),))
    shown = under("other sound", cut, donors([*ROWS, cut])).row.media[0]
    assert (shown.start_s, shown.end_s) == (None, None) and (shown.source.base.start_s, shown.source.base.end_s) == (0.2, 0.6)


def test_streams_are_told_by_what_there_is(tmp_path):
    assert streams_of(Media(kind="video", source=clip("bark"))) == {"picture", "sound"}
    assert streams_of(Media(kind="audio", source=clip("bark"))) == {"sound"}
    assert streams_of(Media(kind="video", source=clip("bark"), mute=("audio",))) == {"picture"}
    assert streams_of(Media(kind="video", source="clip-world://0/1?split=train")) >= {"picture"}
    mixed = Mix(voice=Media(kind="audio", source=clip("bark")))
    assert streams_of(Media(kind="video", source=mixed)) == {"sound"}
    lent = Altered(base=Media(kind="video", source=clip("bark", sound=False)), sound=Media(kind="audio", source=clip("bell")))
    assert streams_of(Media(kind="video", source=lent)) == {"picture", "sound"}
    broken = tmp_path / "x.mp4"
    broken.write_bytes(b"not a clip")
    assert streams_of(Media(kind="video", source=str(broken))) == set()


def test_every_condition_is_told_of():
    assert {c for c in CONDITIONS if under(c, ROWS[0], donors()) is not None} == {*CONDITIONS} - {"text"}
