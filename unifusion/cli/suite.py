"""A suite of a chat model as a command: choices, the model or the server behind which it is, the table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from unifusion.cli.common import device_of, quiet_libraries
from unifusion.errors import ConfigError, nearest
from unifusion.training.choices import parse

if TYPE_CHECKING:
    from unifusion.evaluation.suite.parts import Source
    from unifusion.evaluation.suite.running import SuiteChoices
    from unifusion.evaluation.suite.system import System

__all__ = ["suite"]


def suite(
    name: str, parts: Mapping[str, Source], choices: type[SuiteChoices], argv: Sequence[str] | None = None
) -> tuple[dict[str, Any], Path]:  # fmt: skip
    """Run a suite as its choices say, print its table and where the page is, and return the figures and the page.

    Raises:
        UniFusionError: what went wrong, with the remedy.
    """
    c = parse(choices, argv, prog=f"unifusion eval {name}")
    quiet_libraries()
    from unifusion.evaluation.suite.report import failed_rows, suite_table, tampering_tables
    from unifusion.evaluation.suite.running import run_suite

    results, page = run_suite(name, parts, c, _system(c))
    for part, why in results["absent"].items():
        print(f"unifusion: {part} is not measured: {why}", file=sys.stderr)
    for line in failed_rows(results):
        print(f"unifusion: {line}", file=sys.stderr)
    shown = [suite_table(results), *tampering_tables(results)]
    print("\n\n".join([*(f"{table.caption}\n{table.text()}" for table in shown), str(page)]))
    return results, page


def _system(c: SuiteChoices) -> System:
    """What is measured.

    Raises:
        ConfigError: the endpoint's model is not named, its address is none, or no pictures are to be shown.
    """
    if c.frames < 1:
        raise ConfigError(f"--frames is {c.frames};", remedy="wanted 1 or more; `no picture` among --conditions shows none.")
    if c.endpoint is not None:
        from unifusion.evaluation.systems_endpoint import EndpointSystem
        from unifusion.evaluation.systems_media import Style

        if c.endpoint_style not in get_args(Style):
            raise ConfigError(f"--endpoint-style is {c.endpoint_style!r};", remedy=nearest(c.endpoint_style, list(get_args(Style))))
        media = {"max_seconds": c.endpoint_seconds, **({"frames": c.frames} if c.endpoint_style == "frames" else {})}
        return EndpointSystem.at(
            c.endpoint, c.endpoint_model, key_env=c.endpoint_key_env or "", timeout_s=c.endpoint_timeout, style=c.endpoint_style,
            media=media, body=c.endpoint_body or {},
        )  # fmt: skip
    from unifusion.models.peers import is_peer

    if is_peer(c.model):
        from unifusion.evaluation.systems_transformers import TransformersSystem

        return TransformersSystem.from_pretrained(c.model, device=device_of(c.device), frames=c.frames, isolate=True)
    from unifusion.engine import Engine
    from unifusion.evaluation.suite.system import EngineSystem

    engine = Engine.from_pretrained(c.model, device=device_of(c.device), isolate=True, strict=False)
    return EngineSystem(engine, c.model)
