"""Train an embedding model: text, sound and picture in one space, by any encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.evaluation.align_card import finish
from unifusion.training.aligning import train_aligner
from unifusion.training.choices import parse
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Frozen encoders' features are stored once; what is trained sees its inputs again and again."""

    out: str
    """Folder of the model."""
    sources: str = "align"
    """Mixture of sets: a YAML file, or the name of one in train/mixtures; weights are shares of the rows."""
    data: str | None = None
    """Folder that the mixture's paths are relative to."""
    phrasings: str = "align"
    """How facts are said: a YAML file, or the name of one in train/phrasings."""
    streams: dict[str, object] | None = None
    """Stream -> {encoder, source, encoder_config, adapter, trained, clock}, or {checkpoint, stream} for one of a chat model."""
    text_tower: str | None = None
    """Instead of the stream `text`: folder or hub name of a sentence-transformers model, or of a BERT, RoBERTa, XLM-R; frozen."""
    towers: dict[str, object] | None = None
    """Space -> its streams; where it is left out, a space for each modality."""
    start: str | None = None
    """Folder of an earlier embedding model: weights that fit by name are taken, and it is said which."""
    stage: str = "contrastive"
    """contrastive, masked (what is hidden of a stream is told from the rest and from the other streams), or both in every step."""
    head: dict[str, object] | None = None
    """Of the towers: width, attending, queries, layers (1 linear, 2 or 3 MLP), dropout."""
    width: int = 512
    """Of the space."""
    temperature: float = 0.07
    """The scale begins from it, and is learned."""
    loss: str = "clip"
    """clip (InfoNCE both ways) or siglip."""
    weights: dict[str, float] | None = None
    """Pair -> weight: clip, sight, sound (texts with what they tell of), rhythm (sound with picture). Where it is not named 0: views (two
    of a clip, NT-Xent), wordings (two of a text, NT-Xent), timing (each moment of the picture with the sound then)."""
    view_dropout: float = 0.3
    """Share of each stream's moments that are absent in a view."""
    guard: float = 0.0
    """Weight of VICReg's variance term, against collapse."""
    masking: dict[str, object] | None = None
    """What is hidden: share (of moments), span_s, whole (streams), words, patches (of inputs of trained encoders), form (regression,
    cosine, contrast), layers."""
    mask_weight: float = 1.0
    """Of masked modelling beside the contrast, in stage both."""
    mine_every: int = 0
    """Steps after which hard negatives are sought anew among all rows; 0 never."""
    hard: int = 1
    """Hard negatives that each row brings into a batch, once there are some."""
    max_seconds: float = 30.0
    features: str = "auto"
    """Folder that keeps outputs of frozen encoders and inputs of trained ones; auto puts it beside `out`."""
    in_memory: bool = False
    """Keep what frozen encoders and adapters give of every row in memory (float16), so that a step computes only what is trained."""
    chunk: int = 0
    """Rows that go through the encoders at once, where the batch is larger than memory; 0 takes all."""
    encoder_rate: float = 1e-3
    """Learning rate of encoders that are trained."""
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    beta2: float = 0.98
    evaluate_every: int = 250
    look_at: int = 500
    """Held-out rows of each part that are looked at."""
    use_best: bool = False
    save_every: int = 250
    log_every: int = 10
    seed: int = 0
    workers: int = 0
    on_bad_media: str = "stop"
    max_bad: float = 0.05
    precision: str = "float32"
    self_contained: bool = False
    """Store the weights of frozen streams of a shipped checkpoint as well, instead of reading them from there."""
    stored: str = "float32"
    """Type of the weights on disk: float32, or float16 or bfloat16 for half the bytes."""
    report_to: str = "none"


def main(argv: Sequence[str] | None = None) -> None:
    """Train it, calibrate it, and save it."""
    c = parse(Choices, argv, prog="unifusion train align")
    with stage(c.out, c) as todo:
        if todo:
            model, result = train_aligner(c, Path(f"{c.out}.fit"))
            finish(model, c, Path(c.out), result)


if __name__ == "__main__":
    main()
