"""What `unifusion doctor` looks at: one function per thing, each giving findings."""

from __future__ import annotations

from collections.abc import Iterator

from unifusion.cli.checks import codecs, machine, packages
from unifusion.cli.checks.finding import Finding

__all__ = ["Finding", "examine"]


def examine() -> Iterator[Finding]:
    """Yield findings as they are made, the quick ones first."""
    yield from packages.python_version()
    yield from packages.versions()
    yield from packages.security_floors()
    yield from machine.memory()
    yield from machine.disk()
    yield from machine.shipped_models()
    yield from packages.native_imports()
    yield from packages.compiler()
    yield from machine.accelerator()
    yield from machine.voice()
    yield from codecs.really_decode()
