"""UniFusionConfig: a language model, and streams of encoder + adapter by their public names."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

from unifusion.processor.streams import FusedSpec, StreamSpec, in_order, stems_only

__all__ = ["UniFusionConfig"]


@strict
class UniFusionConfig(PreTrainedConfig):
    """Configuration of `UniFusionForConditionalGeneration`.

    Attributes:
        text_config: configuration of any causal language model of transformers.
        text_source: hub name or folder the language model's frozen weights come from; None when they are in the checkpoint.
        text_revision: pins `text_source`.
        streams: stream name -> `StreamSpec` as a dict, in the order they are laid out.
        fused: name -> `FusedSpec` as a dict: tokens from several streams together.
        stream_order: that order, since JSON is written with sorted keys.
        placeholder_ids: stream name -> id of its placeholder token.
        absent: names of top-level parts (`language_model`, `encoders.video`) whose weights are not in the checkpoint but come
            from their source.
        new_tokens: ids of control tokens of the default chat format that the language model's own tokenizer did not know, and whose rows
            its training therefore left at random.
        quantized: `4bit` or `8bit` when the language model is loaded so from its source (bitsandbytes).
        compute_dtype: type that a quantised language model computes in, such as `float32`.
        calibration: task -> `temperature` its labels' log-likelihoods are divided by, `biases` (label -> what is added), and the
            `threshold` of probability below which it is better to abstain; all fitted on data that nothing was trained on.
    """

    model_type = "unifusion"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")}  # noqa: RUF012 - transformers' own form

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    text_source: str | None = None
    text_revision: str | None = None
    streams: dict[str, Any] | None = None
    stream_order: list[str] | None = None
    fused: dict[str, Any] | None = None
    placeholder_ids: dict[str, int] | None = None
    absent: list[str] | None = None
    new_tokens: list[int] | None = None
    quantized: str | None = None
    compute_dtype: str | None = None
    calibration: dict[str, Any] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Resolve the streams and carry the language model's tying up, as transformers expects."""
        self.streams = {
            name: StreamSpec.from_dict(raw).to_dict() for name, raw in in_order(dict(self.streams or {}), self.stream_order).items()
        }
        self.stream_order = list(self.streams)
        self.fused = {name: FusedSpec.from_dict(raw).check(name, self.streams).to_dict() for name, raw in (self.fused or {}).items()}
        self.placeholder_ids = dict(self.placeholder_ids or {})
        self.absent = list(self.absent or [])
        self.new_tokens = list(self.new_tokens or [])
        self.calibration = dict(self.calibration or {})
        super().__post_init__(**kwargs)
        text: Any = self.text_config
        self.tie_word_embeddings = bool(getattr(text, "tie_word_embeddings", False))

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read what a file holds.

        Raises:
            CheckpointError: a stream names something else than a stem of the catalog.
        """
        stems_only(config_dict.get("streams"), "config.json")
        stems_only(config_dict.get("fused"), "config.json")
        return super().from_dict(config_dict, **kwargs)

    @property
    def specs(self) -> dict[str, StreamSpec]:
        """The streams, typed."""
        return {name: StreamSpec.from_dict(raw) for name, raw in (self.streams or {}).items()}

    @property
    def fusions(self) -> dict[str, FusedSpec]:
        """The fusions, typed."""
        return {name: FusedSpec.from_dict(raw) for name, raw in (self.fused or {}).items()}
