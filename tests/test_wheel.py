"""The wheel has one top-level name, carries every shared file, works installed; the core install pulls nothing heavy."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from unifusion import share

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"triton", "numba", "librosa", "chromadb", "deepspeed", "openai-whisper", "torchvision", "torchaudio"}


@pytest.fixture(scope="module")
def sources():
    """Every file that git tracks or would track."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return sorted(name for name in listed.decode().split("\0") if name and (ROOT / name).is_file())


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    """The wheel, built without network from a copy of the sources alone."""
    work = tmp_path_factory.mktemp("wheel")
    for name in sources:
        (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(work), "."]
    done = subprocess.run(command, cwd=work / "source", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(work.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_one_top_level_name(names):
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"unifusion"}


@pytest.mark.parametrize("folder", share.FOLDERS)
def test_every_shared_file_is_inside(sources, names, folder):
    here = {name for name in sources if name.startswith(f"{folder}/")}
    assert here, f"{folder}/ is empty"
    assert {f"unifusion/_share/{name}" for name in here} <= names


def test_every_module_and_its_data_are_inside(sources, names):
    assert {name for name in sources if name.startswith("unifusion/")} <= names


def test_no_litter_inside(names):
    assert [n for n in names if "__pycache__" in n or n.endswith((".pyc", ".tmp"))] == []


def test_the_explicit_list_is_what_is_on_disk():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    library = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "unifusion").rglob("__init__.py")}
    assert listed == library | {f"unifusion._share.{folder}" for folder in share.FOLDERS}


def test_every_folder_of_modules_is_a_package():
    bare = {p.parent.relative_to(ROOT).as_posix() for p in (ROOT / "unifusion").rglob("*.py") if not (p.parent / "__init__.py").exists()}
    assert bare == set()


def test_an_installed_wheel_answers(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)

    def run(*words):
        # -P and another folder: only the installed copy can be found, not the checkout.
        environment = {**os.environ, "PYTHONPATH": str(target)}
        command = [sys.executable, "-P", "-m", "unifusion", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert run("list", "prompts").split() == sorted(p.stem for p in (ROOT / "prompts").glob("*.yaml"))
    assert run("list", "recipes").split() == sorted(p.stem for p in (ROOT / "train").glob("*.py") if not p.name.startswith("_"))
    copied = Path(run("copy", "prompts/emotion", str(tmp_path / "mine")))
    assert copied.read_bytes() == (ROOT / "prompts" / "emotion.yaml").read_bytes()
    where = [sys.executable, "-P", "-c", "import unifusion; print(unifusion.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)}, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(target)


def core_closure():
    """Names of every distribution that the core requirements pull, by the metadata of what is installed here."""
    waiting = [Requirement(r) for r in PROJECT["project"]["dependencies"]]
    seen, missing = set(), set()
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            missing.add(name)
            continue
        if name == "torch" and "+cpu" not in importlib.metadata.version("torch"):
            # A CUDA build of torch names triton and the CUDA libraries itself: that is the user's choice of torch, not ours.
            continue
        extras = requirement.extras or {""}
        waiting += [r for r in map(Requirement, needed) if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)]
    return seen, missing


def test_the_core_pulls_nothing_heavy():
    seen, missing = core_closure()
    assert not missing, f"core packages that are not installed: {missing}"
    assert {"torch", "transformers", "av"} <= seen
    assert seen & HEAVY == set()


def test_no_extra_names_torchvision():
    extras = PROJECT["project"]["optional-dependencies"]
    named = {Requirement(r).name.lower() for group in extras.values() for r in group}
    assert named & {"torchvision", "torchaudio", "openai-whisper"} == set()


def test_librosa_comes_with_measures_of_sound_alone():
    """It brings numba, which compiles for 20 s when it is first used."""
    extras = PROJECT["project"]["optional-dependencies"]
    assert [e for e, group in extras.items() if any(Requirement(r).name.lower() == "librosa" for r in group)] == ["acoustic"]


@pytest.mark.parametrize(("name", "hole"), [("torch", "2.9.1"), ("pillow", "12.2.0"), ("transformers", "5.2.0"), ("gradio", "6.19.0")])
def test_floors_are_above_known_holes(name, hole):
    declared = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["demo"]]
    requirement = next(r for r in map(Requirement, declared) if r.name == name)
    assert not requirement.specifier.contains(hole)


def test_constraints_satisfy_every_requirement():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    wrong = [str(r) for group in groups for r in map(Requirement, group) if r.name in pins and not r.specifier.contains(pins[r.name])]
    assert wrong == []
    assert {"torch", "transformers", "peft", "av", "pillow", "typer"} <= pins.keys()
