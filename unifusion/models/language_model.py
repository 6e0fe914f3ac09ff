"""A causal language model of transformers with its weights: whole, or quantised by bitsandbytes as it is read (QLoRA).

Quantisation follows Dettmers et al., "QLoRA" (2023): 4-bit NormalFloat with the scales quantised once more, or "LLM.int8()" (2022).
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM

from unifusion.errors import CheckpointError, ConfigError, nearest

__all__ = ["COMPUTE_DTYPES", "QUANTIZE", "Quantize", "grow_embeddings", "is_quantized", "load_language_model", "shape_of"]

Quantize = Literal["4bit", "8bit"]
QUANTIZE = ("4bit", "8bit")
COMPUTE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types that a quantised model may compute in, by the names that config.json holds."""


def load_language_model(
    source: str | Path, revision: str | None = None, *, dtype: torch.dtype = torch.float32, quantize: str | None = None
) -> Any:  # fmt: skip
    """A causal language model from safetensors only; no code of its folder is run.

    Args:
        source: hub name or folder.
        revision: pins it.
        dtype: of its weights; with `quantize`, of those that stay whole (embeddings, norms, head) and of what is computed.
        quantize: `4bit` or `8bit`: its linear layers but the head, quantised one by one as they are read.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: an unknown way to quantise, or bitsandbytes is not installed.
    """
    options: dict[str, Any] = {}
    if quantize is not None:
        options = {"device_map": {"": "cpu"}, "quantization_config": _bitsandbytes(quantize, dtype)}
    try:
        network, told = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"cannot load the language model {str(source)!r}: {str(error).strip().splitlines()[0]};",
            remedy="give a hub name or folder with model.safetensors (a pickle is converted by save_pretrained).",
        ) from error
    missing = sorted(told["missing_keys"])
    if missing:  # transformers makes them at random, with a warning
        shown = ", ".join(missing[:5]) + (" .." if len(missing) > 5 else "")
        raise CheckpointError(
            f"{str(source)!r} lacks {len(missing)} weights of {type(network).__name__}: {shown};",
            remedy="copy it again with all its model*.safetensors, or name another language model.",
        )
    _settle(network)
    return network


def _bitsandbytes(quantize: str, dtype: torch.dtype) -> Any:
    """The library's choices.

    Raises:
        ConfigError: an unknown way or type, or the library is not installed.
    """
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if quantize not in QUANTIZE:
        raise ConfigError(f"no way to quantise is called {quantize!r};", remedy=nearest(str(quantize), list(QUANTIZE)))
    if dtype not in COMPUTE_DTYPES.values():
        raise ConfigError(f"a quantised model cannot compute in {dtype};", remedy=f"known: {', '.join(COMPUTE_DTYPES)}.")
    if find_spec("bitsandbytes") is None:
        raise ConfigError("quantising needs bitsandbytes, which is not installed;", remedy="pip install 'unifusion-x[quant]'.")
    if quantize == "8bit":
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # else a line for each layer of each pass
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )  # fmt: skip


def _settle(network: Any) -> None:
    """Put bitsandbytes' layers into the state in which they can be trained after they were asked, and be tuned by DoRA."""
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks a 4-bit layer at its first pass in eval mode for a product that has no
            # gradient: seen, after a validation nothing below the layer learned any more, and outputs differed in the third digit.
            module.support_avx512bf16_for_cpu = False
        if hasattr(module, "init_8bit_state"):
            module.register_forward_pre_hook(_keep_scales)


def _keep_scales(module: Any, _args: tuple[Any, ...]) -> None:
    """Give an 8-bit weight its scales back: on the CPU peft 0.21 copies it for DoRA without them, and bitsandbytes then forgets them."""
    if module.weight.CB is not None and module.weight.SCB is None:
        module.weight.SCB = module.state.SCB


def is_quantized(language_model: Any) -> bool:
    """Whether its linear layers are quantised."""
    return bool(getattr(language_model, "is_loaded_in_4bit", False) or getattr(language_model, "is_loaded_in_8bit", False))


def shape_of(language_model: Any) -> Any:
    """Its config without what the way of loading put into it."""
    config = language_model.config
    if is_quantized(language_model):
        config = copy.deepcopy(config)
        del config.quantization_config
    return config


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
