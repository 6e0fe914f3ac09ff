"""Tune any encoders, adapters and language model on conversations: one file of choices, or flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.errors import ConfigError
from unifusion.training.choices import parse
from unifusion.training.fit import check_launch
from unifusion.training.stage import stage
from unifusion.training.tune import tune
from unifusion.training.tune_choices import MAY_DIFFER, check_choices
from unifusion.training.within import dry_run


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Any encoders x any adapters x any language model, audio a branch of its own."""

    out: str
    """Folder of the checkpoint."""
    data: str | None = None
    """A YAML file of sources with weights, or one .jsonl, .tar or .parquet."""
    data_root: str | None = None
    """Folder that sources are relative to; by default that of the YAML file. Clips are found from the file that names them."""
    task: str | None = None
    """Task that asks about a source that holds no conversations (`unifusion list tasks`)."""
    validation: str | None = None
    """Held-out rows, of the same forms."""
    validation_rows: int | None = None
    """How many of them are looked at; all by default."""
    rows_per_epoch: int | None = None
    """Length of an epoch; by default all rows of the sources that have a weight."""
    start: str | None = None
    """Checkpoint to go on from, instead of `llm` and `streams`."""
    llm: str | None = None
    """Hub name or folder of a causal language model."""
    revision: str | None = None
    """Of `llm` on the hub: a commit, tag or branch."""
    streams: dict[str, object] | None = None
    """Stream -> {encoder, source, adapter, adapter_config, encoder_config}."""
    fused: dict[str, object] | None = None
    """Name -> {of: [streams], adapter: attention_pool}."""
    parts: dict[str, object] | None = None
    """Part -> {train: frozen|full|lora, learning_rate, weight_decay, rank, alpha, dropout, variant, targets}."""
    quantize: str | None = None
    """4bit or 8bit: the frozen language model by bitsandbytes (QLoRA)."""
    weights: str = "float32"
    """float32 or bfloat16: of the frozen language model; what is trained is float32."""
    window_s: float = 1.0
    """Seconds between two time stamps in a prompt; tokens of all streams stand behind the stamp of their window."""
    max_seconds: float = 60.0
    """Longest span of a clip that is shown."""
    max_tokens: int = 2048
    """Of a row; a longer one is shown more coarsely, then cut."""
    pack: int = 0
    """Tokens of a pack, one pack a process and micro-batch; 0 pads rows instead."""
    length_grouped: bool = False
    """Rows of about equal length in one micro-batch."""
    features: str = "auto"
    """Folder that keeps outputs of frozen encoders; auto puts it beside `out`, none encodes in every step."""
    epochs: float = 1.0
    """Times that all rows are read."""
    steps: int | None = None
    """Overrules `epochs`."""
    batch_size: int = 8
    """Rows of a micro-batch, over all processes."""
    accumulate: int = 1
    """Micro-batches of a step."""
    learning_rate: float = 1e-4
    """At its peak, of parts that name none in `parts`."""
    weight_decay: float = 0.01
    """Of matrices of parts that name none."""
    warmup: float = 0.03
    """Share of the steps in which rates rise."""
    schedule: str = "cosine"
    """cosine (to a fiftieth), one_cycle, constant, or linear (to zero)."""
    max_grad_norm: float = 1.0
    """Longer gradients are clipped to it; 0 clips none."""
    beta2: float = 0.98
    """AdamW's second moment; the first is 0.9."""
    seed: int = 0
    """Decides the order of rows, the words of questions, dropout and new weights."""
    workers: int = 0
    """Processes that read rows, beside each that trains."""
    worker_timeout_s: float = 50.0
    """Seconds without a batch after which a worker counts as stuck."""
    on_bad_media: str = "stop"
    """stop at a row that cannot be read, or skip it and list it in <out>.fit/quarantine.jsonl."""
    max_bad: float = 0.05
    """Share of such rows above which the run stops all the same."""
    max_skipped: int = 3
    """Steps in a row that may be left out because their loss or gradient is not finite."""
    save_every: int = 500
    """Steps between two checkpoints to go on from."""
    keep: int = 2
    """How many of these stay."""
    log_every: int = 10
    """Steps between two lines of the log."""
    evaluate_every: int = 0
    """Steps between two looks at held-out rows; 0 never looks."""
    patience: int = 0
    """Looks without a better loss after which the run ends; 0 goes on."""
    keep_best: bool = False
    """Save the weights with the best held-out loss, not the last ones."""
    compile: bool = False
    """By torch.compile: minutes before the first step, faster steps after."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    precision: str = "auto"
    """float32, bfloat16 (autocast), or auto: bfloat16 where the processor multiplies it natively."""
    strategy: str = "ddp"
    """ddp, fsdp2, zero1, zero2, zero3, zero3_offload, or a DeepSpeed file.json."""
    report_to: str = "none"
    """tensorboard, wandb, mlflow, trackio .., by commas; log.jsonl is written always."""
    self_contained: bool = False
    """Store frozen weights in the checkpoint too, instead of naming where they came from."""
    available_gb: float | None = None
    """Memory of a device, for the check before the first step; by default what is found."""
    plan: dict[str, object] | None = None
    """For --dry-run where nothing can be fetched: {llm: config, streams: {video: config}, rows, tokens, device, devices, gigabytes}."""
    dry_run: bool = False
    """Check all that can be without weights, estimate memory and time, and stop."""


def main(argv: Sequence[str] | None = None) -> None:
    """Tune it."""
    c = parse(Choices, argv, prog="unifusion train tune")
    check_choices(c)
    if c.dry_run:
        print(dry_run(c, devices=int(str((c.plan or {}).get("devices", 1)))))
        return
    check_launch(c.strategy)
    if c.data is None:
        raise ConfigError("--data is not given;", remedy="name a YAML file of sources, or a .jsonl, .tar or .parquet; see --help.")
    with stage(c.out, c, free=MAY_DIFFER) as todo:
        if todo:
            tune(c, Path(c.out))


if __name__ == "__main__":
    main()
