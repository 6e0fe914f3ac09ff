"""Distillation: a student learns what a teacher makes of the same rows."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses._vectors import check_mask, check_scale, choose, cosines, full, unit

__all__ = ["distillation"]

_FORMS = ("features_mse", "features_cosine", "similarity_mse", "similarity_kl", "logits_kl")


def distillation(
    student: Tensor, teacher: Tensor, *, form: str = "features_cosine", temperature: float = 1.0, known: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Return how far the student is from the teacher, the mean over rows (), in float32 or better; 0 without any.

    | input | shape | meaning |
    |---|---|---|
    | student | (.., D) | features, or logits over D labels; (B, D) in the forms of similarity |
    | teacher | (.., D) | the same; in the forms of similarity (B, E), of any width. No gradient goes into it |
    | form | | see below |
    | temperature | | T of the softmaxes |
    | known | (..) bool | rows that count: real tokens, rows that the teacher has seen |

    | form | what |
    |---|---|
    | features_mse | mean squared difference (FitNets, Romero et al. 2015; bring widths together first) |
    | features_cosine | 1 - cosine |
    | similarity_mse | mean squared difference of the cosines of all pairs of different rows (Tung and Mori 2019) |
    | similarity_kl | KL of rows' softmax of cosines to other rows / T, teacher to student, times T^2 (after SEED, Fang et al. 2021) |
    | logits_kl | KL of the softmax of logits / T, teacher to student, times T^2 (Hinton et al. 2015) |

    The logits of a CLIP teacher are scale * a @ b.T; those of Whisper its decoder's, of `known` tokens.

    A single row has no similarities: 0, with a gradient of 0. A vector of norm 0 has cosine 0 with all and no gradient.

    Raises:
        ConfigError: the shapes do not fit, there is no such form, or the temperature is not above 0.
    """
    choose("form", form, _FORMS)
    check_scale("temperature", temperature)
    shapes = [tuple(t.shape) for t in (student, teacher)]
    pairs = form.startswith("similarity")
    if len(shapes[0]) < 2 or (shapes[0][:-1] != shapes[1][:-1] if pairs else shapes[0] != shapes[1]) or (pairs and len(shapes[0]) > 2):
        found = f"distillation of shapes {shapes[0]} from {shapes[1]} in form {form};"
        raise ConfigError(found, remedy="give the same (.., D) of both; (B, D) and (B, E) to the forms of similarity.")
    teacher = teacher.detach()
    if known is not None:
        check_mask("known", known, *shapes[0][:-1])
        student, teacher = student[known], teacher[known]
    student_ND, teacher_ND = full(student).flatten(0, -2), full(teacher).flatten(0, -2).to(full(student).dtype)
    if len(student_ND) < (2 if pairs else 1):
        return (student_ND * 0.0).sum()
    if form == "features_mse":
        return (student_ND - teacher_ND).square().mean()
    if form == "features_cosine":
        return (1 - (unit(student_ND) * unit(teacher_ND)).sum(dim=-1)).mean()
    if form == "logits_kl":
        return _divergence(student_ND, teacher_ND, temperature)
    student_NN, teacher_NN = (_off_diagonal(cosines(x_ND, x_ND)) for x_ND in (student_ND, teacher_ND))
    if form == "similarity_mse":
        return (student_NN - teacher_NN).square().mean()
    return _divergence(student_NN, teacher_NN, temperature)


def _divergence(student_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    """KL () of softmaxes at a temperature, times its square: so the gradient keeps its size."""
    logs_NK, wanted_NK = ((x_NK / temperature).log_softmax(dim=-1) for x_NK in (student_NK, teacher_NK))
    return functional.kl_div(logs_NK, wanted_NK, reduction="batchmean", log_target=True) * temperature**2


def _off_diagonal(x_NN: Tensor) -> Tensor:
    """All but the diagonal (N, N - 1)."""
    count = len(x_NN)
    return x_NN.flatten()[:-1].reshape(count - 1, count + 1)[:, 1:].reshape(count, count - 1)
