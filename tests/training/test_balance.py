"""Rare labels come more often, exactly as often as is said, and any step can be told alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import ConfigError
from unifusion.training.balance import Balanced
from unifusion.training.order import Order, StepSampler

LABELS = ["common"] * 60 + ["rare"] * 6 + ["middle"] * 24


def rows_of(order, epoch):
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [r for s in steps for r in order.rows(s)]


@pytest.mark.parametrize(
    ("beta", "wanted"), [(0.0, {"common": 60, "rare": 6, "middle": 24}), (1.0, {"common": 30, "rare": 30, "middle": 30})]
)
def test_shares_of_labels_are_exact(beta, wanted):
    order = Balanced(LABELS, 7, beta=beta, seed=3)
    for epoch in range(4):
        assert Counter(LABELS[r] for r in rows_of(order, epoch)) == wanted


def test_half_way_is_the_root():
    roots = {"common": 60**0.5, "rare": 6**0.5, "middle": 24**0.5}
    found = Balanced(LABELS, 7, beta=0.5).per_epoch
    assert sum(found.values()) == 90
    for name, root in roots.items():
        assert abs(found[name] - 90 * root / sum(roots.values())) < 1


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.sampled_from("abcd"), min_size=1, max_size=50), batch=st.integers(1, 9), seed=st.integers(0, 3),
    beta=st.floats(0, 1), grouped=st.booleans(),
)  # fmt: skip
def test_rows_of_a_label_take_turns_and_steps_stand_alone(labels, batch, seed, beta, grouped):
    lengths = [(i * 7919) % 31 + 1 for i in range(len(labels))] if grouped else None
    order = Balanced(labels, batch, beta=beta, seed=seed, lengths=lengths)
    seen = Counter({r: 0 for r in range(len(labels))})
    for epoch in range(4):
        rows = rows_of(order, epoch)
        assert len(rows) == len(labels)
        seen.update(rows)
        for label in set(labels):
            counts = [n for r, n in seen.items() if labels[r] == label]
            assert max(counts) - min(counts) <= 1
    again = Balanced(labels, batch, beta=beta, seed=seed, lengths=lengths)
    assert [again.rows(s) for s in (9, 0, 4)] == [order.rows(s) for s in (9, 0, 4)]
    if beta == 0:
        assert sorted(rows_of(order, 1)) == list(range(len(labels)))


def test_it_is_shuffled_and_shared_out():
    order = Balanced(LABELS, 6, seed=1)
    assert rows_of(order, 0) != rows_of(order, 1) != rows_of(Balanced(LABELS, 6, seed=2), 1)
    assert [r for rank in range(2) for r in order.share(5, rank, 2)] != [] and isinstance(order, Order)
    assert sorted(order.share(5, 0, 2) + order.share(5, 1, 2)) == sorted(order.rows(5))
    assert list(StepSampler(order, 20, 23)) == [order.rows(s) for s in (20, 21, 22)]
    assert max(Counter(LABELS[r] for s in range(5) for r in order.rows(s)).values()) < 20, "labels are spread over an epoch"


def test_what_cannot_be_balanced():
    with pytest.raises(ConfigError, match="no rows"):
        Balanced([], 4)
    with pytest.raises(ConfigError, match=r"beta of the balanced order is 1\.5"):
        Balanced(LABELS, 4, beta=1.5)
    with pytest.raises(ConfigError, match="2 lengths for 90 rows"):
        Balanced(LABELS, 4, lengths=[1, 2])
