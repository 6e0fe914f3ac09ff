"""How a folder says that pictures and sound are prepared: the JSON files of processors, in their new form and the old one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.checkpoint import read_json

__all__ = ["KINDS", "SETTINGS_FILES", "chosen", "read_settings", "template_of"]

KINDS = ("image_processor", "video_processor", "feature_extractor")
SETTINGS_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "chat_template.json")
_SOURCES = {
    "image_processor": ("preprocessor_config.json",),
    "video_processor": ("video_preprocessor_config.json", "preprocessor_config.json"),
    "feature_extractor": ("preprocessor_config.json",),
}


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Kind -> its settings, and `processor` -> what the whole processor says of itself; {} for a kind that no file describes.

    transformers 5 nests the kinds in processor_config.json; before, each had a file, and videos fell back to the file of images.

    Raises:
        CheckpointError: a file is not JSON.
    """
    whole = read_json(folder / "processor_config.json") if (folder / "processor_config.json").is_file() else {}
    found = {"processor": {k: v for k, v in whole.items() if k not in KINDS}}
    for kind in KINDS:
        files = [folder / name for name in _SOURCES[kind] if (folder / name).is_file()]
        found[kind] = whole[kind] if isinstance(whole.get(kind), dict) else read_json(files[0]) if files else {}
    return found


def template_of(folder: Path) -> str | None:
    """The processor's chat template, where the folder has one beside the tokenizer's."""
    for name in ("processor_config.json", "chat_template.json"):
        if (folder / name).is_file():
            text = read_json(folder / name).get("chat_template")
            if isinstance(text, str):
                return text
    path = folder / "chat_template.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def chosen(settings: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """The named settings, with the defaults of the published code where a file is silent."""
    return {key: default if settings.get(key) is None else settings[key] for key, default in defaults.items()}
