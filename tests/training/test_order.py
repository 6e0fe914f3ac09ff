"""Which rows a step reads: each epoch a full pass, nothing twice, whatever the number of processes; workers in between change nothing."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import ConfigError, LimitError
from unifusion.training.loader import TOLD, Loader
from unifusion.training.order import Endless, Order, Packs, StepSampler


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 60), batch=st.integers(1, 9), seed=st.integers(0, 3), grouped=st.booleans(), world=st.integers(1, 3))
def test_every_epoch_is_one_full_pass(count, batch, seed, grouped, world):
    lengths = [(i * 7919) % 31 + 1 for i in range(count)] if grouped else None
    order = Order(count, batch, seed=seed, lengths=lengths)
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        rows = [r for s in steps for r in order.rows(s)]
        assert sorted(rows) == list(range(count))
        assert sorted(r for s in steps for rank in range(world) for r in order.share(s, rank, world)) == list(range(count))
    again = Order(count, batch, seed=seed, lengths=lengths)
    assert [again.rows(s) for s in (5, 0, 3)] == [order.rows(s) for s in (5, 0, 3)], "a step's rows depend on no step before it"


def test_grouped_rows_are_of_about_equal_length_and_come_in_any_order():
    lengths = list(np.random.default_rng(0).integers(1, 1000, 400))
    order = Order(400, 8, lengths=lengths)
    waste = [1 - np.mean([lengths[r] for r in order.rows(s)]) / max(lengths[r] for r in order.rows(s)) for s in range(50)]
    plain = [1 - np.mean([lengths[r] for r in Order(400, 8).rows(s)]) / max(lengths[r] for r in Order(400, 8).rows(s)) for s in range(50)]
    assert np.mean(waste) < 0.1 < np.mean(plain)
    means = [np.mean([lengths[r] for r in order.rows(s)]) for s in range(50)]
    assert means != sorted(means, reverse=True) and order.rows(0) != order.rows(50)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=50), world=st.integers(1, 3), seed=st.integers(0, 2))
def test_every_row_is_in_one_pack_of_each_epoch(lengths, world, seed):
    order = Packs(lengths, 64, world_size=world, seed=seed)
    step, epochs = 0, []
    for _ in range(2):
        rows = []
        while len(rows) < len(lengths):
            for rank in range(world):
                pack = order.share(step, rank, world)
                assert sum(lengths[r] for r in pack) <= 64
                rows += pack
            step += 1
        assert sorted(rows) == list(range(len(lengths)))
        epochs.append(rows)
    assert Packs(lengths, 64, world_size=world, seed=seed).rows(1) == order.rows(1)


def test_what_cannot_be_ordered():
    with pytest.raises(ConfigError, match="no rows"):
        Order(0, 4)
    with pytest.raises(ConfigError, match="2 lengths for 3 rows"):
        Order(3, 4, lengths=[1, 2])
    with pytest.raises(LimitError, match="example b has 9 tokens, a pack holds 8"):
        Packs([3, 9], 8, names=["a", "b"])


class Numbers:
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_begins_anywhere_and_keeps_the_order(workers):
    order = Endless(20, 3)
    whole = [b["x"] for b in Loader(Numbers(), StepSampler(order, 0, 6), lambda rows: {"x": list(rows)}, workers=workers)]
    late = Loader(Numbers(), StepSampler(order, 4, 6), lambda rows: {"x": list(rows)}, workers=workers)
    batches = list(late)
    assert [b["x"] for b in batches] == whole[4:] and [b[TOLD].rows for b in batches] == whole[4:] and len(late) == 6
    samplers = [StepSampler(order, 0, 6, rank=rank, world_size=2) for rank in (0, 1)]
    shares = [[b["x"] for b in Loader(Numbers(), sampler, lambda rows: {"x": list(rows)})] for sampler in samplers]
    assert Counter(x for share in shares for batch in share for x in batch) == Counter(x for batch in whole for x in batch)
