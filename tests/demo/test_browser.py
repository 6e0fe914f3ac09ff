"""The page in a real browser: upload, ask, stream, ask again, stop, wrong file, example, sound, picture, emotion, hostile text.

One page is driven through a whole visit, so the steps are in order and share it. Screenshots go to pytest's tmp folder.
"""

import re
import shutil
import time

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
HOSTILE = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script> ${window.hacked=3} {{hacked}} '
    "**stars** <b>bold</b> [a](javascript:alert(1))"
)
LIMIT_MS = 60_000

COUNT_RECORDED = """
window.recorded = 0;
const start = MediaRecorder.prototype.start;
MediaRecorder.prototype.start = function (...given) {
  window.recorded = 0;
  this.addEventListener("dataavailable", event => { window.recorded += event.data.size; });
  return start.apply(this, given);
};
"""
"""Counts the bytes that the browser has recorded; on a busy machine it writes them late."""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def tab(browser, served):
    """The page in a tab that notes what it asks of other machines and what it complains of."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    page.elsewhere, page.complaints = [], []
    page.on("request", lambda r: None if r.url.startswith((served.url, "data:", "blob:")) else page.elsewhere.append(r.url))
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    page.on("dialog", lambda d: (page.complaints.append(f"dialog {d.message}"), d.dismiss()))
    served.engine.pace.seconds = 0.0
    page.add_init_script(COUNT_RECORDED)
    page.goto(served.url)
    page.wait_for_selector("#ask")
    return page


def press_ask(tab):
    """Send what stands in the box; returns how many reports the chat shows before. Notices of earlier questions are marked as old."""
    before = tab.locator("#chat .ux-report").count()
    tab.evaluate("document.querySelectorAll('#chat-notice [role=alert]').forEach((e) => e.setAttribute('data-old', '1'))")
    tab.click("button#ask:not([disabled])")
    return before


def ask(tab, text):
    tab.fill("#question textarea", text)
    return press_ask(tab)


def told(tab, words):
    """Wait for a new notice with these words and return it."""
    return tab.wait_for_selector(f"#chat-notice [role=alert]:not([data-old]):has-text('{words}')").inner_text()


def answered(tab, before):
    """Wait for one more report and return it; a new notice in its place fails with its words."""
    reports, notices = "document.querySelectorAll('#chat .ux-report').length", "#chat-notice [role=alert]:not([data-old])"
    tab.wait_for_function(f"{reports} === {before + 1} || ({reports} === {before} && document.querySelector('{notices}'))")
    assert tab.locator(notices).all_inner_texts() == []
    tab.wait_for_selector("button#ask:not([disabled])")
    return tab.locator("#chat .ux-report").last.inner_text()


def upload(tab, place, path, shown):
    """Put a file into a field and wait until the field shows it (by a selector within the field)."""
    clear = tab.locator(f"{place} button[aria-label='Clear'], {place} button[title='Clear'], {place} button[aria-label='Remove Image']")
    if clear.count():
        clear.first.click()
    with tab.expect_response(lambda r: "/upload" in r.url and r.status == 200):
        tab.set_input_files(f"{place} input[type=file]", str(path))
    tab.wait_for_selector(f"{place} {shown}", state="attached")


def test_no_clip_is_told_and_the_question_stays(tab):
    ask(tab, "What happens?")
    told(tab, "no video yet")
    assert tab.input_value("#question textarea") == "What happens?"


def test_upload_and_ask(tab, clip, shots):
    upload(tab, "#clip-video", clip, "video[src*='angry']")
    report = answered(tab, ask(tab, "What happens?"))
    assert "video 6.0 s" in report and "audio 6.0 s" in report and "clip read in" in report
    assert tab.locator("#chat-notice [role=alert]").count() == 0
    tab.screenshot(path=shots / "asked.png")


def test_it_streams(tab, served):
    served.engine.pace.seconds = 0.03
    before, seen = ask(tab, "And slowly?"), set()
    while tab.locator("#chat .ux-report").count() == before and len(seen) < 6:
        seen.add(len(tab.locator("#chat [data-testid=bot]").last.inner_text()))
        time.sleep(0.1)
    served.engine.pace.seconds = 0.0
    assert len(seen) >= 5
    assert "clip reused" in answered(tab, before)


@pytest.mark.alone
def test_the_second_question_is_sooner(tab):
    answered(tab, ask(tab, "And now?"))
    times = [re.search(r"first token ([\d.]+) (ms|s)", r) for r in tab.locator("#chat .ux-report").all_inner_texts()]
    first, last = ((float(t[1]) / (1000 if t[2] == "ms" else 1)) for t in (times[0], times[-1]))
    assert last < first


@pytest.mark.alone
def test_stop_ends_it(tab, served, shots):
    served.engine.pace.seconds = 0.2
    before = ask(tab, "A long story, please")
    tab.wait_for_selector("button#stop:not([disabled])")
    tab.wait_for_function("![...document.querySelectorAll('#chat [data-testid=bot]')].pop().innerText.includes('Looking')")
    tab.screenshot(path=shots / "streaming.png")
    pressed = time.monotonic()
    tab.click("button#stop")
    report = answered(tab, before)
    assert time.monotonic() - pressed < 10  # all 192 tokens would take 38 s
    served.engine.pace.seconds = 0.0
    assert "stopped by you" in report
    assert tab.locator("button#stop[disabled]").count() == 1
    assert "clip reused" in answered(tab, ask(tab, "Go on?"))


def test_hostile_text_is_text(tab, shots):
    answered(tab, ask(tab, HOSTILE))
    assert tab.evaluate("window.hacked") is None
    assert HOSTILE in tab.locator("#chat [data-testid=user]").last.inner_text()
    assert tab.locator("#chat img[src], #chat script, #chat a").count() == 0
    tab.screenshot(path=shots / "hostile.png")


def test_a_wrong_file_is_told_and_the_talk_stays(tab, tmp_path, shots):
    before = tab.locator("#chat .ux-report").count()
    wrong = tmp_path / "<b>notes<b>.mp4"
    wrong.write_text("this is no film")
    upload(tab, "#clip-video", wrong, "video[src*='notes']")
    ask(tab, "What is it?")
    notice = told(tab, "notes")
    assert "/" not in notice and "\n" not in notice
    assert tab.locator("#chat .ux-report").count() == before
    assert tab.input_value("#question textarea") == "What is it?"
    tab.screenshot(path=shots / "wrong.png")


def test_an_example_and_a_span(tab):
    tab.click("#examples tbody tr >> nth=2")
    tab.wait_for_selector("#clip-video video[src*='objects-and-sounds']")
    tab.wait_for_function("document.querySelector('#question textarea').value.includes('bell')")
    tab.fill("#start input, #start textarea", "1")
    tab.fill("#end input, #end textarea", "3,5")
    assert "audio 2.5 s" in answered(tab, press_ask(tab))
    assert "1 s to 3.5 s" in tab.locator("#chat .ux-clip").last.inner_text()


def test_emotion_with_bars_point_and_time_line(tab, served, monkeypatch, shots):
    real = served.engine.emotion

    def readable(media, **options):
        """A random model writes no evidence; the rest of the answer is its own."""
        found = real(media, **options)
        found.valence, found.arousal = 0.6, -0.4
        found.evidence = [
            {"stream": "picture", "start_s": 0.5, "end_s": 2.0, "text": "lip corners <i>pulled</i> up"},
            {"stream": "sound", "start_s": 0.2, "end_s": 1.0, "text": "a bell"},
        ]
        return found

    monkeypatch.setattr(served.engine, "emotion", readable)
    tab.click("#tabs button[role=tab]:has-text('Emotion')")
    tab.click("button#feel")
    tab.wait_for_selector("#emotion-label .ux-bars")
    assert tab.locator("#emotion-label .ux-bar").count() == 7
    assert "valence +0.60" in tab.inner_text("#emotion-circle figcaption")
    assert "1.5–3.0 s: lip corners <i>pulled</i> up" in tab.inner_text("#evidence .ux-evidence")
    assert "audio 2.5 s" in tab.inner_text("#emotion-report")
    player, line = tab.locator("#clip-video video").bounding_box(), tab.locator("#evidence .ux-time").bounding_box()
    assert line["y"] >= player["y"] + player["height"] and line["x"] < player["x"] + player["width"]
    tab.click("#evidence .ux-picture button")
    assert tab.evaluate("document.querySelector('#clip-video video').currentTime") == pytest.approx(1.5, abs=0.05)
    tab.screenshot(path=shots / "emotion.png")


def test_evidence_goes_with_its_clip(tab):
    tab.fill("#end input, #end textarea", "3")
    tab.wait_for_function("!document.querySelector('#evidence .ux-time') && !document.querySelector('#emotion-label .ux-bars')")


def test_a_picture_that_is_none_and_one_that_is(tab, tmp_path):
    from PIL import Image

    tab.click("#tabs button[role=tab]:has-text('Chat')")
    tab.click("#clip-kind button[role=tab]:has-text('Picture')")
    wrong, right = tmp_path / "no.png", tmp_path / "yes.png"
    wrong.write_bytes(b"no picture")
    Image.new("RGB", (64, 48), (200, 30, 30)).save(right)
    upload(tab, "#clip-image", wrong, "img[src*='no.png']")
    ask(tab, "What colour?")
    told(tab, "no.png")
    upload(tab, "#clip-image", right, "img[src*='yes.png']")
    assert "audio absent" in answered(tab, ask(tab, "What colour?"))


def test_a_sound_alone(tab, tmp_path):
    import wave

    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(bytes(2 * 16000 * 2))
    tab.fill("#start input, #start textarea", "")
    tab.fill("#end input, #end textarea", "")
    tab.click("#clip-kind button[role=tab]:has-text('Sound')")
    upload(tab, "#clip-audio", path, "button[aria-label='Play']")
    report = answered(tab, ask(tab, "What is heard?"))
    assert "video absent" in report and "audio 2.0 s" in report


def test_a_recorded_clip(tab):
    """Chromium's fake camera and microphone stand in for real ones; the clip is whatever the browser wrote."""
    tab.click("#clip-kind button[role=tab]:has-text('Video')")
    tab.locator("#clip-video button[aria-label='Clear'], #clip-video button[title='Clear']").first.click()
    tab.click("#clip-video button[aria-label='Capture from camera']")
    tab.click("#clip-video :text('Click to Access Webcam')")
    tab.wait_for_function("document.querySelector('#clip-video video')?.currentTime > 0.5")
    tab.click("#clip-video button:has-text('Record')")
    tab.wait_for_selector("#clip-video button:has-text('Stop')")
    time.sleep(2.5)
    tab.wait_for_function("window.recorded > 10000")  # Gradio sends what there is when Stop is pressed
    with tab.expect_response(lambda r: "/upload" in r.url and r.status == 200):
        tab.click("#clip-video button:has-text('Stop')")
    report = answered(tab, ask(tab, "What was recorded?"))
    found = re.search(r"video (\d+\.\d) s", report)  # how much of 2.5 s the browser writes depends on how busy the machine is
    assert found and 0 < float(found[1]) < 10 and "audio" in report


def test_a_new_talk_is_empty(tab):
    tab.click("button#clear")
    tab.wait_for_function("document.querySelectorAll('#chat .ux-report').length === 0")
    assert "clip read in" in answered(tab, ask(tab, "Again?"))


@pytest.mark.alone
def test_leaving_in_the_middle_frees_the_model(browser, served, clip):
    page = browser.new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto(served.url)
    page.wait_for_selector("#ask")
    served.engine.pace.seconds = 0.25
    upload(page, "#clip-video", clip, "video[src*='angry']")
    page.fill("#question textarea", "A long story")
    page.click("button#ask")
    page.wait_for_function("[...document.querySelectorAll('#chat [data-testid=bot]')].some((e) => !e.innerText.includes('Looking'))")
    calls = [time.monotonic()]
    hook = served.engine.model.language_model.register_forward_pre_hook(lambda *_: calls.append(time.monotonic()))
    page.close()
    closed = time.monotonic()
    try:
        while time.monotonic() - calls[-1] < 2.0:  # a token is made each quarter of a second, all of them would take 48 s
            assert time.monotonic() - closed < 30, "tokens are still made for a closed tab"
            time.sleep(0.1)
    finally:
        hook.remove()
        served.engine.pace.seconds = 0.0


def test_nothing_went_elsewhere_and_nothing_broke(tab):
    assert tab.elsewhere == []
    assert tab.complaints == []
