"""Text from ids as they come: no half characters, nothing lost, never stuck."""

from hypothesis import given
from hypothesis import strategies as st

from tests.toys import byte_tokenizer
from unifusion.engine.decoding import text_deltas

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def deltas(ids):
    return [text for text, _ in text_deltas(TOKENIZER, iter(ids), [END])]


@given(st.text())
def test_pieces_join_to_the_text_and_hold_whole_characters(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    pieces = deltas([*ids, END])
    assert "".join(pieces) == text
    assert all("\ufffd" not in p for p in pieces) or "\ufffd" in text


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_that_are_no_text_do_not_stop_the_stream(ids):
    whole = TOKENIZER.decode(ids)
    assert "".join(deltas([*ids, END])) == whole
    shown = "".join(deltas(ids))
    assert whole.startswith(shown) and len(whole) - len(shown) <= 3


def test_each_token_is_given_once_with_its_text():
    ids = [*TOKENIZER.encode("aé", add_special_tokens=False), END]
    assert list(text_deltas(TOKENIZER, iter(ids), [END])) == [("a", ids[0]), ("", ids[1]), ("é", ids[2]), ("", END)]
