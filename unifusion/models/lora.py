"""LoRA over any part of the chat model: where it goes is read off the part's structure, and each part has its own rank and alpha.

Follows Hu et al., "LoRA" (2021), Liu et al., "DoRA" (2024) and Kalajdzievski, "A Rank Stabilization Scaling Factor" (2023, rsLoRA), by
the peft library. One peft config lies over the whole model, so a checkpoint has one `adapter_config.json`.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError, nearest
from unifusion.models.hollow import encoder_without_weights
from unifusion.models.targets import linear_targets
from unifusion.processor.opening import MediaOpener
from unifusion.processor.processor import Row, collate_media
from unifusion.processor.streams import read_config

if TYPE_CHECKING:
    from unifusion.models.chat import UniFusionForConditionalGeneration

__all__ = ["LoraChoices", "add_lora", "is_added", "keep_head_bias", "linear_targets", "plain_name", "probe_batch", "quiet_peft",
           "tied_rows"]  # fmt: skip

log = logging.getLogger(__name__)
VARIANTS = ("lora", "dora", "rslora")


@dataclass(frozen=True, kw_only=True)
class LoraChoices:
    """How one part is tuned.

    Attributes:
        rank: of the two factors.
        alpha: their product is scaled by alpha / rank (rslora: by alpha / sqrt(rank)).
        dropout: of what goes into them, in training.
        variant: `lora`, `dora` (the columns' lengths are trained apart) or `rslora`.
        targets: `all` linear layers of the repeated blocks, those of `attention` or of the `mlp` (the rest of a block), a list of layers'
            names as they end (`["q_proj", "v_proj"]`), or a regular expression for names below the part.
    """

    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    variant: Literal["lora", "dora", "rslora"] = "lora"
    targets: str | Sequence[str] = "all"

    def __post_init__(self) -> None:
        """Refuse what no LoRA can have."""
        if self.variant not in VARIANTS:
            raise ConfigError(f"LoRA of variant {self.variant!r};", remedy=nearest(str(self.variant), list(VARIANTS)))
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"LoRA of rank {self.rank}, alpha {self.alpha}, dropout {self.dropout};",
                remedy="wanted: rank from 1, alpha above 0, dropout from 0 to below 1.",
            )
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any] | LoraChoices) -> LoraChoices:
        """Read plain keys and values.

        Raises:
            ConfigError: a key is unknown; names the nearest.
        """
        choices: LoraChoices = raw if isinstance(raw, LoraChoices) else read_config(cls, dict(raw), "LoRA")
        return choices


def is_added(name: str) -> bool:
    """Whether a parameter's name is one that peft added, for LoRA or for trained rows of the embeddings."""
    return "lora_" in name or "trainable_tokens_" in name


def plain_name(name: str) -> str:
    """A weight's name as it is without peft's wrappers."""
    return name.replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")


def add_lora(model: UniFusionForConditionalGeneration, parts: Mapping[str, LoraChoices | Mapping[str, Any]]) -> Any:
    """Put LoRA around layers of one or several parts and freeze the rest of these parts; other parts stay as trainable as they were.

    Where a model without a chat template got the default format, nobody has trained the rows of its control tokens: unless its
    embeddings are trained anyway, these rows alone are (in the head too).

    Args:
        model: without LoRA.
        parts: part (`language_model`, `encoders.<stream>`) -> its choices. peft knows one variant and one dropout for all.

    Returns:
        peft's `LoraConfig`, which is also `model.peft_config["default"]`.

    Raises:
        ConfigError: an unknown part, targets that are not there or take no part in the forward pass, choices that peft has only once and
            that differ, or LoRA is there already.
    """
    from peft import LoraConfig

    chosen = {name: LoraChoices.from_dict(raw) for name, raw in parts.items()}
    _check(model, chosen)
    targets = {name: _reached(model, name, linear_targets(model.get_submodule(name), c.targets)) for name, c in chosen.items()}
    first = next(iter(chosen.values()))
    patterns = {name: rf"{re.escape(name)}\..*" for name in sorted(chosen)}  # "encoders.." comes first: peft takes the first that fits
    rows = _rows_to_train(model, chosen)
    freedom = {n: p.requires_grad for n, p in model.named_parameters()}
    config = LoraConfig(
        r=first.rank, lora_alpha=first.alpha, lora_dropout=first.dropout,
        use_dora=first.variant == "dora", use_rslora=first.variant == "rslora",
        target_modules=_pattern(model, [f"{n}.{t}" for n, below in targets.items() for t in below]),
        rank_pattern={pattern: chosen[n].rank for n, pattern in patterns.items()},
        alpha_pattern={pattern: chosen[n].alpha for n, pattern in patterns.items()},
        fan_in_fan_out=all(isinstance(model.get_submodule(f"{n}.{t}"), Conv1D) for n, below in targets.items() for t in below),
        trainable_token_indices=rows or None,
    )  # fmt: skip
    with quiet_peft():
        model.add_adapter(config)
    keep_head_bias(model)
    for name, parameter in model.named_parameters():
        plain = plain_name(name)
        if not is_added(name) and not any(plain.startswith(f"{part}.") for part in chosen):
            parameter.requires_grad_(freedom[plain])
    model.train(model.training)
    return config


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep back what is said of each layer (which way round GPT-2's weights lie) and of what is missing, which is checked after."""
    log = logging.getLogger("transformers.integrations.peft")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fan_in_fan_out")
            yield
    finally:
        log.setLevel(level)


def _check(model: UniFusionForConditionalGeneration, chosen: Mapping[str, LoraChoices]) -> None:
    """Refuse parts that are not there, and differences that one peft config cannot hold."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ConfigError("the model has LoRA already;", remedy="train that, or merge it first (`unifusion merge`).")
    known = ["language_model", *(f"encoders.{n}" for n in model.encoders)]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"LoRA for the part {name!r};", remedy=nearest(name, known))
    if not chosen:
        raise ConfigError("LoRA for no part;", remedy=f"name some of {', '.join(known)}.")
    for key in ("variant", "dropout"):
        found = {name: getattr(c, key) for name, c in chosen.items()}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{value} for {name}" for name, value in found.items())
            raise ConfigError(f"LoRA has one {key} for all parts, not {told};", remedy="give them the same; rank and alpha may differ.")


def _pattern(model: nn.Module, names: Sequence[str]) -> str:
    """A regular expression for exactly these layers; one alternative stands for the same layer of all blocks where that is exact."""
    alike = dict.fromkeys(r"\.".join(r"\d+" if p.isdigit() else re.escape(p) for p in n.split(".")) for n in names)
    short = "|".join(alike)
    same = {n for n, _ in model.named_modules() if re.fullmatch(short, n)} == set(names)
    return short if same else "|".join(re.escape(n) for n in names)


def _rows_to_train(model: UniFusionForConditionalGeneration, chosen: Mapping[str, LoraChoices]) -> dict[str, list[int]]:
    """Rows of new control tokens by the name of what holds them: the embeddings, and the head where it has a matrix of its own."""
    rows = sorted(model.config.new_tokens)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not rows or ("language_model" not in chosen and embeddings.weight.requires_grad):  # trained with all the others
        return {}
    holders = [embeddings] if head is None or head.weight is embeddings.weight else [embeddings, head]
    names = {id(m): n for n, m in model.named_modules()}
    log.info("%d rows of new control tokens are trained, since nobody has trained them yet", len(rows))
    return {names[id(m)]: rows for m in holders}


def tied_rows(model: nn.Module) -> set[str]:
    """Names of trained rows that are another layer's, as a tied head's are the embeddings'."""
    layers = {n: m for n, m in model.named_modules() if getattr(m, "tied_adapter", None) is not None}
    return {f"{n}.trainable_tokens_delta.{key}" for n, m in layers.items() for key in m.trainable_tokens_delta}


def keep_head_bias(model: UniFusionForConditionalGeneration) -> None:
    """Give a head some of whose rows are trained its bias back, which peft 0.21 leaves out (`TrainableTokensLayer.forward_adapters`)."""
    layer: Any = getattr(model.get_output_embeddings(), "token_adapter", None)
    if layer is not None and getattr(layer.get_base_layer(), "bias", None) is not None:

        def add(module: Any, _args: tuple[Any, ...], logits: Tensor) -> Tensor:
            own = module.disable_adapters or module.merged or not module.active_adapters
            return logits if own else logits + module.get_base_layer().bias

        layer.register_forward_hook(add)


def _reached(model: UniFusionForConditionalGeneration, part: str, names: Sequence[str]) -> list[str]:
    """Those of an encoder's layers that are called in a pass over a clip.

    Some attention (WavLM's) hands its projections' weights to a function of torch: LoRA around them would learn nothing.

    Raises:
        ConfigError: none is called.
    """
    if part == "language_model":
        return list(names)
    encoder, stream = model.get_submodule(part), part.partition(".")[2]
    called: set[str] = set()
    probe = probe_batch(model, stream, "cpu")
    own, inputs = encoder_without_weights(encoder, {k: v for k, v in probe.items() if k not in ("rows", "chunks", "times", "mask")})
    for name in names:
        own.get_submodule(name).register_forward_pre_hook(lambda _m, _a, n=name: called.add(n))
    with torch.no_grad():
        own.eval().encode_chunks(**inputs)
    idle = [n for n in names if n not in called]
    if len(idle) == len(names):
        raise ConfigError(
            f"the weights of {part}'s {', '.join(sorted({n.rpartition('.')[2] for n in idle}))} are read, the layers never called;",
            remedy="LoRA cannot go around them: choose other targets, such as mlp, or train the encoder as a whole.",
        )
    if idle:
        log.warning("%s: %d layers are never called and get no LoRA (%s ..)", part, len(idle), ", ".join(idle[:4]))
    return [n for n in names if n in called]


def probe_batch(model: UniFusionForConditionalGeneration, stream: str, device: str | torch.device | None = None) -> dict[str, Any]:
    """A second of grey pictures, a tone and a few words, as one stream's encoder takes them; on the model's device, or `device`."""
    times = np.arange(16) / 16
    clip = Clip(
        frames_THWC=np.full((16, 64, 64, 3), 127, np.uint8), frame_times_s=times, duration_s=1.0, transcript="a tone.",
        waveform_N=(0.1 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32),
    )  # fmt: skip
    opened = MediaOpener({stream: model.specs[stream]}).open(Media(kind="video", source=clip, transcript=clip.transcript))
    batch = collate_media([Row(media=[opened])], [stream])[stream]
    return {k: v.to(device or model.device) for k, v in batch.items()}
