"""The demo's handlers over another's model."""

import pytest

from tests.existing import folder_of
from unifusion.engine import Engine

KEY = "tab"


@pytest.fixture(scope="module")
def do(part, tmp_path_factory):
    folder = folder_of("qwen2_5_omni", str(tmp_path_factory.mktemp("existing")))
    engine = Engine.from_pretrained(folder, limits=part("settings").LIMITS)
    return part("handlers").Handlers(engine=engine, max_new_tokens=8)


@pytest.fixture
def paths(clip):
    return {"video": str(clip), "audio": None, "image": None}


def test_a_talk_of_two_turns(do, paths):
    for number, question in enumerate(("What happens?", "And then?"), 1):
        do.begin(KEY)
        views = list(do.ask(KEY, "video", paths, ("1", "3"), question))
        assert views[-1].notice == "", views[-1].notice
        assert len(views[-1].turns) == number
    first, second = views[-1].turns
    assert "<b>video</b> 2.0 s" in first.report and "<b>audio</b> 2.0 s" in first.report
    assert first.clip and not second.clip, "the second question is about the same clip"


def test_emotion(do, paths):
    view = do.feel("video", paths, ("0", "2"))
    assert not view.notice
    assert view.label and view.rationale and "<b>audio</b> 2.0 s" in view.report
