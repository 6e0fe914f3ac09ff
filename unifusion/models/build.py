"""Putting a chat model together from names: an LLM, and streams of encoder + adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.config import UniFusionConfig
from unifusion.models.language_model import Quantize, grow_embeddings, load_language_model, shape_of
from unifusion.processor import ChatFormat, FusedSpec, StreamSpec, UniFusionProcessor

__all__ = ["build_chat_model", "describe_trainable", "from_anywhere", "grow_embeddings", "set_trainable"]


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
    quantize: Quantize | None = None,
    compute_dtype: torch.dtype = torch.float32,
) -> tuple[UniFusionForConditionalGeneration, UniFusionProcessor]:
    """Build a model and its processor.

    Args:
        llm: hub name or folder of a causal language model, or an inline config (`{"model_type": "llama", ..}`) for random weights.
        streams: stream name -> StreamSpec; encoders with a `source` get their weights from it.
        tokenizer: needed with an inline config; otherwise taken from `llm`.
        chat_format: control strings; None takes the tokenizer's own template, or the default.
        fused: name -> FusedSpec: tokens from several streams together, beside theirs.
        quantize: load the language model `4bit` or `8bit` by bitsandbytes, to be tuned by LoRA (`models/lora.py`).
        compute_dtype: of a quantised language model; bfloat16 on a GPU that has it.

    Returns:
        the model in eval mode, and the processor that fits it.

    Raises:
        ConfigError: an inline config without a tokenizer, or to be quantised.
        CheckpointError: weights cannot be read.
    """
    llm = from_anywhere(llm)
    inline = isinstance(llm, Mapping)
    if inline and quantize:
        raise ConfigError(
            f"an inline language model has no weights to load as {quantize};",
            remedy="save it first (save_pretrained, with its tokenizer), then name that folder.",
        )
    if tokenizer is None:
        if inline:
            raise ConfigError("an inline language model needs a tokenizer;", remedy="pass tokenizer=..., or name a model that has one.")
        tokenizer = _tokenizer(llm, revision)
    known = set(tokenizer.get_vocab())
    specs = {name: _sourced(StreamSpec.from_dict(dict(raw) if isinstance(raw, Mapping) else raw)) for name, raw in streams.items()}
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
        quantized=quantize, compute_dtype=None if quantize is None else str(compute_dtype).removeprefix("torch."),
    )  # fmt: skip
    network = (
        None
        if isinstance(llm, Mapping)
        else load_language_model(llm, revision, dtype=compute_dtype if quantize else torch.float32, quantize=quantize)
    )
    model = UniFusionForConditionalGeneration(config, language_model=network)
    for name, spec in specs.items():
        if spec.encoder_choices.source is not None:
            model.encoders[name] = spec.encoder_class.build(spec.encoder_choices, load_weights=True)
    model.config.new_tokens = _new_tokens(processor, set() if inline else known, model.language_model.get_input_embeddings().num_embeddings)
    grow_embeddings(model.language_model, len(tokenizer))
    model.config.text_config = shape_of(model.language_model)
    model.generation_config.eos_token_id = processor.end_ids
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), processor


def from_anywhere(source: Any) -> Any:
    """A folder or file by its whole path, so that a checkpoint that names it loads from any folder; a hub name or a config as it is."""
    return str(Path(source).resolve()) if isinstance(source, str | Path) and Path(source).exists() else source


def _sourced(spec: StreamSpec) -> StreamSpec:
    """A stream whose sources are found from anywhere."""
    places = {k: from_anywhere(v) for k, v in spec.encoder_config.items() if k in ("source", "tokenizer")}
    return replace(spec, encoder_config={**spec.encoder_config, **places})


def _tokenizer(llm: Any, revision: str | None) -> Any:
    """The tokenizer of a language model.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return AutoTokenizer.from_pretrained(llm, revision=revision)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the tokenizer of {str(llm)!r}{'' if Path(llm).is_dir() else ', which is no folder here'}: "
            f"{str(error).strip().splitlines()[0]};",
            remedy="give a hub name or a folder with config.json, tokenizer files and model.safetensors.",
        ) from error


def _new_tokens(processor: UniFusionProcessor, known: set[str], rows: int) -> list[int]:
    """Ids of the default format's control tokens that are not among the `known` ones or lie beyond the language model's `rows`."""
    if processor.format != ChatFormat():
        return []
    ids = {t: int(processor.tokenizer.convert_tokens_to_ids(t)) for t in ChatFormat.SPECIAL}
    return [i for t, i in ids.items() if t not in known or i >= rows]


def set_trainable(model: UniFusionForConditionalGeneration, parts: Mapping[str, bool]) -> None:
    """Freeze or free parts by the longest matching prefix of their names.

    Args:
        model: the model.
        parts: for example `{"language_model": False, "adapters": True, "encoders": False}` or `{"adapters.audio": True}`.

    Raises:
        ConfigError: a name matches no parameter, or one that is quantised is to be trained.
    """
    names = [n for n, _ in model.named_parameters()]
    for part in parts:
        if not any(n == part or n.startswith(part + ".") for n in names):
            raise ConfigError(f"no part {part!r} in the model;", remedy="parts are language_model, encoders[.stream], adapters[.stream].")
    for name, parameter in model.named_parameters():
        matching = [p for p in parts if name == p or name.startswith(p + ".")]
        if matching:
            wanted = parts[max(matching, key=len)]
            if wanted and not parameter.is_floating_point():
                raise ConfigError(f"{name} is quantised and cannot be trained;", remedy="freeze it and tune it by LoRA (add_lora).")
            parameter.requires_grad_(wanted)
    model.train(model.training)


def describe_trainable(model: UniFusionForConditionalGeneration) -> str:
    """A table of parts: parameters, how many are trained, frozen or trained."""
    parts = {"language_model": model.language_model}
    parts.update({f"encoders.{n}": m for n, m in model.encoders.items()})
    parts.update({f"adapters.{n}": m for n, m in model.adapters.items()})
    lines = [f"{'part':28} {'parameters':>12} {'trained':>12}"]
    for name, module in parts.items():
        total = sum(_numel(p) for p in module.parameters())
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        quantized = f", {model.config.quantized}" if name == "language_model" and model.config.quantized else ""
        lines.append(f"{name:28} {total:12,} {trained:12,} {'trained' if trained else 'frozen'}{quantized}")
    rows = next((p for n, p in model.named_parameters() if "trainable_tokens_delta" in n and p.requires_grad), None)
    if rows is not None:
        lines.append(f"language_model: {len(rows)} rows of new control tokens are trained, whether its embeddings are or not")
    return "\n".join(lines)


def _numel(parameter: Any) -> int:
    """Weights in a parameter, where 4-bit ones lie two in a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
