"""What loading does beside transformers' own: frozen parts come from their sources, and what does not fit is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from unifusion.errors import CheckpointError, UniFusionError
from unifusion.models.language_model import COMPUTE_DTYPES, grow_embeddings, load_language_model

if TYPE_CHECKING:
    from unifusion.models.chat import UniFusionForConditionalGeneration
    from unifusion.models.config import UniFusionConfig

__all__ = ["check_keys", "fetch_encoders", "sourced_language_model"]


def check_keys(missing: Any, unknown: Any, mismatched: Any, where: Any) -> None:
    """Refuse weights that do not fit.

    Args:
        missing: names that a file lacks.
        unknown: names that the model lacks.
        mismatched: name, shape found, shape wanted.
        where: of the checkpoint.

    Raises:
        CheckpointError: there are any; lists them.
    """
    wrong = [f"{key} is {tuple(found)}, wanted {tuple(wanted)}" for key, found, wanted in mismatched]
    kinds = (("missing", sorted(missing)), ("unknown", sorted(unknown)), ("shape differs", sorted(wrong)))
    text = "; ".join(f"{label}: {', '.join(keys[:8])}{' ..' if len(keys) > 8 else ''}" for label, keys in kinds if keys)
    if text:
        raise CheckpointError(
            f"{where} does not fit its config ({text});", remedy="load it with the version of unifusion that saved it, or convert it."
        )


def sourced_language_model(config: UniFusionConfig, *, dtype: torch.dtype, quantize: str | None) -> Any:
    """The frozen language model that a checkpoint references, with rows for its added tokens.

    Args:
        config: of the checkpoint.
        dtype: of its weights unless it is quantised.
        quantize: as it is to be; None for whole weights.

    Raises:
        CheckpointError: no source, one that cannot be loaded, or a type that is none.
    """
    source: Any = config.text_source
    _hold_source("language_model", source)
    if quantize is not None and config.compute_dtype not in COMPUTE_DTYPES:
        raise CheckpointError(
            f"a quantised language model that computes in {config.compute_dtype!r};", remedy=f"known: {', '.join(COMPUTE_DTYPES)}."
        )
    try:
        kept = COMPUTE_DTYPES[str(config.compute_dtype)] if quantize else dtype
        network = load_language_model(source, config.text_revision, dtype=kept, quantize=quantize)
        text: Any = config.text_config
        grow_embeddings(network, text.vocab_size)
    except (OSError, KeyError, ValueError, RuntimeError, UniFusionError) as error:
        raise _not_loaded("language_model", source, error) from error
    return network.requires_grad_(False)


def fetch_encoders(model: UniFusionForConditionalGeneration) -> None:
    """Load the encoders that a checkpoint references, in the type that it is loaded in.

    Raises:
        CheckpointError: one has no source, or it cannot be loaded.
    """
    sources = {f"encoders.{n}": s.encoder_choices.source for n, s in model.specs.items()}
    for part in [p for p in model.config.absent if p != "language_model"]:
        source: Any = sources.get(part)
        _hold_source(part, source)
        name = part.partition(".")[2]
        spec = model.specs[name]
        try:
            encoder = spec.encoder_class.build(spec.encoder_choices, load_weights=True)
        except (OSError, KeyError, ValueError, RuntimeError, UniFusionError) as error:
            raise _not_loaded(part, source, error) from error
        for parameter in encoder.parameters():  # and no buffers, as transformers does
            parameter.data = parameter.data.to(next(model.adapters.parameters()).dtype)
        model.encoders[name] = encoder.to(model.device).eval().requires_grad_(False)


def _hold_source(part: str, source: Any) -> None:
    """Refuse a part that is nowhere."""
    if source is None:
        raise CheckpointError(
            f"the config says that {part!r} is stored elsewhere, but names no source of it;", remedy="copy the checkpoint again."
        )


def _not_loaded(part: str, source: Any, error: Exception) -> CheckpointError:
    """What to say of a source that cannot be loaded."""
    return CheckpointError(
        f"the part {part!r} comes from {source!r}, which cannot be loaded: {error};",
        remedy="make it available, or save with --self-contained.",
    )
