"""Metrics of texts against the libraries they follow, and where there is none against the formula in another form."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.parity import CASES, hold
from unifusion.errors import ConfigError
from unifusion.metrics import _texts
from unifusion.metrics._ptb import ptb_words
from unifusion.metrics._vqa import vqa_normalise
from unifusion.metrics.bleu import bleu
from unifusion.metrics.chrf import chrf
from unifusion.metrics.cider_d import cider_d
from unifusion.metrics.exact_match import normalise
from unifusion.metrics.rouge import rouge
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.vqa_accuracy import vqa_accuracy

WORDS = "a the dog cat barks barked loudly rain falls on tin roof man speaks 2 two Dog".split()
SENTENCE = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
ODD = ["it's", "don't,", "well-known", "U.S.", "3.5", "café", "(x)", "\n", "ÄÖ_9"]
SPOKEN = st.lists(st.sampled_from([*WORDS, *ODD]), max_size=9).map(" ".join)
ROW = st.tuples(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=3))
CORPUS = st.lists(ROW, min_size=1, max_size=5)


def columns(rows):
    """Predictions and references."""
    return [said for said, _ in rows], [wanted for _, wanted in rows]


@CASES
def test_bleu_and_its_signature_are_sacrebleus(cases):
    @hold(cases, CORPUS, st.sampled_from(["exp", "floor", "add-k", "none"]), st.booleans(), st.integers(1, 4))
    def check(rows, smooth, lowercase, order):
        from sacrebleu.metrics import BLEU

        rows = [(said, wanted[:1]) for said, wanted in rows]
        theirs = BLEU(smooth_method=smooth, lowercase=lowercase, max_ngram_order=order)
        wanted = theirs.corpus_score([s for s, _ in rows], [[w[0] for _, w in rows]])
        found = bleu(*columns(rows), smooth=smooth, lowercase=lowercase, max_order=order)
        assert found.value == wanted.score
        assert found.signature == str(theirs.get_signature()) + ("" if order == 4 else f"|order:{order}")


@CASES
def test_chrf_and_its_signature_are_sacrebleus(cases):
    @hold(cases, CORPUS, st.sampled_from([0, 2]))
    def check(rows, word_order):
        from sacrebleu.metrics import CHRF

        rows = [(said, wanted[:1]) for said, wanted in rows]
        theirs = CHRF(word_order=word_order)
        wanted = theirs.corpus_score([s for s, _ in rows], [[w[0] for _, w in rows]])
        found = chrf(*columns(rows), word_order=word_order)
        assert (found.value, found.signature) == (wanted.score, str(theirs.get_signature()))


def test_rows_may_have_different_numbers_of_references():
    said = ["the dog barks", "rain falls"]
    one = bleu(said, [["a dog barks", "the dog barks"], "rain falls"], max_order=2)
    assert one.value == pytest.approx(100.0) and "nrefs:var" in one.signature
    assert bleu(said, ["a dog barks", "rain falls"], max_order=2).value < 100
    assert chrf(said, [["a dog barks", "the dog barks"], ["rain falls"]]).value == pytest.approx(100.0)


def test_short_answers_have_no_bleu_4_but_a_bleu_1():
    assert bleu(["red"], ["red"], smooth="none").value == 0.0
    assert bleu(["red"], ["red"], max_order=1).value == pytest.approx(100.0)
    assert "order:1" in bleu(["red"], ["red"], max_order=1).signature


@CASES
def test_rouge_l_of_one_text_is_rouge_scores(cases):
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])

    @hold(cases, SPOKEN, st.lists(SPOKEN, min_size=1, max_size=3))
    def check(said, references):
        wanted = scorer.score_multi(references, said)["rougeL"].fmeasure
        assert rouge_l(said, references) == pytest.approx(wanted, abs=1e-12)


@CASES
def test_rouge_of_a_set_is_the_mean_of_the_best_references(cases):
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)

    @hold(cases, st.lists(st.tuples(SPOKEN, st.lists(SPOKEN, min_size=1, max_size=2)), min_size=1, max_size=3))
    def check(rows):
        each = [scorer.score_multi(wanted, said) for said, wanted in rows]
        found = rouge(*columns(rows), stem=True)
        assert found == {kind: pytest.approx(np.mean([e[kind].fmeasure for e in each]), abs=1e-12) for kind in found}
        assert set(found) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}
        assert rouge(*columns(rows), types=["rougeL"])["rougeL"] == pytest.approx(np.mean([rouge_l(s, w) for s, w in rows]), abs=1e-12)


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [
        ("他很生气", "他很生气。", 1.0), ("他很高兴", "他很生气", 0.5), ("он зол", "он очень зол", 0.8),
        ("他 sounds angry", "他很 angry", 2 / 3),
    ],
)  # fmt: skip
def test_rouge_knows_scripts_that_its_library_drops(said, wanted, value):
    """Each Chinese sign is a word, and each run of other letters."""
    assert rouge_l(said, wanted) == pytest.approx(value)
    assert rouge([said], [wanted])["rougeL"] == rouge([said], [wanted], stem=True)["rougeL"] == pytest.approx(value)


def dense_cider(said, wanted, n=4, sigma=6.0):
    """CIDEr-D by matrices: one column a known n-gram, weights by document frequency, cosines of clipped rows."""

    def grams(text, k):
        words = text.split()
        return Counter(tuple(words[i : i + k]) for i in range(len(words) - k + 1))

    scores = np.zeros((len(said), n))
    for k in range(1, n + 1):
        names = sorted({g for t in [*said, *(r for row in wanted for r in row)] for g in grams(t, k)})
        frequency = np.array([max(1, sum(any(g in grams(r, k) for r in row) for row in wanted)) for g in names])
        weight = np.log(len(said)) - np.log(frequency) if names else np.zeros(0)
        row_of = lambda text, k=k, names=names, weight=weight: np.array([grams(text, k)[g] for g in names]) * weight  # noqa: E731
        for i, (one, others) in enumerate(zip(said, wanted, strict=True)):
            for other in others:
                a, b = row_of(one), row_of(other)
                length = np.linalg.norm(a) * np.linalg.norm(b)
                cosine = (np.minimum(a, b) * b).sum() / length if length else 0.0
                gap = max(len(one.split()) - 1, 0) - max(len(other.split()) - 1, 0)
                scores[i, k - 1] += cosine * math.exp(-(gap**2) / (2 * sigma**2)) / len(others)
    return 10 * scores.mean(axis=1)


@CASES
def test_cider_d_is_its_formula_by_matrices(cases):
    @hold(cases, st.lists(ROW, min_size=2, max_size=5))
    def check(rows):
        found = cider_d(*columns(rows), tokenized=True)
        assert found.each == pytest.approx(dense_cider(*columns(rows)), abs=1e-9)
        assert found.value == pytest.approx(np.mean(found.each))


@CASES
def test_cider_d_is_coco_captions(cases):
    cider = pytest.importorskip("pycocoevalcap.cider.cider", reason="pip install --no-deps pycocoevalcap")

    @hold(cases, st.lists(ROW, min_size=2, max_size=6))
    def check(rows):
        said, wanted = columns(rows)
        if not any(text for row in wanted for text in row):
            return  # theirs takes the largest of no frequencies
        theirs, each = cider.Cider().compute_score(dict(enumerate(wanted)), {i: [s] for i, s in enumerate(said)})
        found = cider_d(said, wanted, tokenized=True)
        assert found.value == pytest.approx(float(theirs), abs=1e-9) and found.each == pytest.approx(each.tolist(), abs=1e-9)


def test_cider_d_worked_by_hand():
    """Two rows. log 2 weighs words of one row, 0 those of both; "a dog barks" against "a dog sleeps" shares "a dog" and "dog"."""
    found = cider_d(["a dog barks", "a cat sleeps"], ["a dog sleeps", "a cat sleeps"], tokenized=True)
    # Row 1, words: dog (log 2), barks (log 2, in no reference) against dog (sleeps is in both rows: 0). Bigrams: "a dog", "dog barks"
    # against "a dog", "dog sleeps". Trigrams share nothing. Cosines 1 / sqrt 2, 1 / 2, 0, 0; lengths are equal.
    assert found.each[0] == pytest.approx(10 * (1 / math.sqrt(2) + 1 / 2) / 4)
    # Row 2 is its own reference: cosine 1 for words, bigrams, trigrams, and nothing of four words.
    assert found.each[1] == pytest.approx(7.5)
    assert found.value == pytest.approx(sum(found.each) / 2)


def test_cider_d_by_given_frequencies():
    said, wanted = ["a dog barks"], ["a dog barks loudly now"]
    with pytest.warns(RuntimeWarning, match="single document"):
        assert cider_d(said, wanted).value == 0.0
    found = cider_d(said, wanted, frequencies={("a",): 100.0, ("dog",): 10.0}, documents=100)
    low = cider_d(said, wanted, frequencies={("a",): 100.0, ("dog",): 99.0}, documents=100)
    assert 0 < found.value != low.value > 0
    assert cider_d(said, said, frequencies={}, documents=100).value == pytest.approx(7.5)
    longer = cider_d(["a dog barks " * 4], said, frequencies={}, documents=100)
    assert longer.value < cider_d(["a dog barks"], said, frequencies={}, documents=100).value * math.exp(-(9**2) / 72) + 1e-9
    for wrong in ({"frequencies": {}}, {"documents": 3}, {"n": 0}, {"sigma": 0.0}, {"frequencies": {}, "documents": 0}):
        with pytest.raises(ConfigError, match="cider_d with n"):
            cider_d(said, wanted, **wrong)


# What Stanford's PTBTokenizer 3.4.1 prints, lower case, without coco-caption's punctuation.
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man doesn't like the dog's bone; it's \"red\" and (very) big!",
         "a man does n't like the dog 's bone it 's red and -lrb- very -rrb- big"),
        ("They cannot go, gonna leave... 'tis 3.5% of $1,000.50 - ok?", "they can not go gon na leave 't is 3.5 % of $ 1,000.50 ok"),
        ("Mr. Smith's U.S. t-shirt and/or black-and-white cat's isn't I'm we'll they've he'd y'all.",
         "mr. smith 's u.s. t-shirt and/or black-and-white cat 's is n't i 'm we 'll they 've he 'd y' all"),
        ('A man -- with a hat -- says: "hello," & waves @ 5:30 p.m. etc.', "a man with a hat says hello & waves @ 5:30 p.m. etc."),
        ("it\u2019s a \u201cquoted\u201d phrase\u2026 with unicode\u2013dash\u2014and caf\u00e9",
         "it 's a quoted phrase with unicode dash and caf\u00e9"),
        ("two men o'clock rock 'n' roll 1/2 cup #5 [x] {y} <z> 10th 1990s '90s",
         "two men o'clock rock 'n' roll 1/2 cup # 5 -lsb- x -rsb- -lcb- y -rcb- <z> 10th 1990s '90s"),
        ("dogs' toys. The end.A new sentence", "dogs toys the end.a new sentence"),
        ("e-mail me at a.b@c.com or www.site.com/path?x=1", "e-mail me at a.b@c.com or www.site.com/path?x=1"),
        ("no. no! no? wanna gimme lemme gotta 'twas ain't shan't won't can't",
         "no no no wan na gim me lem me got ta 't was ai n't sha n't wo n't ca n't"),
        ("100% 50-50 a.m. vs. st. dr. jr.", "100 % 50-50 a.m. vs. st. dr. jr."),
        ("hello_world *star* ~tilde~ ^ | \\ = + 'hello' I-I'm", "hello_world * star * ~ tilde ~ ^ | \\ = + hello i-i 'm"),
        ("", ""), (" ?! ...", "?!"),
    ],
)  # fmt: skip
def test_words_of_a_caption(text, words):
    assert ptb_words(text) == words.split()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_words(text):
    words = ptb_words(text)
    assert all(w and w == w.lower() for w in words) or any(c.isupper() for c in text.lower())


# What the published evaluation makes of them.
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Red, circle!", "red circle"), ("two dogs", "2 dogs"), ("None", "0"), ("dont know", "don't know"), ("a", ""),
        ("1,000", "1000"), ("red-ish", "red ish"), ("red - ish", "red ish"), ("3.5 m.", "3.5 m"), ("U.S.", "us"), ("hed've", "he'd've"),
        ("he'dve", "he'd've"), ("somebody'd", "somebodyd"), ("yall'd've", "y'all'd've"), ("ow's'at", "'ow's'at"), ("Im", "im"),
        ("it\u2019s", "it\u2019s"), ("x/y", "x y"), ("x /y 1,0", "x y 10"), ("yes\nno\t", "yes no"), ("." * 40 + "x", "." * 8 + "x"),
    ],
)  # fmt: skip
def test_the_published_normalisation_with_its_slips(text, wanted):
    assert vqa_normalise(text) == wanted


def test_where_the_two_normalisations_differ():
    for text, ours in (("a", "a"), ("-0.5", "-0.5"), ("it\u2019s", "it's"), ("blue*", "blue"), ("somebody'd", "somebody'd")):
        assert normalise(text) == ours != vqa_normalise(text)


@CASES
def test_vqa_accuracy_in_closed_form(cases):
    answers = st.lists(st.sampled_from(["yes", "Yes.", "no", "2", "two", "The dog", "dog"]), min_size=2, max_size=12)

    @hold(cases, answers, st.sampled_from(["yes", "2 ", "dog!"]))
    def check(answers, said):
        same = [vqa_normalise(a) == vqa_normalise(said) for a in answers]
        m, a = sum(same), len(answers)
        wanted = (m * min(1, (m - 1) / 3) + (a - m) * min(1, m / 3)) / a
        assert vqa_accuracy([said], [answers], unanimous_as_is=False) == pytest.approx(wanted, abs=1e-12)
        if len(set(answers)) > 1:
            assert vqa_accuracy([said], [answers]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("given_by", "value"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_vqa_accuracy_of_ten_people(given_by, value):
    assert vqa_accuracy(["red"], [["Red."] * given_by + ["blue"] * (10 - given_by)]) == pytest.approx(value)


def test_where_all_people_agree_nothing_is_normalised():
    assert vqa_accuracy(["Yes."], [["yes"] * 10]) == 0.0 and vqa_accuracy(["yes "], [["yes"] * 10]) == 1.0
    assert vqa_accuracy(["Yes."], [["yes"] * 10], unanimous_as_is=False) == 1.0
    with pytest.raises(ConfigError, match="question 1 has 1 answer"):
        vqa_accuracy(["a", "b"], [["a", "a"], ["b"]])


@pytest.mark.parametrize("metric", [bleu, chrf, rouge, cider_d, vqa_accuracy])
@pytest.mark.parametrize(
    ("said", "wanted", "words"),
    [([], [], "of 0 predictions"), (["a"], [], "1 predictions for 0"), ("ab", ["a", "b"], "of one text"), (["a"], [[]], "row 0"),
     (["a"], [[None]], "row 0"), ([None], ["a"], "row 0")],
)  # fmt: skip
def test_what_does_not_pair_is_refused(metric, said, wanted, words):
    with pytest.raises(ConfigError, match=words):
        metric(said, wanted)


def test_choices_that_are_none_are_refused():
    for call, words in (
        (lambda: bleu(["a"], ["a"], max_order=0), "n-grams up to 0"), (lambda: chrf(["a"], ["a"], word_order=-1), "of -1 words"),
        (lambda: rouge(["a"], ["a"], types=["rouge0"]), "no kind of ROUGE 'rouge0'"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            call()


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch):
    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(_texts.importlib, "import_module", gone)
    for call in (bleu, chrf, rouge):
        with pytest.raises(ConfigError, match=r"unifusion-x\[eval\]"):
            call(["a"], ["a"])
    assert cider_d(["a b"], ["a b"], frequencies={}, documents=10).value == pytest.approx(5.0)
