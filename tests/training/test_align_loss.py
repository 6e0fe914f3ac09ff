"""The loss of an embedding model: texts fit every clip that is as they say, absent modalities take no part, chunks change nothing."""

import pytest
import torch

from tests.models.test_aligner import ROWS, batch_of, config
from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner
from unifusion.training.align_loss import PAIRS, AlignObjective, fitting
from unifusion.training.aligning import text_rows

KINDS = list(PAIRS)


def model(**options):
    """Random weights, no dropout."""
    torch.manual_seed(0)
    return Aligner(config(**options, head={"width": 32, "dropout": 0.0}))


def batch(own, chunk=3):
    """Three rows, and five texts of them; the second sight text is true of the first row too."""
    clips = [batch_of_media(own, ROWS[k : k + chunk]) for k in range(0, 3, chunk)]
    texts = {"parts": [text_rows(own, ["both of it", "a dog"]), text_rows(own, ["a dog runs", "it barks", "it rains"])]}
    facts = torch.tensor([[1, 2, 3], [1, 2, -2], [4, 5, -2]])
    about = torch.tensor([[1, 3], [1, -1], [1, 2], [3, -1], [4, -1]])
    texts |= {"facts": about, "of": torch.tensor([0, 0, 1, 0, 2]), "kind": torch.tensor([0, 1, 1, 2, 2])}
    return {"clips": clips, "facts": facts, "texts": texts}


def batch_of_media(own, rows):
    """Rows without their words."""
    found = batch_of(own, rows)
    found["streams"].pop("text", None)
    return found


def test_a_text_fits_what_has_all_of_its_facts():
    texts = torch.tensor([[1, -1], [1, 2], [7, -1], [-1, -1]])
    clips = torch.tensor([[1, 2, 3], [1, -2, -2], [-2, -2, -2]])
    assert fitting(texts, clips).tolist() == [[True, True, False], [True, False, False], [False] * 3, [True] * 3]


def test_chunks_give_the_same_loss_and_gradient():
    grads = []
    for chunk in (3, 1):
        own = model()
        objective = AlignObjective(own).double()
        loss = objective(**to_double(batch(own, chunk)))["loss"]
        loss.backward()
        grads.append((loss.item(), {n: p.grad.clone() for n, p in own.named_parameters() if p.grad is not None}))
    assert grads[0][0] == pytest.approx(grads[1][0], abs=1e-5)
    assert set(grads[0][1]) == set(grads[1][1])
    worst = max((grads[0][1][n] - g).abs().max().item() for n, g in grads[1][1].items())
    assert worst < 1e-4


def to_double(value):
    """Floating tensors of nested values in float64."""
    if isinstance(value, dict):
        return {k: v if k in ("times", "mask") else to_double(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_double(v) for v in value]
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value


@pytest.mark.parametrize("loss", ["clip", "siglip", "supcon", "triplet"])
def test_training_brings_texts_to_their_clips(loss):
    own = model()
    objective = AlignObjective(own, loss=loss, guard=0.1)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    given, losses = batch(own), []
    for _ in range(25):
        optimizer.zero_grad()
        out = objective(**given)["loss"]
        out.backward()
        assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)  # or other processes would wait for it
        optimizer.step()
        losses.append(out.item())
    assert losses[-1] < losses[0] - 0.1 * abs(losses[0])
    with torch.no_grad():
        own.eval()
        texts, clips = torch.cat([own.vectors(p)["text"][0] for p in given["texts"]["parts"]]), own.vectors(given["clips"][0])
        cosines = texts[[1, 2]] @ clips["video"][0][:2].T
    assert cosines[1, 1] > cosines[1, 0] - 0.2


def test_batches_without_sound_or_without_anything_to_compare_still_have_a_loss():
    own = model()
    given = batch(own)
    given["clips"] = [batch_of_media(own, [ROWS[1], ROWS[1]])]
    given["facts"] = given["facts"][:2]
    texts = {"parts": [text_rows(own, ["it rains"])], "facts": torch.tensor([[1]]), "of": torch.tensor([0]), "kind": torch.tensor([2])}
    out = AlignObjective(own)(clips=given["clips"], facts=given["facts"], texts=texts)["loss"]
    out.backward()
    assert out.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"weights": {"clips": 1.0}}, "no pair 'clips'"), ({"loss": "clap"}, "no loss 'clap'"),
        ({"loss_config": {"margin": 1.0}}, "the loss clip has no choice 'margin'"),
    ],
)  # fmt: skip
def test_unknown_pairs_and_losses_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        AlignObjective(model(), **options)
    assert KINDS == ["clip", "sight", "sound", "rhythm", "views", "wordings", "timing"]


def test_two_views_of_a_clip_and_two_wordings_of_a_text_find_each_other():
    own = model()
    weights = {"clip": 0, "sight": 0, "sound": 0, "rhythm": 0, "views": 1.0, "wordings": 1.0}
    objective = AlignObjective(own, weights=weights, view_dropout=0.3)
    given = batch(own)
    for part in given["clips"]:
        part |= {"draws": torch.tensor([5, 6, 7]), "whose": torch.tensor([0, 1, 2])}
    texts = ["both", "a dog", "a dog here", "it rains", "rain falls"]
    given["texts"] = {
        "parts": [text_rows(own, texts)], "facts": torch.tensor([[1], [2], [2], [3], [3]]), "of": torch.tensor([0, 1, 1, 2, 2]),
        "kind": torch.tensor([0, 0, 5, 0, 5]),
    }  # fmt: skip
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        out = objective(**given)["loss"]
        out.backward()
        optimizer.step()
        losses.append(out.item())
    assert losses[-1] < 0.5 * losses[0]
    for part in given["clips"]:
        part["whose"] = torch.zeros(3, dtype=torch.int64)  # one example three times: nothing to be told from
    given["texts"]["facts"][:] = 1
    assert objective(**given)["loss"].item() == pytest.approx(0.0, abs=1e-6)
