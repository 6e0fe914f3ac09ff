"""Sessions: nothing is done twice, answers are those of a fresh run, and whatever goes wrong leaves a usable conversation."""

import threading

import pytest

from tests.models.families import FAMILIES
from tests.toys import chat_model, talk, until_end, video
from unifusion.conversation import Media
from unifusion.engine import Engine
from unifusion.engine.decoding import Sampling
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits


def fresh(engine, session, start, max_new_tokens=8):
    """What a whole new run over the session's ids up to `start` answers."""
    row = session.row
    batch = engine.processor.collate([type(row)(ids=row.ids[:start], labels=row.labels[:start], media=row.media)])
    shown = [m for m in row.media if m.streams]
    batch["media"] = engine.processor.collate([type(row)(media=shown)])["media"] if shown else {}
    out = engine.model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)[0, start:].tolist()
    return until_end(out, engine.processor.end_ids)


@pytest.fixture
def counted(tiny_engine, monkeypatch):
    """The engine with counters: clips opened, streams encoded, tokens fed to the language model."""
    counts = {"opened": 0, "encoded": 0, "fed": 0}

    def counting(name, function, size=lambda *a, **k: 1):
        def wrapped(*args, **kwargs):
            counts[name] += size(*args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(tiny_engine.processor.opener, "open", counting("opened", tiny_engine.processor.opener.open))
    for encoder in tiny_engine.model.encoders.values():
        monkeypatch.setattr(encoder, "forward", counting("encoded", encoder.forward))
    inner = tiny_engine.model.language_model
    monkeypatch.setattr(inner, "forward", counting("fed", inner.forward, lambda *a, inputs_embeds, **k: inputs_embeds.shape[1]))
    return tiny_engine, counts


def test_second_turn_opens_encodes_and_prefills_nothing_again(counted):
    engine, counts = counted
    session = engine.session()
    session.add(video(seed=1))
    first = session.ask("what is it?", max_new_tokens=6)
    assert (counts["opened"], counts["encoded"]) == (1, 2)
    held, before = session._fed, len(session.row.ids)
    counts.update(opened=0, encoded=0, fed=0)
    second = session.ask("and then?", max_new_tokens=6)
    assert (counts["opened"], counts["encoded"]) == (0, 0)
    question = len(session.row.ids) - before - len(second.ids) - len(engine.processor.text.control(engine.processor.format.assistant_end))
    new = before - held + question
    assert counts["fed"] == new + len(second.ids) - (0 if second.stopped else 1)
    assert before - held <= 2, "of the first turn only what ends the answer is fed late"
    assert second.timing["decode_s"] == second.timing["encode_s"] == 0.0 < first.timing["decode_s"]


@pytest.mark.parametrize("llm", FAMILIES)
def test_turns_are_those_of_a_fresh_run(llm):
    engine = Engine(*chat_model(llm=FAMILIES[llm]))
    session = engine.session(system="be brief")
    asked = [
        ((video(seed=1),), "what is it?"),
        ((), "and then?"),
        ((video(seed=2, sound=False), video(seed=3, picture=False)), "and these?"),
        ((), "so?"),
    ]
    for clips, question in asked:
        for media in clips:
            session.add(media)
        start_before = len(session.row.ids)
        answer = session.ask(question, max_new_tokens=8)
        end = len(engine.processor.text.control(engine.processor.format.assistant_end))
        start = len(session.row.ids) - end - len(answer.ids)
        assert start > start_before
        assert fresh(engine, session, start) == answer.ids
    assert len(session.row.media) == 3
    assert session.report.streams["video"].tokens == sum(i == engine.processor.placeholder_ids["video"] for i in session.row.ids)


def test_session_writes_the_ids_that_the_processor_writes(tiny_engine):
    processor = tiny_engine.processor
    for system in ("", "be brief"):
        session = tiny_engine.session(system=system)
        session.add(video(seed=1))
        session.ask("what?", max_new_tokens=1)
        messages = [{"role": "system", "content": system}] if system else []
        source = video(seed=1).source
        messages.append({"role": "user", "content": [{"type": "video", "video": source}, {"type": "text", "text": "what?"}]})
        wanted = processor.apply_chat_template(messages, add_generation_prompt=True)["input_ids"][0].tolist()
        assert session.row.ids[: len(wanted)] == wanted


def test_a_system_text_reaches_a_model_without_that_role():
    from unifusion.processor import ChatFormat

    chat = ChatFormat(first="<|user|>", system=None, system_to_user="")
    engine = Engine(*chat_model(chat_format=chat))
    session = engine.session(system="be brief")
    session.add(video(seed=1))
    session.ask("what?", max_new_tokens=1)
    text = engine.processor.tokenizer.decode(session.row.ids)
    assert text.startswith("<|user|>be brief\nt=0.0s<|video|>")
    row = engine.processor.row(
        type(talk())(messages=(type(talk().messages[0])(role="system", parts=("be brief",)), *talk([video(seed=1)], "what?").messages)),
        generate=True,
    )
    assert session.row.ids[: len(row.ids)] == row.ids


def test_cancel_keeps_what_was_said(tiny_engine):
    session = tiny_engine.session()
    session.add(video(seed=1))
    cancel = threading.Event()
    pieces = []
    for piece in session.stream("what?", max_new_tokens=50, cancel=cancel):
        pieces.append(piece)
        cancel.set()
    answer = session.answer
    assert answer.cancelled and not answer.stopped
    assert len(pieces) == 1 and len(answer.ids) < 10
    start = len(session.row.ids)
    again = session.ask("go on", max_new_tokens=5)
    assert session.row.ids[start - 1 - len(answer.ids) : start - 1] == answer.ids
    assert fresh(tiny_engine, session, len(session.row.ids) - 1 - len(again.ids), 5) == again.ids


def test_closing_the_generator_leaves_the_session_usable(tiny_engine):
    session = tiny_engine.session()
    session.add(video(seed=1))
    stream = session.stream("what?", max_new_tokens=50)
    next(stream)
    stream.close()
    assert session.answer is None
    again = session.ask("go on", max_new_tokens=5)
    assert fresh(tiny_engine, session, len(session.row.ids) - 1 - len(again.ids), 5) == again.ids


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_exception_takes_the_question_back(tiny_engine, monkeypatch, at):
    """Pitfall 9: the consumer gets the exception at once; clips of the failed question are shown with the next."""
    session = tiny_engine.session()
    session.ask("hello", max_new_tokens=3)
    row, calls = session.row, []
    inner, broken = tiny_engine.model.language_model.forward, RuntimeError("out of memory")

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) > at:
            raise broken
        return inner(*args, **kwargs)

    session.add(video(seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(tiny_engine.model.language_model, "forward", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            session.ask("what?", max_new_tokens=20)
    assert session.row is row and session.answer is None
    again = session.ask("what?", max_new_tokens=5)
    assert again.report.streams["video"].present, "the clip of the failed question is not lost"
    assert again.timing["decode_s"] > 0
    assert fresh(tiny_engine, session, len(session.row.ids) - 1 - len(again.ids), 5) == again.ids


def test_a_bad_clip_leaves_the_session_usable(tiny_engine, tmp_path):
    session = tiny_engine.session()
    (tmp_path / "bad.mp4").write_bytes(b"not a clip")
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        session.add(Media(kind="video", source=tmp_path / "bad.mp4"))
    assert session.ask("hello", max_new_tokens=3).report.streams == {}


def test_limits_of_clips_text_and_context(tiny_engine):
    engine = Engine(*chat_model(), limits=Limits(max_media=2, max_text_chars=50, max_tokens=120, max_new_tokens=4))
    session = engine.session()
    session.add(video(seed=1))
    session.add(video(seed=2))
    with pytest.raises(LimitError, match="2 clips already"):
        session.add(video(seed=3))
    with pytest.raises(LimitError, match="51 characters"):
        session.ask("x" * 51)
    first = session.ask("what?", max_new_tokens=100)
    assert len(first.ids) <= 4 and first.report.streams["video"].present
    with pytest.raises(LimitError, match="the model takes 120"):
        for _ in range(10):
            assert len(session.row.ids) <= 120
            session.ask("x" * 30)
    assert len(session.row.ids) <= 121
    session.reset()
    assert session.ask("hi").report.streams == {}


def test_the_answer_ends_where_the_context_ends():
    engine = Engine(*chat_model(llm={**FAMILIES["gpt2"], "n_positions": 64}))
    session = engine.session()
    answer = session.ask("x" * 50, max_new_tokens=100)
    assert not answer.stopped or len(answer.ids) < 12
    assert len(session.row.ids) <= 65


def test_stream_is_the_answer_and_sampling_is_seeded(tiny_engine):
    def run(seed):
        session = tiny_engine.session()
        session.add(video(seed=1))
        pieces = list(session.stream("what?", max_new_tokens=12, sampling=Sampling(temperature=1.5, top_p=0.9, seed=seed)))
        return "".join(pieces).rstrip("\ufffd").strip(), session.answer

    for seed in range(6):
        text, answer = run(seed)
        assert text == answer.text.rstrip("\ufffd").strip()
        assert run(seed)[1].ids == answer.ids
    assert len({tuple(run(seed)[1].ids) for seed in range(4)}) > 1


def test_two_sessions_do_not_see_each_other(tiny_engine):
    def begin(number):
        session = tiny_engine.session()
        session.add(video(seed=number))
        return session, f"what is {'it' * number}?"

    def alone(number):
        session, question = begin(number)
        return session.ask(question, max_new_tokens=6).ids

    other = next(n for n in range(2, 12) if alone(n) != alone(1))
    talks = [begin(1), begin(other)]
    streams = [session.stream(question, max_new_tokens=6) for session, question in talks]
    while streams:
        streams = [s for s in streams if next(s, None) is not None]
    assert [session.answer.ids for session, _ in talks] == [alone(1), alone(other)]


def test_muted_clips_between_others_are_placed_right(tiny_engine):
    session = tiny_engine.session()
    shown = [video(seed=1).muted("video", "audio"), video(seed=2), video(seed=3).muted("video", "audio"), video(seed=4)]
    for media in shown:
        session.add(media)
        answer = session.ask("what?", max_new_tokens=5)
        assert fresh(tiny_engine, session, len(session.row.ids) - 1 - len(answer.ids), 5) == answer.ids
    assert session.report.clips[0]["streams"]["video"]["reason"] == "muted on request"


def test_told_turns_are_as_if_they_had_been_asked(tiny_engine):
    asked, told = tiny_engine.session(system="be brief"), tiny_engine.session(system="be brief")
    for number, question in enumerate(("what?", "and then?"), 1):
        asked.add(video(seed=number))
        told.add(video(seed=number))
        answer = asked.ask(question, max_new_tokens=5)
        told.tell(question, answer.ids)
    assert told.row.ids == asked.row.ids and told._fed == 0 < asked._fed
    assert told.ask("so?", max_new_tokens=5).ids == asked.ask("so?", max_new_tokens=5).ids
    asked.tell("hm", "yes")
    again = asked.ask("go on", max_new_tokens=5)
    assert fresh(tiny_engine, asked, len(asked.row.ids) - 1 - len(again.ids), 5) == again.ids
