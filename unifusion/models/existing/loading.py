"""Opens a folder or hub name of an existing model: checks first, safetensors only, no code of a checkpoint is ever run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from unifusion.checkpoint import check_plain_folder, no_progress_bar, read_json
from unifusion.errors import CheckpointError, UniFusionError
from unifusion.limits import Limits
from unifusion.models.existing.chat import ExistingChat
from unifusion.models.existing.processor import ExistingProcessor
from unifusion.models.existing.settings import SETTINGS_FILES, read_settings, template_of

__all__ = ["checked_config", "dtype_on", "folder_of", "load_existing", "load_network", "supported"]

_FAMILIES = {
    "llava_onevision": "llava_onevision:LlavaOnevision",
    "qwen2_5_omni": "qwen_omni:Qwen25Omni",
    "qwen2_5_omni_thinker": "qwen_omni:Qwen25Omni",
    "qwen2_5_vl": "qwen_vl:Qwen25VL",
    "qwen2_audio": "qwen2_audio:Qwen2Audio",
    "qwen2_vl": "qwen_vl:Qwen2VL",
    "qwen3_omni_moe": "qwen_omni:Qwen3Omni",
    "qwen3_omni_moe_thinker": "qwen_omni:Qwen3Omni",
    "video_llama_3": "video_llama_3:VideoLlama3",
}
"""`model_type` of config.json -> module and class of its family."""

_SPEAKING = ("talker.", "token2wav.", "code2wav.")
"""Weights that only speaking needs; answers are text."""
_PATTERNS = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")


def supported() -> tuple[str, ...]:
    """Values of `model_type` that can be opened."""
    return tuple(_FAMILIES)


def load_existing(
    source: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[ExistingChat, ExistingProcessor]:
    """Load a model and its processor from a folder, or by its name on the hub.

    Args:
        source: folder, or name on the hub, whose files are fetched into the usual cache.
        device: where the weights go.
        dtype: None takes float32 on a CPU and what is stored elsewhere.

    Raises:
        CheckpointError: it is not supported, names code, holds pickled weights only, or does not fit its config.
    """
    folder = folder_of(source)
    kind = str(checked_config(folder).get("model_type"))
    if kind not in _FAMILIES:
        raise CheckpointError(
            f"{folder / 'config.json'} describes a {kind!r} model;",
            remedy=f"name a folder that unifusion saved, or a model of one of these kinds: {', '.join(supported())}."
            " `unifusion eval` measures other kinds, too.",
        )
    module, _, name = _FAMILIES[kind].partition(":")
    family_class = getattr(importlib.import_module(f"unifusion.models.existing.{module}"), name)
    try:
        with no_progress_bar():
            network = load_network(family_class.network, folder, dtype or dtype_on(device))
        tokenizer = _tokenizer(folder, family_class.template())
        family = family_class(network.config, read_settings(folder))
    except UniFusionError:
        raise
    except Exception as error:  # tokenizers, safetensors and processors raise plain Exceptions for broken files
        raise CheckpointError(f"{folder} cannot be loaded: {error};", remedy="copy it again.") from error
    model = ExistingChat(network.to(device).eval(), family).eval()
    length = getattr(model.language_model.config, "max_position_embeddings", None) or Limits().max_tokens
    return model, ExistingProcessor(tokenizer, family, context=int(length))


def dtype_on(device: str | torch.device) -> Any:
    """The type of weights where nobody asks for one."""
    return torch.float32 if torch.device(device).type == "cpu" else "auto"


def checked_config(folder: Path) -> dict[str, Any]:
    """The config of a folder whose files run no code.

    Raises:
        CheckpointError: they would, or it holds an adapter alone.
    """
    raw = check_plain_folder(folder, also=SETTINGS_FILES)
    if (folder / "adapter_config.json").is_file():  # transformers would fetch the base that the file names
        raise CheckpointError(f"{folder} holds an adapter of peft;", remedy="merge it into its model first (merge_and_unload).")
    return raw


def folder_of(source: str | Path) -> Path:
    """The folder of a model, fetched where it is a name on the hub.

    Raises:
        CheckpointError: there is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), allow_patterns=list(_PATTERNS)))
    except Exception as error:  # the hub's client raises errors of several libraries
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"no checkpoint folder {str(source)!r}, and the hub does not give it ({why});",
            remedy="`unifusion list checkpoints` shows those that ship; for others name a folder, or go online.",
        ) from error


def load_network(name: str, folder: Path, dtype: Any) -> Any:
    """The network with all its weights.

    Raises:
        CheckpointError: weights are missing, unknown or of another shape; lists them.
    """
    import transformers

    network_class = getattr(transformers, name)
    config = _thinker(network_class.config_class, folder)
    network, info = network_class.from_pretrained(
        folder, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    tied = set(getattr(network, "all_tied_weights_keys", None) or {})
    unknown = sorted(k for k in info["unexpected_keys"] if not k.startswith(_SPEAKING))
    told = {
        "missing": sorted(set(info["missing_keys"]) - tied),
        "unknown": unknown,
        "shape differs": sorted(k[0] for k in info["mismatched_keys"]),
    }
    if any(told.values()):
        text = "; ".join(f"{what}: {', '.join(keys[:8])}{' ..' if len(keys) > 8 else ''}" for what, keys in told.items() if keys)
        raise CheckpointError(f"{folder} does not fit its config ({text});", remedy="copy it again.")
    return network


def _thinker(config_class: Any, folder: Path) -> Any:
    """The config of the part that answers in text."""
    raw = read_json(folder / "config.json")
    return config_class.from_dict(raw.get("thinker_config", raw))


def _tokenizer(folder: Path, otherwise: str | None) -> Any:
    """The tokenizer, with the processor's chat template where that lies beside it, or one for want of any."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.chat_template = template_of(folder) or tokenizer.chat_template or otherwise
    return tokenizer
