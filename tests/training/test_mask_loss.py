"""Masked modelling of an embedding model: what is told of each stream, from what; what serves it alone; chunks; what it learns."""

import pytest
import torch

from tests.models.test_aligner import ROWS, batch_of, config, stream, streams
from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner, AlignerConfig
from unifusion.training.align_loss import AlignObjective
from unifusion.training.align_stages import BothObjective
from unifusion.training.mask_loss import MaskObjective
from unifusion.training.masking import Masking


def model(**options):
    """Random weights, no dropout."""
    torch.manual_seed(0)
    return Aligner(config(**{"head": {"width": 32, "dropout": 0.0}, **options}))


def clips(own, rows=ROWS, draws=None):
    """Rows as masked modelling takes them: words apart."""
    found = batch_of(own, rows)
    text = found["streams"].pop("text", None)
    words = {"rows": found["rows"], "streams": {"text": text} if text else {}}
    return {**found, "words": words, "draws": torch.tensor(draws or list(range(11, 11 + len(rows)))), "whose": torch.arange(len(rows))}


def test_what_is_told_depends_on_what_is_trained():
    made = streams(trained=-1)
    own = model(streams=made)
    objective = MaskObjective(own, Masking(whole=0.0))
    # The frames' adapter is trained over a frozen encoder, motion is a trained one on a grid.
    assert objective.kinds == {"frames": "features", "motion": "pixels", "audio": "features", "text": "words"}
    out = objective([clips(own)])["loss"]
    out.backward()
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
    for part in (own.encoders["motion"], own.encoders["text"], own.adapters["frames"], own.towers["audio"].pools["audio"].projection):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0
    assert not any(p.requires_grad for p in own.encoders["audio"].parameters())
    with pytest.raises(ConfigError, match="nothing of the model can be told"):
        alone = AlignerConfig(streams={"video": stream("videomae", trained=-1), "text": stream("bert")}, width=16, head={"width": 32})
        MaskObjective(Aligner(alone), Masking(words=0.0, patches=0.0))


def test_hidden_tokens_are_not_seen():
    own = model().eval()
    objective = MaskObjective(own, Masking(whole=0.0, words=0.0)).eval()
    given = clips(own)
    batch = given["streams"]["audio"]
    with torch.no_grad():
        features = own.tokens("audio", batch, 3)[0]
        _, _, _, hidden = objective._shown("audio", batch, 3, given["draws"].tolist(), [False] * 3)
        seen = objective._shown("audio", batch, 3, given["draws"].tolist(), [False] * 3)[0]
        changed = features.tokens_BSD.clone()
        changed[hidden] += 100.0
        stored = {"rows": torch.arange(3), "tokens": changed, "mask": features.mask_BS, "times": features.times_BS}
        again, _, target, _ = objective._shown("audio", stored, 3, given["draws"].tolist(), [False] * 3)
    assert hidden.any() and torch.allclose(seen, again, atol=1e-5)
    assert target.shape == features.tokens_BSD.shape


def test_hidden_patches_are_grey_before_the_encoder_and_told_as_they_were():
    own = model(streams=streams(trained=-1)).eval()
    objective = MaskObjective(own, Masking(whole=0.0)).eval()
    given = clips(own)
    batch = given["streams"]["motion"]
    shown, target, hidden = objective._input("motion", batch, 3, given["draws"].tolist(), [False] * 3)
    places = objective.places["motion"]["pixel_values"]
    before, after = batch["pixel_values"].flatten(1)[:, places], shown["pixel_values"].flatten(1)[:, places]
    gone = (after == 0).all(dim=2)
    assert gone.any() and torch.equal(before[~gone], after[~gone])
    rows, chunks = batch["rows"].tolist(), batch["chunks"].tolist()
    assert chunks[0] == 1  # a clip is one chunk here
    assert torch.equal(hidden[rows[0], : len(gone[0])], gone[0]) and torch.equal(target[rows[0], : len(gone[0])], before[0].float())


def test_chunks_and_companions_change_nothing():
    losses, grads = [], []
    for parts in ([ROWS], [ROWS[:1], ROWS[1:]]):
        own = model(streams=streams(trained=-1))
        objective = MaskObjective(own, Masking(whole=0.5))
        first, given = 11, []
        for rows in parts:
            given.append(clips(own, rows, list(range(first, first + len(rows)))))
            first += len(rows)
        loss = objective(given)["loss"]
        loss.backward()
        losses.append(loss.item())
        grads.append({n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert max((grads[0][n] - g).abs().max().item() for n, g in grads[1].items()) < 1e-3


@pytest.mark.parametrize("form", ["regression", "cosine", "contrast"])
def test_what_is_hidden_is_learnt(form):
    own = model()
    objective = MaskObjective(own, Masking(form=form, whole=0.2))
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = objective([clips(own)])["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_both_is_the_sum_and_what_serves_masking_is_no_part_of_the_model():
    from tests.training.test_align_loss import batch

    own = model().eval()
    contrast, masked = AlignObjective(own), MaskObjective(own)
    both = BothObjective(contrast, masked, 0.25)
    given = batch(own)
    given["clips"] = [clips(own)]
    with torch.no_grad():
        parts = contrast(**given)["loss"], masked(**given)["loss"]
        assert both(**given)["loss"].item() == pytest.approx((parts[0] + 0.25 * parts[1]).item(), abs=1e-5)
    assert {n.split(".")[0] for n, _ in both.named_parameters()} == {"model", "masked"}
    assert set(own.state_dict()) == set(model().state_dict())
