"""The chat model: frozen encoders -> trained adapters -> placeholders of any causal language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.utils import ModelOutput

from unifusion.adapters.adapter import Adapter, FusedAdapter
from unifusion.batch import Features, StreamBatch
from unifusion.encoders.encoder import Encoder, blank_features
from unifusion.errors import ConfigError
from unifusion.models.config import UniFusionConfig
from unifusion.models.head import head_loss
from unifusion.models.language_model import COMPUTE_DTYPES
from unifusion.models.reading import Reads, left_padded
from unifusion.models.recompute import recompute_frozen
from unifusion.models.segments import packed_inputs
from unifusion.processor.packing import Segments

__all__ = ["UniFusionForConditionalGeneration", "UniFusionOutput"]

_IGNORED = -100


@dataclass
class UniFusionOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        loss: cross-entropy over supervised positions; None without labels.
        logits: (B, S, V), or (B, k, V) with `logits_to_keep`; None when a loss was asked for (they are never made for all positions).
        n_targets: supervised positions in the batch.
        past_key_values: the cache.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    n_targets: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Any = None
    attentions: Any = None


class UniFusionForConditionalGeneration(Reads, PreTrainedModel, GenerationMixin):
    """Any causal language model of transformers that hears and sees.

    `media` maps a stream's name to its StreamBatch (see `batch.py`); the processor makes it. A stream that is absent from the
    batch costs nothing at inference; in training its adapter still runs, on a blank, so that no process of several waits for another.
    """

    config_class = UniFusionConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("video", "audio", "image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = False
    _tied_weights_keys: ClassVar[dict[str, str]] = {}
    """None of its own; with transformers' None, peft would not look for the language model's, and train a tied head's rows apart."""

    def __init__(self, config: UniFusionConfig, *, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.specs = config.specs
        self.language_model = AutoModelForCausalLM.from_config(config.text_config) if language_model is None else language_model
        width = self.language_model.get_input_embeddings().embedding_dim
        encoders: dict[str, nn.Module] = {}
        adapters: dict[str, nn.Module] = {}
        for name, spec in self.specs.items():
            encoder = spec.encoder_class.build(spec.encoder_choices, load_weights=False)
            encoders[name] = encoder
            adapters[name] = spec.adapter_class(encoder.width, width, spec.adapter_choices)
        self.fusions = config.fusions
        for name, fusion in self.fusions.items():
            widths = {s: int(encoders[s].width) for s in fusion.of}  # type: ignore[arg-type]
            adapters[name] = fusion.adapter_class(widths, width, fusion.adapter_choices)
        self.encoders = nn.ModuleDict(encoders)
        self.adapters = nn.ModuleDict(adapters)
        self.every_stream = False
        """Run the modules of streams that a batch lacks in evaluation too: where they are sharded, other processes wait for that."""
        self._plain_head: bool | None = None
        for parameter in () if language_model is None else language_model.parameters():
            parameter._is_hf_initialized = True
        for flag in ("is_loaded_in_4bit", "is_loaded_in_8bit"):  # peft asks the whole model
            setattr(self, flag, bool(getattr(self.language_model, flag, False)))
        self.post_init()
        # Parts that come from their source are no news to the report of what a file lacks.
        self._keys_to_ignore_on_load_missing |= {rf"^{re.escape(part)}\." for part in config.absent or ()}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what transformers does not know: adapters, their queries (a bare parameter missing from a file would stay garbage)."""
        own = getattr(module, "init_weights", None)
        if isinstance(module, Adapter | FusedAdapter | Encoder) or (own is not None and not isinstance(module, PreTrainedModel)):
            if own is not None:
                own()
        elif isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            init.normal_(module.weight, std=0.02)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            init.ones_(module.weight)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's head."""
        self.language_model.set_output_embeddings(value)

    def get_decoder(self) -> Any:
        """The language model without its head."""
        return self.language_model.get_decoder()

    def train(self, mode: bool = True) -> UniFusionForConditionalGeneration:
        """Set training mode; a part with nothing to train stays in eval mode (no dropout, no running statistics).

        Neither do running statistics move in a frozen layer of a part that LoRA tunes: they are its source's.
        """
        super().train(mode)
        for part in (self.language_model, *self.encoders.values(), *self.adapters.values()):
            if not any(p.requires_grad for p in part.parameters()):
                part.eval()
        if mode and not self.language_model.training:
            recompute_frozen(self.language_model)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def features(self, stream: str, batch: StreamBatch) -> Features:
        """Run one stream's encoder, or take its stored outputs.

        Returns:
            Features with tokens (M, S, width of the encoder); M items of the stream in the batch.
        """
        if "tokens" in batch:
            parameter = next(self.adapters[stream].parameters())
            return Features(tokens_BSD=batch["tokens"].to(parameter.dtype), mask_BS=batch["mask"], times_BS=batch["times"])
        encoder = self.encoders[stream]
        inputs = {k: v for k, v in batch.items() if k != "rows"}
        dtype = next(encoder.parameters()).dtype
        inputs = {k: v.to(dtype) if k not in ("times", "mask") and v.is_floating_point() else v for k, v in inputs.items()}
        frozen = not any(p.requires_grad for p in encoder.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            out: Features = encoder(**inputs)
        return out

    def embed(self, input_ids: Tensor, media: Mapping[str, StreamBatch] | None = None) -> Tensor:
        """Return embeddings (B, S, D) of `input_ids` (B, S) with the media's tokens in place of the placeholders.

        Raises:
            ConfigError: a stream's tokens and placeholders differ in number; names stream and counts.
        """
        embeds_BSD: Tensor = self.get_input_embeddings()(input_ids)
        found: dict[str, Features] = {}
        for name in (*self.specs, *self.fusions):
            place_BS = input_ids == self.config.placeholder_ids[name]
            if media is not None and name in media:
                flat_ND = self._tokens(name, media[name], found).to(embeds_BSD)
                if int(place_BS.sum()) != len(flat_ND):
                    self._refuse(name, place_BS, len(flat_ND))
                embeds_BSD = embeds_BSD.masked_scatter(place_BS[..., None], flat_ND)
            else:
                if bool(place_BS.any()):
                    self._refuse(name, place_BS, 0)
                if self.every_stream or (self.training and torch.is_grad_enabled()):
                    embeds_BSD = embeds_BSD + 0.0 * self._idle(name).to(embeds_BSD)
        return embeds_BSD

    def _idle(self, name: str) -> Tensor:
        """A number that depends on every parameter of a stream that no clip of the batch has.

        The stream's own modules are run, on a blank: processes whose rows have it then gather parameters and reduce gradients in the
        same order as those whose rows lack it, which a sum over the parameters would not do for sharded ones.
        """
        adapter = self.adapters[name]
        if name in self.fusions:
            parts = self.fusions[name].of
            blank: Tensor = adapter({}, {s: torch.full((1,), -1, device=self.device) for s in parts})
            return blank.sum()
        encoder: Any = self.encoders[name]
        trained = any(p.requires_grad for p in encoder.parameters())
        features = blank_features(encoder, self.specs[name].opening_choices, trained=trained)
        kind = next(adapter.parameters())
        cast = Features(
            tokens_BSD=features.tokens_BSD.to(kind), mask_BS=features.mask_BS.to(kind.device), times_BS=features.times_BS.to(kind.device)
        )
        return adapter(cast).tokens_BSD.sum()  # type: ignore[no-any-return]

    def _tokens(self, name: str, batch: StreamBatch, found: dict[str, Features]) -> Tensor:
        """The tokens (N, D) of a stream, or of a fusion of streams; features are put into `found` and taken from there."""
        if name in self.specs:
            features = self.features(name, batch)
            found[name] = replace(features, tokens_BSD=features.tokens_BSD.to(next(self.adapters[name].parameters()).dtype))
            tokens = self.adapters[name](found[name])
            return tokens.tokens_BSD[tokens.mask_BS]  # type: ignore[no-any-return]
        parts = self.fusions[name].of
        fused_MQD: Tensor = self.adapters[name]({s: found[s] for s in parts if s in found}, {s: batch[f"of_{s}"] for s in parts})
        return fused_MQD.flatten(0, 1)

    def _refuse(self, name: str, place_BS: Tensor, found: int) -> None:
        """Say which stream does not fit its placeholders."""
        raise ConfigError(
            f"stream {name!r} gave {found} tokens for {int(place_BS.sum())} placeholders (per row: {place_BS.sum(1).tolist()});",
            remedy="make ids and media by the same processor, and do not cut ids afterwards.",
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        media: Mapping[str, StreamBatch] | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        segments: Segments | None = None,
        **kwargs: Any,
    ) -> UniFusionOutput:
        """One pass.

        Args:
            input_ids: (B, S); placeholders where media tokens go.
            attention_mask: (B, S), 0 on padding, either side.
            media: stream -> StreamBatch.
            labels: (B, S) with -100 where not supervised; the loss is computed on supervised positions only.
            inputs_embeds: (B, S, D) instead of `input_ids` and `media`.
            num_items_in_batch: supervised positions over all accumulated batches and ranks; the loss is a sum over them.
            segments: conversations that share the one sequence, with `position_ids` that start again at each (`collate_packed`).

        Returns:
            loss and n_targets with labels; logits (B, S, V) without.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ConfigError("neither input_ids nor inputs_embeds were given;", remedy="pass what the processor returns.")
            inputs_embeds = self.embed(input_ids, media)
        if (
            position_ids is None
            and past_key_values is None
            and attention_mask is not None
            and attention_mask.dim() == 2
            and not bool(attention_mask[:, 0].all())
        ):
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        inputs = {"inputs_embeds": inputs_embeds, "attention_mask": attention_mask, "past_key_values": past_key_values, **kwargs}
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        if segments is not None:
            inputs |= packed_inputs(self.language_model, segments)
        if labels is None:
            out = self.language_model(**inputs, logits_to_keep=logits_to_keep)
            kept = {k: out.get(k) for k in ("past_key_values", "hidden_states", "attentions")}
            return UniFusionOutput(logits=out.logits, **kept)
        loss, n_targets = self._loss(inputs, labels, num_items_in_batch)
        return UniFusionOutput(loss=loss, n_targets=n_targets)

    def _loss(self, inputs: dict[str, Any], labels_BS: Tensor, items: Tensor | int | None) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the next token at supervised positions, without logits (B, S, V) for the rest."""
        wanted_BS = labels_BS[:, 1:] != _IGNORED
        targets_N = labels_BS[:, 1:][wanted_BS]
        inputs = {**inputs, "use_cache": False}
        if self._has_plain_head(inputs["inputs_embeds"]):
            hidden_BSD = self.get_decoder()(**inputs).last_hidden_state
            total = head_loss(self.get_output_embeddings(), hidden_BSD[:, :-1][wanted_BS], targets_N)
        else:
            columns = torch.nonzero(wanted_BS.any(0))[:, 0]
            logits_BKV = self.language_model(**inputs, logits_to_keep=columns).logits
            total = functional.cross_entropy(logits_BKV[wanted_BS[:, columns]].float(), targets_N, reduction="sum")
        count = targets_N.numel() if items is None else items
        return total / torch.clamp(torch.as_tensor(count, device=total.device), min=1), torch.tensor(targets_N.numel())

    def _has_plain_head(self, embeds_BSD: Tensor) -> bool:
        """Whether logits are just head(hidden): some models scale or cap them, which is found by trying, not by the model's name.

        The head is made to give large marks, since a cap cannot be seen on the small logits of a fresh model; then the logits must
        be those marks, and the head must have been fed what the decoder gives.
        """
        if self._plain_head is None:
            seen: list[Tensor] = []

            def mark(_module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
                seen.extend((args[0], torch.linspace(-1e4, 1e4, out.numel(), device=out.device).view_as(out).to(out.dtype)))
                return seen[1]

            head, training = self.get_output_embeddings(), self.language_model.training
            self.language_model.eval()
            hook = head.register_forward_hook(mark)
            try:
                with torch.no_grad():
                    probe = embeds_BSD[:1, :2].detach()
                    logits = self.language_model(inputs_embeds=probe, use_cache=False).logits
                    hidden = self.get_decoder()(inputs_embeds=probe, use_cache=False).last_hidden_state
            finally:
                hook.remove()
                self.language_model.train(training)
                self.train(self.training)  # which part is in which mode is known there
            fed, marks = seen
            self._plain_head = bool(
                torch.equal(logits.float(), marks.float()) and fed.shape == hidden.shape and torch.allclose(fed, hidden, atol=1e-5)
            )
        return self._plain_head

    @torch.no_grad()
    def generate(self, input_ids: Tensor | None = None, media: Mapping[str, StreamBatch] | None = None, **kwargs: Any) -> Any:
        """Hugging Face's `generate`; media are encoded once, before the first step, whatever the decoding strategy.

        A batch that is padded on the right is moved to the left first; placeholders are never generated.

        Returns:
            ids (B, prompt + new), as `generate` of transformers does.
        """
        given = (
            kwargs.get("suppress_tokens")
            or getattr(kwargs.get("generation_config") or self.generation_config, "suppress_tokens", None)
            or ()
        )
        kwargs["suppress_tokens"] = sorted({*given, *self.config.placeholder_ids.values()}) or None
        if input_ids is None or "inputs_embeds" in kwargs:
            return super().generate(input_ids, **kwargs)
        if kwargs.get("attention_mask") is not None:
            input_ids, kwargs["attention_mask"] = left_padded(input_ids, kwargs["attention_mask"])
        if media is None and not self._any_placeholder(input_ids):
            return super().generate(input_ids, **kwargs)
        return super().generate(input_ids=input_ids, inputs_embeds=self.embed(input_ids, media), **kwargs)

    def _any_placeholder(self, input_ids: Tensor) -> bool:
        """Whether ids hold a placeholder."""
        known = torch.tensor(sorted(self.config.placeholder_ids.values()), device=input_ids.device)
        return bool(torch.isin(input_ids, known).any())

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Hugging Face's: everything is stored, so nothing is fetched from a source when it is loaded."""
        self.config.absent = []
        return super().save_pretrained(*args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, quantize: str | None = "as saved", **kwargs: Any) -> Any:
        """Load a checkpoint strictly: unknown or missing keys are an error that lists them; sourced parts come from their source.

        Args:
            pretrained_model_name_or_path: folder or hub name.
            args: of transformers.
            quantize: None loads whole what was tuned over a quantised language model.
            kwargs: of transformers.

        Raises:
            CheckpointError: it does not fit its config, holds pickles only, or names code to run.
            ConfigError: `quantize` is something else.
        """
        from unifusion.checkpoint import check_folder
        from unifusion.models.loading import check_keys, sourced_language_model
        from unifusion.models.lora import keep_head_bias, tied_rows

        if quantize not in ("as saved", None):
            raise ConfigError(f"a checkpoint cannot be loaded {quantize!r};", remedy='pass "as saved", or None for whole weights.')
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir():
            check_folder(folder)
        where = {k: kwargs[k] for k in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if k in kwargs}
        config = kwargs.get("config") or cls.config_class.from_pretrained(pretrained_model_name_or_path, **where)
        if "language_model" in config.absent:
            named = kwargs.get("dtype", kwargs.get("torch_dtype"))  # transformers takes its old name too
            asked = COMPUTE_DTYPES.get(str(named).removeprefix("torch."), config.dtype)
            dtype = asked if isinstance(asked, torch.dtype) else torch.float32
            kwargs["language_model"] = sourced_language_model(config, dtype=dtype, quantize=quantize and config.quantized)
        kwargs.setdefault("use_safetensors", True)
        kwargs["ignore_mismatched_sizes"] = True  # they are named and refused by check_keys
        want_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        for report in (model._weights_report, info):  # the second speaks of LoRA alone, where there is some
            missing = set(report["missing_keys"]) - tied_rows(model)
            check_keys(missing, report["unexpected_keys"], report["mismatched_keys"], pretrained_model_name_or_path)
        keep_head_bias(model)
        model.held_parts = {"language_model", *(f"encoders.{n}" for n in model.encoders)} - set(model.config.absent)
        if not quantize:
            model.config.quantized = model.config.compute_dtype = None
        return (model, info) if want_info else model

    def load_adapter(self, *args: Any, load_config: Any = None, **kwargs: Any) -> Any:
        """Hugging Face's, mended: DoRA's magnitudes are found in the file (transformers 5.23 leaves them as they were made).

        Its table of what is missing is not shown: a tied head's rows are in it, which no file has twice; `from_pretrained` checks them.
        """
        from unifusion.models.lora import quiet_peft

        known = (load_config.weight_mapping if load_config is not None else None) or get_model_conversion_mapping(self)
        renamed = WeightRenaming(r"lora_magnitude_vector\.([^.]+)$", r"lora_magnitude_vector.\1.weight")
        with quiet_peft():
            return super().load_adapter(*args, load_config=load_config, weight_mapping=[*known, renamed], **kwargs)

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        """transformers' step between the weights and LoRA: what came from a source is left alone, or is fetched now.

        The report of the weights is kept, since `from_pretrained` of transformers gives LoRA's only, where there is some.
        """
        from unifusion.models.loading import fetch_encoders

        sourced = model.language_model if "language_model" in model.config.absent else None
        if sourced is not None:
            loading_info.missing_keys = {k for k in loading_info.missing_keys if not k.startswith("language_model.")}
            buffers = {n: b.clone() for n, b in sourced.named_non_persistent_buffers()}  # made anew, empty, by transformers
        loading_info = PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        if sourced is not None:
            for name, buffer in buffers.items():
                setattr(sourced.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], buffer)
            sourced.to(next(model.adapters.parameters(), next(sourced.parameters())).device)  # where `device_map` put the rest
        fetch_encoders(model)
        absent = tuple(f"{p}." for p in model.config.absent)
        loading_info.missing_keys = {
            k for k in loading_info.missing_keys if k not in model.all_tied_weights_keys and not (absent and k.startswith(absent))
        }
        model._weights_report = loading_info.to_dict()
        return loading_info
