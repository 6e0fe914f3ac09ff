"""An embedding model measured: what belongs together, figures against the metrics, classes, stores that survive, maps."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.embedders import ToyEmbedder, clip_of, unit
from unifusion.conversation import Example, Media
from unifusion.errors import ConfigError, DatasetError, MediaError
from unifusion.evaluation import retrieval_figures as figures_module
from unifusion.evaluation.embedding import Entry, VectorStore, embed_clips, embed_words
from unifusion.evaluation.retrieval import Asked, evaluate_retrieval
from unifusion.evaluation.retrieval_classes import labels_of, linear_probe, prompts_of, zero_shot
from unifusion.evaluation.retrieval_figures import Draws, direction, intervals
from unifusion.evaluation.retrieval_rows import captions_of, items_of, plain, read_items
from unifusion.evaluation.retrieval_spaces import Entries, embed_items, relevance_of, spaces_of
from unifusion.metrics.bootstrap import bootstrap
from unifusion.metrics.ranking_chance import ranking_chance
from unifusion.metrics.recall_at_k import recall_at_k
from unifusion.metrics.retrieval_figures import retrieval_figures

THINGS = ("dog", "rain", "clock", "rooster")
QUICK = Draws(resamples=50)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A test that names a store by a bare word leaves nothing in the checkout."""
    monkeypatch.chdir(tmp_path)


def row(number, thing, **more):
    told = {"id": f"r{number}", "media": (clip_of(number, thing),), "texts": {"caption": f"Number {number} is a {thing}."}}
    return Example(**{**told, "labels": {"sound": thing}, "group": f"g{number // 2}", **more})


def rows(count=12):
    return [row(i, THINGS[i % 4]) for i in range(count)]


def measured(tmp_path, given, embedder=None, **asked):
    asked = Asked(**{"maps": (), "draws": QUICK, **asked})
    return evaluate_retrieval(embedder or ToyEmbedder(), items_of(given), tmp_path, asked)


def by_direction(told):
    return {(d["from"], d["to"]): d for d in told.results["retrieval"]}


def test_rows_of_one_clip_are_one_item():
    same = [row(1, "dog"), row(1, "dog", id="again", texts={"caption": "A hound."}, labels={"sound": "dog", "emotion": "calm"})]
    one, other = items_of([*same, row(2, "rain", group="")])
    assert (one.id, one.captions, one.labels) == ("r1", ("Number 1 is a dog.", "A hound."), {"sound": "dog", "emotion": "calm"})
    assert other.group == "r2" and one.group == "g0"


def test_captions_are_those_of_texts_and_labels():
    assert captions_of(row(1, "dog", labels={"captions": ("One.", "Number 1 is a dog.", " ")})) == ("Number 1 is a dog.", "One.")
    assert captions_of(Example(id="a", labels={"captions": "One."})) == ("One.",) and captions_of(Example(id="a")) == ()
    assert plain("  A  dog Barks. ") == plain("a dog barks") != plain("a dog")


def test_equal_captions_are_all_relevant_and_several_belong_to_one_clip():
    given = [
        row(1, "dog", texts={"caption": "A dog."}), row(2, "dog", texts={"caption": "a  dog"}),
        row(3, "rain", labels={"captions": ["It rains.", "Drops."]}, texts={}),
    ]  # fmt: skip
    spaces, _ = embed_items(ToyEmbedder(), items_of(given), VectorStore("v", "k", 24))
    assert spaces["text"].names == ("A dog.", "a  dog", "It rains.", "Drops.")
    there = relevance_of(spaces["text"], spaces["clip"])
    assert there.astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert (relevance_of(spaces["clip"], spaces["text"]) == there.T).all()


def test_a_picture_under_several_recordings_is_one_picture():
    """As Flickr8k-Audio: one still with five spoken captions, each of which must find it and be found by it."""
    still = clip_of(1, "dog", kind="image")
    given = [Example(id=f"s{i}", media=(still, clip_of(10 + i, "dog", kind="audio"))) for i in range(3)]
    given.append(Example(id="t", media=(clip_of(2, "rain", kind="image"), clip_of(20, "rain", kind="audio"))))
    spaces, told = embed_items(ToyEmbedder(), items_of(given), VectorStore("v", "k", 24))
    assert told["clips"] == 6 and len(spaces["image"]) == 2 and len(spaces["audio"]) == 4 and "video" not in spaces
    assert relevance_of(spaces["image"], spaces["audio"]).astype(int).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    own = spaces["clip"].vectors_ND[0]
    parts = [spaces["image"].vectors_ND[0], spaces["audio"].vectors_ND[0]]
    np.testing.assert_allclose(own, unit(parts[0] + parts[1]), atol=1e-6)


def test_each_direction_has_the_figures_of_the_metrics(tmp_path):
    told = measured(tmp_path, rows(), ToyEmbedder(noise=0.9))
    spaces, _ = embed_items(ToyEmbedder(noise=0.9), items_of(rows()), VectorStore(tmp_path / "other", "k", 24))
    assert set(by_direction(told)) == {
        (a, b) for x, y in (("text", "clip"), ("text", "video"), ("text", "audio"), ("audio", "video")) for a, b in ((x, y), (y, x))
    }
    for (a, b), found in by_direction(told).items():
        relevance = relevance_of(spaces[a], spaces[b])
        wanted = retrieval_figures(spaces[a].vectors_ND, spaces[b].vectors_ND, relevance)
        assert {k: f["value"] for k, f in found["figures"].items()} == pytest.approx(wanted, abs=1e-12)
        assert {k: f["chance"] for k, f in found["figures"].items()} == pytest.approx(ranking_chance(relevance), abs=1e-12)
        assert all(f["low"] <= f["value"] + 1e-9 and f["value"] <= f["high"] + 1e-9 for f in found["figures"].values())
        assert (found["queries"], found["things"], found["without"], found["groups"]) == (12, 12, 0, 6)
    ranks = {(r["from"], r["to"], r["query"]): r for r in told.records}
    assert len(ranks) == 12 * 8
    first = [r["rank"] == 1 for (a, b, _), r in ranks.items() if (a, b) == ("text", "clip")]
    assert np.mean(first) == by_direction(told)["text", "clip"]["figures"]["recall_at_1"]["value"]
    best = ranks["text", "clip", "Number 3 is a rooster."]["best"]
    assert len(best) == 5 and [s for _, s in best] == sorted((s for _, s in best), reverse=True)


def test_a_collapsed_model_finds_nothing(tmp_path):
    told = measured(tmp_path, rows(), ToyEmbedder(collapsed=True), maps=("pca", "tsne"), rescore=True)
    for found in told.results["retrieval"]:
        for figures in (found["figures"], *found["rescored"].values()):
            assert figures["recall_at_1"]["value"] == figures["recall_at_10"]["value"] == 0.0
            assert figures["median_rank"]["value"] == 12 and figures["median_rank"]["chance"] == 6.5
    assert all(f["accuracy"]["value"] == 0 for f in told.results["zero_shot"][0]["spaces"].values())
    assert told.results["gaps"]["spaces"]["clip"]["mean_length"] == pytest.approx(1.0)
    assert all(np.isfinite([p["x"], p["y"]]).all() for p in told.points)


def test_queries_that_nothing_belongs_to_are_counted(tmp_path):
    silent = [row(i, THINGS[i % 4], media=(clip_of(i, THINGS[i % 4], mute=("audio",)),)) for i in range(12, 16)]
    found = by_direction(measured(tmp_path, [*rows(), *silent]))
    assert (found["text", "audio"]["queries"], found["text", "audio"]["without"], found["text", "audio"]["things"]) == (12, 4, 12)
    assert (found["audio", "video"]["without"], found["video", "audio"]["without"]) == (0, 4)
    assert found["audio", "video"]["things"] == 16, "clips without sound still stand in the way"


def test_a_model_that_lacks_a_tower(tmp_path):
    """Without words there are neither captions nor zero-shot classes; clips of which it reads nothing are counted, once and for all."""
    told = measured(tmp_path / "w", rows(), ToyEmbedder(wordless=True))
    assert set(by_direction(told)) == {("audio", "video"), ("video", "audio")} and told.results["zero_shot"] == []
    sounds = [row(i, THINGS[i % 4], media=(clip_of(i, THINGS[i % 4], kind="audio"),)) for i in range(12, 15)]
    deaf = ToyEmbedder(deaf=True)
    for _ in range(2):
        told = measured(tmp_path / "d", [*rows(), *sounds], deaf)
        assert told.results["embedded"]["silent"] == 3 and told.results["spaces"]["clip"] == 12
        assert by_direction(told)["text", "clip"]["without"] == 3
    assert len(deaf.embedded) == 12


def test_words_of_a_clip_are_a_space_of_their_own(tmp_path):
    said = [row(i, THINGS[i % 4], texts={"caption": f"{i} {THINGS[i % 4]}", "transcript": f"it is {i}"}) for i in range(8)]
    found = by_direction(measured(tmp_path, said))
    assert ("words", "clip") in found and ("audio", "words") in found and ("text", "words") not in found


def test_rescored_figures_stand_alone_and_are_their_formulas(tmp_path):
    told = measured(tmp_path, rows(), ToyEmbedder(noise=1.2), rescore=True)
    alone = measured(tmp_path, rows(), ToyEmbedder(noise=1.2))
    items = items_of(rows())
    spaces, _ = embed_items(ToyEmbedder(noise=1.2), items, VectorStore(tmp_path / "other", "k", 24))
    for (a, b), found in by_direction(told).items():
        plainly = by_direction(alone)[a, b]
        assert found["figures"] == plainly["figures"] and "rescored" not in plainly
        scores = 20.0 * (spaces[a].vectors_ND.astype(float) @ spaces[b].vectors_ND.astype(float).T)
        over_queries = np.exp(scores) / np.exp(scores).sum(0)
        over_things = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        relevance = relevance_of(spaces[a], spaces[b])
        for way, wanted in (("dual_softmax", over_queries * over_things), ("inverted_softmax", over_queries)):
            assert found["rescored"][way]["recall_at_1"]["value"] == recall_at_k(wanted, relevance, k=1)


@pytest.mark.parametrize("block", [30, 4_000_000])
def test_blocks_change_nothing(tmp_path, monkeypatch, block):
    whole = measured(tmp_path / "a", rows(), ToyEmbedder(noise=0.9), rescore=True)
    monkeypatch.setattr(figures_module, "_BLOCK", block)
    again = measured(tmp_path / "b", rows(), ToyEmbedder(noise=0.9), rescore=True)
    assert json.dumps(whole.results, sort_keys=True) == json.dumps(again.results, sort_keys=True) and whole.records == again.records


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_intervals_are_bootstraps(seed, n_groups):
    rng = np.random.default_rng(seed)
    values, groups = rng.integers(1, 9, size=15), rng.integers(n_groups, size=15).tolist()
    found = intervals({"mean_rank": values, "median_rank": values, "hit": values <= 3}, groups, Draws(resamples=40, seed=3))
    for name, of, statistic in (("mean_rank", values, None), ("median_rank", values, np.median), ("hit", (values <= 3) * 1.0, None)):
        wanted = bootstrap(of, groups, resamples=40, seed=3, statistic=statistic)
        assert tuple(found[name].values()) == pytest.approx((wanted.estimate, wanted.low, wanted.high), abs=1e-12)


def test_cosines_are_counted(tmp_path):
    told = by_direction(measured(tmp_path, rows(), ToyEmbedder(noise=0.1)))["text", "clip"]["cosines"]
    assert sum(told["positive"]["counts"]) == 12 and sum(told["negative"]["counts"]) == 12 * 11
    assert told["positive"]["mean"] > 0.9 > told["negative"]["mean"]


def test_zero_shot_tells_classes_by_their_names(tmp_path):
    told = measured(tmp_path, [*rows(), row(12, "dog", labels={})])
    (found,) = told.results["zero_shot"]
    assert found["label"] == "sound" and found["classes"] == sorted(THINGS) and set(found["spaces"]) == {"clip", "video", "audio"}
    for one in found["spaces"].values():
        assert one["accuracy"]["value"] == 1.0 and one["n"] == 12 and one["chance"] == 0.25
        assert one["majority"]["accuracy"] == 0.25 and np.array(one["confusion"]).tolist() == (3 * np.eye(4, dtype=int)).tolist()
        assert [c["f1"] for c in one["classes"]] == [1.0] * 4


def test_prompts_and_labels_that_are_asked_for(tmp_path):
    assert prompts_of("emotion", ["very_sad"], ["It is {}."]) == [["It is very sad."]] and len(prompts_of("other", ["a", "b"], None)) == 2
    with pytest.raises(ConfigError, match=r"'It is\.' has no \{\}"):
        measured(tmp_path, rows(), templates=("It is.",))
    with pytest.raises(ConfigError, match=r"0 classes of 'smell'.*sound"):
        measured(tmp_path, rows(), labels=("smell",))
    assert labels_of(items_of(rows()), None) == ["sound"] and labels_of(items_of(rows()), ()) == []
    assert measured(tmp_path, rows(), labels=()).results["zero_shot"] == []
    embedder = ToyEmbedder()
    store = VectorStore(tmp_path / "z", "k", 24)
    spaces, _ = embed_items(embedder, items_of(rows()), store)
    told = zero_shot(embedder, spaces, items_of(rows()), "sound", store, QUICK, templates=("Hear the {}.",))
    assert told["templates"] == ["Hear the {}."] and "Hear the dog." in embedder.texts


def test_a_linear_probe_learns_what_zero_shot_cannot_name(tmp_path):
    """Classes called by names that say nothing; training rows that are also test rows are left out, unseen classes are wrong."""
    names = dict(zip(THINGS, "abcd", strict=True))

    def some(start, count):
        return items_of([row(i, t := THINGS[i % 4], labels={"sound": names[t]}) for i in range(start, start + count)])

    train, test = [*some(100, 60), *some(0, 4)], [*some(0, 16), *items_of([row(50, "cow", labels={"sound": "e"})])]
    embedder, store = ToyEmbedder(noise=0.5), VectorStore(tmp_path, "k", 24)
    both = [(embed_items(embedder, part, store)[0], part) for part in (train, test)]
    found = linear_probe(*both, "sound", QUICK)["spaces"]["clip"]
    assert (found["trained_on"], found["in_both"], found["unseen"], found["n"]) == (60, 4, 1, 17)
    assert found["accuracy"]["value"] == pytest.approx(16 / 17) and found["C"] in (0.001, 0.01, 0.1, 1.0, 10.0)
    grouped = items_of([row(i, THINGS[i % 4], group="g") for i in range(30, 40)])
    alone = [(embed_items(embedder, part, store)[0], part) for part in (grouped, train)]
    assert linear_probe(*alone, "sound", QUICK)["spaces"]["clip"]["C"] == 1.0, "one group cannot be divided"
    mean = zero_shot(embedder, both[1][0], test, "sound", store, QUICK)["spaces"]["clip"]["accuracy"]["value"]
    assert mean < 0.8


def test_a_second_run_embeds_nothing_and_says_the_same(tmp_path):
    first, second, other = ToyEmbedder(), ToyEmbedder(), ToyEmbedder(key="x" * 64)
    one, two = (measured(tmp_path, rows(), e) for e in (first, second))
    assert len(first.embedded) == 12 and first.texts and not second.embedded and not second.texts
    assert json.dumps(one.results) == json.dumps(two.results) and one.records == two.records
    measured(tmp_path, [*rows(), row(12, "dog")], second)
    assert len(second.embedded) == 1
    measured(tmp_path, rows(), other)
    assert len(other.embedded) == 12, "another model's vectors are not these"
    moved = [row(i, THINGS[i % 4], media=(Media(kind="audio", source=clip_of(i, THINGS[i % 4]).source),)) for i in range(12)]
    measured(tmp_path, moved, second)
    assert len(second.embedded) == 13, "the sound alone is another content"


def test_threads_that_decode_ahead_change_nothing(tmp_path):
    media = {str(i): clip_of(i, THINGS[i % 4]) for i in range(20)}
    plainly, ahead = (embed_clips(ToyEmbedder(), media, VectorStore(tmp_path / str(w), "k", 24), batch_size=3, workers=w) for w in (0, 3))
    for name in media:
        for space, vector in plainly[name].vectors.items():
            np.testing.assert_array_equal(vector, ahead[name].vectors[space])
    assert plainly["0"].duration_s == 2.0 and plainly["0"].cropped_s == 1.0


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_embedded_before_an_error_is_kept(tmp_path, workers):
    media = {str(i): clip_of(i, "broken" if i == 7 else "dog") for i in range(12)}
    with pytest.raises(MediaError, match="thing=broken: no known format"):
        embed_clips(ToyEmbedder(), media, VectorStore(tmp_path, "k", 24), batch_size=2, workers=workers)
    again = ToyEmbedder()
    embed_clips(again, {k: m for k, m in media.items() if k != "7"}, VectorStore(tmp_path, "k", 24), batch_size=2)
    assert len(again.embedded) == 5, "six of eleven were kept"


def test_a_store_reads_what_it_wrote_and_nothing_else(tmp_path):
    store = VectorStore(tmp_path, "key", 3)
    store.put("media:a", Entry(vectors={"clip": np.float32([1, 0, 0]), "video": np.float32([0, 1, 0])}, duration_s=1.5))
    assert embed_words(ToyEmbedder(width=3), [], store).shape == (0, 3)
    store.flush()
    (told,) = (tmp_path / "key").glob("*.json")
    back = VectorStore(tmp_path, "key", 3)["media:a"]
    assert back.duration_s == 1.5 and back.vectors["video"].tolist() == [0, 1, 0]
    told.with_suffix(".npy").with_name("left.npy").write_bytes(b"cut")  # without a JSON it is litter
    assert "media:a" in VectorStore(tmp_path, "key", 3)
    others = '{"embedder": "other", "entries": {}}'
    for spoil in (lambda: told.write_text("{"), lambda: told.write_text(others), told.with_suffix(".npy").unlink):
        kept = told.read_text(), told.with_suffix(".npy").read_bytes()
        spoil()
        with pytest.raises(ConfigError, match="not as they were written"):
            VectorStore(tmp_path, "key", 3)
        told.write_text(kept[0])
        told.with_suffix(".npy").write_bytes(kept[1])
    for bad in (np.float32([1, 0]), np.float32([np.nan, 0, 0])):
        with pytest.raises(ConfigError, match="width 3 is wanted"):
            store.put("media:b", Entry(vectors={"clip": bad}))


def test_manifests_are_read(tmp_path):
    lines = [
        {"id": "a", "path": clip_of(1, "dog").source, "caption": "A dog.", "label": "dog", "group": "one", "split": "test"},
        {"id": "b", "path": clip_of(2, "rain").source, "captions": ["Rain.", "It rains."], "label": "rain", "split": "train"},
        {"id": "c", "path": clip_of(3, "cow").source, "texts": {"caption": "A cow."}, "labels": {"emotion": "calm"}, "split": "test"},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    one, other = read_items(path, "test")
    assert (one.captions, one.labels["label"], one.group) == (("A dog.",), "dog", "one")
    assert (other.captions, other.labels["emotion"], other.group) == (("A cow.",), "calm", "c")
    assert [i.captions for i in read_items(path, "train")] == [("Rain.", "It rains.")]
    assert len(read_items(path, "test", most=1)) == 1
    with pytest.raises(DatasetError, match="no row of split val"):
        read_items(path, "val")
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "split"}) + "\n" for line in lines))
    assert len(read_items(path, "val")) == 3, "rows without a split are of any"


def test_readers_are_read(tmp_path):
    items = read_items(".", "test", dataset="clip_world", options={"count": 4, "per_clip": 2, "splits": {"test": "test_iid"}})
    assert len(items) == 4 and all(len(i.captions) == 1 and i.group.startswith(("person", "nobody")) for i in items)


def test_rows_with_nothing_to_find(tmp_path):
    bare = [Example(id=str(i), media=(clip_of(i, "dog", kind="image"),)) for i in range(3)]
    with pytest.raises(DatasetError, match="neither captions, nor labels, nor two streams"):
        measured(tmp_path, bare)
    entries = Entries(space="text", names=("a",), vectors_ND=np.ones((1, 2), np.float32), owners=((0,),))
    others = Entries(space="clip", names=("b",), vectors_ND=np.ones((1, 2), np.float32), owners=((1,),))
    assert direction(entries, others, ["g", "h"], QUICK) is None
    assert spaces_of([], {}, {}) == {}


@pytest.mark.parametrize("wrong", [{"ks": ()}, {"ks": (0,)}, {"k": 0}, {"resamples": 0}])
def test_draws_that_are_none(wrong):
    with pytest.raises(ConfigError, match="whole numbers from 1"):
        Draws(**wrong)
