"""Rows in memory give the vectors that rows from files give, and only what is trained is opened again."""

from dataclasses import replace

import pytest
import torch

from tests.models.test_aligner import ROWS, config, streams
from unifusion.conversation import Media
from unifusion.models.aligner import Aligner
from unifusion.models.opened_rows import OpenedRow, RowOpener
from unifusion.training.align_rows import AlignRow, clip_batch
from unifusion.training.kept import Kept, row_key, unsaid

MEDIA = ["frames", "motion", "audio"]


class Counted:
    """An opener that counts."""

    def __init__(self, inner):
        self.inner, self.streams, self.count = inner, inner.streams, 0

    def open(self, example):
        """Open and count."""
        self.count += 1
        return self.inner.open(example)


def model(adapt, trained):
    """Random weights; adapter and second picture encoder trained or not."""
    made = streams(trained=trained)
    made["frames"].adapt = adapt
    torch.manual_seed(0)
    return Aligner(config(streams=made)).eval()


@torch.no_grad()
@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("trained", [0, -1])
def test_kept_rows_give_the_same_vectors(adapt, trained):
    own = model(adapt, trained)
    counted = Counted(RowOpener(own, only=MEDIA))
    kept = Kept(own, counted)
    kept.fill(ROWS)
    assert kept.adapted == (set() if adapt else {"frames"}) and counted.count == 3
    plain = [AlignRow(row=counted.inner.open(unsaid(r)), facts=(), texts={}) for r in ROWS]
    again = [AlignRow(row=kept.open(unsaid(r)), facts=(), texts={}) for r in ROWS]
    assert counted.count == (3 if trained == 0 else 5)  # the third row has no picture, so that nothing of it is trained
    wanted = own.vectors(clip_batch(plain, MEDIA))
    found = own.vectors(clip_batch(again, MEDIA, kept.adapted))
    for space, (vectors_BD, there_B) in wanted.items():
        assert torch.equal(there_B, found[space][1])
        assert (vectors_BD * found[space][0]).sum(dim=-1)[there_B].min() > 0.9999  # float16 in memory
    assert again[0].row.reports == plain[0].row.reports


def test_adapted_tokens_are_not_adapted_again():
    own = model(adapt=False, trained=0)
    kept = Kept(own, RowOpener(own, only=MEDIA))
    kept.fill(ROWS[:1])
    rows = [AlignRow(row=kept.open(ROWS[0]), facts=(), texts={})]
    with pytest.raises(RuntimeError):  # of another width
        own.vectors(clip_batch(rows, MEDIA))


def test_rows_of_two_sets_with_one_id_are_two_rows():
    """Also two spans of one file."""
    own = model(adapt=True, trained=0)
    kept = Kept(own, RowOpener(own, only=MEDIA))
    here, there = (replace(row, id="0001") for row in ROWS[:2])
    kept.fill([here, there, here])
    assert len(kept.rows) == 2 and set(kept.open(here).streams) != set(kept.open(there).streams)
    part = replace(here, media=(replace(here.media[0], start_s=0.1),))
    assert len({row_key(r) for r in (here, there, part, replace(here, texts={}))}) == 3


def test_views_tell_rows_of_one_id_apart():
    opened = OpenedRow(id="0001", streams={}, reports={})
    one, other = (AlignRow(row=opened, facts=(), texts={}, media=(Media(kind="audio", source=f"{name}/0001.wav"),)) for name in "ab")
    span = replace(one, media=(replace(one.media[0], end_s=1.0),))
    assert len({one.whose, other.whose, span.whose}) == 3 and replace(one, draw=3).whose == one.whose
