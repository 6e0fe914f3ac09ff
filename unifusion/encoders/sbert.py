"""Sentence embeddings of the transcript, by any folder of the sentence-transformers library: one token for a window of text.

Follows Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (2019) and the layout of
sentence-transformers' folders (modules.json), whose Transformer, Pooling, Dense and Normalize modules are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from unifusion.conversation import Clip, Line
from unifusion.encoders._hub import load_pretrained, resolve_backbone
from unifusion.encoders._texts import TextConfig, TextEncoder, hold_windows, passages, tiny_bert, windows
from unifusion.encoders.encoder import EncoderInput
from unifusion.errors import CheckpointError, ConfigError, nearest

__all__ = ["SBERT"]

POOLINGS = {
    "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens", "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
}  # fmt: skip
"""Ways to pool, and the older keys for them, in the order several are joined."""
ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU}


class _Sentences(nn.Module):
    """A transformer and the layers behind its pooling."""

    def __init__(self, transformer: nn.Module, head: dict[str, Any]) -> None:
        super().__init__()
        self.transformer, self.head = transformer, head
        self.dense = nn.ModuleList([nn.Linear(d["in_features"], d["out_features"], bias=d["bias"]) for d in head["dense"]])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings (C, D)."""
        tokens_CLD = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        x_CD = torch.cat([_pooled(tokens_CLD, attention_mask, way) for way in self.head["pooling"]], dim=-1)
        for layer, how in zip(self.dense, self.head["dense"], strict=True):
            x_CD = ACTIVATIONS[how["activation"]]()(layer(x_CD))
        return functional.normalize(x_CD, dim=-1) if self.head["normalise"] else x_CD


def _middles(real_CL: Tensor, line: Line) -> Tensor:
    """Seconds (C,) of the middles of a line's windows."""
    counts_C = real_CL.sum(dim=1).double()
    share_C = (counts_C.cumsum(0) - counts_C / 2) / counts_C.sum()
    return (line.start_s + share_C * (line.end_s - line.start_s)).float()


class SBERT(TextEncoder):
    """One embedding for each window of `max_tokens`, its time in the middle of the window's share of the clip, or of its timed line."""

    model_class = AutoModel

    @dataclass(kw_only=True)
    class Config(TextConfig):
        """`source`: a folder or hub name of sentence-transformers (such as sentence-transformers/all-MiniLM-L6-v2), or of a bare
        transformer, which is pooled by its mean; or an inline `backbone` with its `model_type`."""  # fmt: skip

        max_tokens: int = 128
        """Of a window. The library cuts longer text off at a length of its own; here it becomes several embeddings."""
        head: dict[str, Any] | None = None
        """`pooling` (some of cls, max, mean, mean_sqrt_len_tokens), `dense` (list of in_features, out_features, bias, activation) and
        `normalise`; None: as the source's modules.json says, else the mean."""

    @classmethod
    def tiny(cls) -> Config:
        """Windows of 16 bytes, width 16, two layers, their mean."""
        return cls.Config(backbone={"model_type": "bert", **tiny_bert(), "type_vocab_size": 1}, max_tokens=16)

    @property
    def width(self) -> int:
        """D of the embeddings."""
        head = self.config.head
        return int(head["dense"][-1]["out_features"] if head["dense"] else self.config.backbone["hidden_size"] * len(head["pooling"]))

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open.

        Raises:
            CheckpointError: the source cannot be read, or has modules of other kinds.
            ConfigError: a kind of network that transformers does not know, an unknown key, or windows longer than its positions.
        """
        settled = bool(config.backbone and config.head)  # as in a checkpoint, whose source may be gone
        where = config.source if settled else _transformer_folder(config)
        shape = _shape_class(config, where)
        known = resolve_backbone(replace(config, source=where), shape)
        head = config.head or _head(config)
        resolved = replace(config, backbone=known.backbone, head=head)
        unknown = sorted(set(head["pooling"]) - set(POOLINGS))
        if unknown:
            raise CheckpointError(f"sentences are pooled by {unknown[0]!r};", remedy=nearest(unknown[0], list(POOLINGS)))
        most = resolved.backbone.get("max_position_embeddings", resolved.max_tokens)
        hold_windows(resolved.max_tokens, most)
        return resolved

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the transformer with the layers behind its pooling."""
        head = config.head or {}
        poolers = {"add_pooling_layer": False} if config.backbone["model_type"] in ("bert", "roberta", "xlm-roberta", "mpnet") else {}
        if not (load_weights and config.source):
            shape = _shape_class(config, config.source)
            return _Sentences(AutoModel.from_config(shape.from_dict(dict(config.backbone)), **poolers), head)
        whole = replace(config, source=_transformer_folder(config))
        network = _Sentences(load_pretrained(AutoModel, whole, options=poolers), head)
        for layer, how in zip(network.dense, head["dense"], strict=True):
            _fill(layer, config, how["path"])
        return network

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Cut the transcript into windows of tokens.

        Returns:
            EncoderInput with `input_ids` and `attention_mask` (C, max_tokens) int64.

        Raises:
            MediaError: the clip has no transcript.
        """
        spoken = passages(clip)
        cut = [windows(config, line.text) for line in spoken]
        ids_CL, real_CL = (torch.cat(parts) for parts in zip(*cut, strict=True))
        return EncoderInput(
            tensors={"input_ids": ids_CL, "attention_mask": real_CL},
            times_S=torch.cat([_middles(real, line) for (_, real), line in zip(cut, spoken, strict=True)]),
            mask_S=torch.ones(len(ids_CL), dtype=torch.bool),
            seconds=clip.duration_s,
        )

    def encode_chunks(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map input_ids and attention_mask (C, L) to embeddings (C, 1, D).

        Raises:
            ConfigError: a token the network does not know.
        """
        self.fitting(input_ids)
        return self.encode_traced(input_ids=input_ids, attention_mask=attention_mask)

    def encode_traced(self, **tensors: Tensor) -> Tensor:
        """The same (C, L) to (C, 1, D), without asking whether the network knows the tokens."""
        embeddings_CD: Tensor = self.backbone(**tensors)
        return embeddings_CD[:, None]


def _pooled(tokens_CLD: Tensor, real_CL: Tensor, way: str) -> Tensor:
    """One vector (C, D) of a window's tokens."""
    if way == "cls":
        return tokens_CLD[:, 0]
    mask_CL1 = real_CL[..., None].to(tokens_CLD.dtype)
    if way == "max":
        return tokens_CLD.masked_fill(mask_CL1 == 0, -1e9).amax(dim=1)
    total_CD, count_C1 = (tokens_CLD * mask_CL1).sum(dim=1), mask_CL1.sum(dim=1).clamp(min=1e-9)
    return total_CD / (count_C1 if way == "mean" else count_C1.sqrt())


def _file(config: Any, name: str) -> Path | None:
    """A file of the source, on the hub or in a folder; None where it has not that one.

    Raises:
        CheckpointError: there is no such source, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    folder = Path(config.source)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        return Path(hf_hub_download(config.source, name, revision=config.revision))
    except (OSError, HFValidationError) as error:
        # A file that is known not to be there is one thing, a hub that cannot be asked another: a default would embed otherwise.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise CheckpointError(
            f"cannot read {name} of {config.source!r}: {str(error).splitlines()[0]};",
            remedy="check the name, or download it while online and give the folder.",
        ) from error


def _modules(config: Any) -> list[dict[str, str]]:
    """The source's modules.json; empty for a bare transformer, and without a source."""
    path = _file(config, "modules.json") if config.source else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None else []


def _transformer_folder(config: Any) -> str | None:
    """Where the transformer's own files lie: older folders have them in `0_Transformer`."""
    inner = next((m["path"] for m in _modules(config) if m["type"].endswith(".Transformer")), "") if config.source else ""
    return f"{config.source}/{inner}" if inner else config.source


def _shape_class(config: Any, where: str | None) -> Any:
    """The transformers config class of the network.

    Raises:
        CheckpointError: the source has no readable config.
        ConfigError: a backbone without a known `model_type`.
    """
    if config.backbone:
        try:
            return type(AutoConfig.for_model(config.backbone["model_type"]))
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"a backbone of model_type {config.backbone.get('model_type')!r};", remedy='name one, such as "bert".'
            ) from error
    if where is None:
        raise ConfigError("a sentence encoder needs weights or a shape;", remedy="set `source` or `backbone`.")
    try:
        return type(AutoConfig.from_pretrained(where, revision=config.revision))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the config of {where!r}: {str(error).splitlines()[0]};", remedy="give a folder of sentence-transformers."
        ) from error


def _head(config: Any) -> dict[str, Any]:
    """Pooling and what follows it, of a source's modules.

    Raises:
        CheckpointError: there are modules of other kinds.
    """
    head: dict[str, Any] = {"pooling": ["mean"], "dense": [], "normalise": False}
    for module in _modules(config):
        kind = module["type"].rsplit(".", 1)[-1]
        path = _file(config, f"{module['path']}/config.json") if kind in ("Pooling", "Dense") else None
        told = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        if kind == "Pooling":
            ways = told.get("pooling_mode") or [way for way, key in POOLINGS.items() if told.get(key)] or ["mean"]
            head["pooling"] = [ways] if isinstance(ways, str) else list(ways)
        elif kind == "Dense" and not told.get("use_residual"):
            activation = str(told.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
            sizes = {k: told[k] for k in ("in_features", "out_features")}
            head["dense"].append({**sizes, "bias": told.get("bias", True), "activation": activation, "path": module["path"]})
        elif kind == "Normalize":
            head["normalise"] = True
        elif kind != "Transformer":
            raise CheckpointError(
                f"{config.source!r} has a module {kind!r};",
                remedy="Transformer, Pooling, Dense (without a residual) and Normalize are read.",
            )
    odd = [d["activation"] for d in head["dense"] if d["activation"] not in ACTIVATIONS]
    if odd:
        raise CheckpointError(f"{config.source!r} has the activation {odd[0]!r};", remedy=f"known: {', '.join(ACTIVATIONS)}.")
    return head


def _fill(layer: nn.Module, config: Any, path: str) -> None:
    """Take a dense layer's weights from its file.

    Raises:
        CheckpointError: it is not there as safetensors.
    """
    from safetensors.torch import load_file

    file = _file(config, f"{path}/model.safetensors")
    if file is None:
        raise CheckpointError(
            f"{config.source!r} has no {path}/model.safetensors;",
            remedy="save the model anew with sentence-transformers (a pickle is not read).",
        )
    layer.load_state_dict({k.removeprefix("linear."): v for k, v in load_file(file).items()})
