"""Putting a chat model together from names: an LLM, and streams of encoder + adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.config import UniFusionConfig
from unifusion.processor import ChatFormat, FusedSpec, StreamSpec, UniFusionProcessor

__all__ = ["build_chat_model", "describe_trainable", "set_trainable"]


def build_chat_model(
    llm: str | Path | Mapping[str, Any],
    streams: Mapping[str, StreamSpec | Mapping[str, Any]],
    *,
    tokenizer: Any = None,
    chat_format: ChatFormat | None = None,
    window_s: float = 1.0,
    max_seconds: float = 60.0,
    revision: str | None = None,
    fused: Mapping[str, FusedSpec | Mapping[str, Any]] | None = None,
) -> tuple[UniFusionForConditionalGeneration, UniFusionProcessor]:
    """Build a model and its processor.

    Args:
        llm: hub name or folder of a causal language model, or an inline config (`{"model_type": "llama", ..}`) for random weights.
        streams: stream name -> StreamSpec; encoders with a `source` get their weights from it.
        tokenizer: needed with an inline config; otherwise taken from `llm`.
        chat_format: control strings; None takes the tokenizer's own template, or the default.
        fused: name -> FusedSpec: tokens from several streams together, beside theirs.

    Returns:
        the model in eval mode, and the processor that fits it.
    """
    inline = isinstance(llm, Mapping)
    if tokenizer is None:
        if inline:
            raise ConfigError("an inline language model needs a tokenizer;", remedy="pass tokenizer=..., or name a model that has one.")
        tokenizer = AutoTokenizer.from_pretrained(llm, revision=revision)
    specs = {name: StreamSpec.from_dict(dict(raw) if isinstance(raw, Mapping) else raw) for name, raw in streams.items()}
    processor = UniFusionProcessor(
        tokenizer, streams={n: s.to_dict() for n, s in specs.items()}, chat_format=chat_format.to_dict() if chat_format else None,
        window_s=window_s, max_seconds=max_seconds,
        fused={n: (f.to_dict() if isinstance(f, FusedSpec) else dict(f)) for n, f in (fused or {}).items()},
    )  # fmt: skip
    text_config = AutoConfig.for_model(**llm) if isinstance(llm, Mapping) else AutoConfig.from_pretrained(llm, revision=revision)
    if isinstance(llm, Mapping):
        text_config.vocab_size = max(len(tokenizer), text_config.vocab_size if "vocab_size" in llm else 0)
        text_config.pad_token_id, text_config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
        text_config.eos_token_id = processor.end_ids[0]
    config = UniFusionConfig(
        text_config=text_config, text_source=None if inline else str(llm), text_revision=revision,
        streams=processor.streams, placeholder_ids=processor.placeholder_ids, fused=processor.fused,
    )  # fmt: skip
    network = None if isinstance(llm, Mapping) else _load_language_model(llm, revision)
    model = UniFusionForConditionalGeneration(config, language_model=network)
    for name, spec in specs.items():
        if spec.encoder_choices.source is not None:
            model.encoders[name] = spec.encoder_class.build(spec.encoder_choices, load_weights=True)
    grow_embeddings(model.language_model, len(tokenizer))
    model.config.text_config = model.language_model.config
    model.generation_config.eos_token_id = processor.end_ids
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), processor


def _load_language_model(llm: str | Path, revision: str | None) -> Any:
    """A causal language model of transformers with its weights, in float32 and from safetensors only."""
    try:
        return AutoModelForCausalLM.from_pretrained(llm, revision=revision, dtype=torch.float32, use_safetensors=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot load the language model {str(llm)!r}: {str(error).strip().splitlines()[0]};",
            remedy="give a hub name or folder with model.safetensors (a pickle is converted by save_pretrained).",
        ) from error


def grow_embeddings(language_model: Any, size: int) -> None:
    """Make room for added tokens; rows that a model keeps for padding to a round number are used first.

    New rows are the mean of the old ones and a little noise that only the row's number decides. A checkpoint that references its
    frozen language model does not hold them: they must come out the same when it is fetched again.
    """
    old = language_model.get_input_embeddings().num_embeddings
    if old >= size:
        return
    language_model.resize_token_embeddings(size, mean_resizing=False)
    heads = [m for m in (language_model.get_input_embeddings(), language_model.get_output_embeddings()) if m is not None]
    with torch.no_grad():
        for weight in {id(m.weight): m.weight for m in heads}.values():
            mean_D, deviation_D = weight[:old].float().mean(0), weight[:old].float().std(0)
            for row in range(old, size):
                noise_D = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(row)).to(weight.device)
                weight[row] = (mean_D + deviation_D * noise_D).to(weight.dtype)
        bias = getattr(heads[-1], "bias", None)
        if bias is not None:
            bias[old:] = bias[:old].mean()


def set_trainable(model: UniFusionForConditionalGeneration, parts: Mapping[str, bool]) -> None:
    """Freeze or free parts by the longest matching prefix of their names.

    Args:
        model: the model.
        parts: for example `{"language_model": False, "adapters": True, "encoders": False}` or `{"adapters.audio": True}`.

    Raises:
        ConfigError: a name matches no parameter.
    """
    names = [n for n, _ in model.named_parameters()]
    for part in parts:
        if not any(n == part or n.startswith(part + ".") for n in names):
            raise ConfigError(f"no part {part!r} in the model;", remedy="parts are language_model, encoders[.stream], adapters[.stream].")
    for name, parameter in model.named_parameters():
        matching = [p for p in parts if name == p or name.startswith(p + ".")]
        if matching:
            parameter.requires_grad_(parts[max(matching, key=len)])
    model.train(model.training)


def describe_trainable(model: UniFusionForConditionalGeneration) -> str:
    """A table of parts: parameters, how many are trained, frozen or trained."""
    parts = {"language_model": model.language_model}
    parts.update({f"encoders.{n}": m for n, m in model.encoders.items()})
    parts.update({f"adapters.{n}": m for n, m in model.adapters.items()})
    lines = [f"{'part':28} {'parameters':>12} {'trained':>12}"]
    for name, module in parts.items():
        total = sum(p.numel() for p in module.parameters())
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        lines.append(f"{name:28} {total:12,} {trained:12,} {'trained' if trained else 'frozen'}")
    return "\n".join(lines)
