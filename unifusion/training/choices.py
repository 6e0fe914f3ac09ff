"""A recipe's choices: one frozen dataclass, read from flags and a YAML file, typed; the resolved choice is saved."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from unifusion import share
from unifusion.errors import ConfigError, nearest

__all__ = ["as_dict", "given", "parse", "shared_yaml"]

C = TypeVar("C")
_REQUIRED = "(required)"
_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}


def parse(cls: type[C], argv: Sequence[str] | None = None, *, prog: str = "") -> C:
    """Build `cls` from `--config FILE.yaml` and flags; flags win. `--help` lists every choice with its type and default.
    What is called `out` is `-o` for short.

    Field names become flags with dashes; a field's help is the string below it in the class, as in this package's dataclasses, or in the
    class it inherits from. What is required is listed first, then the class's own choices, then inherited ones.

    Raises:
        ConfigError: an unknown key or a value of the wrong type, with the nearest match.
    """
    hints, docs = typing.get_type_hints(cls), _field_docs(cls)
    doc = (cls.__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(prog=prog or None, description=doc, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE.yaml", help="choices from a file; flags win over it")
    for field in _in_order(cls):
        default = _default(field)
        bare: dict[str, Any] = {"nargs": "?", "const": "true"} if hints[field.name] is bool else {}
        parser.add_argument(
            *(("-o",) if field.name == "out" else ()),
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            default=argparse.SUPPRESS,
            **bare,
            metavar=_name(hints[field.name]),
            help=f"{docs.get(field.name, '')} {'' if default is None else f'Default: {default}'}".strip().replace("%", "%%"),
        )
    given, unknown = parser.parse_known_args(argv)
    flags = vars(given)
    if unknown:
        known = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
        raise ConfigError(f"unknown choice {unknown[0]!r};", remedy=nearest(unknown[0], known))
    values = _read(Path(flags["config"])) if flags.get("config") else {}
    values.update({k: v for k, v in flags.items() if k != "config"})
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown choice {key!r};", remedy=nearest(key, list(hints)))
    missing = [f.name for f in dataclasses.fields(cls) if _default(f) == _REQUIRED and f.name not in values]  # type: ignore[arg-type]
    if missing:
        flags_of = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ConfigError(f"{flags_of} {'is' if len(missing) == 1 else 'are'} not given;", remedy="see --help.")
    return cls(**{key: _convert(value, hints[key], key) for key, value in values.items()})


def _in_order(cls: type) -> list[dataclasses.Field[Any]]:
    """Fields as people look for them: what is required, the class's own, what it inherits."""
    own = inspect.get_annotations(cls)
    found = dataclasses.fields(cls)  # type: ignore[arg-type]
    return sorted(found, key=lambda f: 0 if _default(f) == _REQUIRED else 1 + (f.name not in own))


def _field_docs(cls: type) -> dict[str, str]:
    """The string below each field of a class or of those it inherits from, as one line; the nearest counts."""
    return {name: text for one in reversed(cls.__mro__) if one is not object for name, text in _own_docs(one).items()}


def _own_docs(cls: type) -> dict[str, str]:
    """The strings in the body of one class."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # made without a file
        return {}
    body, found = getattr(tree, "body", []), {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[getattr(field.target, "id", "")] = " ".join(str(text.value.value).split())
    return found


def as_dict(choices: Any) -> dict[str, Any]:
    """The resolved choices as plain values for JSON and YAML."""
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(choices).items()}


def shared_yaml(kind: str, name: str) -> Path:
    """A YAML file by path, or by its name in `train/<kind>`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = share.folder("train") / kind
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"train/{kind} has no {name!r};", remedy=nearest(name, known))
    return folder / f"{name}.yaml"


def given(words: Sequence[str]) -> dict[str, Any]:
    """What a person told, unread and untyped, by name: the file of `--config`, then flags.

    Raises:
        ConfigError: the file cannot be read.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in {word.split("=")[0] for word in words if word.startswith("--")}:
        parser.add_argument(name, dest=name[2:].replace("-", "_"), nargs="?")
    flags = vars(parser.parse_known_args(words)[0])
    return {**(_read(Path(flags["config"])) if flags.get("config") else {}), **flags}


def _read(path: Path) -> dict[str, Any]:
    """A YAML file of choices."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error};", remedy="give a YAML file of choices.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, wanted keys and values;", remedy="write one choice a line.")
    return dict(raw)


def _default(field: Any) -> Any:
    """A field's default, or a word for none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else _REQUIRED


def _name(kind: Any) -> str:
    """What a value looks like, for --help."""
    options = [k for k in typing.get_args(kind) if k is not type(None)] if isinstance(kind, types.UnionType) else [kind]
    if (typing.get_origin(options[0]) or options[0]) in (dict, Mapping):
        return "'{KEY: VALUE, ..}'"
    return str(getattr(options[0], "__name__", options[0])).upper()


def _convert(value: Any, kind: Any, key: str) -> Any:
    """Turn a flag's text or a YAML value into the field's type."""
    options = [k for k in typing.get_args(kind) if k is not type(None)] if isinstance(kind, types.UnionType) else [kind]
    may_lack = len(options) < len(typing.get_args(kind))
    if may_lack and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    target = options[0]
    try:
        if value is None:
            raise ValueError("nothing is written there")
        if target is int and isinstance(value, float) and not value.is_integer():
            raise ValueError("a whole number")
        if (typing.get_origin(target) or target) in (dict, Mapping):
            found = yaml.safe_load(value) if isinstance(value, str) else value
            if not isinstance(found, Mapping):
                raise ValueError("keys and values, as `{audio: {encoder: whisper}}`")
            return dict(found)
        if target is bool:
            text = str(value).lower()
            if text not in _TRUE | _FALSE:
                raise ValueError("true or false")
            return text in _TRUE
        if typing.get_origin(target) is tuple:
            inner = typing.get_args(target)[0]
            items = value.split(",") if isinstance(value, str) else list(value)
            return tuple(inner(i) for i in items if i != "")
        return target(value)
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"choice {key!r} has the value {value!r}, wanted {_name(target).lower()} ({error});", remedy="see --help."
        ) from error
