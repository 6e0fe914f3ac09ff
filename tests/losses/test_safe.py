"""What all objectives of an embedding space have in common: right gradients, and numbers whatever they are given."""

from __future__ import annotations

import pytest
import torch

from tests.losses.brute import SEEDS, SOME, drawn, given, st
from unifusion import catalog

A, B, C = "anchor", "other", "third"
LABELS = torch.tensor([0, 0, 1, 1, 2])
MASKED = torch.tensor([[True, False], [True, True], [False, False], [True, True], [False, True]])
THERE = {A: torch.tensor([True, True, False, True, True]), B: torch.tensor([True, True, True, False, True])}


def called(name, **chosen):
    """A loss as a function of two sets of vectors (B, D)."""
    loss = catalog.load("losses", name)
    return {
        "info_nce": lambda a, b: loss(a, b, negatives=b.flip(0), **chosen),
        "nt_xent": lambda a, b: loss(a, b, **chosen),
        "clip_loss": lambda a, b: loss(a, b, groups_B=LABELS[: len(a)], **({"scale": 20.0} | chosen)),
        "siglip_loss": lambda a, b: loss(a, b, **({"scale": 20.0, "bias": -10.0} | chosen)),
        "triplet": lambda a, b: loss(a + b, LABELS[: len(a)], **chosen),
        "supervised_contrastive": lambda a, b: loss(torch.stack([a, b], 1), LABELS[: len(a)], **chosen),
        "anchored_pairs": lambda a, b: loss(
            {A: a, B: b, C: a + b}, {k: v[: len(a)] for k, v in THERE.items()}, **({"scale": 20.0, "mode": "pairs"} | chosen)
        ),
        "masked_modelling": lambda a, b: loss(torch.stack([a, b], 1), torch.stack([b, a], 1), MASKED[: len(a)], **chosen),
        "distillation": lambda a, b: loss(a, b, **chosen),
        "vicreg": lambda a, b: loss(a, b, **chosen),
        "soft_dtw": lambda a, b: loss(torch.cdist(a, b)[None], **chosen).sum(),
    }[name]


FORMS = ("out", "mil", "apart")
COSINES = ("info_nce", "nt_xent", "clip_loss", "siglip_loss", "supervised_contrastive", "anchored_pairs")
KINDS = [
    *((name, {"form": form}) for name in ("info_nce", "clip_loss", "supervised_contrastive", "anchored_pairs") for form in FORMS),
    *(("triplet", {"mining": m, "distance": d}) for m in ("batch_hard", "semi_hard") for d in ("euclidean", "squared", "cosine")),
    ("triplet", {"soft": True}),
    *(("masked_modelling", {"form": form}) for form in ("regression", "cosine", "contrast", "pixels")),
    *(("distillation", {"form": f}) for f in ("features_mse", "features_cosine", "similarity_mse", "similarity_kl", "logits_kl")),
    ("nt_xent", {}), ("siglip_loss", {}), ("vicreg", {}), ("soft_dtw", {"gamma": 0.1}),
]  # fmt: skip
ALL = pytest.mark.parametrize(("name", "chosen"), KINDS, ids=[f"{n}-{'-'.join(map(str, c.values()))}" for n, c in KINDS])


@ALL
def test_gradcheck(name, chosen):
    """By differences in float64; targets and teachers have no gradient."""
    g = drawn(5)
    a, b = (torch.randn(5, 3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    there, loss = torch.randn(5, 2, 3, generator=g, dtype=torch.float64), catalog.load("losses", name)
    if name == "distillation":
        assert torch.autograd.gradcheck(lambda x: loss(x, there[:, 0], **chosen), (a,))
    elif name == "masked_modelling":
        assert torch.autograd.gradcheck(lambda x, y: loss(torch.stack([x, y], 1), there, MASKED, **chosen), (a, b))
    else:
        assert torch.autograd.gradcheck(called(name, **chosen), (a, b))


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", ["one row", "zeros", "equal", "opposite", "long"])
def test_there_is_never_a_nan(name, chosen, dtype, case):
    """One row, no direction, all alike, all wrong, very long: loss and gradient are numbers, and the loss is float32."""
    x, size = torch.randn(5, 3, generator=drawn(6)), 10.0 if dtype == torch.float16 else 1e4  # third powers of it are gradients
    a, b = {
        "one row": (x[:1], x[1:2]), "zeros": (0 * x, 0 * x), "equal": (x[:1].repeat(5, 1), x[:1].repeat(5, 1)), "opposite": (x, -x),
        "long": (size * x, -size * x),
    }[case]  # fmt: skip
    kind = torch.float32 if name == "soft_dtw" else dtype  # torch has no distances in half precision to make its costs of
    a, b = a.to(kind).requires_grad_(), b.to(kind).requires_grad_()
    loss = called(name, **chosen)(a, b)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert a.grad.isfinite().all() and (b.grad is None or b.grad.isfinite().all())


@pytest.mark.parametrize("size", [1e4, 1e20])
@pytest.mark.parametrize("form", FORMS)
def test_large_logits_are_exact(size, form):
    """At temperatures next to nothing exp would be infinite: the loss is the difference of logits."""
    a, b = torch.eye(3), -torch.eye(3)
    a.requires_grad_()
    given_form = {"clip_loss": {"scale": size, "form": form}, "info_nce": {"temperature": 1 / size, "form": form},
                  "siglip_loss": {"scale": size, "bias": 0.0}}  # fmt: skip
    for name, chosen in given_form.items():
        loss = catalog.load("losses", name)(a, b, **chosen)
        loss.backward()
        assert loss.item() == pytest.approx(size, rel=1e-3) and a.grad.isfinite().all()


@SOME
@given(SEEDS, st.sampled_from(COSINES))
def test_the_length_of_vectors_does_not_matter(seed, name):
    g = drawn(seed)
    a, b = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    long = torch.rand(5, 1, generator=g, dtype=torch.float64) * 100 + 1e-3
    if name == "anchored_pairs":  # the third of its modalities here is the sum of both
        long = long[:1]
    torch.testing.assert_close(called(name)(long * a, long * b), called(name)(a, b))


@pytest.mark.parametrize("name", COSINES)
def test_autocast_leaves_cosines_alone(name):
    """In bfloat16 a cosine has three digits, and a scale of 100 leaves one of them."""
    a, b = torch.randn(5, 3, generator=drawn(7)), torch.randn(5, 3, generator=drawn(8))
    wanted = called(name)(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(called(name)(a, b), wanted)
