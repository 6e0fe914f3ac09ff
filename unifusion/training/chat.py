"""The chat model's stages: the language model from nothing, adapters on captions, then adapters and language model on questions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from unifusion.atomic import atomic_folder
from unifusion.batch import Features
from unifusion.conversation import Media
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError
from unifusion.features import StoredOpener, encode_all, stored_opener
from unifusion.models.build import build_chat_model, describe_trainable, set_trainable
from unifusion.processor import StreamSpec, UniFusionProcessor
from unifusion.training.blocks import collate_blocks, in_blocks, takes_blocks
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices, fit, trained_state
from unifusion.training.grammar import Grammar
from unifusion.training.launch import everyone_waits, is_first, my_share, world_size
from unifusion.training.real_talks import Blend, RealTalks
from unifusion.training.talks import collate_turns
from unifusion.training.world_talks import WorldTalks
from unifusion.world.render import reference

__all__ = ["TinyLlama", "aligned_specs", "assemble", "load_adapters", "load_encoders", "other_adapters", "train_chat", "train_language"]

log = logging.getLogger(__name__)
STREAMS = ("video", "audio")
"""Streams that stage ground trains, in the order they are shown to the language model."""


@dataclass(frozen=True, kw_only=True)
class TinyLlama:
    """Shape of a small Llama; its head is tied to its embeddings."""

    width: int = 192
    layers: int = 6
    heads: int = 6
    context: int = 1024

    def config(self) -> dict[str, Any]:
        """Its inline config."""
        return {
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": round(self.width * 8 / 3 / 32) * 32,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": True,
            "attention_dropout": 0.0,
        }


def train_language(
    llama: TinyLlama, tokenizer: str | Path, cache: ClipCache, out: str | Path, *, choices: FitChoices, per_clip: int,
    english: tuple[Mixture, Grammar, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a causal language model on clips read out in words; writes a Hugging Face folder (model and tokenizer).

    Args:
        llama: its shape.
        tokenizer: folder of stage `tokenizer`.
        cache: rendered clips; only their scripts are read.
        out: the folder.
        choices: how long and how fast.
        per_clip: questions about each.
        english: plain texts, how a line's emotion is asked for, and the share of rows that they have.
    """
    torch.manual_seed(choices.seed)
    model, processor = build_chat_model(llama.config(), {}, tokenizer=AutoTokenizer.from_pretrained(tokenizer))
    epochs = -(-choices.steps * choices.batch_size // len(cache))
    options = {"seed": choices.seed, "read": 0.1}
    data: Any = WorldTalks(cache, processor, mode="text", epochs=epochs, per_clip=per_clip, mute=0.1, options=options)
    if english is not None:
        shown = [name for name, weight in english[0].weights.items() if weight and english[0].parts[name][0].media]
        if shown:
            raise ConfigError(f"{english[0].path}: part {shown[0]!r} has media;", remedy="the language model is trained on texts alone.")
        texts = RealTalks(english[0], processor, english[1], count=len(data), options={"seed": choices.seed})
        data = Blend(data, texts, share=english[2], seed=choices.seed)
    work = Path(out).with_name(Path(out).name + ".fit")
    result = fit_turns(model, processor, data, choices, work)
    if is_first():
        with atomic_folder(Path(out)) as folder:
            model.language_model.save_pretrained(folder)
            processor.tokenizer.save_pretrained(folder)
            _keep(work, folder, result)
    everyone_waits()
    return result


def fit_turns(model: Any, processor: UniFusionProcessor, data: Any, choices: FitChoices, work: Path) -> dict[str, Any]:
    """Train on rows of turns, in blocks where the language model lets its attention be replaced."""
    if not takes_blocks(model.language_model):
        return fit(model, data, choices, work, collate=partial(collate_turns, processor))
    with in_blocks(model.language_model):
        return fit(model, data, choices, work, collate=partial(collate_blocks, processor))


def _keep(work: Path, folder: Path, figures: Mapping[str, Any]) -> None:
    """Put the run's log, plot and figures beside its result."""
    for name in ("log.jsonl", "loss.csv", "loss.png"):
        if (work / name).is_file():
            (folder / name).write_bytes((work / name).read_bytes())
    (folder / "metrics.json").write_text(json.dumps(dict(figures), indent=1), encoding="utf-8")


def aligned_specs(encoders: str | Path, adapters: Mapping[str, StreamSpec] | None = None) -> dict[str, StreamSpec]:
    """The streams of stage `ground`.

    Args:
        encoders: folder of the stage; `specs.json` in it says what was aligned.
        adapters: stream -> spec whose adapter is taken instead of the aligned one; it starts from nothing.
    """
    found = {}
    for name in STREAMS:
        path = Path(encoders) / name / "spec.json"
        if path.is_file():
            found[name] = StreamSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))
    if not found:
        raise ConfigError(f"{encoders} holds no aligned stream;", remedy="train the stage ground first.")
    for name, spec in (adapters or {}).items():
        if name not in found:
            raise ConfigError(
                f"an adapter is named for the stream {name!r}, of which {encoders} holds no encoder (it has {', '.join(found)});",
                remedy=f"leave it out, or run `unifusion train ground --stream {name}` for that folder first.",
            )
        found[name] = replace(found[name], adapter=spec.adapter, adapter_config=spec.adapter_config)
    return found


def load_adapters(model: Any, folder: str | Path) -> None:
    """Put aligned adapters (`folder/<stream>/adapter.safetensors`) into a chat model, all but what maps to the language model's width.

    An adapter of another kind or shape than the aligned one stays as it is, and a log line says so.
    """
    aligned = _aligned(model, folder)
    for name, adapter in model.adapters.items():
        if name not in aligned:
            log.info("the adapter of stream %s starts from nothing: stage ground trained another, or it has no `projection` to renew", name)
            continue
        state = {k: v for k, v in load_file(Path(folder) / name / "adapter.safetensors").items() if not k.startswith("projection.")}
        missing, unknown = adapter.load_state_dict(state, strict=False)
        if unknown or any(not k.startswith("projection.") for k in missing):
            raise ConfigError(
                f"the adapter of stream {name!r} in {folder} lacks {missing} or has {unknown};", remedy="train stage ground again."
            )


def _drop(model: Any, share: float) -> None:
    """Zero a share of the numbers of all adapters' tokens while they are trained."""

    def dropped(adapter: nn.Module, inputs: Any, out: Features) -> Features:
        """The tokens with what is left scaled up."""
        return replace(out, tokens_BSD=nn.functional.dropout(out.tokens_BSD, share, training=adapter.training))

    for adapter in model.adapters.values():
        adapter.register_forward_hook(dropped)


def _aligned(model: Any, folder: str | Path) -> set[str]:
    """Streams whose adapter is the one that was aligned with its encoder, and has a part of its own that maps to the language model."""
    found = aligned_specs(folder)
    same = {n for n, s in model.specs.items() if s.adapter == found[n].adapter and s.adapter_choices == found[n].adapter_choices}
    return {n for n in same if hasattr(model.adapters[n], "projection")}


def other_adapters(path: str | Path | None) -> dict[str, StreamSpec]:
    """Read which adapters to take instead of the aligned ones: YAML with stream -> {adapter, adapter_config}; nothing for no file.

    Raises:
        ConfigError: the file cannot be read or is not such a mapping.
    """
    if path is None:
        return {}
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return {name: StreamSpec(encoder="", **choices) for name, choices in raw.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} does not say which adapters to take ({str(error).splitlines()[0]});",
            remedy="write `video: {adapter: linear, adapter_config: {stride: 4}}`.",
        ) from error


def load_encoders(model: Any, folder: str | Path) -> None:
    """Put aligned encoders (`folder/<stream>/encoder.safetensors`) into a chat model, strictly.

    Raises:
        ConfigError: a stream's weights are missing or of another shape.
    """
    for name, encoder in model.encoders.items():
        path = Path(folder) / name / "encoder.safetensors"
        if not path.is_file():
            raise ConfigError(f"no weights for stream {name!r} at {path};", remedy="train the stage ground first.")
        try:
            encoder.load_state_dict(load_file(path), strict=True)
        except RuntimeError as error:
            raise ConfigError(
                f"{path} does not fit the encoder: {str(error).splitlines()[0]};", remedy="use the choices the encoders were trained with."
            ) from error


def train_chat(
    language: str | Path,
    specs: Mapping[str, StreamSpec],
    encoders: str | Path,
    cache: ClipCache,
    out: str | Path,
    *,
    choices: FitChoices,
    mode: str,
    parts: Mapping[str, bool],
    start: str | Path | None = None,
    fresh: Sequence[str] = (),
    keep_aligned: bool = True,
    token_dropout: float = 0.0,
    talks: Mapping[str, Any] | None = None,
    real: tuple[Mixture, Grammar, float] | None = None,
) -> tuple[Any, UniFusionProcessor, dict[str, Any]]:
    """Train adapters (mode `captions`) or adapters and language model (mode `questions`) on stored features.

    Args:
        language: folder of stage `language`.
        specs: streams with their adapters.
        encoders: folder of stage `ground`.
        cache: rendered clips; encoded once into `<encoders>.features`, whatever the number of epochs and stages.
        out: gets `weights.safetensors` (all that is trained or was trained before) and the run's log.
        mode: see WorldTalks.
        parts: what is trained, see `set_trainable`.
        start: `out` of the stage before.
        fresh: streams whose adapter is not taken from `start` but as stage `ground` left it: their encoder was changed.
        keep_aligned: of adapters that were aligned, train what maps to the language model alone. Trained whole, they lose each fact that
            the language model does not read yet (measured: docs/tiny.md).
        token_dropout: share of the numbers of adapters' tokens that are zeroed in training (Srivastava et al. 2014): encoders know what
            they were trained on too well, and a language model that sees nothing else reads new people worse.
        talks: further options of WorldTalks (per_clip, mute, ..).
        real: recordings and pictures, how they are asked about, and the share of rows that they have.
    """
    torch.manual_seed(choices.seed)
    model, processor = assemble(language, specs, encoders, start, fresh=fresh)
    kept = {f"adapters.{n}{end}": bool(end) for n in _aligned(model, encoders) for end in ("", ".projection")} if keep_aligned else {}
    set_trainable(model, {"encoders": False, **parts, **kept})
    log.info("what is trained:\n%s", describe_trainable(model))
    if token_dropout:
        _drop(model, token_dropout)
    store = encode_cache(model, processor, cache, f"{encoders}.features")
    epochs = -(-choices.steps * choices.batch_size * choices.accumulate // len(cache))
    training = processor.with_opener(store)
    options = dict(talks or {})
    per_clip, mute = options.pop("per_clip", 6), options.pop("mute", 0.0)
    data: Any = WorldTalks(
        cache, training, mode=mode, epochs=epochs, per_clip=per_clip, mute=mute, options={"seed": choices.seed, **options}
    )
    if real is not None:
        mixture, grammar, share = real
        seed = {"seed": choices.seed}
        data = Blend(data, RealTalks(mixture, training, grammar, count=len(data), options=seed), share=share, seed=choices.seed)
        media = data.second.media(i for i in range(len(data)) if data.is_second(i))
        store = encode_media(model, processor, media, store)
        data.first.processor = data.second.processor = processor.with_opener(store)
    work = Path(out).with_name(Path(out).name + ".fit")
    result = fit_turns(model, processor, data, choices, work)
    set_trainable(model, {"adapters": True, "language_model": True})
    if is_first():
        with atomic_folder(Path(out)) as folder:
            save_file({k: v for k, v in trained_state(model).items() if not k.startswith("encoders.")}, folder / "weights.safetensors")
            _keep(work, folder, result)
    everyone_waits()
    return model.eval(), processor, result


def assemble(
    language: str | Path,
    specs: Mapping[str, StreamSpec],
    encoders: str | Path,
    start: str | Path | None = None,
    *,
    fresh: Sequence[str] = (),
    max_seconds: float = 12.0,
) -> tuple[Any, UniFusionProcessor]:
    """Put a chat model together from the folders of the stages; `start` is the last stage that trained adapters, see train_chat."""
    network = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32, use_safetensors=True)
    shape = {
        k: v for k, v in network.config.to_dict().items() if k not in ("architectures", "transformers_version", "dtype", "_name_or_path")
    }
    model, processor = build_chat_model(shape, specs, tokenizer=AutoTokenizer.from_pretrained(language), max_seconds=max_seconds)
    _adopt_language(model, network)
    load_encoders(model, encoders)
    load_adapters(model, encoders)
    if start is not None:
        _load_weights(model, Path(start) / "weights.safetensors", fresh)
    return model, processor


def _adopt_language(model: Any, network: Any) -> None:
    """Copy a trained language model's weights; rows for placeholders, which it never had, stay as initialised."""
    state = network.state_dict()
    with torch.no_grad():
        for name, parameter in model.language_model.named_parameters():
            source = state[name]
            parameter[: len(source)].copy_(source)


def _load_weights(model: Any, path: Path, fresh: Sequence[str] = ()) -> None:
    """Read what the stage before trained, strictly, but for the adapters of `fresh` streams."""
    left_out = ("encoders.", *(f"adapters.{name}." for name in fresh))
    state = {n: t for n, t in load_file(path).items() if not n.startswith(left_out)}
    own = {n: p for n, p in model.named_parameters() if not n.startswith(left_out)}
    differ = sorted(n for n in set(own) | set(state) if n not in own or n not in state or own[n].shape != state[n].shape)
    if differ:
        raise ConfigError(
            f"{path} does not fit the model (differ: {differ[:5]});",
            remedy="use the choices of the stage before, or name the streams whose encoder was changed (--fresh audio).",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def encode_cache(model: Any, processor: UniFusionProcessor, cache: ClipCache, folder: str | Path) -> StoredOpener:
    """Encode every clip of a cache that is not stored yet; the cached arrays are used, nothing is rendered again.

    Several processes share the clips.
    """
    store = stored_opener(processor, model, folder)
    references = {reference(cache.script(i)): i for i in range(len(cache))}

    class _Cached:
        """Opens references from the cache."""

        def open(self, media: Media) -> Any:
            """Arrays of the referenced clip, preprocessed for every stream."""
            opened = opener.open(replace(media, source=cache.clip(references[str(media.source)])))
            return replace(opened, media=media)

    opener = processor.opener
    reader = processor.with_opener(_Cached())
    return encode_media(model, reader, [Media(kind="video", source=r) for r in references], store)


def encode_media(model: Any, processor: UniFusionProcessor, media: Sequence[Media], store: StoredOpener) -> StoredOpener:
    """Encode what is not stored yet and return the store with it; several processes share the clips."""
    model.eval()
    mine = my_share(list(media))
    done = encode_all(
        model, processor, mine, store, batch_size=16, progress=lambda steps: iter(tqdm(list(steps), desc="encode", disable=None))
    )
    log.info("encoded %d clips, %d were stored", done, len(mine) - done)
    if world_size() == 1:
        return store
    everyone_waits()
    return store.again()
