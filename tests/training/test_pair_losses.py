"""Losses that a recipe chooses: each trains two small towers to find their pairs, keeps what fits together, and refuses odd choices."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.losses.brute import close, drawn
from unifusion.errors import ConfigError
from unifusion.losses.supervised_contrastive import supervised_contrastive
from unifusion.losses.triplet import triplet
from unifusion.training.pair_losses import LOSSES, PairLoss

ROWS = 48
CHOICES = [
    ("clip", {}), ("clip", {"form": "mil"}), ("siglip", {}), ("supcon", {}), ("supcon", {"form": "apart"}), ("triplet", {}),
    ("triplet", {"mining": "batch_hard", "margin": 0.3}), ("triplet", {"distance": "euclidean", "soft": True}),
]  # fmt: skip


def tower(width):
    """A small network to 16 numbers."""
    return nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 16))


def twins(seed):
    """Two noisy looks at the same hidden rows."""
    g = drawn(seed)
    hidden = torch.randn(ROWS, 8, generator=g)
    return [torch.tanh(hidden @ torch.randn(8, w, generator=g)) + 0.1 * torch.randn(ROWS, w, generator=g) for w in (24, 20)]


def trained(loss, sides, fits, steps=120):
    """Train towers of both sides; vectors before and after, and the losses."""
    torch.manual_seed(0)
    towers, scale, bias = [tower(x.shape[1]) for x in sides], nn.Parameter(torch.tensor(2.66)), nn.Parameter(torch.tensor(-10.0))
    optimizer = torch.optim.Adam([*towers[0].parameters(), *towers[1].parameters(), scale, bias], lr=3e-3)
    looks, losses = [], []
    for _ in range(steps + 1):
        vectors = [F.normalize(t(x), dim=-1) for t, x in zip(towers, sides, strict=True)]
        looks.append([v.detach() for v in vectors])
        value = loss(*vectors, fits, scale=scale.exp(), bias=bias)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return looks[0], looks[-1], losses


def found(vectors, fits):
    """Share of a whose nearest b goes with it."""
    nearest = (vectors[0] @ vectors[1].T).argmax(dim=1)
    return fits[torch.arange(len(fits)), nearest].float().mean().item()


@pytest.mark.parametrize(("kind", "config"), CHOICES)
def test_pairs_find_each_other(kind, config):
    sides, fits = twins(1), torch.eye(ROWS, dtype=torch.bool)
    before, after, losses = trained(PairLoss(kind, config), sides, fits)
    assert losses[-1] < 0.6 * losses[0] and found(before, fits) < 0.2 and found(after, fits) > 0.9
    assert found(after[::-1], fits) > 0.9


@pytest.mark.parametrize("kind", list(LOSSES))
def test_whatever_fits_is_right(kind):
    """Rows of six classes whose looks tell the class alone: every row of a class is nearer than any of another."""
    label = torch.arange(ROWS) % 6
    g = drawn(2)
    sides = [torch.randn(6, 12, generator=g)[label] + 0.02 * torch.randn(ROWS, 12, generator=g) for _ in range(2)]
    fits = label[:, None] == label
    _, after, losses = trained(PairLoss(kind), sides, fits)
    assert found(after, fits) == 1.0 and losses[-1] < losses[0]
    nearest = after[0] @ after[1].T
    assert nearest[fits].min() > nearest[~fits].max()


def test_of_classes_they_are_the_losses_of_labels():
    g = drawn(3)
    a, b, label = torch.randn(7, 4, generator=g), torch.randn(7, 4, generator=g), torch.tensor([0, 1, 1, 2, 0, 3, 1])
    rows, labels, fits = torch.cat([a, b]), label.repeat(2), label[:, None] == label
    close(PairLoss("supcon")(a, b, fits, scale=5.0, bias=0.0), float(supervised_contrastive(rows, labels, temperature=0.2)))
    across = torch.arange(14)[:, None] // 7 != torch.arange(14) // 7
    wanted = triplet(rows, labels, mining="batch_hard", distance="cosine", candidates_BB=across)
    close(PairLoss("triplet", {"mining": "batch_hard"})(a, b, fits, scale=5.0, bias=0.0), float(wanted))


def test_a_text_that_says_less_is_neither_right_nor_wrong_for_the_text_that_says_more():
    """The first text is true of both clips, the second of its own alone. Both turn together, away from clips that stay at a right angle to
    their own plane: only the cosine of the texts changes, and the loss does not."""
    fits = torch.tensor([[True, True], [False, True]])
    clips = torch.eye(4)[:2]
    losses = []
    for texts in (torch.eye(4)[[2, 3]], torch.eye(4)[[2, 2]], -torch.eye(4)[[2, 2]]):
        losses.append(PairLoss("supcon")(texts, clips, fits, scale=3.0, bias=0.0).item())
    assert losses[0] == losses[1] == losses[2]
    apart = PairLoss("supcon")(torch.eye(4)[[2, 3]], clips, torch.eye(2).bool(), scale=3.0, bias=0.0).item()
    assert PairLoss("supcon")(torch.eye(4)[[2, 2]], clips, torch.eye(2).bool(), scale=3.0, bias=0.0).item() > apart + 0.1


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("supcom", {}, "did you mean 'supcon'"), ("clip", {"margin": 0.1}, "the loss clip has no choice 'margin'"),
        ("triplet", {"minning": "batch_hard"}, "did you mean 'mining'"), ("triplet", {"mining": "hard"}, "take one of batch_hard"),
        ("triplet", {"margin": "wide"}, "margin='wide'"), ("triplet", {"margin": -1}, "margin is -1"), ("triplet", {"soft": 1}, "soft=1"),
        ("supcon", {"form": "in"}, "form is 'in'"), ("siglip", {"form": "out"}, "no choice 'form'"),
    ],
)  # fmt: skip
def test_what_a_loss_does_not_have_is_refused_at_once(kind, config, told):
    with pytest.raises(ConfigError, match=told):
        PairLoss(kind, config)
