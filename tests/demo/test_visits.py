"""Visits: bounded in number and time; what a person typed as a span."""

import pytest

from unifusion.errors import ConfigError


@pytest.fixture
def visits(part):
    return part("visits")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_tab_gets_its_visit_back(visits):
    held = visits.Visits()
    assert held.get("a") is held.get("a")
    assert held.get("a") is not held.get("b")


def test_nobody_shares_a_visit_for_want_of_a_key(visits):
    with pytest.raises(ConfigError, match="reload"):
        visits.Visits().get("")


def test_the_one_unused_longest_goes_first(visits):
    held = visits.Visits(capacity=2)
    first, second = held.get("a"), held.get("b")
    held.get("a")
    held.get("c")
    assert len(held) == 2
    assert held.get("a") is first
    assert held.get("b") is not second


def test_one_that_is_being_answered_goes_last(visits):
    held = visits.Visits(capacity=2)
    first = held.get("a")
    with first.busy:
        held.get("b")
        held.get("c")
        assert held.get("a") is first


def test_time_is_up_but_not_while_answering(visits):
    clock = Clock()
    held = visits.Visits(ttl_s=10.0, clock=clock)
    idle, busy = held.get("idle"), held.get("busy")
    clock.now = 11.0
    with busy.busy:
        held.get("other")
        assert len(held) == 2
        assert held.get("busy") is busy
    assert held.get("idle") is not idle


def test_dropping_ends_what_it_is_doing(visits):
    held = visits.Visits()
    visit = held.get("a")
    held.drop("a")
    held.drop("never seen")
    assert visit.cancel.is_set()
    assert len(held) == 0


def test_an_answer_of_the_last_talk_does_not_come_back(visits):
    visit = visits.Visit()
    epoch = visit.epoch
    visit.forget()
    visit.keep(visits.Turn(question="q"), None, None, epoch)
    assert visit.turns == []
    assert visit.cancel.is_set()


@pytest.mark.parametrize(
    ("typed", "value"), [("", None), ("  ", None), ("2.5", 2.5), ("2,5", 2.5), (" 3 s ", 3.0), ("1:05", 65.0), ("1:05.5", 65.5), ("0", 0.0)]
)
def test_seconds_as_people_write_them(visits, typed, value):
    assert visits.seconds("start", typed) == value


@pytest.mark.parametrize("typed", ["-1", "nan", "inf", "1e9", "abc", "1:2:3", "٣", "<b>", "1" * 50])
def test_what_is_no_time_is_told(visits, typed):
    with pytest.raises(ConfigError, match="seconds"):
        visits.seconds("start", typed)


def test_the_choice_becomes_media(visits):
    choice = visits.Choice.of("audio", {"video": None, "audio": "/x/a.wav", "image": None}, "1", "2.5")
    assert (choice.media.kind, choice.media.source, choice.media.start_s, choice.media.end_s) == ("audio", "/x/a.wav", 1.0, 2.5)
    assert choice.name == "a.wav"


def test_a_still_has_no_span(visits):
    choice = visits.Choice.of("image", {"image": "/x/a.png"}, "1", "2")
    assert choice.media.start_s is None
    assert choice.media.end_s is None


@pytest.mark.parametrize(
    ("paths", "span", "words"),
    [({}, ("", ""), "upload"), ({"audio": "a.wav"}, ("", ""), "open the tab with your audio"), ({"video": "a.mp4"}, ("3", "3"), "empty")],
)
def test_a_choice_that_is_none(visits, paths, span, words):
    with pytest.raises(ConfigError, match=words):
        visits.Choice.of("video", paths, *span)
