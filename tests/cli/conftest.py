"""A toy checkpoint on disk and a short clip, so that every command runs for real."""

import json

import pytest

from unifusion.cli import main
from unifusion.cli.checks.codecs import make_clip


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    """A saved checkpoint with random weights."""
    from tests.toys import chat_model
    from unifusion import checkpoint

    model, processor = chat_model(seed=1)
    folder = tmp_path_factory.mktemp("models") / "toy"
    return str(checkpoint.save(model, processor, folder, provenance={"recipe": "random"}, self_contained=True))


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """One second of picture and sound."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    make_clip(path, "libx264", "aac")
    return str(path)


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """One second of sound."""
    path = tmp_path_factory.mktemp("clips") / "tone.wav"
    make_clip(path, "", "pcm_s16le")
    return str(path)


@pytest.fixture(scope="session")
def fusion_folder(tmp_path_factory):
    """A saved fusion over picture, sound, words and what was said before, with random weights."""
    from tests.models.test_affect import model
    from unifusion.models.affect_files import save_affect

    return str(save_affect(model(fusion="perceiver_io"), tmp_path_factory.mktemp("models") / "fusion", provenance={"recipe": "random"}))


@pytest.fixture
def evidence(monkeypatch):
    """Few words of the toy model, or what a rationale shall say."""
    from unifusion.engine import emotion

    monkeypatch.setattr(emotion, "_MAX_RATIONALE", 4)
    monkeypatch.setattr(emotion, "_MAX_AFFECT", 4)

    def say(*lines):
        told = "\n".join(["Emotion: calm.", *lines])
        felt = "valence 0.1, arousal 0.2"
        monkeypatch.setattr(emotion, "_generate", lambda engine, rows, most, begun: [told if b else felt for b in begun])

    return say


@pytest.fixture
def run(capsys):
    """Run the command line; gives exit code, stdout and stderr."""

    def call(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def rows_of():
    """Read a JSONL file."""
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
