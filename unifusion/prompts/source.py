"""A template file: what its YAML may hold, read strictly. Every error names the file and the key."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unifusion import catalog
from unifusion.errors import PromptError, UniFusionError, nearest
from unifusion.prompts.parsers import load_parser, options_of
from unifusion.prompts.rendering import compile_source, fields_of

__all__ = ["TemplateSource", "read_source"]


@dataclass(frozen=True, kw_only=True)
class TemplateSource:
    """The keys of a template file; a default marks what may be left out."""

    name: str
    """The file's stem."""
    description: str
    task: str
    """Stem of the task that uses it, or `package.module:Class`."""
    fields: tuple[str, ...]
    """Every field that system, phrasings and answer read; exactly those."""
    phrasings: tuple[str, ...]
    """Ways to ask; all read the same fields."""
    held_out_phrasings: tuple[str, ...] = ()
    """Ways to ask that training never shows."""
    before: str = ""
    """What stands before any of them, on lines of its own; may come out empty, and a field it alone reads may have no value."""
    system: str = ""
    answer: str = ""
    """The supervised answer; empty where a template is for asking only."""
    parser: str
    parser_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key written twice is an error, not the last one's win."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    """Build a mapping whose keys differ."""
    keys = [loader.construct_object(k, deep=True) for k, _ in node.value]
    twice = sorted({str(k) for k in keys if keys.count(k) > 1})
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} is written twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_source(path: Path) -> TemplateSource:
    """Read and check one template file.

    Raises:
        PromptError: names the file and the key that is missing, unknown, of a wrong type, or at odds with another.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise PromptError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())};", remedy="mend the file.") from error
    if not isinstance(raw, dict):
        raise PromptError(f"{path}: holds a {type(raw).__name__}, wanted a mapping of keys;", remedy=f"keys are {', '.join(_keys())}.")
    source = _typed(path, raw)
    _check_names(path, source)
    _check_fields(path, source)
    _check_parser(path, source)
    return source


def _keys() -> list[str]:
    """Keys a template file may hold."""
    return [f.name for f in dataclasses.fields(TemplateSource)]


def _fail(path: Path, key: str, found: str, remedy: str) -> PromptError:
    """An error that names the file and the key."""
    return PromptError(f"{path}: key {key!r}: {found};", remedy=remedy)


def _typed(path: Path, raw: Mapping[Any, Any]) -> TemplateSource:
    """Check the type of each key; lists of texts become tuples."""
    known = {f.name: f for f in dataclasses.fields(TemplateSource)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            raise _fail(path, str(key), "there is no such key", nearest(str(key), list(known)))
        wanted = {"Mapping[str, Any]": dict, "tuple[str, ...]": list}.get(str(known[key].type), str)
        if not isinstance(value, wanted) or (wanted is list and not all(isinstance(v, str) and v.strip() for v in value)):
            shape = "a list of texts" if wanted is list else f"a {'mapping' if wanted is dict else 'text'}"
            raise _fail(path, key, f"found {value!r}", f"give {shape} (quote a text such as yes, no or 3).")
        values[key] = tuple(value) if wanted is list else value
    required = (n for n, f in known.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    for key in required:
        if key not in values or (key != "fields" and not values[key]):
            raise _fail(path, key, "is missing or empty", "add it.")
    return TemplateSource(**values)


def _check_names(path: Path, source: TemplateSource) -> None:
    """The stem is the name, the task exists, no phrasing is written twice."""
    if source.name != path.stem:
        raise _fail(path, "name", f"{source.name!r} differs from the file's stem", f"write {path.stem!r}.")
    if ":" not in source.task and source.task not in catalog.names("tasks"):
        raise _fail(path, "task", f"no task {source.task!r}", nearest(source.task, catalog.names("tasks")))
    every = [p.strip() for p in source.phrasings + source.held_out_phrasings]
    twice = next((p for p in every if every.count(p) > 1), None)
    if twice is not None:
        raise _fail(path, "phrasings", f"{twice!r} is written twice", "a held-out phrasing must not be among the trained ones.")


def _check_fields(path: Path, source: TemplateSource) -> None:
    """Declared fields are the used ones, and every phrasing asks with the same ones."""
    used: set[str] = set()
    asked: set[str] | None = None
    parts = [("system", source.system), ("before", source.before), ("answer", source.answer)]
    parts += [("phrasings", p) for p in source.phrasings] + [("held_out_phrasings", p) for p in source.held_out_phrasings]
    for key, text in parts:
        try:
            found = fields_of(text)
            compile_source(text)
        except UniFusionError as error:
            raise _fail(path, key, f"{text.strip()[:60]!r} is {error.found}", error.remedy) from error
        used |= found
        if key.endswith("phrasings"):
            asked = found if asked is None else asked
            if found != asked:
                raise _fail(
                    path,
                    key,
                    f"{text.strip()[:60]!r} reads {sorted(found)}, the first phrasing reads {sorted(asked)}",
                    "use the same fields in each.",
                )
    if used != set(source.fields) or len(set(source.fields)) != len(source.fields):
        raise _fail(path, "fields", f"declares {sorted(source.fields)}, the texts use {sorted(used)}", "make the two equal.")


def _check_parser(path: Path, source: TemplateSource) -> None:
    """The parser exists, knows its options, and works with them."""
    try:
        parser = load_parser(source.parser)
    except PromptError as error:
        raise _fail(path, "parser", error.found.rstrip(";"), error.remedy) from error
    options = options_of(parser)
    unknown = next((k for k in source.parser_options if k not in options), None)
    if unknown is not None:
        raise _fail(path, "parser_options", f"parser {source.parser!r} has no option {unknown!r}", nearest(str(unknown), list(options)))
    try:
        parser("Emotion: 1 yes", choices=("a", "b"), **source.parser_options)
    except (TypeError, ValueError, AttributeError) as error:
        raise _fail(
            path, "parser_options", f"parser {source.parser!r} cannot use {dict(source.parser_options)!r}: {error}", "mend the value."
        ) from error
