"""Train an emotion model: streams of any encoders, one of the early fusions, labels, valence and arousal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unifusion.evaluation.affect import finish
from unifusion.evaluation.predictions import write_predictions
from unifusion.training.affect import train_affect
from unifusion.training.affect_data import read_examples
from unifusion.training.affect_loss import check
from unifusion.training.choices import parse
from unifusion.training.launch import is_first
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Any encoders x any fusion; features of frozen encoders are stored once."""

    out: str
    """Folder of the run: a model (`seed-<n>` each where there are several seeds) and predictions.jsonl."""
    data: str = "."
    """A YAML file of sources, or what --dataset reads."""
    dataset: str | None = None
    """Reader of `data` (`unifusion list datasets`): ravdess, meld, avamerg, folder .."""
    data_root: str | None = None
    """Folder that paths in a YAML file are relative to."""
    options: dict[str, object] | None = None
    """Of the reader; `splits` among them says what the data call a split, {test: test_iid}, or that there is none, {test: null}."""
    streams: dict[str, object] | None = None
    """Stream -> {encoder, source, encoder_config, trained, reads}, or {checkpoint, stream} for an encoder of a chat model."""
    fusion: str = "attention_pool"
    """One of `unifusion list fusions`."""
    fusion_config: dict[str, object] | None = None
    labels: str = "auto"
    """auto takes those of the rows; none tells valence and arousal alone; or names by commas."""
    affect: str = "auto"
    """Tell valence and arousal: yes, no, or auto where the rows have them."""
    metadata: str = "none"
    """What is known of people and talk: none, all, or fields by commas (speaker_age, topic, turn, cause ..)."""
    dropout: float = 0.1
    max_seconds: float = 30.0
    features: str = "auto"
    """Folder that keeps outputs of frozen encoders; auto puts it beside `out`, none encodes in every step."""
    loss: str = "cross_entropy"
    """cross_entropy or focal."""
    focal_gamma: float = 2.0
    label_smoothing: float = 0.1
    class_weights: str = "none"
    """none, balanced (1 / n) or effective (Cui et al. 2019)."""
    sampling: str = "shuffled"
    """shuffled, or balanced: classes are met about equally often."""
    affect_loss: str = "ccc"
    """ccc, mse or both."""
    affect_weight: float = 1.0
    """Of valence and arousal beside the labels; 0 learns it (Kendall et al. 2018)."""
    stream_dropout: float = 0.0
    """Share of streams that a row lacks in training."""
    mixup: float = 0.0
    """Of features; alpha of the Beta distribution, 0 for none."""
    augment: dict[str, object] | None = None
    """Changes of sound and picture; needs --features none."""
    pretrain_steps: int = 0
    """Steps without labels first, where the fusion has such a loss (flava)."""
    unfreeze: str = "at once"
    """How encoders that are trained begin: at once, or gradual, the last blocks first."""
    encoder_rate: float = 2e-5
    """Learning rate of encoders that are trained."""
    seeds: int = 1
    """Runs, from `seed` on; figures get a mean and a deviation."""
    epochs: float = 20.0
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.3
    schedule: str = "one_cycle"
    max_grad_norm: float = 1.0
    beta2: float = 0.98
    look_every: int = 1
    """Epochs between two looks at the split val."""
    patience: int = 8
    """Looks without a better score after which a run ends; 0 goes on."""
    n_best: int = 2
    seed: int = 0
    workers: int = 0
    on_bad_media: str = "stop"
    max_bad: float = 0.05
    compile: bool = False
    precision: str = "float32"
    stored: str = "float32"
    """Type of the weights on disk: float32, or float16 or bfloat16 for half the bytes."""
    report_to: str = "none"


def main(argv: Sequence[str] | None = None) -> None:
    """Train it, once a seed, and tell the splits val and test."""
    c = parse(Choices, argv, prog="unifusion train emotion")
    check(c)
    with stage(c.out, c, made=Path(c.out) / "predictions.jsonl") as todo:
        if todo:
            told = []
            rows = {s: read_examples(c.data, s, dataset=c.dataset, root=c.data_root, options=c.options) for s in ("train", "val", "test")}
            for seed in range(c.seed, c.seed + c.seeds):
                folder = Path(c.out) / f"seed-{seed}" if c.seeds > 1 else Path(c.out)
                own = replace(c, seed=seed, features=f"{c.out}.features" if c.features == "auto" else c.features)
                model, result = train_affect(own, rows["train"], rows["val"], folder.with_name(f"{folder.name}.fit"))
                told += finish(model, own, folder, {s: rows[s] for s in ("val", "test")}, result, seed=seed)
            if is_first():
                write_predictions(Path(c.out) / "predictions.jsonl", told)


if __name__ == "__main__":
    main()
