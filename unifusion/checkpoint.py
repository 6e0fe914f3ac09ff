"""Saving and loading by one contract: one folder, safetensors and JSON only, strict, atomic.

`config.json` (stems only), `model*.safetensors` (what was trained, or everything with `self_contained`), `adapter_config.json` and
`adapter_model.safetensors` when LoRA was used, tokenizer, `processor_config.json`, `chat_template.jinja`, `generation_config.json`,
`streams/<name>/` with a text stream's own tokenizer, `provenance.json`, `README.md`. Frozen backbones with a source are referenced by
name and revision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from unifusion.atomic import aside, atomic_folder
from unifusion.errors import CheckpointError, UniFusionError
from unifusion.processor.streams import stems_only
from unifusion.share import resolve_checkpoint

if TYPE_CHECKING:
    from unifusion.models.chat import UniFusionForConditionalGeneration
    from unifusion.processor import UniFusionProcessor

__all__ = [
    "check_folder", "check_plain_folder", "is_ours", "load", "merge", "no_progress_bar", "read_json", "save",
]  # fmt: skip

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHARD_BYTES = 15 * 1000**2
_LORA = "adapter_model.safetensors"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CONFIGS = ("config.json", "processor_config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json")
_CODE_KEYS = ("auto_map", "trust_remote_code", "custom_generate", "custom_pipelines")


def save(
    model: UniFusionForConditionalGeneration, processor: UniFusionProcessor, folder: str | Path, *, provenance: Mapping[str, Any],
    card: str = "", self_contained: bool = False, dtype: torch.dtype | None = None,
) -> Path:  # fmt: skip
    """Write a checkpoint.

    Args:
        model: LoRA layers added by `add_adapter` go to their own file, in peft's format.
        processor: written beside it.
        folder: replaced as a whole, atomically.
        provenance: recipe with every resolved choice, data hashes, git commit, metrics, seed.
        card: README.md.
        self_contained: store frozen backbones too; without it those that have a source are left out and referenced.
        dtype: store floating tensors in this type (they are computed in fp32 after loading all the same).

    Raises:
        CheckpointError: a stream names user code by a dotted path, a weight is not finite, or quantised weights would have to be stored.
    """
    target = Path(folder)
    for name, spec in model.specs.items():
        if ":" in spec.encoder or ":" in spec.adapter:
            raise CheckpointError(
                f"stream {name!r} uses {spec.encoder} / {spec.adapter}; a checkpoint may name catalog entries only;",
                remedy="put the class into unifusion/encoders or unifusion/adapters.",
            )
    model.config.absent = _absent_parts(model, self_contained)
    tensors = _own_tensors(model, model.config.absent, dtype)
    with atomic_folder(target) as work:
        model.config.architectures = [type(model).__name__]
        model.config.dtype = model.dtype  # what it is computed in, whatever it is stored in
        model.config.save_pretrained(work)
        model.generation_config.save_pretrained(work)
        processor.save_pretrained(work)
        _save_shards(tensors, work)
        if getattr(model, "_hf_peft_config_loaded", False):
            _save_lora(model, work)
        (work / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
        (work / "README.md").write_text(card or f"# {target.name}\n", encoding="utf-8")
    return target


def _absent_parts(model: UniFusionForConditionalGeneration, self_contained: bool) -> list[str]:
    """Parts that are frozen and can be had from their source again; LoRA around them has files of its own.

    What a checkpoint held itself was trained or merged once, and is stored again even if it is frozen by now.

    Raises:
        CheckpointError: quantised weights would have to be stored.
    """
    from unifusion.models.language_model import is_quantized
    from unifusion.models.lora import is_added

    def frozen(part: nn.Module) -> bool:
        return not any(p.requires_grad for n, p in part.named_parameters() if not is_added(n))

    sources = {f"encoders.{n}": s.encoder_choices.source for n, s in model.specs.items()} | {"language_model": model.config.text_source}
    held = getattr(model, "held_parts", ())
    absent = [n for n, source in sources.items() if source is not None and n not in held and frozen(model.get_submodule(n))]
    if is_quantized(model.language_model) and (self_contained or "language_model" not in absent):
        raise CheckpointError(
            f"the language model is quantised ({model.config.quantized}) and would have to be stored;",
            remedy="freeze it and save without self_contained, then `unifusion merge`, which writes the whole weights.",
        )
    return [] if self_contained else absent


def _own_tensors(model: UniFusionForConditionalGeneration, absent: list[str], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """What goes into model.safetensors: no LoRA, no absent part, no second name of a tied weight."""
    from unifusion.models.lora import is_added, plain_name

    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    out: dict[str, torch.Tensor] = {}
    for key, value in model.state_dict().items():
        plain = plain_name(key)
        if is_added(key) or plain in tied or any(plain.startswith(part + ".") for part in absent):
            continue
        tensor = value.detach().cpu().contiguous()
        tensor = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor.clone()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"the weight {plain!r} is not finite in {tensor.dtype}; nothing was written;",
                remedy="load the last good checkpoint, or store it in float32.",
            )
        out[plain] = tensor
    return out


def _save_shards(tensors: Mapping[str, torch.Tensor], work: Path) -> None:
    """Write model.safetensors, or shards of at most 15 MB and their index when it is larger than one."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for key, tensor in tensors.items():
        if size and size + tensor.nbytes > _SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += tensor.nbytes
    names = (
        ["model.safetensors"] if len(shards) == 1 else [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    )
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, work / name, metadata={"format": "pt"})
    if len(shards) > 1:
        index = {k: n for n, shard in zip(names, shards, strict=True) for k in shard}
        total = sum(t.nbytes for t in tensors.values())
        (work / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1), encoding="utf-8"
        )


def _save_lora(model: UniFusionForConditionalGeneration, work: Path) -> None:
    """Write LoRA weights in peft's own format, keys prefixed as peft does."""
    from peft import get_peft_model_state_dict

    name = model.active_adapters()[0]
    state = {f"base_model.model.{k}": v.detach().cpu().contiguous() for k, v in get_peft_model_state_dict(model, adapter_name=name).items()}
    save_file(state, work / _LORA, metadata={"format": "pt"})
    model.peft_config[name].save_pretrained(work)


def is_ours(source: Path) -> bool:
    """Whether `load` is the one to open a folder, or to say what is wrong with it; not for another's model or a name on the hub."""
    if source.is_dir():
        return not (source / "config.json").is_file() or read_json(source / "config.json").get("model_type") == "unifusion"
    return aside(source).is_dir() or source.parts[0] == "checkpoints" or _HUB_NAME.fullmatch(source.as_posix()) is None


def check_folder(folder: Path) -> None:
    """Refuse what would run code or is not there, before anything is opened.

    Raises:
        CheckpointError: no config.json, pickled weights without safetensors, code named by a config, or a dotted path.
    """
    raw = check_plain_folder(folder)
    if raw.get("model_type") != "unifusion":
        raise CheckpointError(
            f"{folder / 'config.json'} describes a {raw.get('model_type')!r} model;", remedy="name a folder that unifusion saved."
        )
    if not (folder / "processor_config.json").is_file():  # transformers would make one without streams
        raise CheckpointError(f"{folder} holds no processor_config.json;", remedy="copy the checkpoint again, with all its files.")
    for name in _CONFIGS:
        if (folder / name).is_file():
            stems_only(read_json(folder / name).get("streams"), str(folder / name))


def check_plain_folder(folder: Path, *, also: Sequence[str] = ()) -> dict[str, Any]:
    """Return config.json of a model's folder, ours or another's, after refusing what would run code.

    Args:
        folder: of the model.
        also: further JSON files that are read.

    Raises:
        CheckpointError: no config.json, an emotion model, pickled weights without safetensors, or code named by a config.
    """
    if not (folder / "config.json").is_file():
        seeds = sorted(p.parent for p in folder.glob("seed-*/config.json"))
        found = f"{folder} holds {'a model of each of several seeds' if seeds else 'no config.json'};"
        raise CheckpointError(found, remedy=f"name one of them: {seeds[0]}." if seeds else "name a folder that unifusion saved.")
    if read_json(folder / "config.json").get("model_type") == "unifusion_affect":
        raise CheckpointError(f"{folder} is an emotion model;", remedy="it tells emotions alone: unifusion emotion, or eval emotion.")
    inner = sorted(p.relative_to(folder).as_posix() for p in folder.glob("streams/*/*_config.json"))
    for name in (*_CONFIGS, *inner, *also):
        if (folder / name).is_file():
            _refuse_code(read_json(folder / name), folder / name)
    weights = [(folder, "model*.safetensors")]
    if (folder / "adapter_config.json").is_file():
        weights.append((folder, _LORA))
    for where, pattern in weights:
        if not any(where.glob(pattern)):
            pickled = next((p for kind in _PICKLES for p in sorted(where.glob(kind))), None)
            found = f"no {pattern}, only {pickled.name}, a pickle, which could run code" if pickled else f"no {pattern}"
            raise CheckpointError(
                f"{folder} holds {found};",
                remedy="convert it with safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors').",
            )
    return read_json(folder / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        CheckpointError: it holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error};", remedy="copy the checkpoint again.") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} holds a {type(raw).__name__}, wanted keys and values;", remedy="copy the checkpoint again.")
    return raw


def _refuse_code(raw: Any, path: Path) -> None:
    """Refuse keys, at any depth, by which transformers would fetch or run code."""
    for value in raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ():
        _refuse_code(value, path)
    if not isinstance(raw, dict):
        return
    for key, value in raw.items():
        kernel = "attn_implementation" in key and "/" in json.dumps(value)
        if value and (key in _CODE_KEYS or kernel):
            raise CheckpointError(
                f"{path} names code to run ({key}: {json.dumps(value)[:80]});",
                remedy="remove the key; unifusion runs no code from a checkpoint.",
            )


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar for the loading of weights off the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, quantize: str | None = "as saved"
) -> tuple[UniFusionForConditionalGeneration, UniFusionProcessor]:
    """Load a model and its processor from a folder or the name of a shipped checkpoint.

    Args:
        folder: of a checkpoint.
        device: where to.
        dtype: what it computes in; a quantised language model keeps the type it was tuned with.
        quantize: None loads whole what was tuned quantised.

    Raises:
        CheckpointError: the folder is not a checkpoint of ours or does not fit.
    """
    from unifusion.models.chat import UniFusionForConditionalGeneration
    from unifusion.processor import UniFusionProcessor

    path = resolve_checkpoint(folder)
    if not path.is_dir() and aside(path).is_dir():
        path = aside(path)  # a save was cut off between its two renames
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint folder {str(folder)!r};", remedy="`unifusion list checkpoints` shows those that ship.")
    check_folder(path)
    try:
        with no_progress_bar():
            model = UniFusionForConditionalGeneration.from_pretrained(path, dtype=dtype, quantize=quantize)
        processor = UniFusionProcessor.from_pretrained(path)
    except UniFusionError:
        raise
    except Exception as error:  # tokenizers and safetensors raise plain Exceptions for broken files
        raise CheckpointError(
            f"{path} cannot be loaded: {error};", remedy="copy it again, or load it with the version that saved it."
        ) from error
    for name in model.specs.keys() & processor.specs.keys():
        model.specs[name].opening_choices = processor.specs[name].opening_choices
    return model.to(device).eval(), processor


def merge(folder: str | Path, out: str | Path) -> Path:
    """Fold LoRA into the weights it adapts and save; refused unless the logits, and the features of tuned encoders, stay equal.

    A checkpoint tuned over a quantised language model is merged into the whole one, and what that changes is written to provenance.json.

    Raises:
        CheckpointError: there is no LoRA to merge, or logits differ by more than 1e-4.
    """
    from unifusion.models.merging import merge as fold

    return fold(folder, out)


def weights_info(folder: str | Path) -> dict[str, int]:
    """Bytes and parameters of a checkpoint's safetensors, without loading them."""
    total = parameters = 0
    for path in sorted(Path(folder).glob("*.safetensors")):
        total += path.stat().st_size
        with safe_open(path, framework="pt") as file:
            parameters += sum(int(torch.tensor(file.get_slice(k).get_shape()).prod()) for k in file.keys())
    return {"bytes": total, "parameters": parameters}
