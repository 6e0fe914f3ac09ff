"""Control strings found in a tokenizer's own template write the ids that the template writes."""

import pytest

from tests.processor.templates import TEMPLATES
from tests.toys import byte_tokenizer, streams, video
from unifusion.errors import ConfigError
from unifusion.processor import ChatFormat, UniFusionProcessor
from unifusion.processor.messages import to_conversation

USER, ANSWER = {"role": "user", "content": "What's this? 1+1"}, {"role": "assistant", "content": "It is a cat."}
SYSTEM = {"role": "system", "content": "Be brief."}
TALKS = {
    "one": [USER], "two": [USER, ANSWER, {"role": "user", "content": "why"}], "system": [SYSTEM, USER],
    "long": [SYSTEM, USER, ANSWER, USER, {"role": "assistant", "content": "no"}, USER],
}  # fmt: skip


def tokenizer(name):
    template, tokens = TEMPLATES[name]
    return byte_tokenizer(bos_token="<s>", extra_special_tokens=tokens, chat_template=template)


# Gemma 2's template raises on a system text; Qwen3's forgets the empty thought of older turns, which the cache of a chat cannot.
LEFT_OUT = {("gemma2", "system"), ("gemma2", "long"), ("qwen3", "two"), ("qwen3", "long")}


@pytest.mark.parametrize(("name", "talk"), [(n, t) for n in TEMPLATES for t in TALKS if (n, t) not in LEFT_OUT])
def test_ids_are_the_templates(name, talk):
    own = tokenizer(name)
    wanted = own.apply_chat_template(TALKS[talk], add_generation_prompt=True, return_dict=False, enable_thinking=False)
    processor = UniFusionProcessor(own, streams=streams())
    assert processor.row(to_conversation(TALKS[talk]), generate=True).ids == list(wanted)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_whole_training_talk_is_the_templates(name):
    own = tokenizer(name)
    wanted = own.apply_chat_template([USER, ANSWER], tokenize=False)
    processor = UniFusionProcessor(own, streams=streams())
    row = processor.row(to_conversation([USER, ANSWER]))
    text = own.decode(row.ids)
    assert wanted.startswith(text)
    assert wanted.removeprefix(text) in ("", "<|endoftext|>"), "only what ends a whole talk may be left out"
    supervised = own.decode([i for i in row.labels if i != -100])
    assert supervised.startswith("It is a cat.") and supervised.removeprefix("It is a cat.") == processor.format.assistant_end


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("chatml", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("mistral", "</s>"),
        ("gemma2", "<end_of_turn>"),
        ("phi3", "<|end|>"),
        ("zephyr", "</s>"),
    ],
)
def test_the_answer_ends_at_its_own_token(name, end):
    own = tokenizer(name)
    processor = UniFusionProcessor(own, streams=streams())
    assert processor.end_ids[0] == own.convert_tokens_to_ids(end)
    assert own.eos_token_id in processor.end_ids


def test_thinking_is_switched_off():
    """Labels are scored as the answer, and a short answer must not be spent on thoughts."""
    found = ChatFormat.from_tokenizer(tokenizer("qwen3"))
    assert found.user_to_assistant == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert found.assistant_end == "<|im_end|>\n" and found.next_user == "<|im_start|>user\n"


def test_a_default_system_text_is_kept_and_can_be_replaced():
    found = ChatFormat.from_tokenizer(tokenizer("chatml"))
    assert found.first == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert found.system == "<|im_start|>system\n"


def test_no_system_role_opens_the_users_text():
    found = ChatFormat.from_tokenizer(tokenizer("gemma2"))
    assert found.system is None
    processor = UniFusionProcessor(tokenizer("gemma2"), streams=streams())
    text = processor.tokenizer.decode(processor.row(to_conversation([SYSTEM, USER])).ids)
    assert text == "<s><start_of_turn>user\nBe brief.\nWhat's this? 1+1"


def test_no_template_gives_the_default_with_its_tokens():
    own = byte_tokenizer()
    processor = UniFusionProcessor(own, streams=streams())
    assert processor.format == ChatFormat()
    assert all(len(processor.text.control(t)) == 1 for t in ChatFormat.SPECIAL)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{{ messages[-1].content }}",
        "{% for m in messages | reverse %}<{{ m.content }}>{% endfor %}",
    ],
)
def test_templates_that_drop_double_or_turn_contents_are_refused(template):
    with pytest.raises(ConfigError, match="once and in order"):
        ChatFormat.from_tokenizer(byte_tokenizer(chat_template=template))


def test_an_answer_that_nothing_ends_takes_the_end_token():
    template = "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }} A: {% else %}{{ m.content }}{% endif %}{% endfor %}"
    assert ChatFormat.from_tokenizer(byte_tokenizer(chat_template=template)).assistant_end == "</s>"


@pytest.mark.parametrize("name", TEMPLATES)
def test_round_trip_through_json_and_jinja(name):
    own = tokenizer(name)
    processor = UniFusionProcessor(own, streams=streams())
    found = ChatFormat.from_dict(processor.format.to_dict())
    assert found == processor.format
    own.chat_template = found.jinja()
    for talk in TALKS.values():
        text = own.apply_chat_template(talk, tokenize=False)
        assert text == own.decode(processor.row(to_conversation(talk), generate=True).ids)


def test_media_go_between_control_strings_and_question():
    processor = UniFusionProcessor(tokenizer("llama3"), streams=streams())
    row = processor.row(
        to_conversation([{"role": "user", "content": [{"type": "video", "video": video(seed=1).source}, {"type": "text", "text": "Why?"}]}])
    )
    text = processor.tokenizer.decode(row.ids)
    assert text.endswith("<|start_header_id|>user<|end_header_id|>\n\nt=0.0s" + "<|video|>" * 4 + "<|audio|>" * 8 + "Why?")
