"""Packs: every example in exactly one, none too full, about as few as can be; the packed batch holds every row as it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import byte_tokenizer, mixed, streams
from unifusion.errors import ConfigError, LimitError
from unifusion.processor import UniFusionProcessor
from unifusion.processor.packing import Segments, collate_packed, pack
from unifusion.processor.processor import IGNORED

LENGTHS = st.lists(st.integers(1, 64), max_size=200)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, spare=st.integers(0, 100))
def test_every_example_is_in_exactly_one_pack_and_none_is_too_full(lengths, spare):
    limit = max(lengths, default=1) + spare
    packs = pack(lengths, limit)
    assert sorted(i for p in packs for i in p) == list(range(len(lengths)))
    rooms = [limit - sum(lengths[i] for i in p) for p in packs]
    assert all(room >= 0 for room in rooms) and all(packs)
    assert len(packs) <= 11 / 9 * -(-sum(lengths) // limit) + 1 + sum(n > limit // 2 for n in lengths)
    assert all([lengths[i] for i in p] == sorted((lengths[i] for i in p), reverse=True) for p in packs)
    assert pack(list(lengths), limit) == packs
    if len(packs) > 1:  # no two of them would fit into one
        fullest = sorted(rooms)[-2:]
        assert sum(fullest) < limit


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_padding_is_never_more_than_without_packs(lengths):
    packs = pack(lengths, 32)
    assert len(packs) * 32 - sum(lengths) <= len(lengths) * 32 - sum(lengths)
    assert len(packs) >= -(-sum(lengths) // 32)


def test_what_fits_exactly_fills_its_packs():
    assert pack([6, 4, 5, 5, 3, 7], 10) == [[5, 4], [0, 1], [2, 3]]
    assert pack([], 10) == []


def test_an_example_that_is_too_long_or_empty_is_named():
    with pytest.raises(LimitError, match=r"example talk-7 has 30 tokens, a pack holds 20 \(2 examples are longer\)"):
        pack([5, 30, 21], 20, names=["a", "talk-7", "b"])
    with pytest.raises(LimitError, match="example number 1 has 30 tokens, a pack holds 20;"):
        pack([5, 30], 20)
    with pytest.raises(ConfigError, match="number 0 has 0 tokens"):
        pack([0, 3], 20)


def test_a_hundred_thousand_examples_are_packed_at_once():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 2000, (100_000,), generator=generator).tolist()
    packs = pack(lengths, 2048)
    assert sum(lengths) / (len(packs) * 2048) > 0.99


def test_neighbours_of_equal_length_are_one_run():
    segments = Segments(lengths=(7, 7, 3, 3, 3, 7))
    assert segments.runs == ((2, 7), (3, 3), (1, 7))
    assert segments.edges.tolist() == [0, 7, 14, 17, 20, 23, 30] and segments.edges.dtype == torch.int32


def test_the_batch_holds_every_row_as_it_is():
    processor = UniFusionProcessor(byte_tokenizer(), streams=streams())
    rows = [processor.row(c) for c in mixed("word ")]
    batch = collate_packed(processor, rows)
    at = 0
    for row, length in zip(rows, batch["segments"].lengths, strict=True):
        here = slice(at, at + length)
        assert batch["input_ids"][0, here].tolist() == row.ids
        assert batch["labels"][0, here].tolist() == [IGNORED, *row.labels[1:]]
        assert batch["position_ids"][0, here].tolist() == list(range(length))
        at += length
    assert at == batch["input_ids"].shape[1]
    padded = processor.collate(rows)
    for name, stream in padded["media"].items():
        packed = batch["media"][name]
        assert set(packed) == set(stream) and not packed["rows"].any()
        assert all(torch.equal(packed[k], v) for k, v in stream.items() if k != "rows")
    assert [r.to_dict() for r in batch.reports] == [r.to_dict() for r in padded.reports]
    assert "attention_mask" not in batch and batch.to("cpu")["segments"].lengths == batch["segments"].lengths


def test_no_rows_and_empty_rows_are_refused():
    from unifusion.processor import Row

    processor = UniFusionProcessor(byte_tokenizer(), streams=streams())
    for rows in ([], [Row()]):
        with pytest.raises(ConfigError, match="cannot be packed"):
            collate_packed(processor, rows)
