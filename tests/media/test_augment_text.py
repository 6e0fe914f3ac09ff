"""Texts that are changed: what is left out, what never is, what says the same; a function of the key alone."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifusion.errors import ConfigError
from unifusion.media.augment import TextAugmentation, augmented_text, delete_span, drop_words, paraphrase, replace_synonyms
from unifusion.media.augment.text import KEPT, SYNONYMS, TEMPLATES
from unifusion.world.captions import caption
from unifusion.world.sample import sample_script

ALL = TextAugmentation(paraphrase=0.8, synonyms=0.5, span=0.3, drop=0.2)
WORDS = st.lists(st.sampled_from("a the dog barks not left 3 blue isn't while someone laughs loudly twice right again".split()), min_size=1)
KEYS = st.text("ab0/é", max_size=8)


def rng(seed=0):
    return np.random.default_rng(seed)


def within(short, long):
    """Whether the words of one are words of the other, in its order."""
    rest = iter(long.split())
    return all(word in rest for word in short.split())


def held(text, keep=()):
    """Words that may not be left out."""
    bare = [w.strip(".,").lower() for w in text.split()]
    return [w for w in bare if w in KEPT or w in keep or w.endswith("n't") or any(c.isdigit() for c in w)]


@given(WORDS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_what_is_left_is_in_order_and_what_a_label_hangs_on_stays(words, part, where, seed):
    text = " ".join(words)
    for new in (drop_words(text, part, rng(seed), keep=["dog"]), delete_span(text, part, where, keep=["Dog"])):
        assert new and within(new, text)
        assert held(new, ["dog"]) == held(text, ["dog"])


@given(WORDS, KEYS)
def test_a_function_of_the_key_alone(words, key):
    text = " ".join(words)
    first = augmented_text(text, ALL, key=key)
    augmented_text("something else", ALL, key="other")
    assert augmented_text(text, ALL, key=key) == first and first.strip()
    assert augmented_text(text, TextAugmentation(), key=key) == text


def test_the_share_that_is_left_out():
    text = " ".join(["dog"] * 10_000)
    assert len(drop_words(text, 0.3, rng()).split()) == pytest.approx(7000, abs=200)
    assert drop_words(text, 0.0, rng()) == text and drop_words("dog", 1.0, rng()) == "dog"
    assert delete_span("a b c d e f g h i j", 0.3, 0.0) == "d e f g h i j"
    assert delete_span("a b c d e f g h i j", 0.3, 1.0) == "a b c d e f g"
    assert delete_span("a b", 1.0, 1.0) == "a" and delete_span("a", 1.0, 0.5) == "a"


def test_switching_one_change_on_leaves_the_draws_of_the_others():
    text = "a dog barks while someone laughs loudly again and again in the park"
    dropped = augmented_text(text, TextAugmentation(drop=0.3), key="k")
    assert augmented_text(text, TextAugmentation(drop=0.3, paraphrase=1.0, synonyms=1.0), key="k") == dropped  # none of them fits


def test_another_of_the_group_stands_for_a_word():
    for seed in range(10):
        new = replace_synonyms("Someone is happy in a small picture.", 1.0, rng(seed))
        assert re.fullmatch(r"Somebody is (glad|joyful) in a little image\.", new)
    text = "Someone is happy."
    assert replace_synonyms(text, 0.0, rng()) == text and replace_synonyms(text, 1.0, rng(), synonyms=()) == text
    assert replace_synonyms(text, 1.0, rng(), keep=["happy"]) == "Somebody is happy."
    assert replace_synonyms("unhappyness", 1.0, rng()) == "unhappyness"  # whole words
    assert replace_synonyms("ab", 1.0, rng(), synonyms=[("ab", "cd")]) == "cd"


def test_sentences_are_said_by_another_form_of_their_group():
    assert paraphrase("The face is happy.", rng(), templates=[("The face is {x}.", "Somebody looks {x}.")]) == "Somebody looks happy."
    forms = [("There is {x}.", "{x} is there.")]
    assert paraphrase("There is a bell. Nothing else.", rng(), templates=forms) == "A bell is there. Nothing else."
    assert paraphrase("A bell is there.", rng(), templates=forms) == "There is a bell."
    swapped = [("{x} comes before {y}.", "{y} comes after {x}.")]
    assert paraphrase("A bell comes before a dog.", rng(), templates=swapped) == "A dog comes after a bell."
    assert paraphrase("A {x} is there.", rng(), templates=forms) == "There is a {x}."


def test_what_is_not_there_stays_so():
    for seed in range(10):
        assert re.search(r"\bno picture\b", paraphrase("There is no picture.", rng(seed)), re.IGNORECASE)


@pytest.mark.parametrize("index", range(8))
def test_captions_of_clip_world_keep_what_they_tell(index):
    text = caption(sample_script(3, index))
    facts = re.findall(r"[a-z]+", text.lower())
    told = {f for f in facts if f in KEPT or f in {s for group in SYNONYMS for s in group}}
    for seed in range(5):
        new = paraphrase(text, rng(seed))
        assert told - {"no", "moves"} <= set(re.findall(r"[a-z]+", new.lower())) | {"picture"}, new
    assert any(paraphrase(text, rng(seed)) != text for seed in range(5))


@pytest.mark.parametrize("group", TEMPLATES, ids=lambda g: g[0])
def test_each_form_is_known_by_its_group(group):
    filled = [form.replace("{x}", "the bell").replace("{y}", "to the left") for form in group]
    whole = {f[0].upper() + f[1:] if g.startswith("{") and f.endswith(".") else f for f, g in zip(filled, group, strict=True)}
    for text in whole:
        found = {paraphrase(text, rng(seed), templates=[group]) for seed in range(40)}
        assert {f.lower() for f in found} == {w.lower() for w in whole} - {text.lower()}


@pytest.mark.parametrize("templates", [[("only {x}",)], [("a {x}", "a {y}")]])
def test_groups_that_cannot_be_meant(templates):
    with pytest.raises(ConfigError, match="two forms or more"):
        paraphrase("only this", rng(), templates=templates)


def test_choices_of_a_file():
    read = TextAugmentation.from_dict({"drop": 0.1, "keep": ["bell"], "templates": [["a {x}", "one {x}"]], "synonym_groups": [["a", "b"]]})
    assert read == TextAugmentation(drop=0.1, keep=("bell",), templates=(("a {x}", "one {x}"),), synonym_groups=(("a", "b"),))
    with pytest.raises(ConfigError, match="did you mean 'synonyms'"):
        TextAugmentation.from_dict({"synonym": 1})
    for wrong in ({"drop": 2}, {"drop": True}, {"span": "much"}, {"keep": "bell"}, {"templates": ["a"]}, {"synonym_groups": [[1]]}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TextAugmentation.from_dict(wrong)


def test_no_words_stay_no_words():
    assert augmented_text("  ", ALL, key="k") == "  "
