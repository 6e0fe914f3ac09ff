"""What a rationale names against what was measured: the parser's words, and a model that tells the truth or nothing."""

from types import SimpleNamespace

import pytest

from tests.people import write_people
from tests.toys import chat_model
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.evaluation.rationales import evaluate_rationales, named, rationales_table
from unifusion.training.facts import evidence_of, facts_of
from unifusion.training.real_talks import measured_prosody


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    data = write_people(tmp_path_factory.mktemp("people"))
    return Mixture(data / "mix.yaml", data=data)


class Truthful:
    """Names exactly what is there."""

    def __init__(self, mixture, but=lambda text: text):
        self.rows, self.but = {row.media: row for row in mixture.every() if row.media}, but

    def emotions(self, clips, *, labels, batch_size):
        return [self.emotion(media) for media in clips]

    def emotion(self, media):
        row = self.rows[tuple(media)]
        prosody = measured_prosody(row)
        evidence = evidence_of(facts_of(row, prosody), prosody, 2.0)
        return SimpleNamespace(rationale="", evidence=[{**e, "text": self.but(e["text"])} for e in evidence])


def test_the_words_of_a_voice_name_thirds():
    told = [
        {"stream": "sound", "text": "loud, low voice"},
        {"stream": "picture", "text": "happy face"},
        {"stream": "words", "text": '"Kids are talking, by the door" (neutral)'},
    ]
    assert named(told) == {
        "loudness": "high", "pitch": "low", "tempo": "middle", "face": "happy", "words": "kids are talking by the door",
    }  # fmt: skip
    assert named([*told, {"stream": "sound", "text": "rain"}]) == named(told), "what is behind the voice tells nothing of it"
    assert named([{"stream": "sound", "text": "even voice"}]) == {"loudness": "middle", "pitch": "middle", "tempo": "middle"}
    assert named([{"stream": "sound", "text": "slow voice, not fast"}])["tempo"] == "middle" and named([]) == {}


def test_the_truth_is_right_and_its_opposite_wrong(mixture):
    told = evaluate_rationales(Truthful(mixture), mixture)
    kinds = told["attributes"]
    assert {"voice", "loudness", "pitch"} <= set(kinds) and all(f["accuracy"] == 1 for f in kinds.values())
    voices = [r for r in told["predictions"] if r["part"] == "voices"]
    assert voices and kinds["voice"]["n"] == sum(len(set(r["truth"]) & {"loudness", "pitch", "tempo"}) for r in told["predictions"])
    other = {"loud": "soft", "high": "low", "fast": "slow", "slow": "fast", "low": "high", "soft": "loud"}
    wrong = evaluate_rationales(Truthful(mixture, lambda t: " ".join(other.get(w.strip(","), w) for w in t.split())), mixture)
    outer = [r["truth"][k] != "middle" for r in wrong["predictions"] for k in ("loudness", "pitch", "tempo") if k in r["truth"]]
    assert any(outer) and wrong["attributes"]["voice"]["accuracy"] == pytest.approx(1 - sum(outer) / len(outer))


def test_an_untrained_model_is_measured_too(mixture):
    told = evaluate_rationales(Engine(*chat_model()), mixture, parts=("voices",), most=2)
    assert len(told["predictions"]) == 2 and all(set(r["named"]) == set(r["truth"]) for r in told["predictions"])
    assert "| voice |" in rationales_table(told) and 0 <= told["attributes"]["voice"]["accuracy"] <= 1
