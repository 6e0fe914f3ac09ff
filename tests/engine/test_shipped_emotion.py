"""The shipped emotion model on the shipped clips."""

import pytest

from unifusion import catalog
from unifusion.cli.common import load_teller
from unifusion.conversation import Media

CLIPS = "demo/examples"


@pytest.fixture(scope="module")
def engine():
    if "tiny-emotion" not in catalog.names("checkpoints"):
        pytest.skip("checkpoints/tiny-emotion is not there: docs/emotion.md says how it is trained")
    return load_teller("tiny-emotion")


def told(engine, root, name, **given):
    return engine.emotion([Media(kind="video", source=str(root / CLIPS / f"{name}.mp4"), **given)])


def test_it_tells_a_happy_face_with_a_happy_voice(engine, pytestconfig):
    answer = told(engine, pytestconfig.rootpath, "happy-face-happy-voice")
    assert answer.label == "happy" and answer.valence > 0.3


def test_a_muted_voice_changes_what_is_told(engine, pytestconfig):
    heard = told(engine, pytestconfig.rootpath, "happy-face-angry-voice")
    seen = told(engine, pytestconfig.rootpath, "happy-face-angry-voice", mute=frozenset({"audio"}))
    assert heard.label == "angry" and seen.label == "happy" and heard.valence < 0 < seen.valence
