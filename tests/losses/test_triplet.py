"""The triplet loss against loops over all triplets, and pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import torch

from tests.losses.brute import MANY, SEEDS, SOME, close, cosine, drawn, given, rows, st
from unifusion.errors import ConfigError
from unifusion.losses.triplet import triplet


def far(x, y, distance):
    if distance == "cosine":
        return 1 - cosine(x, y)
    square = sum((v - w) ** 2 for v, w in zip(x, y, strict=True))
    return math.sqrt(square) if distance == "euclidean" else square


def brute_force(vectors, right, among, margin, mining, distance, soft):
    """Anchor by anchor, positive by positive; `right[a][p]`, `among[a][p]`."""
    told, every = [], range(len(vectors))
    d = [[far(x, y, distance) for y in vectors] for x in vectors]
    for a in every:
        others = [n for n in every if n != a and among[a][n]]
        positives, negatives = [p for p in others if right[a][p]], [n for n in others if not right[a][n]]
        if not positives or not negatives:
            continue
        if mining == "batch_hard":
            told.append(max(d[a][p] for p in positives) - min(d[a][n] for n in negatives))
            continue
        for p in positives:
            farther = [d[a][n] for n in negatives if d[a][n] > d[a][p]]
            told.append(d[a][p] - (min(farther) if farther else max(d[a][n] for n in negatives)))
    each = [max(x, 0.0) + math.log1p(math.exp(-abs(x))) if soft else max(0.0, margin + x) for x in told]
    return sum(each) / len(each) if each else 0.0


@MANY
@given(
    SEEDS, st.integers(1, 6), st.integers(1, 4), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from(["batch_hard", "semi_hard"]),
    st.sampled_from(["euclidean", "squared", "cosine"]), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_equals_the_definition(seed, count, width, margin, mining, distance, soft, masked, parted):
    g = drawn(seed)
    x, labels = rows(g, count, width, awkward=mining == "batch_hard"), torch.randint(0, 3, (count,), generator=g)
    right, among = labels[:, None] == labels, torch.rand(count, count, generator=g) < (0.7 if parted else 2)
    told = {"labels_B": labels}
    if masked:
        right = torch.rand(count, count, generator=g) < 0.4
        told = {"positives_BB": right}
    told |= {"candidates_BB": among} if parted else {}
    got = triplet(x, **told, margin=margin, mining=mining, distance=distance, soft=soft)
    close(got, brute_force(x.tolist(), right.tolist(), among.tolist(), margin, mining, distance, soft))


@SOME
@given(SEEDS, st.integers(2, 4), st.booleans())
def test_equals_pytorch_metric_learning(seed, pairs, squared):
    pml, miners = pytest.importorskip("pytorch_metric_learning"), pytest.importorskip("pytorch_metric_learning.miners")
    from pytorch_metric_learning import distances, losses, reducers

    g = drawn(seed)
    x, labels = rows(g, 2 * pairs, 3, awkward=False), torch.arange(pairs).repeat(2)
    distance = distances.LpDistance(normalize_embeddings=False, power=2 if squared else 1)
    theirs = losses.TripletMarginLoss(margin=0.5, distance=distance, reducer=reducers.MeanReducer())
    named = {"margin": 0.5, "distance": "squared" if squared else "euclidean"}
    hard = miners.BatchHardMiner(distance=distance)(x, labels)
    close(triplet(x, labels, mining="batch_hard", **named), float(theirs(x, labels, hard)))
    hardest = miners.BatchEasyHardMiner(pos_strategy="hard", neg_strategy="semihard", distance=distance)(x, labels)
    if len(hardest[0]) == len(x):  # each anchor has one positive here, and theirs leaves out those with no farther negative
        a, p, _, n = hardest
        close(triplet(x, labels, mining="semi_hard", **named), float(theirs(x, labels, (a, p, n))))
    assert pml


def test_by_hand():
    """On a line: 0 and 3 of one label, 1 and 10 of another."""
    x, labels = torch.tensor([[0.0], [3.0], [1.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    hard = [0.2 + 3 - 1, 0.2 + 3 - 2, 0.2 + 9 - 1, 0.2 + 9 - 7]
    semi = [max(0, 0.2 + 3 - 10), max(0, 0.2 + 3 - 7), 0.2 + 9 - 2, 0.2 + 9 - 10 if 0.2 + 9 > 10 else 0]
    assert float(triplet(x, labels)) == pytest.approx(sum(hard) / 4)
    assert float(triplet(x, labels, mining="semi_hard")) == pytest.approx(sum(semi) / 4)


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 0, 1]])
def test_equal_vectors_have_finite_gradients(mining, labels):
    x = torch.zeros(3, 4, requires_grad=True)
    loss = triplet(x, torch.tensor(labels), mining=mining)
    loss.backward()
    assert loss.item() == pytest.approx(0.2 if labels == [0, 0, 1] else 0.0) and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"mining": "hard"}, "take one of batch_hard"), ({"distance": "l1"}, "distance is 'l1'"), ({"margin": -1.0}, "margin is -1")],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        triplet(torch.randn(3, 2), torch.tensor([0, 0, 1]), **changed)
    with pytest.raises(ConfigError, match="whole number to each row"):
        triplet(torch.randn(3, 2), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="labels and positives, or neither"):
        triplet(torch.randn(3, 2))
    with pytest.raises(ConfigError, match=r"give bool of shape \(3, 3\)"):
        triplet(torch.randn(3, 2), positives_BB=torch.ones(3, 2, dtype=torch.bool))
