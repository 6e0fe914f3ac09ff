"""What one stream is: an encoder and its adapter by their public names, with their choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from unifusion import catalog
from unifusion.errors import CheckpointError, ConfigError, nearest

__all__ = ["FusedSpec", "StreamSpec", "in_order", "read_config", "stems_only"]

T = TypeVar("T")


def in_order(streams: dict[str, T], order: list[str] | None) -> dict[str, T]:
    """Return `streams` in the given order, those it does not name last. JSON is written with sorted keys, so the order is kept apart."""
    first = [name for name in order or () if name in streams]
    return {name: streams[name] for name in [*first, *(n for n in streams if n not in first)]}


def stems_only(streams: Any, where: str) -> None:
    """Refuse what a file must not name: importing `package.module:Class` on loading would run code.

    Raises:
        CheckpointError: the streams are not a mapping, or one names something else than a stem of the catalog.
    """
    if not isinstance(streams or {}, dict) or not all(isinstance(s, dict) for s in (streams or {}).values()):
        raise CheckpointError(
            f"{where}: streams are {type(streams).__name__}, wanted name -> choices;", remedy="copy the checkpoint again."
        )
    for name, stream in (streams or {}).items():
        for key in ("encoder", "adapter"):
            if not str(stream.get(key, "windowed_qformer")).isidentifier():
                raise CheckpointError(
                    f"{where}: stream {name!r} names the {key} {stream.get(key)!r};", remedy="only catalog names may be loaded."
                )


def read_config(cls: Any, raw: dict[str, Any], where: str) -> Any:
    """Build the dataclass `cls` from a plain dict; an unknown key is an error with the nearest match.

    Raises:
        ConfigError: a key is unknown.
    """
    known = [f.name for f in fields(cls)]
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where} has no choice {key!r};", remedy=nearest(key, known))
    return cls(**raw)


@dataclass(kw_only=True)
class StreamSpec:
    """One stream of the model.

    Attributes:
        encoder: public name of the encoder (`whisper`), or `package.module:Class` before it is saved.
        encoder_config: its choices as a plain dict.
        adapter: public name of the adapter (`windowed_qformer`).
        adapter_config: its choices.
    """

    encoder: str
    encoder_config: dict[str, Any] = field(default_factory=dict)
    adapter: str = "windowed_qformer"
    adapter_config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: dict[str, Any] | StreamSpec) -> StreamSpec:
        """Read the form written to config.json."""
        return raw if isinstance(raw, StreamSpec) else read_config(cls, raw, "a stream")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the encoder's `backbone` resolved so that it can be read without its source."""
        return {**asdict(self), "encoder_config": asdict(self.encoder_choices), "adapter_config": asdict(self.adapter_choices)}

    @cached_property
    def encoder_class(self) -> Any:
        """The class in `unifusion/encoders/`."""
        return catalog.load("encoders", self.encoder)

    @cached_property
    def adapter_class(self) -> Any:
        """The class in `unifusion/adapters/`.

        Raises:
            ConfigError: there is none, or it takes several streams together.
        """
        found = catalog.load("adapters", self.adapter)
        if not hasattr(found, "token_times"):
            raise ConfigError(
                f"adapter {self.adapter!r} joins several streams;", remedy="name it under `fused`, with the streams it reads."
            )
        return found

    @cached_property
    def encoder_choices(self) -> Any:
        """The encoder's Config, with `backbone` filled in from its source."""
        config = read_config(self.encoder_class.Config, self.encoder_config, f"encoder {self.encoder!r}")
        return self.encoder_class.resolve(config)

    @cached_property
    def opening_choices(self) -> Any:
        """`encoder_choices` as `preprocess` takes them: what it reads comes from the checkpoint once `read_from` was told of one."""
        return self.encoder_choices

    def read_from(self, folder: Path) -> None:
        """Let `preprocess` read what `Encoder.save_files` wrote into `folder`; what is written to config.json stays as it is."""
        self.opening_choices = self.encoder_class.with_files(self.encoder_choices, folder)

    @cached_property
    def adapter_choices(self) -> Any:
        """The adapter's Config."""
        return read_config(self.adapter_class.Config, self.adapter_config, f"adapter {self.adapter!r}")

    @property
    def modality(self) -> str:
        """`video`, `audio`, `image` or `text`."""
        return str(self.encoder_class.modality)


@dataclass(kw_only=True)
class FusedSpec:
    """Tokens from several streams together.

    Attributes:
        of: names of the streams.
        adapter: public name of the adapter (`attention_pool`).
        adapter_config: its choices.
    """

    of: list[str]
    adapter: str = "attention_pool"
    adapter_config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: dict[str, Any] | FusedSpec) -> FusedSpec:
        """Read the form written to config.json."""
        return raw if isinstance(raw, FusedSpec) else read_config(cls, raw, "a fusion")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "of": list(self.of), "adapter_config": asdict(self.adapter_choices)}

    def check(self, name: str, streams: Mapping[str, Any]) -> FusedSpec:
        """Return self, if it can be one of a model of these streams.

        Raises:
            ConfigError: a stream is not there, the name is a stream's, or the adapter takes single streams.
        """
        unknown = [s for s in self.of if s not in streams]
        if unknown or name in streams or not self.of:
            found = f"reads the stream {unknown[0]!r}" if unknown else "has a stream's name" if name in streams else "reads no stream"
            raise ConfigError(f"fusion {name!r} {found};", remedy=f"streams are {', '.join(streams)}; give it a name of its own.")
        if not hasattr(self.adapter_class, "n_tokens") or hasattr(self.adapter_class, "token_times"):
            raise ConfigError(f"adapter {self.adapter!r} takes one stream;", remedy="name it in a stream, and attention_pool in a fusion.")
        return self

    @cached_property
    def adapter_class(self) -> Any:
        """The class in `unifusion/adapters/`."""
        return catalog.load("adapters", self.adapter)

    @cached_property
    def adapter_choices(self) -> Any:
        """The adapter's Config."""
        return read_config(self.adapter_class.Config, self.adapter_config, f"adapter {self.adapter!r}")

    @property
    def n_tokens(self) -> int:
        """Tokens that a clip becomes."""
        return int(self.adapter_class.n_tokens(self.adapter_choices))
