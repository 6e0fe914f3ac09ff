"""Found windows as passages: neighbours joined, names told apart, words that cannot pass for anything else."""

import numpy as np
import pytest

from tests.retrieval.toys import picture, tone
from unifusion.errors import MediaError
from unifusion.retrieval.found import Found
from unifusion.retrieval.passages import Passage, defused, joined, quoted


def found(path="/clips/long.wav", start_s=0.0, end_s=6.0, score=0.5, id=0, **texts):
    return Found(path=path, kind="audio", start_s=start_s, end_s=end_s, score=score, streams=("audio",), texts=texts, metadata={}, id=id)


def spans(passages):
    return [(p.number, p.start_s, p.end_s, p.score) for p in passages]


def test_windows_that_touch_or_overlap_are_one_passage_with_the_best_score():
    rows = ((12, 0.9, 3), (6, 0.4, 2), (30, 0.6, 5))
    some = [found(start_s=start, end_s=start + 6, score=score, id=id) for start, score, id in rows]
    assert spans(joined(some, longest_s=60)) == [(1, 6, 18, 0.9), (2, 30, 36, 0.6)]
    assert joined(some, longest_s=60)[0].ids == (2, 3)
    overlapping = [found(start_s=0, end_s=6), found(start_s=3, end_s=9), found(start_s=4, end_s=5)]
    assert spans(joined(overlapping, longest_s=60)) == [(1, 0, 9, 0.5)]


def test_no_passage_is_longer_than_what_answers_can_take():
    some = [found(start_s=6.0 * n, end_s=6.0 * n + 6, score=0.1 * n) for n in range(5)]
    made = joined(some, longest_s=12)
    assert sorted((p.start_s, p.end_s) for p in made) == [(0, 12), (12, 24), (24, 30)] and made[0].start_s == 24
    assert [p.number for p in made] == [1, 2, 3]
    assert len(joined(some, longest_s=1)) == 5


def test_windows_of_other_files_and_stills_stay_apart():
    some = [found("/a/x.png", 0, 0, 0.3), found("/a/x.png", 0, 0, 0.2), found("/a/y.wav", 0, 6), found("/b/y.wav", 0, 6)]
    made = joined(some, longest_s=60)
    assert len(made) == 4 and [p.is_still for p in made] == [False, False, True, True]
    assert [p.mark for p in made] == ["[a/y.wav @ 0.0-6.0 s]", "[b/y.wav @ 0.0-6.0 s]", "[x.png]", "[x.png]"]


def test_names_are_as_short_as_they_can_be():
    paths = ["/one/a/x.wav", "/two/a/x.wav", "/two/b/z.wav", "clip-world://1/2?split=train", "x.wav"]
    names = {p.path: p.name for p in joined([found(path) for path in paths], longest_s=60)}
    assert names == {
        "/one/a/x.wav": "one/a/x.wav", "/two/a/x.wav": "two/a/x.wav", "/two/b/z.wav": "z.wav",
        "clip-world://1/2?split=train": "clip-world://1/2?split=train", "x.wav": "x.wav",
    }  # fmt: skip


def test_weights_are_the_softmax_of_the_scores_at_the_learned_temperature():
    made = joined([found(f"/{n}.wav", score=s) for n, s in enumerate((0.5, 0.3, 0.1))], longest_s=60, scale=10.0)
    wanted = np.exp(10 * np.array([0.5, 0.3, 0.1]))
    assert [p.weight for p in made] == pytest.approx(list(wanted / wanted.sum()))
    assert joined([], longest_s=60) == []


def test_words_of_joined_windows_are_said_once():
    some = [
        found(start_s=0, end_s=6, transcript="we are happy with the", caption="a talk"),
        found(start_s=3, end_s=9, transcript="with the garden and the", caption="a talk"),
        found(start_s=9, end_s=12, transcript="the end", other="x"),
    ]
    [made] = joined(some, longest_s=60)
    assert made.texts == {"transcript": "we are happy with the garden and the end", "caption": "a talk", "other": "x"}
    [short] = joined(some, longest_s=60, max_chars=10)
    assert short.texts["transcript"] == "we are hap" and short.cropped == len("we are happy with the garden and the end") - 10


def test_the_media_of_a_passage_are_what_the_file_is(tmp_path):
    def passage(path, end_s):
        return Passage(number=1, path=str(path), name="x", start_s=0.0, end_s=end_s, score=0.5, texts={"transcript": "hm"})

    still, sound = picture(tmp_path / "a.png", "red"), tone(tmp_path / "b.wav", "low")
    image, audio = passage(still, 0.0).media(), passage(sound, 1.0).media()
    assert (image.kind, image.start_s, image.end_s, image.transcript) == ("image", None, None, "hm")
    assert (audio.kind, audio.start_s, audio.end_s) == ("audio", 0.0, 1.0)
    assert passage("clip-world://1/2?split=train", 3.0).media().kind == "video"
    (heard,) = joined([found("clip-world://1/2?split=train", 0.0, 3.0)], longest_s=6)
    assert heard.kind == heard.media().kind == "audio"  # indexed for its sound: its picture is not shown
    with pytest.raises(MediaError, match=r"gone\.wav"):
        passage(tmp_path / "gone.wav", 1.0).media()


@pytest.mark.parametrize(
    "hostile",
    ["<|im_start|>system", "<|video|>", "</s>", "<s>", "[INST] x [/INST]", "<<SYS>>", "<start_of_turn>", "<unused1>", "{{ x }}"],
)
def test_no_control_string_is_left(hostile):
    clean = defused(f"before {hostile} after")
    assert hostile not in clean and hostile.split()[0] not in clean
    assert clean.replace(" ", "") == f"before{hostile}after".replace(" ", "")
    assert defused(clean) == clean


def test_plain_words_are_left_as_they_are():
    for words in ("3 < 5 and a > b", "[1] see", "a [laughs] b", "{a: 1}", "x|y"):
        assert defused(words) == words
    assert quoted("[laughs] 3 < 5") == "[laughs] 3 < 5"


def test_quoted_words_stand_on_one_line_and_hold_no_marks():
    text = 'she said "yes" [1]\n[2] other.mp4, 0.0 to 9.0 s\u2028[clip 3] \x1b[31m\x00'
    assert "\n" not in quoted(text) and '"' not in quoted(text) and "\x1b" not in quoted(text) and "\u2028" not in quoted(text)
    assert "[1]" not in quoted(text) and "(1)" in quoted(text) and "(clip 3)" in quoted(text)
