"""`unifusion demo`: the demo page in a browser on this machine."""

from __future__ import annotations

import importlib.util

import typer

from unifusion import share
from unifusion.cli.train import run_script
from unifusion.errors import ConfigError

__all__ = ["demo"]


def demo(context: typer.Context) -> int:
    """Open the demo page in a browser. Its flags: unifusion demo --help."""
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("gradio is not installed;", remedy="pip install 'unifusion-x[demo]'.")
    return run_script(share.folder("demo") / "app.py", context.args)
