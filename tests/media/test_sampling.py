"""Which frames are chosen, by presentation time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifusion.errors import ConfigError
from unifusion.media import Sampling

INF = float("inf")


def times(count, rate=25.0, start=0.0):
    return start + np.arange(count) / rate


def test_count_takes_the_centres_of_equal_segments():
    indices, notes = Sampling(count=4).choose(times(100), 4.0, (0.0, INF))
    assert indices.tolist() == [12, 37, 62, 87]  # on screen at 0.5, 1.5, 2.5, 3.5 s
    assert notes == []


def test_count_spreads_over_the_part_that_has_a_picture():
    indices, _ = Sampling(count=2).choose(times(50, start=2.0), 4.0, (0.0, INF))
    assert indices.tolist() == [12, 37]


def test_more_than_there_are_gives_each_once_and_says_so():
    indices, notes = Sampling(count=9).choose(times(3), 0.12, (0.0, INF))
    assert indices.tolist() == [0, 1, 2]
    assert notes == ["only 3 frames in this span, 9 wanted"]


def test_rate_counts_from_the_span_and_takes_the_frame_on_screen():
    indices, _ = Sampling(rate_hz=2).choose(times(100), 4.0, (1.0, 3.0))
    assert indices.tolist() == [25, 37, 50, 62]


def test_rate_skips_ticks_before_a_late_picture():
    indices, _ = Sampling(rate_hz=1).choose(times(50, start=1.5), 3.5, (0.0, INF))
    assert times(50, start=1.5)[indices].tolist() == pytest.approx([2.0 - 0.02, 3.0 - 0.02], abs=0.021)


def test_rate_survives_times_rounded_to_milliseconds():
    rounded = np.round(np.arange(90) / 30, 3)
    indices, _ = Sampling(rate_hz=30).choose(rounded, 3.0, (0.0, INF))
    assert indices.tolist() == list(range(90))


def test_too_many_frames_lower_the_rate_with_a_note():
    indices, notes = Sampling(rate_hz=25, max_frames=10).choose(times(100), 4.0, (0.0, INF))
    assert len(indices) == 10
    assert "lowered from 25 to 2.5" in notes[0]


def test_given_times_come_back_one_for_one():
    indices, notes = Sampling(times_s=(0.0, 0.01, 1.0, 9.0)).choose(times(50), 2.0, (0.0, INF))
    assert indices.tolist() == [0, 0, 25, 49]
    assert "the picture ends at 2.00 s" in notes[0]


def test_a_span_beyond_the_picture_has_no_frame():
    indices, notes = Sampling(count=4).choose(times(50), 2.0, (3.0, 5.0))
    assert len(indices) == 0
    assert notes == ["no picture in this span"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"count": 4, "rate_hz": 2.0},
        {"count": 0},
        {"rate_hz": float("nan")},
        {"rate_hz": -1.0},
        {"times_s": ()},
        {"times_s": (2.0, 1.0)},
        {"times_s": (-1.0,)},
        {"count": 2, "max_frames": 0},
        {"count": 2, "max_side_px": -5},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ConfigError):
        Sampling(**wrong)


def test_a_rate_that_means_millions_of_frames_is_refused():
    with pytest.raises(ConfigError, match="lower rate"):
        Sampling(rate_hz=1e9).choose(times(50), 2.0, (0.0, INF))


steps = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=60)
samplings = st.one_of(
    st.builds(Sampling, count=st.integers(1, 80), max_frames=st.none() | st.integers(1, 80)),
    st.builds(Sampling, rate_hz=st.floats(0.1, 200.0), max_frames=st.none() | st.integers(1, 80)),
)


@given(steps=steps, sampling=samplings, start=st.floats(0, 20), length=st.floats(0.05, 50))
def test_any_choice_is_ascending_unique_bounded_and_on_screen_in_the_span(steps, sampling, start, length):
    times_T = np.cumsum(steps)
    end_s = float(times_T[-1]) + 0.04
    indices, _ = sampling.choose(times_T, end_s, (start, start + length))
    assert (np.diff(indices) > 0).all()
    if sampling.max_frames is not None:
        assert len(indices) <= sampling.max_frames
    ends = np.append(times_T[1:], end_s)
    for i in indices:
        assert ends[i] >= start - 2e-3
        assert times_T[i] <= start + length + 2e-3
    assert (len(indices) == 0) == (min(start + length, end_s) <= max(start, times_T[0]))
