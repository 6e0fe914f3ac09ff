"""A suite of a chat model as a command: choices, the model or the server behind which it is, the table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unifusion.cli.common import device_of, quiet_libraries
from unifusion.training.choices import parse

if TYPE_CHECKING:
    from unifusion.evaluation.suite.parts import Source
    from unifusion.evaluation.suite.running import SuiteChoices
    from unifusion.evaluation.suite.system import System

__all__ = ["suite"]


def suite(name: str, parts: Mapping[str, Source], choices: type[SuiteChoices], argv: Sequence[str] | None = None) -> None:
    """Run a suite as its choices say, and print its table and where the page is.

    Raises:
        UniFusionError: what went wrong, with the remedy.
    """
    words = ["--out" if word == "-o" else word for word in (sys.argv[1:] if argv is None else argv)]
    c = parse(choices, words, prog=f"unifusion eval {name}")
    quiet_libraries()
    from unifusion.evaluation.suite.report import suite_table, tampering_tables
    from unifusion.evaluation.suite.running import run_suite

    results, page = run_suite(name, parts, c, _system(c))
    for part, why in results["absent"].items():
        print(f"unifusion: {part} is not measured: {why}", file=sys.stderr)
    shown = [suite_table(results), *tampering_tables(results)]
    print("\n\n".join([*(f"{table.caption}\n{table.text()}" for table in shown), str(page)]))


def _system(c: SuiteChoices) -> System:
    """What is measured."""
    from unifusion.engine import Engine
    from unifusion.evaluation.suite.system import EngineSystem

    return EngineSystem(Engine.from_pretrained(c.model, device=device_of(c.device), isolate=True, strict=False), c.model)
