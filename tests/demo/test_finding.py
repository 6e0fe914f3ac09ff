"""The search tab without a browser: finds, previews, questions over them, tabs, mistakes, and nothing of the disk but previews."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.demo.test_served import get, join
from tests.retrieval.toys import ToyEmbedder, picture, tone
from unifusion.limits import Limits
from unifusion.media import probe
from unifusion.retrieval.library import Library

KEY = "tab"


def fill(folder, clip):
    """A video, a picture with a name that is markup, and a sound of two pitches with words beside it."""
    folder.mkdir(parents=True)
    shutil.copy(clip, folder / "talk.mp4")
    picture(folder / "<b>red<b>.png", "red")
    tone(folder / "long.wav", "low", "middle", seconds=6.0)
    (folder / "long.txt").write_text("one <i>two</i> three four five six")


@pytest.fixture(scope="module")
def place(tmp_path_factory, clip):
    """An index and its clips; the toy embedder finds colours and pitches."""
    folder = tmp_path_factory.mktemp("searched")
    fill(folder / "clips", clip)
    Library.create(folder / "index", ToyEmbedder()).index([folder / "clips"])
    return folder


@pytest.fixture
def shelf(part, place, engine):
    return part("shelf").Shelf.open([place / "index"], engine, model="toy", embedder=ToyEmbedder())


@pytest.fixture
def do(part, shelf, tmp_path):
    previews = part("previews").Previews(tmp_path / "previews", limits=Limits())
    return part("finding").Finder(shelf=shelf, previews=previews, visits=part("visits").Visits())


def test_words_find_windows_with_players_scores_and_times(do, tmp_path):
    view = do.search(KEY, "index", "low", None, 8)
    assert view.found.count('role="listitem"') == 4 and view.notice == ""
    first = view.found.split("</article>")[0]
    assert "<audio controls" in first and "long.wav" in first and "0.0–6.0 s" in first and "1.000" in first
    assert "one &lt;i&gt;two&lt;/i&gt; three" in first and "<i>" not in view.found
    assert view.found.count("<video controls") == 1 and view.found.count("poster=") == 1 and view.found.count("<img") == 1
    assert "&lt;b&gt;red&lt;b&gt;.png" in view.found and "<b>red" not in view.found
    assert view.found.count("below the threshold") == 2


def test_previews_are_the_windows_alone_in_their_own_folder(do, place, tmp_path):
    do.search(KEY, "index", "low", None, 8)
    files = {p.suffix: p for p in (tmp_path / "previews").iterdir()}
    assert {".mp4", ".jpg", ".wav"} == set(files)
    assert all(probe(p).duration_s == pytest.approx(6.0, abs=0.15) for p in (tmp_path / "previews").glob("*.wav"))
    film = probe(files[".mp4"])
    assert film.has_video and film.has_audio and film.duration_s == pytest.approx(6.0, abs=0.3)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "previews").iterdir()}
    do.search(KEY, "index", "middle", None, 8)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "previews").iterdir()} == before


def test_old_previews_go(part, place, tmp_path):
    previews = part("previews").Previews(tmp_path / "few", limits=Limits(), capacity=1)
    library = Library.open(place / "index", ToyEmbedder())
    some = library.search("low", 2)
    first = previews.of(some[0])
    second = previews.of(some[1])
    assert not first.path.exists() and second.path.exists()
    assert previews.of(some[0]).path.exists() and sorted((tmp_path / "few").iterdir()) == sorted(previews.of(some[0]).files)


def test_a_question_over_what_was_found_cites_it(do, engine):
    do.search(KEY, "index", "low", None, 1)
    views = list(do.ask(KEY, "what is heard?"))
    assert "Looking and listening" in views[0].notice
    assert views[-1].notice == "" and 'class="ux-cite" data-hit="1">[long.wav @ 0.0-6.0 s]</button>' in views[-1].answer
    assert "<b>audio</b> 6.0 s" in views[-1].answer


def test_nothing_relevant_is_said_in_search_and_answer(do):
    view = do.search(KEY, "index", "unheard of", None, 4)
    assert "Nothing relevant was found" in view.notice and view.found.count("below the threshold") == 4
    assert "Nothing relevant was found" in list(do.ask(KEY, "what?"))[-1].answer


def test_a_clip_is_a_query_alone_and_with_words(do, part, place):
    like = part("visits").Choice.of("audio", {"audio": str(place / "clips" / "long.wav")}, "0", "5")
    view = do.search(KEY, "index", "", like, 1)
    assert "long.wav" in view.found and "not judged" in view.notice
    both = do.search(KEY, "index", "red", like, 4)
    assert "talk.mp4" in both.found.split("</article>")[0]  # to the toy it is red and low


def test_tabs_do_not_mix(do):
    do.search("one", "index", "low", None, 1)
    do.search("two", "index", "red", None, 1)
    assert "long.wav" in list(do.ask("one", "what?"))[-1].answer
    assert "red" in list(do.ask("two", "what?"))[-1].answer
    assert "Nothing was searched yet" in list(do.ask("three", "what?"))[-1].notice


def test_tabs_at_the_same_time(do):
    """Eight tabs from threads: each gets its own, and no preview is half written."""
    words, views = ["low", "middle", "red", "low red"] * 2, {}

    def work(n):
        views[n] = do.search(str(n), "index", words[n], None, 4)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(words))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(views[n].found == views[n + 4].found and views[n].found.count("ux-gone") == 0 for n in range(4))


def test_one_tab_does_one_thing_at_a_time(do, part):
    visit = do.visits.get(KEY)
    with visit.busy:
        assert "worked on" in do.search(KEY, "index", "low", None, 1).notice
        assert "worked on" in list(do.ask(KEY, "what?"))[-1].notice
    assert do.search(KEY, "index", "low", None, 1).notice == ""


@pytest.mark.parametrize(
    ("index", "words", "told"), [("nowhere", "low", "no such index"), ("index", " ", "nothing to search for")]
)  # fmt: skip
def test_a_mistake_is_told_and_what_was_found_stays(do, index, words, told):
    do.search(KEY, "index", "low", None, 1)
    view = do.search(KEY, index, words, None, 1)
    assert told in view.notice and view.found is None and view.answer is None
    assert "long.wav" in list(do.ask(KEY, "what?"))[-1].answer
    assert "question is empty" in list(do.ask(KEY, "  "))[-1].notice


def test_as_many_windows_as_a_page_may_show(do):
    assert do.search(KEY, "index", "low", None, 10**6).found.count('role="listitem"') == 4
    assert do.search(KEY, "index", "low", None, -3).found.count('role="listitem"') == 1


def test_a_file_that_is_gone_is_told_in_its_place_without_where_it_lay(do, part, clip, tmp_path, engine):
    fill(tmp_path / "clips", clip)
    Library.create(tmp_path / "index", ToyEmbedder()).index([tmp_path / "clips"])
    do.shelf = part("shelf").Shelf.open([tmp_path / "index"], engine, embedder=ToyEmbedder())
    (tmp_path / "clips" / "long.wav").unlink()
    view = do.search(KEY, "index", "low", None, 4)
    assert view.found.count("ux-gone") == 2 and str(tmp_path / "clips") not in view.found
    do.search(KEY, "index", "low", None, 1)
    answer = list(do.ask(KEY, "what?"))[-1]
    assert "long.wav" in answer.notice and str(tmp_path / "clips") not in answer.notice + (answer.answer or "")


def test_an_index_that_grows_is_seen(do, part, clip, tmp_path, engine):
    fill(tmp_path / "clips", clip)
    library = Library.create(tmp_path / "index", ToyEmbedder())
    library.index([tmp_path / "clips"])
    do.shelf = part("shelf").Shelf.open([tmp_path / "index"], engine, embedder=ToyEmbedder())
    assert "high.wav" not in do.search(KEY, "index", "high", None, 8).found
    time.sleep(0.02)
    tone(tmp_path / "clips" / "high.wav", "high")
    library.index([tmp_path / "clips"])
    assert "high.wav" in do.search(KEY, "index", "high", None, 8).found


def test_two_indexes_of_one_name_are_told_apart(part, place, tmp_path, engine):
    shutil.copytree(place / "index", tmp_path / "index")
    shelf = part("shelf").Shelf.open([place / "index", tmp_path / "index"], engine, embedder=ToyEmbedder())
    assert list(shelf.askers) == ["index", "index (2)"]


def test_an_unexpected_error_is_logged_and_not_shown(do, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret /etc/place")

    do.search(KEY, "index", "low", None, 1)
    monkeypatch.setattr(do.previews, "of", broken)
    assert "secret" not in do.search(KEY, "index", "low", None, 1).notice
    assert "secret /etc/place" in caplog.text


@pytest.fixture(scope="module")
def searched(app, part, place, shared_engine):
    """The page over the index on a free port."""
    settings = part("settings")
    folder = settings.private_folder()
    shelf = part("shelf").Shelf.open([place / "index"], shared_engine, model="toy", embedder=ToyEmbedder())
    page = app.build(shared_engine, model="toy", shelf=shelf)
    _, url, _ = page.launch(server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, **settings.launch_options(folder))
    yield url.rstrip("/"), page, folder
    page.close()


def test_only_previews_of_the_index_are_served(searched, place):
    url, page, folder = searched
    event = next(i for i, f in page.fns.items() if f.name == "_search")
    told = join(url, event, ["video", None, None, None, "", "", "index", "low", False, 4])
    assert told["success"] is True
    shown = [p.split('"')[0] for p in told["output"]["data"][0].split('src="')[1:]]
    assert len(shown) == 4
    for source in shown:
        status, _, body = get(f"{url}/{source}")
        assert status == 200 and body and Path(source.partition("file=")[2]).parent == folder / "previews"
    for path in [*(place / "clips").iterdir(), *(p for p in (place / "index").rglob("*") if p.is_file())]:
        for route in ("/gradio_api/file=", "/file="):
            assert get(f"{url}{route}{path}".replace(" ", "%20").replace("<", "%3C").replace(">", "%3E"))[0] != 200, path
    assert get(f"{url}/gradio_api/file={folder}/previews/../../../../../../etc/passwd")[0] != 200


def test_every_event_of_the_tab_is_private_and_waits_for_the_model(searched):
    _, page, _ = searched
    own = {f.name: f for f in page.fns.values() if f.name in ("_search", "_ask")}
    assert {f.api_visibility for f in own.values()} == {"private"}
    assert {(f.concurrency_id, f.concurrency_limit) for f in own.values()} == {("model", 1)}


def test_an_address_in_place_of_an_index_or_a_file_is_refused(searched):
    url, page, _ = searched
    event = next(i for i, f in page.fns.items() if f.name == "_search")
    for index in ("/etc", "../index", "http://x"):
        told = join(url, event, ["video", None, None, None, "", "", index, "low", False, 4])
        assert told["success"] is False or "no such index" in told["output"]["data"][2]
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    assert join(url, event, ["video", file, None, None, "", "", "index", "low", True, 4])["success"] is False
