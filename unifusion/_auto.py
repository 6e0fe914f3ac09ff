"""Registers UniFusion with transformers' Auto classes without importing transformers.

`AutoConfig`, `AutoModelForMultimodalLM` and `AutoProcessor` live in three modules, which transformers imports on first use and also in
the middle of importing others (`PreTrainedModel` needs `AutoConfig`). Our classes need those others whole. So a finder watches all
modules of transformers, and ours, and registers when none of transformers' is half-way and ours can be imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

__all__ = ["install"]

_AUTO = "transformers.models.auto."


def _register_config(module: Any) -> None:
    """`AutoConfig` knows `unifusion`."""
    from unifusion.models.config import UniFusionConfig

    module.AutoConfig.register("unifusion", UniFusionConfig, exist_ok=True)


def _register_model(module: Any) -> None:
    """`AutoModelForMultimodalLM` and `AutoModel` know the chat model."""
    from unifusion.models.chat import UniFusionForConditionalGeneration
    from unifusion.models.config import UniFusionConfig

    for auto in (module.AutoModelForMultimodalLM, module.AutoModel):
        auto.register(UniFusionConfig, UniFusionForConditionalGeneration, exist_ok=True)


def _register_processor(module: Any) -> None:
    """`AutoProcessor` knows ours."""
    from unifusion.models.config import UniFusionConfig
    from unifusion.processor import UniFusionProcessor

    module.AutoProcessor.register(UniFusionConfig, UniFusionProcessor, exist_ok=True)


_REGISTRATIONS: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    f"{_AUTO}configuration_auto": (_register_config, ("unifusion.models.config",)),
    f"{_AUTO}modeling_auto": (_register_model, ("unifusion.models.config", "unifusion.models.chat")),
    f"{_AUTO}processing_auto": (_register_processor, ("unifusion.models.config", "unifusion.processor")),
}
"""Auto module -> what registers there, and the modules of ours that this needs."""

_OURS = frozenset(name for _, ours in _REGISTRATIONS.values() for name in ours)
_running: list[str] = []
"""Watched modules whose body is running now, the outermost first: nothing of ours among them can be imported yet."""
_served: set[str] = set()


def _serve() -> None:
    """Register what has become possible.

    Our own modules import the Auto modules, so an Auto module may be done while ours is half-way: then ours serves it at its end.
    """
    if any(name.startswith("transformers.") for name in _running):
        return
    for auto, (register, ours) in _REGISTRATIONS.items():
        if auto in sys.modules and auto not in _served and not set(ours).intersection(_running):
            _served.add(auto)
            try:
                register(sys.modules[auto])
            except BaseException:
                _served.discard(auto)
                raise


class _Loader(importlib.abc.Loader):
    """Runs a module as its own loader would, then registers what can be."""

    def __init__(self, inner: Any, name: str) -> None:
        self.inner = inner
        self.name = name

    def __getattr__(self, name: str) -> Any:
        """Everything else (source, resources) is the loader's own."""
        return getattr(self.inner, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave creation to the module's own loader."""
        created: ModuleType | None = self.inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's body, then register what can be."""
        _running.append(self.name)
        try:
            self.inner.exec_module(module)
        finally:
            _running.remove(self.name)
        _serve()


class _Finder(importlib.abc.MetaPathFinder):
    """Watches transformers and our own modules until everything is registered."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Wrap the loader of a watched module; leave every other import alone."""
        if len(_served) == len(_REGISTRATIONS) or not (fullname.startswith("transformers.") or fullname in _OURS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, fullname)
        return spec


def install() -> None:
    """Watch for the Auto modules; serve those that are already imported."""
    if not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _serve()
