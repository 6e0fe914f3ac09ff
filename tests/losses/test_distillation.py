"""Distillation against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tests.losses.brute import MANY, SEEDS, close, cosine, drawn, given, log_sum, rows, st
from unifusion.errors import ConfigError
from unifusion.losses.distillation import distillation


def divergence(student, teacher, heat):
    """KL of two lists of logits."""
    s, t = ([v / heat - log_sum([w / heat for w in x]) for v in x] for x in (student, teacher))
    return sum(math.exp(q) * (q - p) for p, q in zip(s, t, strict=True)) * heat**2


def brute_force(student, teacher, form, heat):
    """Row by row, lists of rows."""
    count = len(student)
    if form.startswith("similarity"):
        off = [[[cosine(x[i], x[j]) for j in range(count) if j != i] for i in range(count)] for x in (student, teacher)]
        if count < 2:
            return 0.0
        if form == "similarity_kl":
            return sum(divergence(p, q, heat) for p, q in zip(*off, strict=True)) / count
        both = [(p, q) for one, other in zip(*off, strict=True) for p, q in zip(one, other, strict=True)]
        return sum((p - q) ** 2 for p, q in both) / len(both)
    if not count:
        return 0.0
    each = {
        "features_mse": lambda x, y: sum((v - w) ** 2 for v, w in zip(x, y, strict=True)) / len(x),
        "features_cosine": lambda x, y: 1 - cosine(x, y),
        "logits_kl": lambda x, y: divergence(x, y, heat),
    }[form]
    return sum(each(x, y) for x, y in zip(student, teacher, strict=True)) / count


FORMS = ("features_mse", "features_cosine", "similarity_mse", "similarity_kl", "logits_kl")


@MANY
@given(SEEDS, st.integers(1, 5), st.integers(1, 4), st.sampled_from(FORMS), st.sampled_from([0.1, 1.0, 4.0]), st.booleans(), st.booleans())
def test_equals_the_definition(seed, count, width, form, heat, some, deep):
    g = drawn(seed)
    pairs = form.startswith("similarity")
    shape = (count, 2) if deep and not pairs else (count,)
    student, teacher = rows(g, *shape, width), rows(g, *shape, width + pairs)
    known = torch.rand(*shape, generator=g) < 0.7 if some else None
    kept = [x.reshape(-1, x.shape[-1]) if known is None else x[known] for x in (student, teacher)]
    got = distillation(student, teacher, form=form, temperature=heat, known=known)
    close(got, brute_force(kept[0].tolist(), kept[1].tolist(), form, heat))


def test_logits_are_torchs_divergence():
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    wanted = functional.kl_div((x / 2).log_softmax(1), (y / 2).softmax(1), reduction="batchmean") * 4
    torch.testing.assert_close(distillation(x, y, form="logits_kl", temperature=2.0), wanted)


@pytest.mark.parametrize("form", FORMS)
def test_the_teacher_does_not_learn_and_a_good_student_is_left_alone(form):
    student, teacher = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    distillation(student, teacher, form=form).backward()
    assert student.grad.any() and teacher.grad is None
    assert float(distillation(teacher, teacher, form=form)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_known_is_zero_and_part_of_the_graph(form):
    student = torch.randn(3, 4, requires_grad=True)
    loss = distillation(student, torch.randn(3, 4), form=form, known=torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert float(loss) == 0.0 and not student.grad.any()


def test_what_does_not_fit_is_refused():
    x = torch.randn(3, 4)
    for student, teacher, changed, said in (
        (x, x[:, :2], {}, r"shapes \(3, 4\) from \(3, 2\)"), (x, x[:2], {"form": "similarity_kl"}, r"from \(2, 4\)"),
        (x, x, {"form": "kl"}, "take one of features_mse"), (x, x, {"temperature": 0.0}, "temperature is 0"),
        (x, x, {"known": torch.ones(2, dtype=torch.bool)}, "known is"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            distillation(student, teacher, **changed)
