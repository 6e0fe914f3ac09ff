"""What the recipes of embedding models share: sets, towers, the contrast, and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SpaceChoices"]


@dataclass(frozen=True, kw_only=True)
class SpaceChoices:
    """Choices of `train/align.py` and `train/distill.py`."""

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
    head: dict[str, object] | None = None
    """Of the towers: width, attending, queries, layers (1 linear, 2 or 3 MLP), dropout."""
    width: int = 512
    """Of the space."""
    temperature: float = 0.07
    """The scale begins from it, and is learned."""
    loss: str = "clip"
    """Of the contrast: clip (InfoNCE both ways), siglip (each pair by itself), supcon (what fits is one class) or triplet (a margin)."""
    loss_config: dict[str, object] | None = None
    """Of the loss: form (out, mil, apart) of clip and supcon; mining (semi_hard, batch_hard), margin, distance, soft of triplet."""
    weights: dict[str, float] | None = None
    """Pair -> weight: clip, sight, sound (texts with what they tell of), rhythm (sound with picture). Where it is not named 0: views (two
    of a clip, NT-Xent), wordings (two of a text, NT-Xent), timing (each moment of the picture with the sound then)."""
    max_seconds: float = 30.0
    """Longest part of a clip that is seen and heard."""
    features: str = "auto"
    """Folder that keeps what frozen encoders (and a teacher) make and inputs of trained ones; auto puts it beside `out`."""
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
    """Steps between two looks at held-out rows; 0 looks at the end alone."""
    look_at: int = 500
    """Held-out rows of each part that are looked at."""
    use_best: bool = False
    """End with the best weights met on held-out rows instead of the last."""
    save_every: int = 250
    log_every: int = 10
    seed: int = 0
    workers: int = 0
    on_bad_media: str = "stop"
    """stop at a row that cannot be read, or skip it: it is listed in quarantine.jsonl."""
    max_bad: float = 0.05
    """Share of such rows above which the run stops all the same."""
    precision: str = "float32"
    self_contained: bool = False
    """Store the weights of frozen streams of a shipped checkpoint as well, instead of reading them from there."""
    stored: str = "float32"
    """Type of the weights on disk: float32, or float16 or bfloat16 for half the bytes."""
    report_to: str = "none"
    """Also log to tensorboard, wandb, mlflow, trackio .., by commas."""
