"""One model behind a server and on this machine says the same: what is sent carries all that the conversation shows."""

import numpy as np
import pytest

from tests.evaluation.servers import frames, serving, told, tone
from tests.toys import chat_model
from unifusion.conversation import Clip, Conversation, Media, Message
from unifusion.engine import Engine
from unifusion.errors import UniFusionError
from unifusion.evaluation.systems_endpoint import EndpointSystem
from unifusion.media.written import jpegs, wav, write_film
from unifusion.processor.messages import to_conversation


@pytest.fixture(scope="module")
def system():
    return Engine(*chat_model())


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Conversations about whole files, several turns and clips among them."""
    folder = tmp_path_factory.mktemp("asked")
    clip = Clip(frames_THWC=frames("red", 8), frame_times_s=np.arange(8) / 8.0, waveform_N=tone("high", 1.0), duration_s=1.0)
    write_film(clip, folder / "film.mp4")
    (folder / "sound.wav").write_bytes(wav(clip))
    (folder / "still.jpg").write_bytes(jpegs(clip, 1)[0])
    files = (("video", "film.mp4"), ("audio", "sound.wav"), ("image", "still.jpg"))
    film, sound, still = (Media(kind=kind, source=str(folder / name)) for kind, name in files)

    def user(*parts):
        return Message(role="user", parts=parts)

    return [
        Conversation(messages=messages, id=str(n))
        for n, messages in enumerate([
            (user(film, "what?"),), (user(sound, "which tone?"),), (user(still, "a colour?"),), (user("no clip at all"),),
            (user(still, "first", sound, "second"),),
            (Message(role="system", parts=("be short",)), user(film, "what?"), Message(role="assistant", parts=("red",)), user("sure?")),
        ])
    ]  # fmt: skip


def behind(system):
    """A server over a model: OpenAI's messages are read as any others."""

    def answer(body):
        [found] = system.answer([to_conversation(body["messages"])], max_new_tokens=body["max_tokens"])
        if isinstance(found, UniFusionError):
            return 400, {"error": {"message": str(found)}}
        return told(found.text, "stop" if found.stopped else "length", len(found.ids))

    return answer


def test_a_model_and_the_same_behind_a_server_say_the_same(system, asked):
    with serving(behind(system)) as (url, _):
        served = EndpointSystem.at(url, "toy", concurrency=1, retries=0).answer(asked, max_new_tokens=5)
    own = system.answer(asked, max_new_tokens=5)
    assert [a.text for a in served] == [a.text for a in own] and len({a.text for a in own}) > 2
    assert [a.stopped for a in served] == [a.stopped for a in own]
    assert [a.timing["new_tokens"] for a in served] == [float(len(a.ids)) for a in own]
    for there, here in zip(served, own, strict=True):
        shown = {name for name, stream in here.report.streams.items() if stream.present}
        assert {name for name, stream in there.report.streams.items() if stream.present} == shown


def test_what_the_model_behind_it_refuses_is_the_items_error(system, asked):
    long = Conversation(messages=(Message(role="user", parts=("x" * 5000,)),), id="long")
    with serving(behind(system)) as (url, _):
        found = EndpointSystem.at(url, "toy", retries=0).answer([asked[3], long], max_new_tokens=5)
    assert not isinstance(found[0], UniFusionError) and "5" in str(found[1]) and "tokens" in str(found[1])
