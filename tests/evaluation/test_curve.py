"""Windows as a table and as a curve: every window whole, gaps where nothing was told, the same bytes for the same figures."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from unifusion.engine.stream import Window
from unifusion.evaluation import curve
from unifusion.evaluation.curve import WindowTable, draw_curve

FIRST = (0x00, 0x72, 0xB2)


def window(at, share=0.75, *, valence=None, arousal=None, labels=("sad", "happy"), **options):
    shares = dict(zip(labels, (share, 1 - share), strict=True))
    return Window(
        start_s=at - 1.0, end_s=at, label=max(shares, key=shares.get), probabilities=shares,
        valence=valence, arousal=arousal, streams=("audio", "video"), **options,
    )  # fmt: skip


def nothing(at):
    return Window(start_s=at - 1.0, end_s=at, absent={"audio": "silence", "video": "the picture shows nothing"})


def written(windows, *, close=True):
    handle = io.StringIO()
    table = WindowTable(handle)
    for one in windows:
        table.write(one)
    if close:
        table.close()
    return list(csv.DictReader(io.StringIO(handle.getvalue())))


def test_a_row_a_window():
    (row,) = written([window(2.5, 0.25, valence=-0.4, absent={"text": "no words"})])
    assert row == {
        "start_s": "1.500", "end_s": "2.500", "label": "happy", "probability": "0.7500", "valence": "-0.400", "arousal": "",
        "streams": "audio video", "absent": "text: no words", "sad": "0.2500", "happy": "0.7500",
    }  # fmt: skip


def test_what_is_told_is_on_disk_before_the_next(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as handle:
        table = WindowTable(handle)
        for n in (1, 2, 3):
            table.write(window(float(n)))
            assert len(path.read_text().splitlines()) == n + 1


def test_windows_of_nothing_wait_for_the_labels_and_are_written_at_the_end_without():
    rows = written([nothing(1.0), nothing(2.0), window(3.0), nothing(4.0)])
    assert [r["end_s"] for r in rows] == ["1.000", "2.000", "3.000", "4.000"]
    assert [r["sad"] for r in rows] == ["", "", "0.7500", ""] and rows[0]["absent"] == "audio: silence; video: the picture shows nothing"
    assert written([nothing(1.0)], close=False) == []
    alone = written([nothing(1.0), nothing(2.0)])
    assert [r["end_s"] for r in alone] == ["1.000", "2.000"] and "sad" not in alone[0]
    assert written([]) == []


@pytest.mark.parametrize("label", ["=1+1", "+cmd", "-2+3", "@sum(a1)", 'a"b,c', "two\nlines"])
def test_labels_are_no_formulas_and_come_back(label):
    rows = written([window(1.0, labels=(label, "b"))])
    shown = f"'{label}" if label[0] in "=+-@" else label
    assert rows[0]["label"] == shown and rows[0][shown] == "0.7500"
    assert written([window(1.0, valence=-1.0)])[0]["valence"] == "-1.000", "numbers are no formulas"


def drawn(tmp_path, windows, name="a"):
    paths = draw_curve(tmp_path / name, windows)
    assert [p.name for p in paths] == [f"{name}.png", f"{name}.svg"]
    return np.asarray(Image.open(paths[0]).convert("RGB")).astype(int), paths[1].read_text(encoding="utf-8")


def line_of(image, rgb, right=0.8):
    """Row of the uppermost pixel of a colour in each column that has it; left of the legend."""
    hit = np.abs(image - np.array(rgb)).max(-1) < 40
    hit[:, int(right * image.shape[1]) :] = False
    return {int(x): int(hit[:, x].argmax()) for x in hit.any(0).nonzero()[0]}


def test_a_line_rises_where_the_probability_does(tmp_path):
    image, text = drawn(tmp_path, [window(float(n), n / 10) for n in range(1, 10)])
    at = line_of(image, FIRST)
    columns = sorted(at)
    assert len(columns) > 500 and at[columns[-3]] < at[columns[len(columns) // 2]] < at[columns[3]]
    assert {"sad", "happy", "probability", "seconds"} <= set(re.findall(r"<!-- (.*?) -->", text))
    assert "valence" not in text


def test_there_is_a_gap_where_nothing_was_told(tmp_path):
    windows = [nothing(float(n)) if 5 <= n < 8 else window(float(n)) for n in range(1, 12)]
    columns = np.array(sorted(line_of(drawn(tmp_path, windows)[0], FIRST)))
    whole = np.array(sorted(line_of(drawn(tmp_path, [window(float(n)) for n in range(1, 12)], "b")[0], FIRST)))
    assert np.diff(columns).max() > 0.3 * (columns.max() - columns.min()) and np.diff(whole).max() < 5


def test_valence_and_arousal_have_axes_of_their_own(tmp_path):
    plain, _ = drawn(tmp_path, [window(float(n)) for n in range(4)])
    image, text = drawn(tmp_path, [window(float(n), valence=0.5, arousal=-0.5 if n else None) for n in range(4)], "b")
    assert image.shape[0] > plain.shape[0] and {"valence", "arousal"} <= set(re.findall(r"<!-- (.*?) -->", text))


def test_the_same_figures_are_the_same_bytes_and_others_are_not(tmp_path):
    for share in (0.6, 0.6, 0.7):
        draw_curve(tmp_path / f"{len(list(tmp_path.iterdir()))}", [window(1.0), window(2.0, share)])
    for suffix in ("png", "svg"):
        one, two, other = ((tmp_path / f"{n}.{suffix}").read_bytes() for n in (0, 2, 4))
        assert one == two != other


def test_a_very_long_recording_is_thinned_and_a_short_one_is_not(tmp_path, monkeypatch):
    plotted = []
    from matplotlib.axes import Axes

    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, *a, **k: plotted.append(len(x)) or plot(self, x, *a, **k))
    draw_curve(tmp_path / "a", [window(float(n)) for n in range(2 * curve._MOST_POINTS + 1)])
    assert set(plotted) == {-(-(2 * curve._MOST_POINTS + 1) // 3)}
    plotted.clear()
    draw_curve(tmp_path / "b", [window(float(n)) for n in range(7)])
    assert set(plotted) == {7}


def test_recordings_of_nothing_are_drawn_empty(tmp_path):
    image, _ = drawn(tmp_path, [nothing(1.0), nothing(2.0)])
    assert line_of(image, FIRST) == {}
