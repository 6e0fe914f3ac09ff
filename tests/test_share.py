"""Shared folders and checkpoints are found from anywhere, and nothing else is."""

from pathlib import Path

import pytest

from unifusion import share
from unifusion.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", share.FOLDERS)
def test_every_folder_is_found_from_any_working_directory(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert share.folder(name) == ROOT / name


@pytest.mark.parametrize("name", ["tests", "../etc", "", "unifusion"])
def test_another_folder_is_refused(name):
    with pytest.raises(ConfigError, match="there are prompts"):
        share.folder(name)


def test_an_installed_copy_goes_before_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "unifusion"
    (package / "_share" / "prompts").mkdir(parents=True)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(share, "__file__", str(package / "share.py"))
    assert share.folder("prompts") == package / "_share" / "prompts"
    assert share.folder("train") == tmp_path / "train"
    with pytest.raises(ConfigError, match="reinstall"):
        share.folder("eval")


def test_a_shipped_checkpoint_is_found_by_both_names(tmp_path, monkeypatch):
    shipped = tmp_path / "checkpoints" / "small"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(share, "__file__", str(tmp_path / "unifusion" / "share.py"))
    monkeypatch.chdir(tmp_path.parent)
    assert share.resolve_checkpoint("checkpoints/small") == shipped
    assert share.resolve_checkpoint("small") == shipped


def test_a_path_goes_before_a_shipped_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "checkpoints" / "small").mkdir(parents=True)
    (tmp_path / "here" / "small").mkdir(parents=True)
    monkeypatch.setattr(share, "__file__", str(tmp_path / "unifusion" / "share.py"))
    monkeypatch.chdir(tmp_path / "here")
    assert share.resolve_checkpoint("small") == Path("small")


@pytest.mark.parametrize("name", ["org/model", "a/b/c", "checkpoints/none"])
def test_a_name_that_is_neither_comes_back_unchanged(name):
    assert share.resolve_checkpoint(name) == Path(name)
