"""Drawing: what is put into the page is text, numbers lie where they should."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifusion import ModalityReport
from unifusion.batch import StreamReport

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "javascript:alert(1)", "${alert(1)}", "{{x}}",
    "' onmouseover='alert(1)", "\x1b[31mred", "a\r\nSet-Cookie: b", "<!--", "&lt;b&gt;", "`", "\u202egpj.exe",
]  # fmt: skip


class Seen(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


def seen(html):
    parser = Seen()
    parser.feed(html)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def drawing(part):
    return part("drawing")


def evidence(stream="picture", start=1.0, end=2.0, text="brows"):
    return {"stream": stream, "start_s": start, "end_s": end, "text": text}


@given(st.text(max_size=60) | st.sampled_from(HOSTILE))
def test_escaped_text_is_text(drawing, text):
    html = drawing.esc(text)
    assert not set(html) & set("<>\"'{}$`")
    assert seen(html).tags == []


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=40))
def test_escaped_text_reads_as_it_was(drawing, text):
    assert seen(drawing.esc(text)).text == text


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_becomes_markup(drawing, part, text):
    report = ModalityReport(streams={text: StreamReport(modality="video", present=False, reason=text)}, notes=[text])
    parts = {
        "bars": drawing.bars(text, {text: 0.5, "sad": 0.5}), "prose": drawing.prose(text), "notice": drawing.notice(text),
        "timeline": drawing.timeline([evidence(stream=text, text=text), evidence(text=text)], 6.0),
        "report": part("report").report_html(report, {}, ended=text),
    }  # fmt: skip
    for name, html in parts.items():
        found = seen(html)
        assert not set(found.tags) & {"script", "img", "svg", "a", "iframe"}, name
        assert not [a for a in found.attributes if a.startswith("on")], name
        assert "${" not in html and "{{" not in html, name


def test_bars_are_sorted_and_the_label_stands_out(drawing):
    html = drawing.bars("happy", {"sad": 0.25, "happy": 0.7, "fear": 0.05})
    assert re.findall(r'aria-label="(\w+): ([\d.]+) %"', html) == [("happy", "70.0"), ("sad", "25.0"), ("fear", "5.0")]
    assert html.count("ux-best") == 1


def test_circumplex_places_the_point(drawing):
    html = drawing.circumplex(0.5, 1.0)
    assert 'cx="142.0" cy="16.0"' in html
    assert "+0.50" in html
    assert 'cx="16.0" cy="184.0"' in drawing.circumplex(-7.0, -7.0)


@pytest.mark.parametrize(("valence", "arousal"), [(None, 0.1), (0.1, None), (float("nan"), 0.0)])
def test_circumplex_says_what_is_missing(drawing, valence, arousal):
    html = drawing.circumplex(valence, arousal)
    assert "svg" not in html
    assert "no valence" in html


def test_timeline_lies_in_the_seconds_of_the_file(drawing):
    html = drawing.timeline([evidence(start=1.0, end=2.5)], 5.0, start_s=10.0)
    assert 'data-seek="11.00"' in html
    assert "left:20.00%;width:30.00%" in html
    assert "11.0–12.5 s: brows" in seen(html).text
    assert '<i style="left:0.00%">10</i>' in html


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=6), st.floats(0, 1e4))
def test_marks_stay_on_their_lane(drawing, spans, seconds):
    html = drawing.timeline([evidence(start=min(s), end=max(s)) for s in spans], seconds)
    places = re.findall(r"<button[^>]*left:([\d.]+)%;width:([\d.]+)%", html)
    assert len(places) == len(spans)
    assert all(0 <= float(left) and float(left) + float(width) <= 100.1 for left, width in places)
    assert html.count("<i style") <= 9


def test_timeline_without_evidence_says_so(drawing):
    assert "no evidence" in drawing.timeline([], 6.0)


def test_report_says_what_was_there_and_what_was_not(part):
    report = ModalityReport(
        streams={
            "video": StreamReport(
                modality="video", present=True, seconds=6.0, frames=24, tokens=24, cropped_s=2.5, reason="only the first 6.0 s"
            ),
            "audio": StreamReport(modality="audio", present=False, reason="the file has no sound in this span"),
        },
        notes=["frame 3 is damaged"],
    )
    text = seen(part("report").report_html(report, {"decode_s": 0.1, "encode_s": 0.2, "first_token_s": 0.41, "total_s": 1.23})).text
    assert "video 6.0 s, 24 frames, 24 tokens" in text
    assert "audio absent: the file has no sound in this span" in text
    assert "first token 410 ms" in text and "total 1.2 s" in text and "clip read in 300 ms" in text
    assert "2.5 s left out" in text and "frame 3 is damaged" in text
    assert "clip reused" in seen(part("report").report_html(report, {"decode_s": 0.0}, reused=True)).text
