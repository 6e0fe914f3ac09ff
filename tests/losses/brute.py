"""What tests of losses share: vectors drawn from a seed, and cosines and shares of a softmax in float64, number by number."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

MANY = settings(max_examples=1000, deadline=None)
SOME = settings(max_examples=200, deadline=None)
"""Where a library says what is right, which is slower than loops, and where no formula is at stake."""
SEEDS = st.integers(0, 2**32 - 1)

__all__ = ["MANY", "SEEDS", "SOME", "close", "cosine", "drawn", "given", "grown", "log_sum", "rows", "st"]


def drawn(seed):
    """A generator."""
    return torch.Generator().manual_seed(seed)


def rows(generator, *shape, awkward=True):
    """Float64 vectors; now and then one is zero, one is another's copy, or all are long."""
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    if awkward:
        kind = int(torch.randint(0, 6, (), generator=generator))
        flat = x.view(-1, shape[-1])
        if kind == 0:
            flat[0] = 0.0
        elif kind == 1:
            flat[-1] = flat[0]
        elif kind == 2:
            flat *= 1e3
    return x


def cosine(x, y):
    """Of two lists of numbers; 0 where one has no direction."""
    a, b = math.sqrt(sum(v * v for v in x)), math.sqrt(sum(v * v for v in y))
    return sum(v * w for v, w in zip(x, y, strict=True)) / (a * b) if a and b else 0.0


def log_sum(values):
    """log of the sum of exp of a list that is not empty."""
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def grown(logits, positives, candidates, form="out"):
    """Mean over rows of the contrast, by lists: logits[i][j], and of each row the places of positives and of all candidates."""
    told = []
    for row, right, among in zip(logits, positives, candidates, strict=True):
        right = [j for j in right if j in among]
        if not right:
            continue
        everything = log_sum([row[j] for j in among])
        if form == "out":
            told.append(sum(everything - row[j] for j in right) / len(right))
        elif form == "mil":
            told.append(everything - log_sum([row[j] for j in right]))
        else:
            wrong = [row[j] for j in among if j not in right]
            told.append(sum(log_sum([row[j], *wrong]) - row[j] for j in right) / len(right))
    return sum(told) / len(told) if told else 0.0


def close(got, wanted):
    """Within the issue's 1e-6, of the size where that is above 1."""
    assert abs(float(got) - wanted) <= 1e-6 * max(1.0, abs(wanted)), (float(got), wanted)
