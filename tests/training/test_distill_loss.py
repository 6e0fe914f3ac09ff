"""Distillation: forms are those of the loss, rows that the teacher lacks do not count, chunks change nothing, the student gets nearer."""

import pytest
import torch

from tests.models.test_aligner import ROWS
from tests.training.test_align_loss import batch, batch_of_media, model
from unifusion.errors import ConfigError
from unifusion.losses.distillation import distillation
from unifusion.training.align_loss import AlignObjective
from unifusion.training.align_rows import text_rows
from unifusion.training.distill_loss import DistillObjective

PAIRS = {"video": "video", "clip": "clip", "words": "words", "encoders.audio": "audio"}
WIDTHS = {"video": 16, "clip": 16, "words": 16, "audio": 10}


def taught(own, chunk=3):
    """The batch of the contrastive test with a teacher's vectors; the third row has no picture for it."""
    given = batch(own, chunk)
    g = torch.Generator().manual_seed(4)
    made = {n: torch.nn.functional.normalize(torch.randn(3, w, generator=g), dim=-1) for n, w in WIDTHS.items()}
    made["video"][2] = 0
    for k, part in enumerate(given["clips"]):
        rows = slice(k * chunk, k * chunk + int(part["rows"]))
        part["taught"] = {n: v[rows] for n, v in made.items()}
        part["plain"] = text_rows(own, ["a dog", "a cat", "it rains"][rows])
        part |= {"draws": torch.arange(3)[rows], "whose": torch.arange(3)[rows]}
    return given, made


def test_it_is_the_sum_of_its_forms_over_rows_that_are_known():
    own = model().eval()
    given, made = taught(own)
    objective = DistillObjective(own, {"video": "video"}, WIDTHS, forms={"features_mse": 2.0, "similarity_kl": 0.5}, temperature=0.2)
    with torch.no_grad():
        video, there = own.vectors(batch_of_media(own, ROWS))["video"]
        assert there.tolist() == [True, True, False]
        wanted = 2 * distillation(video[:2], made["video"][:2], form="features_mse")
        wanted = wanted + 0.5 * distillation(video[:2], made["video"][:2], form="similarity_kl", temperature=0.2)
        assert objective(**given)["loss"].item() == pytest.approx(wanted.item(), abs=1e-6)


def test_logits_are_those_of_clips_over_the_texts_of_the_batch():
    own = model().eval()
    given, made = taught(own)
    objective = DistillObjective(own, {"clip": "clip", "words": "words"}, WIDTHS, forms={"logits_kl": 1.0}, scale=7.0)
    with torch.no_grad():
        clips, words = own.vectors(batch_of_media(own, ROWS))["clip"][0], own.vectors(given["clips"][0]["plain"])["text"][0]
        wanted = distillation(own.scale * clips @ words.T, 7.0 * made["clip"] @ made["words"].T, form="logits_kl")
        assert objective(**given)["loss"].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_chunks_give_the_same_loss_and_every_weight_takes_part():
    losses = []
    for chunk in (3, 1):
        own = model().eval()  # the text encoder drops out by chunks
        forms = {"features_cosine": 1.0, "similarity_mse": 1.0, "logits_kl": 0.1}
        objective = DistillObjective(own, PAIRS, WIDTHS, forms=forms, contrast=AlignObjective(own, weights={"views": 0.5}))
        assert list(objective.maps) == ["encoders audio"]  # the others are as wide as the teacher's
        out = objective(**taught(own, chunk)[0])["loss"]
        out.backward()
        assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
        losses.append(out.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_student_gets_nearer_to_the_teacher():
    own = model()
    objective = DistillObjective(own, PAIRS, WIDTHS, forms={"features_cosine": 1.0, "similarity_kl": 0.2})
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        out = objective(**taught(own)[0])["loss"]
        out.backward()
        optimizer.step()
        losses.append(out.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("pairs", "forms", "told"),
    [
        ({"sight": "video"}, {"features_mse": 1}, "the student's 'sight'"),
        ({"video": "sight"}, {"features_mse": 1}, "the teacher's 'sight'"),
        ({"video": "video"}, {"feature_mse": 1}, "no form 'feature_mse'"),
        ({"video": "video"}, {"logits_kl": 1}, "logits are of clips over texts"),
        ({"video": "video"}, {"features_mse": 0}, "nothing is learned"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(pairs, forms, told):
    with pytest.raises(ConfigError, match=told):
        DistillObjective(model(), pairs, WIDTHS, forms=forms)
