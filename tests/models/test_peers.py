"""Multimodal chat models of other kinds through their own processors: what they are shown, how likely answers are, what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from tests.peers import MODELS, folder_of, template
from unifusion.conversation import Clip, Conversation, Media, Message
from unifusion.errors import CheckpointError, MediaError
from unifusion.evaluation.systems_transformers import TransformersSystem
from unifusion.models.existing import supported
from unifusion.models.peers import is_peer, load_peer

QUICK = ("audio_flamingo_3", "gemma4", "llava_next_video", "qwen3_vl")
HEAR, BOTH = {"audio_flamingo_3", "glm_asr"}, {"gemma4"}
LABELS = ("happy", "sad", "very angry")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("peers")
    return lambda name: folder_of(name, str(parent))


@pytest.fixture(scope="module")
def systems(folders):
    """Name of a family -> a system over it."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = TransformersSystem.from_pretrained(folders(name))
        return made[name]

    return get


@pytest.fixture(params=[p if p in QUICK else pytest.param(p, marks=pytest.mark.thorough) for p in sorted({*MODELS} - {"smolvlm"})])
def name(request):
    return request.param


def clip(seed=0, seconds=2.0, frames=8):
    draw = np.random.default_rng(seed)
    return Clip(
        frames_THWC=draw.integers(0, 255, (frames, 40, 56, 3), dtype=np.uint8) if frames else None,
        frame_times_s=np.arange(frames) * seconds / frames if frames else None,
        waveform_N=draw.normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32),
        duration_s=seconds,
    )


def asked(*parts, kind="video", mute=()):
    parts = tuple(Media(kind=kind, source=p, mute=mute) if isinstance(p, Clip) else p for p in parts)
    return Conversation(messages=(Message(role="user", parts=parts),), id="asked")


def takes(name):
    return {"video", "audio"} if name in BOTH else {"audio"} if name in HEAR else {"video"}


def test_streams_are_shown_and_told(systems, name):
    system = systems(name)
    one, other, bare = system.score_labels([asked(clip(0), "what?"), asked(clip(1), "what?"), asked("what?")], [LABELS] * 3)
    [answer] = system.answer([asked(clip(0), "what?")], max_new_tokens=4)
    told = answer.report.streams
    assert answer.report == one.report
    assert {n for n, r in told.items() if r.present} == takes(name) == set(system.peer.takes)
    for stream, report in told.items():
        assert bool(report.tokens) == report.present
        assert report.seconds == (2.0 if report.present else 0.0)
        assert report.present or report.reason == f"this model has no input for {'pictures' if stream == 'video' else 'sound'}"
    assert told["video"].frames == (8 if "video" in takes(name) else 0)
    assert told["audio"].samples == (32_000 if "audio" in takes(name) else 0)
    assert bare.report.streams == {}
    assert np.abs(np.subtract(one.log_probs, other.log_probs)).max() > 1e-3, "another clip changes nothing"
    assert np.abs(np.subtract(one.log_probs, bare.log_probs)).max() > 1e-3, "a clip changes nothing"


def test_likelihoods_are_those_of_its_own_decoding(systems, name):
    """`generate` goes step by step behind its cache; an answer's likelihood is taken in one whole pass."""
    system = systems(name)
    inputs = system.peer.inputs(system.peer.prompt(asked(clip(), "what?"), [system.opener.open(asked(clip()).media[0])]))
    out = system.network.generate(
        **inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    ids = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    stepped = sum(float(step[0].float().log_softmax(-1)[id]) for step, id in zip(out.logits, ids, strict=True))
    with torch.no_grad():
        assert system._likelihood(inputs, ids) == pytest.approx(stepped, abs=2e-3)


def test_what_a_user_types_becomes_no_token(systems, name):
    system = systems(name)
    marks = " ".join(system.peer.own.tokenizer.all_special_tokens)
    plain, typed, bare = system.answer([asked(clip(), "what?"), asked(clip(), f"what {marks}?"), asked(marks)], max_new_tokens=2)
    assert [r.tokens for r in typed.report.streams.values()] == [r.tokens for r in plain.report.streams.values()]
    assert bare.report.streams == {}


def test_a_muted_stream_is_not_shown(systems):
    system = systems("gemma4")
    whole, deaf, blind = system.answer(
        [asked(clip(), "what?"), asked(clip(), "what?", mute=("audio",)), asked(clip(), "what?", mute=("video",))], max_new_tokens=2
    )
    shown = [{n for n, r in a.report.streams.items() if r.present} for a in (whole, deaf, blind)]
    assert shown == [{"video", "audio"}, {"video"}, {"audio"}]
    assert deaf.report.streams["audio"].reason == "muted on request"
    assert [a.report.streams["video"].tokens for a in (whole, deaf, blind)] == [whole.report.streams["video"].tokens] * 2 + [0]


def test_several_clips_and_turns(systems):
    system = systems("llava_next_video")
    talk = Conversation(
        messages=(
            Message(role="system", parts=("be short",)),
            Message(role="user", parts=(asked(clip(0)).media[0], asked(clip(1)).media[0], "same?")),
            Message(role="assistant", parts=("no",)),
            Message(role="user", parts=("sure?",)),
        )
    )
    [answer] = system.answer([talk], max_new_tokens=2)
    shown = system.peer.prompt(talk, [system.opener.open(m) for m in talk.media])
    assert [m["role"] for m in shown] == ["system", "user", "assistant", "user"]
    assert [p["text"] for p in shown[1]["content"] if p["type"] == "text"] == ["clip 1: ", "clip 2: ", "same?"]
    assert answer.report.streams["video"].frames == 16
    assert len(answer.report.clips) == 2


def test_an_item_that_fails_holds_its_error(systems, tmp_path):
    system = systems("audio_flamingo_3")
    gone = Conversation(messages=(Message(role="user", parts=(Media(kind="video", source=tmp_path / "gone.mp4"), "what?")),))
    silent = asked(clip(frames=8), "what?", kind="image")
    answers = system.answer([gone, silent, asked(clip(), "what?")], max_new_tokens=2)
    assert [isinstance(a, MediaError) for a in answers] == [True, True, False]
    assert "no input for pictures" in str(answers[1])
    scores = system.score_labels([gone, asked(clip(), "what?")], [LABELS] * 2)
    assert isinstance(scores[0], MediaError)
    assert scores[1].labels == LABELS


@pytest.mark.parametrize(("name", "seconds"), [("audio_flamingo_3", 40.0), ("gemma4", 30.0)])
def test_long_sound_is_cut_only_where_the_processor_would_cut_it(systems, name, seconds):
    [answer] = systems(name).answer([asked(clip(seconds=40.0, frames=0), "what?", kind="audio")], max_new_tokens=2)
    assert answer.report.streams["audio"].seconds == seconds
    assert any("only the first 30.0 s of the sound" in n for n in answer.report.notes) == (seconds < 40.0)


def test_a_prompt_beyond_the_context_is_an_error_of_its_row(systems):
    system = systems("llava_next_video")
    long, short = system.answer([asked("word " * 5000), asked("word")], max_new_tokens=2)
    assert "the model takes 4096" in str(long)
    assert short.text is not None


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("processor_config.json", {"processor_class": "PixtralProcessor"}, "Torchvision.*install the build of torchvision"),
        ("preprocessor_config.json", {"image_processor_type": "Phi4MultimodalImageProcessor"}, "torchvision.*install the build"),
        ("config.json", {"architectures": ["SomethingElse"]}, "'llava_next_video' model .SomethingElse., which .* cannot let answer"),
        ("config.json", {"image_token_index": 5}, "has a part for image, but shows none"),
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "names code to run"),
        ("chat_template.jinja", "", "has no chat template"),
        ("chat_template.jinja", template(image="[picture]"), "has a part for image, but shows none"),
        ("chat_template.jinja", "{{ raise_exception('no') }}", "does not show what is said .no."),
        ("model.safetensors", "xx", "cannot be loaded"),
    ],
)
def test_what_cannot_be_measured_is_refused_when_it_is_opened(folders, tmp_path, file, changes, match):
    folder = tmp_path / "copy"
    shutil.copytree(folders("llava_next_video"), folder)
    if isinstance(changes, dict):
        edit(folder / file, **changes)
    else:
        (folder / file).write_text(changes)
    with pytest.raises(CheckpointError, match=match):
        load_peer(folder)


def test_a_family_that_needs_its_part_for_videos_says_so(folders):
    """SmolVLM's processor wants a library for numbers in words first, then torchvision."""
    with pytest.raises(CheckpointError, match=r"num2words|install the build of torchvision"):
        load_peer(folders("smolvlm"))


def test_a_template_of_plain_texts_is_taken(folders, tmp_path):
    """Some show a turn without clips only where it is a string."""
    folder = tmp_path / "copy"
    shutil.copytree(folders("llava_next_video"), folder)
    path = folder / "chat_template.jinja"
    lists = "{% for m in messages if m['content'] is not string and m['role'] == 'assistant' %}{{ raise_exception('a list') }}{% endfor %}"
    path.write_text(lists + path.read_text())
    system = TransformersSystem.from_pretrained(folder)
    [scores] = system.score_labels([asked(clip(), "what?")], [LABELS])
    assert scores.report.streams["video"].tokens


def test_which_models_are_peers(folders):
    assert is_peer(folders("qwen3_vl"))
    assert not is_peer("checkpoints/tiny-chat")
    assert not set(supported()) & {json.loads((folders(n) / "config.json").read_text())["model_type"] for n in MODELS}
