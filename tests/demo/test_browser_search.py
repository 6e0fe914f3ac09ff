"""The search tab in a real browser, over an index of an untrained embedding model: find, play, ask, a clip as a query, two tabs, mistakes.

What is found by random weights is chance, so nothing here depends on its order.
"""

import re

import pytest

from tests.demo.test_browser import CHROMIUM, HOSTILE, LIMIT_MS, browser, shots, upload  # noqa: F401
from tests.demo.test_finding import fill

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]


@pytest.fixture(scope="module")
def site(app, part, shared_engine, clip, tmp_path_factory):
    """The page over an index that a saved, untrained embedding model made, as `unifusion demo --index` opens it."""
    from types import SimpleNamespace

    from tests.models.test_aligner import model
    from unifusion.engine.embedder import Embedder
    from unifusion.models.aligner_files import save_aligner
    from unifusion.retrieval.library import Library

    folder = tmp_path_factory.mktemp("site")
    fill(folder / "clips", clip)
    save_aligner(model(), folder / "embedder", provenance={"recipe": "random"})
    embedder = Embedder.load(folder / "embedder")
    for name in ("index", "second"):
        Library.create(folder / name, embedder, source=str(folder / "embedder")).index([folder / "clips"])
    settings = part("settings")
    shelf = part("shelf").Shelf.open([folder / "index", folder / "second"], shared_engine, model="toy")
    shared_engine.pace.seconds = 0.0
    page = app.build(shared_engine, model="toy", shelf=shelf)
    options = settings.launch_options(settings.private_folder())
    _, url, _ = page.launch(server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, **options)
    yield SimpleNamespace(url=url.rstrip("/"), shelf=shelf, clips=folder / "clips")
    page.close()


def opened(browser, site):  # noqa: F811
    """A new browser tab on the search tab, which notes what it asks of other machines and what it complains of."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(LIMIT_MS)
    page.elsewhere, page.complaints = [], []
    page.on("request", lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else page.elsewhere.append(r.url))
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    page.goto(site.url)
    page.click("#tabs button[role=tab]:has-text('Search')")
    page.wait_for_selector("button#search")
    return page


@pytest.fixture(scope="module")
def tab(browser, site):  # noqa: F811
    return opened(browser, site)


def search(page, words, count=4):
    """Search and wait for new cards; returns their texts."""
    page.evaluate("document.querySelectorAll('#found .ux-found').forEach((e) => e.setAttribute('data-old', '1'))")
    page.fill("#find textarea, #find input", words)
    page.locator("#count input[type=number]").fill(str(count))
    page.locator("#count input[type=number]").press("Tab")
    page.click("button#search")
    page.wait_for_selector("#found .ux-found:not([data-old])")
    return page.locator("#found .ux-hit").all_inner_texts()


def ask(page, question):
    """Ask over what was found and wait for the answer's report."""
    page.evaluate("document.querySelectorAll('#over-answer .ux-prose').forEach((e) => e.remove())")
    page.fill("#over textarea, #over input", question)
    page.click("button#ask-over")
    return page.wait_for_selector("#over-answer .ux-prose").inner_text()


def test_a_question_before_a_search_is_told(tab):
    tab.fill("#over textarea, #over input", "what?")
    tab.click("button#ask-over")
    tab.wait_for_selector("#search-notice [role=alert]:has-text('Nothing was searched yet')")


def test_words_give_cards_with_players_times_and_scores(tab, shots):  # noqa: F811
    cards = search(tab, "a bell rings")
    assert len(cards) == 4 and all(re.search(r"-?\d\.\d{3}", card) for card in cards)
    assert sum("long.wav" in card for card in cards) == 2 and any("6.0–12.0 s" in card for card in cards)
    assert any("<b>red<b>.png" in card for card in cards) and any("one <i>two</i> three" in card for card in cards)
    assert "not judged" in tab.inner_text("#search-notice")
    tab.screenshot(path=shots / "found.png", full_page=True)


def test_the_browser_plays_what_was_found(tab):
    ready = (
        "[...document.querySelectorAll('#found video, #found audio')]"
        ".every((e) => e.readyState >= 1 && e.duration > 5.8 && e.duration < 6.4)"
    )
    tab.wait_for_function(ready)
    tab.wait_for_function("document.querySelector('#found video').videoWidth > 0")
    tab.wait_for_function("document.querySelector('#found img').naturalWidth > 0")
    tab.evaluate("document.querySelector('#found video').play()")
    tab.wait_for_function("document.querySelector('#found video').currentTime > 0.2")


def test_a_question_over_them_cites_cards(tab, shots):  # noqa: F811
    answer = ask(tab, "What happens?")
    assert re.search(r"\[(talk\.mp4|long\.wav) @ \d+\.0-\d+\.0 s\]|\[<b>red<b>\.png\]", answer)
    assert tab.locator("#over-answer .ux-report .ux-chip").count() == 2
    mark = tab.locator("#over-answer .ux-cite").first
    number = mark.get_attribute("data-hit")
    mark.click()
    tab.wait_for_selector(f"#found .ux-cited[data-hit='{number}']")
    tab.screenshot(path=shots / "answered.png", full_page=True)


def test_a_clip_is_a_query(tab, clip):
    upload(tab, "#clip-video", clip, "video[src*='angry']")
    tab.check("#like input")
    cards = search(tab, "", count=1)
    assert len(cards) == 1 and "talk.mp4" in cards[0] and "1.000" in cards[0]  # it is that clip
    tab.uncheck("#like input")


def test_another_index_is_searched(tab, site):
    before = site.shelf.askers["second"].library.search
    asked = []
    site.shelf.askers["second"].library.search = lambda *given: asked.append(given) or before(*given)
    tab.click("#index input")
    tab.click("[role=option]:has-text('second')")
    assert len(search(tab, "a bell", count=2)) == 2 and len(asked) == 1


def test_hostile_words_are_words(tab):
    assert search(tab, HOSTILE)
    ask(tab, HOSTILE)
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("#found script, #over-answer script, #over-answer img").count() == 0


def test_a_mistake_is_told_and_what_was_found_stays(tab):
    tab.fill("#find textarea, #find input", " ")
    tab.click("button#search")
    tab.wait_for_selector("#search-notice [role=alert]:has-text('nothing to search for')")
    assert tab.locator("#found .ux-hit").count() == 4


def test_a_wrong_file_as_a_query_is_told(tab, tmp_path):
    wrong = tmp_path / "notes.mp4"
    wrong.write_text("this is no film")
    upload(tab, "#clip-video", wrong, "video[src*='notes']")
    tab.check("#like input")
    tab.click("button#search")
    notice = tab.wait_for_selector("#search-notice [role=alert]:has-text('notes.mp4')").inner_text()
    assert "/" not in notice
    tab.uncheck("#like input")


def test_two_people_at_once_see_their_own(browser, site, tab):  # noqa: F811
    other = opened(browser, site)
    mine = search(tab, "a dog", count=3)
    theirs = search(other, "somebody laughs", count=1)
    assert len(theirs) == 1 and tab.locator("#found .ux-hit").count() == len(mine) == 3
    ask(other, "What happens?")
    assert {m.get_attribute("data-hit") for m in other.locator("#over-answer .ux-cite").all()} == {"1"}
    assert other.complaints == [] and other.elsewhere == []
    other.close()


def test_without_an_index_the_tab_says_how_to_make_one(browser, served):  # noqa: F811
    page = browser.new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto(served.url)
    page.click("#tabs button[role=tab]:has-text('Search')")
    assert "unifusion demo --index" in page.wait_for_selector("#no-index").inner_text()
    page.close()


def test_nothing_went_elsewhere_and_nothing_broke(tab):
    assert tab.elsewhere == []
    assert tab.complaints == []
