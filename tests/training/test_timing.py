"""What is heard is told from what is seen at the same moment: means by moment, what is counted, that it is learned, what is refused."""

import numpy as np
import pytest
import torch

from tests.models.test_aligner import CLOCK, config, stream
from tests.training.test_align_loss import batch, model, to_double
from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner
from unifusion.models.towers import Clock
from unifusion.training.align_loss import AlignObjective
from unifusion.training.timing import Timing, means_of

ONLY = {"clip": 0.0, "sight": 0.0, "sound": 0.0, "rhythm": 0.0, "timing": 1.0}


def test_means_are_those_of_normalised_tokens_by_bin():
    rng = np.random.default_rng(0)
    x, times = rng.normal(size=(2, 9, 6)), rng.uniform(-0.2, 2.2, size=(2, 9))
    mask = rng.random((2, 9)) < 0.8
    given = Features(torch.tensor(x), torch.tensor(mask), torch.tensor(times))
    found, there = means_of(given, Clock(bin_s=0.5, bins=4))
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    for b in range(2):
        for k in range(4):
            own = [normal[b, s] for s in range(9) if mask[b, s] and 0.5 * k <= times[b, s] < 0.5 * (k + 1)]
            assert there[b, k].item() == bool(own)
            assert np.allclose(found[b, k], np.mean(own, axis=0) if own else 0.0, atol=1e-6)


def test_rows_without_sound_or_picture_count_nothing_and_chunks_change_nothing():
    own = model()
    found = AlignObjective(own, weights=ONLY).embedded(batch(own)["clips"][0])
    assert found["moments"][0] > 0 and found["moments"][1:].tolist() == [0.0, 0.0]
    told = []
    for chunk in (3, 1):
        torch.manual_seed(1)
        objective = AlignObjective(own, weights=ONLY).double()
        own.zero_grad()
        loss = objective(**to_double(batch(own, chunk)))["loss"]
        loss.backward()
        told.append((loss.item(), own.towers["video"].clocks["motion"].value.weight.grad.clone()))
        own.float()
    assert told[0][0] == pytest.approx(told[1][0], abs=1e-6) and told[0][1].abs().max() > 0
    assert torch.allclose(told[0][1], told[1][1], atol=1e-5)


def test_the_picture_learns_to_tell_the_sound():
    own = model()
    objective = AlignObjective(own, weights=ONLY)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    given, losses = batch(own), []
    for _ in range(40):
        optimizer.zero_grad()
        out = objective(**given)["loss"]
        out.backward()
        optimizer.step()
        losses.append(out.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"audio": stream("whisper")},
        {"audio": stream("whisper", clock=CLOCK, trained=-1)},
        {"motion": stream("videomae")},
    ],
)  # fmt: skip
def test_a_model_without_clocks_or_with_a_sound_that_moves_is_refused(changed):
    own = Aligner(config(streams={**config().streams, **changed}))
    with pytest.raises(ConfigError, match="timing needs a clock of a picture and one of a frozen sound"):
        Timing(own)
