"""Subtitles as they are found: what the formats allow, and what people write all the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifusion.errors import LimitError, MediaError
from unifusion.media import subtitles
from unifusion.media.subtitles import Line, as_rows, parse_subtitles, read_subtitles, said_between

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello there.\n\n2\n00:00:03,000 --> 00:01:04,250\nTwo rows\nof text.\n"
WANTED = [Line(1.0, 2.5, "Hello there."), Line(3.0, 64.25, "Two rows of text.")]
VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: --> }

NOTE
00:00:08.000 --> 00:00:09.000
not said

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Ann>Hello</v> <i.loud>there</i>.

00:03.000 --> 01:04.250
Two rows
of <00:00:04.000><c>text</c>.
"""


@pytest.mark.parametrize("encoded", [
    SRT.encode(), SRT.encode("utf-8-sig"), SRT.encode("utf-16"),
    SRT.replace("\n", "\r\n").encode(), SRT.replace("\n", "\r").encode(), VTT.encode(),
    SRT.replace("1\n00", "00").replace("2\n00", "00").encode(), SRT.replace("\n\n", "\n").encode(), ("\n\n" + SRT).encode(),
    SRT.replace(",", ".").encode(), SRT.replace("Two rows\n", "Two rows\n\n").encode(), SRT.replace(" --> ", "-->").encode(),
    SRT.replace("Hello", r"{\an8}<font color=\"#fff\">Hello</font>").encode(), SRT.replace("rows\nof", r"rows\Nof").encode(),
    SRT.replace("00:00:01,000 --> 00:00:02,500", "0:0:1,0 --> 0:0:2,5 X1:10 X2:20").encode(),
])  # fmt: skip
def test_one_content_in_many_spellings(tmp_path, encoded):
    (tmp_path / "a.txt").write_bytes(encoded)
    assert read_subtitles(tmp_path / "a.txt") == WANTED


def test_cp1252_is_read_and_said(tmp_path, caplog):
    (tmp_path / "a.srt").write_bytes(SRT.replace("Hello", "Déjà vu –").encode("cp1252"))
    assert read_subtitles(tmp_path / "a.srt")[0].text == "Déjà vu – there."
    assert "not UTF-8" in caplog.text


def test_words_in_brackets_stay():
    text = "00:01,0 --> 00:02,0\n<3 a < b > c [laughs] <laughs> AT&amp;T &lt;i&gt;\n"
    assert parse_subtitles(text)[0].text == "<3 a < b > c [laughs] <laughs> AT&T <i>"


def test_overlaps_and_disorder_are_kept_by_start_and_impossible_times_told(caplog):
    rows = [("00:05,0", "00:09,0", "c"), ("00:01,0", "00:06,0", "a"), ("00:02,0", "00:03,0", "b")]
    rows += [("00:08,0", "00:07,0", "x"), ("-00:01,0", "00:02,0", "y")]
    lines = parse_subtitles("\n\n".join(f"{start} --> {end}\n{text}" for start, end, text in rows))
    assert [line.text for line in lines] == ["a", "b", "c"]
    assert "2 of 5 lines" in caplog.text


def test_rolling_captions_are_said_once():
    text = (
        "WEBVTT\n\n00:00.000 --> 00:02.000 align:start\n \nso<00:00:01.000><c> today</c>\n\n00:02.000 --> 00:02.010\nso today\n \n\n"
        "00:02.010 --> 00:04.000\nso today\nwe<00:00:03.000><c> cook</c>\n\n00:04.000 --> 00:04.010\nwe cook\n"
    )
    assert parse_subtitles(text) == [Line(0.0, 2.0, "so today"), Line(2.01, 4.0, "we cook")]


def test_nothing_said_is_no_error_but_other_text_is():
    assert parse_subtitles("") == parse_subtitles("WEBVTT\n\n") == parse_subtitles(" \n\n") == []
    with pytest.raises(MediaError, match=r"notes\.txt: no line with times"):
        parse_subtitles("Dear diary\n", name="notes.txt")


def test_what_is_no_file_of_subtitles(tmp_path, monkeypatch):
    with pytest.raises(MediaError, match="no such file"):
        read_subtitles(tmp_path / "none.srt")
    (tmp_path / "a.srt").write_bytes(b"\xff\x00\x01" * 100)
    with pytest.raises(MediaError, match="not text"):
        read_subtitles(tmp_path / "a.srt")
    monkeypatch.setattr(subtitles, "MAX_BYTES", 10)
    with pytest.raises(LimitError, match="300 bytes"):
        read_subtitles(tmp_path / "a.srt")


def test_rows_of_lines():
    assert as_rows(WANTED[:1]) == ({"start_s": 1.0, "end_s": 2.5, "text": "Hello there."},)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="<>{}&\\"), min_size=1, max_size=8)
LINES = st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**5), TEXTS.filter(lambda t: not t.isdecimal())), max_size=12)


def stamp(milliseconds, mark):
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:03d}"


@given(LINES, st.sampled_from([("", ","), ("WEBVTT\n\n", ".")]))
def test_what_is_written_is_read(rows, form):
    head, mark = form
    text = head + "".join(f"{k}\n{stamp(at, mark)} --> {stamp(at + n, mark)}\n{said}\n\n" for k, (at, n, said) in enumerate(rows))
    wanted = sorted((at / 1000, (at + n) / 1000, said) for at, n, said in rows)
    got = [(line.start_s, line.end_s, line.text) for line in parse_subtitles(text)]
    assert sorted(got) == wanted


@given(st.text(max_size=200))
def test_any_text_gives_lines_or_a_typed_error(text):
    try:
        assert all(0 <= line.start_s < line.end_s and line.text for line in parse_subtitles(text))
    except MediaError:
        pass


@given(LINES, st.lists(st.integers(0, 10**7), max_size=5))
def test_each_line_is_in_exactly_one_of_adjacent_spans(rows, cuts):
    lines = [Line(at / 1000, (at + n) / 1000, f"w{k}") for k, (at, n, _) in enumerate(rows)]
    edges = [0.0, *sorted(c / 1000 for c in cuts), 1e9]
    said = [said_between(lines, start, end).split() for start, end in itertools.pairwise(edges)]
    assert sorted(word for part in said for word in part) == sorted(line.text for line in lines)
