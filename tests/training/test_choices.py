"""Choices: flags, files, types, unknown names."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from unifusion.errors import ConfigError
from unifusion.training.choices import as_dict, given, parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A recipe's choices."""

    out: str = "runs/x"
    steps: int = 10
    rate: float = 1e-3
    fast: bool = False
    names: tuple[str, ...] = ()
    limit: int | None = None


def test_flags_are_typed():
    got = parse(Choices, ["--steps", "7", "--rate", "2e-4", "--fast", "yes", "--names", "a,b", "--limit", "3"])
    assert got == Choices(steps=7, rate=2e-4, fast=True, names=("a", "b"), limit=3)


def test_where_it_is_written_is_short():
    assert parse(Choices, ["-o", "runs/y"]).out == "runs/y" == parse(Choices, ["--out=runs/y"]).out


def test_a_flag_of_yes_or_no_needs_no_word():
    assert parse(Choices, ["--fast", "--steps", "7"]) == Choices(steps=7, fast=True)
    assert parse(Choices, ["--fast", "no"]) == Choices()


def test_a_file_is_read_and_flags_win(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\nfast: false\nlimit: none\n")
    assert parse(Choices, ["--config", str(path), "--steps", "6"]) == Choices(steps=6)


@pytest.mark.parametrize("argv", [["--stepz", "3"], ["--steps", "many"], ["--steps", "1.5"], ["--fast", "perhaps"]])
def test_wrong_choices_name_the_key(argv):
    with pytest.raises(ConfigError, match=r"steps|fast"):
        parse(Choices, argv)


@pytest.mark.parametrize(("line", "said"), [("steps:", "nothing is written"), ("steps: 100.7", "whole number")])
def test_a_value_of_a_file_is_not_bent_to_its_type(tmp_path, line, said):
    (tmp_path / "c.yaml").write_text(line + "\n")
    with pytest.raises(ConfigError, match=said):
        parse(Choices, ["--config", str(tmp_path / "c.yaml")])


@dataclass(frozen=True, kw_only=True)
class Needy:
    """One choice has no default."""

    data: str
    """Folder of the sets, 100 % of them."""


def test_what_is_required_is_asked_for_by_its_flag(capsys):
    with pytest.raises(ConfigError, match="--data is not given"):
        parse(Needy, [])
    with pytest.raises(SystemExit):
        parse(Needy, ["--help"])
    assert "Folder of the sets, 100 % of them." in " ".join(capsys.readouterr().out.split())


@dataclass(frozen=True, kw_only=True)
class Heir(Needy):
    """It has those of another, one with another default."""

    more: int = 3
    """How many more."""
    where: str = "here"


@dataclass(frozen=True, kw_only=True)
class Grandchild(Heir):
    """Asks for two."""

    last: str
    """What is last."""
    more: int = 4


def test_inherited_choices_have_their_help_and_are_listed_behind(capsys):
    assert parse(Grandchild, ["--data", "x", "--last", "y"]) == Grandchild(data="x", last="y", more=4, where="here")
    with pytest.raises(ConfigError, match="--data is not given"):
        parse(Grandchild, ["--last", "y"])
    with pytest.raises(SystemExit):
        parse(Grandchild, ["--help"])
    told = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    assert "--last STR What is last." in told and "--data STR Folder of the sets, 100 % of them." in told
    assert "--more INT How many more. Default: 4" in told
    places = [told.index(f"--{name} ") for name in ("data", "last", "more", "where")]
    assert places == sorted(places)


def test_an_unknown_key_of_a_file_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("stepps: 5\n")
    with pytest.raises(ConfigError, match="did you mean"):
        parse(Choices, ["--config", str(path)])


def test_what_is_saved_is_plain():
    assert as_dict(Choices(names=("a",)))["names"] == ["a"]


def test_what_is_told_is_known_before_it_is_read(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1\nname: x\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--name", "y", "-o", "z", "--flag", "--data-root=w"]
    assert given(words) == {"config": str(tmp_path / "c.yaml"), "lr": 1, "name": "y", "flag": None, "data_root": "w"}
