"""`unifusion list` and `unifusion copy`."""

import pytest

from unifusion import catalog, share


@pytest.mark.parametrize("kind", [*catalog.KINDS, *catalog.SHARED])
def test_one_name_a_line(run, kind):
    code, out, _ = run("list", kind)
    assert code == 0
    assert out.split() == catalog.names(kind)


def test_without_a_kind_all_kinds(run):
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*catalog.KINDS, *catalog.SHARED]


@pytest.mark.parametrize("kind", ["adapters", "prompts", "recipes", "tasks"])
def test_long_says_what_each_is(run, kind):
    lines = run("list", kind, "--long")[1].splitlines()
    assert [line.split()[0] for line in lines] == catalog.names(kind)
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("list", "recipe"), "recipes"), (("copy", "instrct", "."), "instruct"), (("copy", "prompts/emotin", "."), "emotion")],
)
def test_a_wrong_name_gets_the_nearest(run, words, said):
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert f"did you mean '{said}'" in err


@pytest.mark.parametrize("folder", ["/etc", "..", "unifusion"])
def test_only_shared_folders_can_be_copied(run, tmp_path, folder):
    code, _, err = run("copy", f"{folder}/passwd", tmp_path)
    assert code == 2
    assert "no shared folder" in err


@pytest.mark.parametrize("what", ["instruct", "train/instruct", "train/instruct.py"])
def test_a_recipe_is_copied(run, tmp_path, what):
    code, out, _ = run("copy", what, tmp_path / "new" / "folder")
    copied = tmp_path / "new" / "folder" / "instruct.py"
    assert code == 0
    assert out.strip() == str(copied)
    assert copied.read_bytes() == (share.folder("train") / "instruct.py").read_bytes()


def test_a_copy_is_not_written_over(run, tmp_path):
    run("copy", "prompts/emotion", tmp_path)
    mine = tmp_path / "emotion.yaml"
    mine.write_text("changed")
    code, _, err = run("copy", "prompts/emotion", tmp_path)
    assert code == 2
    assert "--force" in err
    assert mine.read_text() == "changed"
    assert run("copy", "prompts/emotion", tmp_path, "--force")[0] == 0
    assert mine.read_text() != "changed"


def test_a_whole_folder_is_copied(run, tmp_path):
    assert run("copy", "deepspeed_configs", tmp_path)[0] == 0
    assert {p.name for p in (tmp_path / "deepspeed_configs").glob("*.json")} == {f"zero{n}.json" for n in ("1", "2", "3", "3_offload")}
