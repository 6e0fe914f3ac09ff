"""Where clips are cut: the rule, and what holds for any lines."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifusion.conversation import Line
from unifusion.errors import ConfigError
from unifusion.evaluation.windows.cut import cut_windows
from unifusion.media.subtitles import said_between


def said(*spans):
    return [Line(a, b, f"w{k}") for k, (a, b) in enumerate(spans)]


@pytest.mark.parametrize(("end_s", "lines", "more", "cuts"), [
    (25.0, (), {}, [10.0, 20.0]),
    (9.0, (), {}, []),
    (11.0, (), {}, [8.5]),  # no window of a second
    (20.0, (), {"shots": [3.0, 6.0, 8.0, 12.0]}, [8.0, 17.5]),
    (20.0, (), {"pauses": [(5.2, 5.6), (7.0, 8.0), (9.9, 10.3)]}, [7.5, 17.5]),
    (20.0, (), {"shots": [6.0], "pauses": [(7.0, 8.0)]}, [6.0, 16.0]),  # a shot comes first
    (20.0, said((0.0, 4.0), (4.5, 7.0), (8.0, 12.0)), {}, [7.5, 17.5]),  # the middle of a gap
    (20.0, said((0.0, 4.0), (4.0, 12.0)), {}, [4.0, 14.0]),  # before the line that would be cut
    (20.0, said((0.0, 14.0)), {}, [14.0]),  # behind one that is longer than a window
    (20.0, said((0.0, 6.0), (5.0, 13.0)), {"shots": [5.5, 9.0]}, [13.0]),  # lines that overlap hold together
    (20.0, said((0.0, 30.0)), {}, []),
])  # fmt: skip
def test_the_rule(end_s, lines, more, cuts):
    found = cut_windows((0.0, end_s), list(lines), window_s=10.0, **more)
    edges = [0.0, *[b for _, b in found]]
    assert found == list(itertools.pairwise(edges)) and edges[-1] == end_s
    assert edges[1:-1] == pytest.approx(cuts)


def test_spans_need_not_begin_at_zero_and_windows_have_a_length():
    assert cut_windows((5.0, 16.0), [], window_s=10.0) == [(5.0, 13.5), (13.5, 16.0)]
    with pytest.raises(ConfigError, match="windows of 0"):
        cut_windows((0.0, 1.0), [], window_s=0)


SPANS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.05, 25)), max_size=15)


@given(SPANS, st.floats(0.1, 120), st.lists(st.floats(0, 100), max_size=8), SPANS, st.floats(1, 20))
def test_windows_follow_each_other_and_no_line_is_cut(spans, end_s, shots, pauses, window_s):
    lines = [Line(round(a, 3), round(a + n, 3), f"w{k}") for k, (a, n) in enumerate(spans) if a + n / 2 < end_s]
    options = {"shots": sorted(shots), "pauses": [(a, a + n) for a, n in pauses]}
    found = cut_windows((0.0, end_s), lines, window_s=window_s, **options)
    assert found[0][0] == 0.0 and found[-1][1] == pytest.approx(end_s, abs=1e-3)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found)) and all(a < b for a, b in found)
    for cut in [b for _, b in found[:-1]]:
        assert not any(line.start_s + 2e-3 < cut < line.end_s - 2e-3 for line in lines)
    words = [w for a, b in found for w in said_between(lines, a, b).split()]
    assert len(words) == len(set(words)) <= len(lines)
    held = max((b - a for a, b in _blocks(lines)), default=0.0)
    assert all(b - a <= window_s + held + 2e-3 for a, b in found)


def _blocks(lines):
    """Spans of lines that overlap, by brute force."""
    blocks = [(line.start_s, line.end_s) for line in lines]
    while True:
        pair = next(((x, y) for x, y in itertools.combinations(blocks, 2) if x[0] < y[1] and y[0] < x[1]), None)
        if pair is None:
            return blocks
        blocks = [b for b in blocks if b not in pair] + [(min(pair[0][0], pair[1][0]), max(pair[0][1], pair[1][1]))]
