"""Hard negatives: near and not true, as brute force finds them; batches that meet them; the same whenever the run goes on."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from unifusion.errors import ConfigError
from unifusion.training.mining import Mined, hard_negatives


def brute(texts, clips, said, true, depth):
    """The same by loops."""
    out = []
    for i, text in enumerate(texts):
        facts = {int(f) for f in said[i] if f >= 0}
        order = np.argsort(-(clips @ text), kind="stable")
        wrong = [int(j) for j in order if j != i and clips[j].any() and not facts <= {int(f) for f in true[j]}]
        out.append((wrong + [-1] * depth)[:depth])
    return out


def test_negatives_are_the_nearest_that_are_not_true():
    rng = np.random.default_rng(0)
    texts, clips = (rng.normal(size=(40, 8)).astype(np.float32) for _ in range(2))
    texts, clips = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (texts, clips))
    clips[3] = 0
    said = rng.integers(0, 4, (40, 2))
    said[:5, 1] = -1
    said[7] = -1  # says nothing: everything fits it
    true = rng.integers(0, 4, (40, 3))
    found = hard_negatives(*(torch.from_numpy(x) for x in (texts, clips, said, true)), depth=6)
    assert found.tolist() == brute(texts, clips, said, true, 6)
    assert (found[7] == -1).all() and not (found == 3).any()


def order(folder, **options):
    given = {"hard": 1, "every": 5, "lag": 2, "seed": 3, **options}
    return Mined([i % 12 for i in range(400)], 12, 6, folder=folder, **given)


def write(made, step, table):
    save_file({"near": np.asarray(table, dtype=np.int64)}, made.path(step))


def test_rows_meet_their_hard_negatives_from_the_step_on_that_counts(tmp_path):
    made = order(tmp_path)
    table = [[(i + 1) % 12, (i + 2) % 12, -1] for i in range(12)]
    write(made, 5, table)
    plain = [i % 12 for i in made.rows(6)]
    assert plain == [n % 12 for n in range(36, 42)]
    rows = [i % 12 for i in made.rows(7)]
    assert rows[0] == 7 * 6 % 12 and len(rows) == 6
    assert sum(b in table[a][:2] for a, b in zip(rows[::2], rows[1::2], strict=True)) >= 2
    assert len({i // 12 for step in range(12) for i in order(tmp_path).rows(step)}) == 72  # every row of every step is a round of its own
    assert order(tmp_path).rows(9) == made.rows(9)  # whoever asks, and in whatever order
    assert set(made.share(9, 0, 2)) | set(made.share(9, 1, 2)) == set(made.rows(9))


def test_a_table_that_is_missing_or_of_other_rows_is_no_silent_fallback(tmp_path):
    made = order(tmp_path)
    with pytest.raises(ConfigError, match=r"mined-5\.safetensors is missing"):
        made.rows(8)
    write(made, 5, [[0]])
    with pytest.raises(ConfigError, match="of other rows"):
        made.rows(8)


@pytest.mark.parametrize("options", [{"hard": 0}, {"hard": 6}, {"every": 2}])
def test_choices_that_cannot_be_meant_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="hard negatives"):
        order(tmp_path, **options)


def test_rows_without_negatives_bring_none(tmp_path):
    made = order(tmp_path, hard=2)
    write(made, 5, np.full((12, 3), -1))
    assert [i % 12 for i in made.rows(7)] == [n % 12 for n in range(42, 48)]
