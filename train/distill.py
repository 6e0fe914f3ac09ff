"""Train a small embedding model after a large one, or after an encoder with weights: features, similarities, logits over texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.evaluation.align_card import finish
from unifusion.training.choices import parse
from unifusion.training.distilling import train_student
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The student is any embedding model; what the teacher makes of the rows is stored once."""

    out: str
    """Folder of the student."""
    teacher: dict[str, object]
    """{checkpoint: FOLDER} of an embedding model, or {encoder: whisper, source: openai/whisper-small}."""
    pairs: dict[str, str] | None = None
    """What of the student learns what of the teacher: a space, clip, words, or encoders.STREAM -> the teacher's space or modality; without:
    what both have under one name."""
    forms: dict[str, float] | None = None
    """Of losses.distillation -> weight: features_cosine, features_mse, similarity_kl, similarity_mse, logits_kl; without: features_cosine
    and similarity_kl."""
    similarity_temperature: float = 0.1
    """Of similarity_kl."""
    contrast: float = 1.0
    """Weight of the contrast of texts and clips, as in align; 0 learns of the teacher alone."""
    sources: str = "align"
    """Mixture of sets: a YAML file, or the name of one in train/mixtures."""
    data: str | None = None
    """Folder that the mixture's paths are relative to."""
    phrasings: str = "align"
    """How facts are said: a YAML file, or the name of one in train/phrasings."""
    start: str | None = None
    """Folder of an earlier embedding model: weights that fit by name are taken."""
    streams: dict[str, object] | None = None
    """Of the student: stream -> {encoder, source, encoder_config, adapter, trained, clock}, or {checkpoint, stream}."""
    text_tower: str | None = None
    """Instead of the stream `text`: folder or hub name of a sentence-transformers model, or of a BERT, RoBERTa, XLM-R; frozen."""
    towers: dict[str, object] | None = None
    """Space -> its streams; where it is left out, a space for each modality."""
    head: dict[str, object] | None = None
    """Of the towers: width, attending, queries, layers (1 linear, 2 or 3 MLP), dropout."""
    width: int = 512
    """Of the student's space."""
    temperature: float = 0.07
    loss: str = "clip"
    """Of the contrast: clip or siglip."""
    weights: dict[str, float] | None = None
    """Pair -> weight, of the contrast."""
    max_seconds: float = 30.0
    features: str = "auto"
    """Folder that keeps what frozen encoders and the teacher make; auto puts it beside `out`."""
    in_memory: bool = False
    """Keep what frozen encoders and adapters give of every row in memory."""
    chunk: int = 0
    """Rows that go through the encoders at once; 0 takes all."""
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
    evaluate_every: int = 0
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
    """Train the student, calibrate it, and save it."""
    c = parse(Choices, argv, prog="unifusion train distill")
    with stage(c.out, c) as todo:
        if todo:
            model, result = train_student(c, Path(f"{c.out}.fit"))
            finish(model, c, Path(c.out), result, recipe="distill")


if __name__ == "__main__":
    main()
