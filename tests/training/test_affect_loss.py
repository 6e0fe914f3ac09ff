"""What an emotion model is trained by: each loss is what its name says, and what is not known of a row counts for nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unifusion.batch import Features
from unifusion.cli.train import load_script
from unifusion.errors import ConfigError
from unifusion.metrics.ccc import ccc
from unifusion.models.affect import AffectOutput
from unifusion.models.fusions.fusion import Fusion, Inputs
from unifusion.share import folder
from unifusion.training.affect_loss import AffectObjective, Pretraining, check

LABELS = ("angry", "happy", "sad")
NAN = float("nan")
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, -1.0, 0.0]])
FELT = torch.tensor([[0.5, 0.1], [-0.4, 0.3], [0.2, -0.6], [0.9, 0.0]])
TRUE = torch.tensor([[0.7, -0.1], [-0.5, 0.6], [0.0, -0.5], [0.6, 0.2]])
PLAIN = {"label_smoothing": 0.0, "affect_loss": "mse"}


class Says(nn.Module):
    """Tells fixed numbers, and remembers what streams it was shown."""

    def __init__(self, *, labels=LABELS, affect=True):
        super().__init__()
        self.logits, self.felt, self.seen = nn.Parameter(LOGITS.clone()), nn.Parameter(FELT.clone()), None
        outputs = (*(("emotion",) if labels else ()), *(("valence", "arousal") if affect else ()))
        self.config = SimpleNamespace(labels=labels, affect=affect, outputs=outputs, fusion="plain")

    def inputs(self, batch):
        tokens = torch.arange(8.0).reshape(4, 2, 1)
        whole = Features(tokens_BSD=tokens, mask_BS=torch.ones(4, 2, dtype=torch.bool), times_BS=torch.zeros(4, 2))
        return Inputs(streams={"audio": whole, "text": whole})

    def tell(self, inputs):
        self.seen = inputs.streams
        return AffectOutput(
            logits_BK=self.logits if self.config.labels else None, affect_B2=self.felt if self.config.affect else None, weights={}
        )


def choices(**options):
    return load_script(folder("train") / "emotion.py").Choices(out="x", **options)


def objective(targets=(("happy", NAN, NAN),), *, labels=LABELS, affect=True, **options):
    return AffectObjective(Says(labels=labels, affect=affect), choices(**{**PLAIN, **options}), targets).eval()


def loss(own, label=(0, 1, 2, 0), affect=TRUE):
    return own({}, {"label": torch.tensor(label), "affect": affect})["loss"]


NOTHING_FELT = torch.full((4, 2), NAN)


def test_labels_alone_are_cross_entropy():
    label = torch.tensor([0, 1, 2, 0])
    assert loss(objective(affect=False)).item() == pytest.approx(cross_entropy(LOGITS, label).item())
    smooth = loss(objective(affect=False, label_smoothing=0.2))
    assert smooth.item() == pytest.approx(cross_entropy(LOGITS, label, label_smoothing=0.2).item())


def test_focal_counts_what_is_told_well_less():
    shares = LOGITS.softmax(-1)[range(4), [0, 1, 2, 0]]
    wanted = (-((1 - shares) ** 1.5) * shares.log()).mean()
    assert loss(objective(affect=False, loss="focal", focal_gamma=1.5)).item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "weights"), [("balanced", [1 / 8, 1 / 2, 0.0]), ("effective", [1 / (1 - 0.999**8), 1 / (1 - 0.999**2), 0.0])]
)
def test_class_weights_are_those_of_the_rows_to_learn_from(kind, weights):
    rows = [("angry", NAN, NAN)] * 8 + [("happy", NAN, NAN)] * 2 + [("", 0.1, 0.2)] * 5
    found = objective(rows, class_weights=kind).weights_K
    assert (found / found[0]).tolist() == pytest.approx([w / weights[0] for w in weights], rel=1e-4)  # nobody is sad, and it counts nothing
    own = objective(rows, affect=False, class_weights=kind)
    wanted = cross_entropy(LOGITS[[0, 1, 3]], torch.tensor([0, 1, 0]), weight=found)
    assert loss(own, (0, 1, -1, 0)).item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["ccc", "mse", "both"])
def test_valence_and_arousal_alone_are_their_mean(kind):
    concordance = np.mean([1 - ccc(FELT[:, k].numpy(), TRUE[:, k].numpy()) for k in range(2)])
    squares = ((FELT - TRUE) ** 2).mean().item()
    wanted = {"ccc": concordance, "mse": squares, "both": concordance + squares}[kind]
    assert loss(objective(labels=(), affect_loss=kind)).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_valence_and_arousal_beside_labels_have_their_weight(weight):
    label = cross_entropy(LOGITS, torch.tensor([0, 1, 2, 0])).item()
    squares = ((FELT - TRUE) ** 2).mean().item()
    assert loss(objective(affect_weight=weight)).item() == pytest.approx(label + weight * squares, rel=1e-5)


def test_a_weight_of_zero_is_learned():
    own = objective(affect_weight=0.0).train()
    assert sorted(own.tasks.log_variances) == ["arousal", "emotion", "valence"]
    assert not list(objective().tasks.log_variances)
    loss(own).backward()
    assert all(p.grad is not None and p.grad != 0 for p in own.tasks.log_variances.values())


def test_unknown_rows_count_for_nothing():
    affect = TRUE.clone()
    affect[1], affect[3, 1] = NAN, NAN
    own = objective()
    value = loss(own, (0, -1, 2, -1), affect)
    label = cross_entropy(LOGITS[[0, 2]], torch.tensor([0, 2])).item()
    valence = ((FELT - TRUE)[[0, 2, 3], 0] ** 2).mean().item()
    arousal = ((FELT - TRUE)[[0, 2], 1] ** 2).mean().item()
    assert value.item() == pytest.approx(label + (valence + arousal) / 2, rel=1e-5)
    value.backward()
    assert (own.model.logits.grad[[1, 3]] == 0).all() and (own.model.logits.grad[[0, 2]] != 0).all()
    assert (own.model.felt.grad[1] == 0).all() and own.model.felt.grad[3, 1] == 0 and own.model.felt.grad[3, 0] != 0


@pytest.mark.parametrize("options", [{}, {"loss": "focal"}, {"affect_loss": "both"}, {"affect_weight": 0.0}, {"class_weights": "balanced"}])
def test_a_batch_of_which_nothing_is_known_is_zero_and_finite(options):
    own = objective([("angry", 0.0, 0.0), ("sad", 0.1, 0.1), ("happy", 0.2, 0.2)], **options).train()
    value = loss(own, (-1, -1, -1, -1), NOTHING_FELT)
    value.backward()
    assert value.item() == 0
    assert all(p.grad is not None and bool((p.grad == 0).all()) for p in own.parameters())  # all take part: other processes wait for them


def test_streams_are_dropped_and_rows_mixed_in_training_alone():
    own = objective(stream_dropout=1.0, mixup=0.4)
    loss(own)
    assert all(f.mask_BS.all() for f in own.model.seen.values())
    own.train()
    torch.manual_seed(0)
    first = loss(own)
    there = torch.stack([f.mask_BS.any(1) for f in own.model.seen.values()])
    assert (there.sum(0) == 1).all()  # one of two stays, whatever the share
    assert not torch.equal(own.model.seen["audio"].tokens_BSD, torch.arange(8.0).reshape(4, 2, 1))
    torch.manual_seed(0)
    assert torch.equal(first, loss(own))  # by the generator that a checkpoint saves


def test_rows_are_counted():
    assert objective()({}, {"label": torch.tensor([0, -1, -1, 0]), "affect": TRUE})["n_targets"] == 4


def test_only_a_fusion_with_a_loss_of_its_own_is_trained_first():
    class Plain:
        pretrain_loss = Fusion.pretrain_loss

    plain = SimpleNamespace(config=SimpleNamespace(fusion="plain"), fusion=Plain())
    with pytest.raises(ConfigError, match="fusion 'plain' has no pre-training"):
        Pretraining(plain)


LIVE = {"audio": {"encoder": "whisper", "trained": -1}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "seeds is 0; take 1 or more"),
        ({"epochs": 0.0}, "epochs is 0.0; take more than 0"),
        ({"epochs": NAN}, "epochs is nan"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"max_seconds": 0.0}, "max_seconds is 0.0"),
        ({"dropout": 2.0}, "share from 0 to 1"),
        ({"stream_dropout": -0.1}, "share from 0 to 1"),
        ({"label_smoothing": 1.5}, "share from 0 to 1"),
        ({"warmup": 2.0}, "share from 0 to 1"),
        ({"mixup": -1.0}, "mixup is -1.0; take 0 or more"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
        ({"affect_weight": -1.0}, "affect_weight"),
        ({"pretrain_steps": -1}, "pretrain_steps"),
        ({"look_every": 0}, "look_every is 0"),
        ({"patience": -1}, "patience is -1"),
        ({"encoder_rate": 0.0}, "encoder_rate"),
        ({"schedule": "one_cicle"}, "did you mean 'one_cycle'"),
        ({"on_bad_media": "skp"}, "did you mean 'skip'"),
        ({"precision": "float8"}, "precision"),
        ({"sampling": "balance"}, "did you mean 'balanced'"),
        ({"unfreeze": "gradual", "streams": {"audio": {"encoder": "whisper"}}}, "no encoder is trained"),
        ({"unfreeze": "gradual", "streams": {"audio": "whisper"}}, "no encoder is trained"),
        ({"augment": {"tempo": [0.9, 1.1]}, "streams": {**LIVE, "text": {"encoder": "bert"}}}, "--features none"),
        ({"augment": {"tempa": [0.9, 1.1]}, "streams": LIVE}, "did you mean 'tempo'"),
    ],
)
def test_choices_that_cannot_be_meant_are_named_at_once(options, said):
    with pytest.raises(ConfigError, match=said):
        check(choices(**options))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"patience": 0}, {"stream_dropout": 1.0, "warmup": 0.0}, {"unfreeze": "gradual", "streams": LIVE},
        {"augment": {"tempo": [0.9, 1.1]}, "streams": LIVE},
        {"augment": {"tempo": [0.9, 1.1]}, "streams": {"a": {"encoder": "bert"}}, "features": "none"},
    ],
)  # fmt: skip
def test_choices_that_go_together_pass(options):
    check(replace(choices(), **options))
