"""A folder is a registry: a new file is found, an unknown name is answered with the nearest, nothing is imported to list."""

import subprocess
import sys
from pathlib import Path

import pytest

from unifusion import catalog
from unifusion.errors import ConfigError

PACKAGE = Path(catalog.__file__).parent
ENTRIES = [(kind, name) for kind in catalog.KINDS for name in catalog.names(kind)]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_loads_and_exports_one_object(kind, name):
    loaded = catalog.load(kind, name)
    assert callable(loaded)
    assert loaded.__module__ == f"unifusion.{'.'.join(catalog.folder(kind).relative_to(PACKAGE).parts)}.{name}"


@pytest.mark.parametrize("kind", [*catalog.KINDS, *catalog.SHARED])
def test_names_are_sorted_and_without_the_contract(kind):
    names = catalog.names(kind)
    assert names == sorted(set(names))
    assert catalog.KINDS.get(kind, "") not in names
    assert not [n for n in names if n.startswith("_")]


def test_a_new_file_is_an_entry(tmp_path, monkeypatch):
    folder = tmp_path / "losses"
    folder.mkdir()
    for name in ("info_nce.py", "_shared.py", "__init__.py", "notes.txt"):
        (folder / name).touch()
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "catalog.py"))
    assert catalog.names("losses") == ["info_nce"]


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("encoders", "wisper", "did you mean 'whisper'"),
        ("adapters", "q_former", "did you mean 'qformer'"),
        ("tasks", "zzzz", "known:"),
        ("encoders", "encoder", "no encoder named 'encoder'"),
        ("encoders", "../cli", "known:"),
        ("encoder", "whisper", "did you mean 'encoders'"),
        ("prompts", "emotion", "no Python objects"),
    ],
)
def test_a_wrong_name_is_answered(kind, name, said):
    with pytest.raises(ConfigError, match=said):
        catalog.load(kind, name)


def test_a_wrong_kind_is_answered():
    with pytest.raises(ConfigError, match="did you mean 'recipes'"):
        catalog.names("recipe")


def test_user_code_is_named_by_its_path():
    assert catalog.load("encoders", "pathlib:Path") is Path
    for name in ("no_such_module:X", "pathlib:NoSuchName"):
        with pytest.raises(ConfigError, match=r"package\.module:Class"):
            catalog.load("encoders", name)


def test_a_module_with_two_exports_is_refused(monkeypatch):
    catalog.load("adapters", "linear")
    monkeypatch.setattr(sys.modules["unifusion.adapters.linear"], "__all__", ["Linear", "Other"])
    with pytest.raises(ConfigError, match="exactly one object"):
        catalog.load("adapters", "linear")


def test_listing_imports_nothing():
    code = (
        "import sys; from unifusion import catalog; [catalog.names(k) for k in [*catalog.KINDS, *catalog.SHARED]];"
        "print([m for m in sys.modules if m.startswith('unifusion.') and m.count('.') > 1 or m in ('torch', 'numpy', 'yaml')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
