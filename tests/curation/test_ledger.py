"""Names that stand twice and groups in two splits, against the plain way to count them."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from unifusion.curation.ledger import Ledger, mark_of

NAMES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), max_size=40)


def filled(notes):
    ledger = Ledger()
    ledger.extend([(mark_of(name), row, tag) for row, (name, tag) in enumerate(notes, 1)])
    return ledger


@given(NAMES)
def test_twice_is_every_later_one_with_the_first(notes):
    first, wanted = {}, []
    for row, (name, _) in enumerate(notes, 1):
        if name in first:
            wanted.append((row, first[name]))
        first.setdefault(name, row)
    assert filled(notes).twice() == wanted and filled(notes).distinct() == len(first) and len(filled(notes)) == len(notes)


@given(NAMES)
def test_across_has_the_first_row_of_each_tag(notes):
    met = defaultdict(dict)
    for row, (name, tag) in enumerate(notes, 1):
        met[name].setdefault(tag, row)
    assert filled(notes).across() == sorted((tags for tags in met.values() if len(tags) > 1), key=lambda tags: min(tags.values()))


def test_marks_are_of_the_whole_name():
    assert mark_of("a") != mark_of("a ") and mark_of("\ud800") != mark_of("?") and 0 <= mark_of("x") < 2**64


def test_a_million_rows_cost_17_bytes_each():
    ledger = Ledger()
    for row in range(200_000):
        ledger.add(row * 7919, row)
    ledger.add(7919, 200_001)
    assert ledger.twice() == [(200_001, 1)]
    assert sum(len(a) * a.itemsize for a in (ledger._marks, ledger._rows, ledger._tags)) == 17 * 200_001
