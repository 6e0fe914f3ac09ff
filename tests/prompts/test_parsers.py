"""What each parser reads, what it refuses, and that no text makes one fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import PromptError
from unifusion.prompts import (
    Evidence,
    FreeAnswer,
    LabelAnswer,
    NumberAnswer,
    OptionAnswer,
    RationaleAnswer,
    SpanAnswer,
    Unparsed,
    ValenceArousalAnswer,
    YesNoAnswer,
)
from unifusion.prompts.parsers import load_parser, options_of, parser_names

FEELINGS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
ALIASES = {"happy": ["joy", "joyful"], "angry": ["anger"], "sad": ["unhappy"], "fear": ["afraid"]}
WORDS = st.lists(
    st.sampled_from(
        "not no yes A B C (b) option answer is happy sad the valence arousal -0.5 1.5 s seconds to - from between and "
        "Emotion: \n Picture 1.0-2.0 : , . ' 3:05 twenty three hundred point minus one Words \u2212 \u0663 \u00b2 \x00 \ud7ff".split(" ")
    ),
    max_size=20,
).map(" ".join)


@pytest.mark.parametrize("name", parser_names())
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=200), WORDS), choices=st.lists(st.text(max_size=6), max_size=30))
def test_no_text_makes_a_parser_raise(name, text, choices):
    result = load_parser(name)(text, choices=choices)
    assert type(result).__name__.endswith("Answer") or (isinstance(result, Unparsed) and result.reason)


@pytest.mark.parametrize("name", parser_names())
def test_an_empty_answer_is_unparsed(name):
    for text in ("", "   \n", "..."[: 0 if name == "free" else 3]):
        assert isinstance(load_parser(name)(text, choices=FEELINGS), Unparsed)


@pytest.mark.parametrize("name", parser_names())
def test_long_texts_are_read_in_reasonable_time(name):
    import time

    for piece in ("a ", "1 ", "not happy ", "1.5-", "Picture 1-", "yes no ", "((((", "valence ", "twenty "):
        begin = time.process_time()
        load_parser(name)(piece * 4000, choices=FEELINGS)
        assert time.process_time() - begin < 2.0, piece


def test_an_unknown_parser_names_the_nearest():
    with pytest.raises(PromptError, match="did you mean 'label'"):
        load_parser("lable")
    assert options_of(load_parser("valence_arousal")) == {"low": -1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("happy", "happy"),
        ("  Happy. ", "happy"),
        ("**HAPPY**", "happy"),
        ("joy", "happy"),
        ("Anger!", "angry"),
        ("The person looks happy.", "happy"),
        ("She seems joyful, happy even", "happy"),
        ("It is sadness? no: unhappy", "sad"),
        ("not sad but happy", "happy"),
        ("happy or sad", None),
        ("not happy", None),
        ("She isn't happy", None),
        ("He does not look very angry", None),
        ("unhappiness", None),
        ("calm", None),
        ("happyish", None),
        ("joy and anger", None),
    ],
)
def test_label(text, label):
    result = load_parser("label")(text, choices=FEELINGS, aliases=ALIASES)
    assert result == LabelAnswer(label) if label else isinstance(result, Unparsed)


def test_label_follows_the_spelling_of_the_set():
    parse = load_parser("label")
    assert parse("happy", choices=("Joy", "Anger"), aliases=ALIASES) == LabelAnswer("Joy")
    assert isinstance(parse("joyful", choices=("happy", "joy"), aliases=ALIASES), Unparsed)
    assert parse("joy", choices=("happy", "joy"), aliases=ALIASES) == LabelAnswer("joy")
    assert parse("a chord major", choices=("chord", "chord major")) == LabelAnswer("chord major")
    assert isinstance(parse("red circle blue", choices=("red circle", "circle blue")), Unparsed)
    assert isinstance(parse("happy", choices=()), Unparsed)
    assert parse("a.", choices=("A", "B")) == LabelAnswer("A") and isinstance(parse("a bird", choices=("A", "B")), Unparsed)
    assert parse("There is no sound in this clip", choices=("bell", "there is no sound in this clip.")) == LabelAnswer(
        "there is no sound in this clip."
    )


@settings(deadline=None)
@given(choices=st.lists(st.text(alphabet="abcdefgh '-", min_size=1, max_size=8), min_size=1, max_size=6), data=st.data())
def test_every_label_reads_back_as_itself(choices, data):
    wanted = data.draw(st.sampled_from(choices))
    result = load_parser("label")(wanted, choices=choices)
    assert not isinstance(result, LabelAnswer) or result.label.strip() == wanted.strip()
    if wanted == wanted.strip():
        assert result == LabelAnswer(wanted) or not wanted.strip()


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(c)", "C"),
        ("A", "A"),
        ("A.", "A"),
        ("A) red circle", "A"),
        ("B. green star", "B"),
        ("**D**", "D"),
        ("The answer is C.", "C"),
        ("Answer: (A)", "A"),
        ("Option B", "B"),
        ("I think it is B", "B"),
        ("D - no idea why", "D"),
        ("the red circle", "A"),
        ("green star", "B"),
        ("A man walks by a star", None),
        ("The answer is a man", None),
        ("The answer is A because of the colour", "A"),
        ("the answer is b", "B"),
        ("Answer: A man", None),
        ("A or B", None),
        ("B or A", None),
        ("B and C", None),
        ("E", None),
        ("B. red circle", None),
        ("red circle or green star", None),
        ("nothing of that", None),
    ],
)
def test_option(text, letter):
    choices = ("red circle", "green star", "blue square", "white diamond")
    result = load_parser("option")(text, choices=choices)
    assert result == OptionAnswer(letter, "ABCD".index(letter)) if letter else isinstance(result, Unparsed)


def test_option_knows_as_many_letters_as_there_are_options():
    parse = load_parser("option")
    assert parse("G", choices=[str(i) for i in range(8)]) == OptionAnswer("G", 6)
    assert parse("E") == OptionAnswer("E", 4)
    assert isinstance(parse("F"), Unparsed)
    assert isinstance(parse("I am not sure", choices=[f"x{i}" for i in range(12)]), Unparsed)
    assert isinstance(parse("same", choices=("same", "same")), Unparsed)


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("yes", True),
        ("Yes.", True),
        ("No", False),
        ("No, it does not.", False),
        ("yes it does", True),
        ("Yes, there is no doubt", True),
        ("The answer is no.", False),
        ("nope", False),
        ("**Yes**", True),
        ("yes, correct", True),
        ("There is no sound in this clip.", None),
        ("No sound can be heard", None),
        ("yes and no", None),
        ("Yes or no?", None),
        ("no, yes", None),
        ("maybe", None),
        ("nobody", None),
        ("It is not", None),
    ],
)
def test_yes_no(text, yes):
    result = load_parser("yes_no")(text)
    assert result == YesNoAnswer(yes) if yes is not None else isinstance(result, Unparsed)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("three", 3),
        ("There are three knocks.", 3),
        ("twenty-three", 23),
        ("one hundred and five", 105),
        ("minus two", -2),
        ("-0.5", -0.5),
        ("\u22124", -4),
        ("one point five", 1.5),
        ("1,250", 1250),
        ("3 (three)", 3),
        ("none", 0),
        ("twice", 2),
        ("two or three", None),
        ("one two", None),
        ("3 knocks in 2 seconds", None),
        ("someone", None),
        ("1.5.2", None),
        ("x3", None),
        ("9" * 400, None),
    ],
)
def test_number(text, value):
    result = load_parser("number")(text)
    assert result == NumberAnswer(value) if value is not None else isinstance(result, Unparsed)


def test_number_keeps_its_bounds():
    assert isinstance(load_parser("number")("11", maximum=10), Unparsed)
    assert isinstance(load_parser("number")("-1", minimum=0), Unparsed)
    assert load_parser("number")("10", minimum=0, maximum=10) == NumberAnswer(10)


@settings(deadline=None)
@given(st.integers(0, 999))
def test_spoken_numbers_read_as_their_digits(value):
    units = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
    units += "fifteen sixteen seventeen eighteen nineteen".split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    rest = value % 100
    below = units[rest] if rest < 20 else tens[rest // 10 - 2] + (f"-{units[rest % 10]}" if rest % 10 else "")
    words = below if value < 100 else f"{units[value // 100]} hundred" + (f" and {below}" if rest else "")
    assert load_parser("number")(f"There are {words} of them.") == NumberAnswer(value)


@pytest.mark.parametrize(
    ("text", "start_s", "end_s"),
    [
        ("from 1.5 to 3.0 s", 1.5, 3.0),
        ("from 1.5 to 3.0 seconds", 1.5, 3.0),
        ("1.5-3 seconds", 1.5, 3.0),
        ("1.5 s \u2013 3 s", 1.5, 3.0),
        ("between 2 and 4.5 seconds", 2.0, 4.5),
        ("from two to four seconds", 2.0, 4.0),
        ("0:03 - 0:05", 3.0, 5.0),
        ("1.5 seconds", 1.5, 1.5),
        ("at 1.5 s", 1.5, 1.5),
        ("2", 2.0, 2.0),
        ("two seconds", 2.0, 2.0),
        ("It starts at 1:02.5", 62.5, 62.5),
        ("the 3 knocks start at 1.5 seconds", 1.5, 1.5),
        ("0.0 seconds", 0.0, 0.0),
    ],
)
def test_span(text, start_s, end_s):
    assert load_parser("span")(text) == SpanAnswer(start_s, end_s)


@pytest.mark.parametrize(
    "text",
    ["from 3 to 1 s", "-1.5 s", "at 1 s and at 3 s", "1 to 2 s, 3 to 4 s", "soon", "1 or 2", "\u22121.5 s", "at -2 seconds", "1.2.3 s"],
)
def test_span_refuses(text):
    assert isinstance(load_parser("span")(text), Unparsed)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("valence 0.6, arousal -0.2", (0.6, -0.2)),
        ("Valence: 0.6; Arousal: -0.2.", (0.6, -0.2)),
        ("arousal is 0.3 and valence is about -1", (-1.0, 0.3)),
        ("valence = .5, arousal = +.25", (0.5, 0.25)),
        ("0.6, -0.2", (0.6, -0.2)),
        ("valence \u22120.5, arousal 0", (-0.5, 0.0)),
        ("valence 0.6", None),
        ("valence 1.6, arousal 0", None),
        ("valence 0.1, valence 0.2, arousal 0", None),
        ("valence high, arousal low", None),
        ("0.1, 0.2, 0.3", None),
        ("valence 0.1.2, arousal 0.3", None),
    ],
)
def test_valence_arousal(text, pair):
    result = load_parser("valence_arousal")(text)
    assert result == ValenceArousalAnswer(*pair) if pair else isinstance(result, Unparsed)


def test_rationale():
    text = "Emotion: Joy.\nPicture 1.0-3.5 s: cheeks raised, lip corners up.\nSound 0.4-2.9 s: fast voice\n"
    text += 'Words 0.4-2.9 s: "I got it" (happy).\nSo.'
    result = load_parser("rationale")(text, choices=FEELINGS, aliases=ALIASES)
    assert result == RationaleAnswer(
        "happy",
        (
            Evidence("picture", 1.0, 3.5, "cheeks raised, lip corners up"),
            Evidence("sound", 0.4, 2.9, "fast voice"),
            Evidence("words", 0.4, 2.9, '"I got it" (happy)'),
        ),
        ("So.",),
    )
    assert result.evidence[0].to_dict() == {"stream": "picture", "start_s": 1.0, "end_s": 3.5, "text": "cheeks raised, lip corners up"}


@pytest.mark.parametrize(
    "text", ["happy", "Emotion: calm.", "Emotion: happy or sad", "Emotion: happy\nEmotion: sad", "Picture 1.0-2.0 s: x."]
)
def test_rationale_without_one_known_label_is_unparsed(text):
    assert isinstance(load_parser("rationale")(text, choices=FEELINGS), Unparsed)


def test_rationale_keeps_what_it_cannot_read():
    result = load_parser("rationale")("Emotion: sad\nPicture 3.0-1.0 s: backwards\nSmell 1-2 s: toast", choices=FEELINGS)
    assert result == RationaleAnswer("sad", (), ("Picture 3.0-1.0 s: backwards", "Smell 1-2 s: toast"))


def test_free_keeps_the_text():
    assert load_parser("free")(" A dog\nbarks. ") == FreeAnswer("A dog\nbarks.")
