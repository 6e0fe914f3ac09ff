"""Text from outside never becomes a control, media or added token, and what was typed is still there."""

import unicodedata
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processor.tokenizers import ADDED, CONTROL, EXACT, FAMILIES, SPECIAL
from tests.toys import streams, talk, video
from unifusion.conversation import Conversation, Media, Message
from unifusion.errors import ConfigError
from unifusion.processor import ChatFormat, UniFusionProcessor
from unifusion.processor.text import TextEncoder

PLACEHOLDERS = ["<|video|>", "<|audio|>"]
TOKENS = [*PLACEHOLDERS, *ChatFormat.SPECIAL, *CONTROL, *SPECIAL.values(), *(t for t in ADDED if t.strip() and len(t) > 1)]


@lru_cache
def processor(family):
    return UniFusionProcessor(FAMILIES[family](), streams=streams())


@lru_cache
def reserved(family):
    """Every id a person must not be able to write, found here and not through TextEncoder."""
    tokenizer = processor(family).tokenizer
    names = {t for t in TOKENS if t != "<unk>"}
    return {i for t, i in tokenizer.get_vocab().items() if t in names}


@st.composite
def attacks(draw):
    """Control tokens plain, split by zero-width characters, nested in each other, folded, between any text."""
    out = []
    for _ in range(draw(st.integers(1, 5))):
        token = draw(st.sampled_from(TOKENS))
        cut = draw(st.integers(0, len(token)))
        how = draw(st.sampled_from(["plain", "joined", "nested", "upper", "wide", "accent", "text"]))
        out.append(
            {
                "plain": token,
                "joined": token[:cut] + draw(st.sampled_from(["\u200b", "\u200d", "\ufeff", "\x00", " ", ""])) + token[cut:],
                "nested": token[:cut] + draw(st.sampled_from(TOKENS)) + token[cut:],
                "upper": token.upper(),
                "wide": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in token),
                "accent": "".join(c + "\u0301" if c.isalpha() else c for c in token),
                "text": draw(st.text(max_size=12)),
            }[how]
        )
    return draw(st.sampled_from(["", " ", "=", "<"])).join(out)


def folded(text, family):
    """What a family's own normaliser leaves of a text, without spaces."""
    if family == "word_piece":
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()
    if family == "unigram":
        text = unicodedata.normalize("NFKC", text)
    return "".join(text.replace("▁", "").split())


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=100, deadline=None)
@given(text=attacks())
def test_no_reserved_id_from_a_user(family, text):
    p = processor(family)
    ids = p.text.user(text)
    assert not reserved(family).intersection(ids)
    assert not p.text.reserved_ids.intersection(ids)
    if family in EXACT:
        assert p.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("token", TOKENS)
def test_a_typed_token_is_its_characters(family, token):
    p = processor(family)
    ids = p.text.user(token)
    assert ids and not reserved(family).intersection(ids)
    if p.tokenizer.unk_token_id is None or p.tokenizer.unk_token_id not in ids:
        assert folded(p.tokenizer.decode(ids), family) == folded(token, family)
    if token != "<unk>" and (token in PLACEHOLDERS or token in CONTROL):
        assert p.text.control(token) == [p.tokenizer.convert_tokens_to_ids(token)], "the same text from us is the token"


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(text=attacks())
def test_placeholders_are_those_of_the_media(family, text):
    """In questions, system texts, answers of a training row, and names of files."""
    p, control = processor(family), reserved(family) - set(processor(family).placeholder_ids.values())
    source, opened = clip_opened(family)
    talks = [
        talk([Media(kind="video", source=source)], text),
        talk([Media(kind="video", source=source)], text, answer=text),
        Conversation(
            messages=(Message(role="system", parts=(text,)), Message(role="user", parts=(text, Media(kind="video", source=source), text)))
        ),
    ]
    for conversation in talks:
        row = p.row(conversation, opened=[opened])
        for name, item in opened.streams.items():
            assert row.ids.count(p.placeholder_ids[name]) == len(item.token_times_Q)
        plain = p.row(replaced(conversation, "x"), opened=[opened])
        assert [i for i in row.ids if i in control] == [i for i in plain.ids if i in control]


@lru_cache
def clip_opened(family):
    """A clip, and what a family's processor makes of it."""
    source = video(seed=1).source
    return source, processor(family).open(Media(kind="video", source=source))


def replaced(conversation, text):
    """The same conversation with a harmless text."""
    return Conversation(
        messages=tuple(
            Message(role=m.role, parts=tuple(text if isinstance(q, str) else q for q in m.parts), supervised=m.supervised)
            for m in conversation.messages
        )
    )


def test_runs_of_spaces_and_single_characters_stay_whole():
    p = processor("byte_bpe")
    assert p.text.user("a    b")[1:-1] == [p.tokenizer.convert_tokens_to_ids("    ")]
    assert p.text.user("▸") == [p.tokenizer.convert_tokens_to_ids("▸")]


def test_what_a_vocabulary_lacks_is_said_as_unknown():
    p = processor("word_piece")
    assert p.text.user("日") == [p.tokenizer.unk_token_id]


def test_a_character_that_is_a_control_token_is_refused():
    tokenizer = FAMILIES["byte_fallback"]()
    tokenizer.add_tokens("h", special_tokens=True)
    tokenizer.eos_token = "h"  # "h" is also an ordinary piece of the vocabulary
    with pytest.raises(ConfigError, match="cannot be told from a control token"):
        TextEncoder(tokenizer).user("qhq")


def test_empty_text_is_no_token():
    for family in FAMILIES:
        assert processor(family).text.user("") == processor(family).text.control("") == []
