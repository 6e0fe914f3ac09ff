"""An emotion model: absent streams, frozen and trained encoders, files, stored features, words and what was said before."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.toys import clip
from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.encoders.encoder import weights_hash
from unifusion.engine import Engine
from unifusion.errors import CheckpointError, ConfigError, NoStreamError
from unifusion.models.affect import AffectConfig, AffectModel
from unifusion.models.affect_files import is_affect, load_affect, save_affect
from unifusion.models.encoded import EncodedStream
from unifusion.models.encoded_files import STORED
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.opened_rows import RowOpener, collate_rows, history_text, media_of
from unifusion.training.affect import tell_opened
from unifusion.training.affect_data import store_features

LABELS = ("angry", "happy", "sad")


def stream(encoder, **options):
    """A stream of an encoder's own tiny config."""
    return EncodedStream(encoder=encoder, encoder_config=vars(catalog.load("encoders", encoder).tiny()), **options)


def streams(**options):
    """Picture, sound, words, and what was said before."""
    before = stream("bert", reads="history")
    return {"video": stream("videomae"), "audio": stream("whisper", **options), "text": stream("bert"), "before": before}


def config(**options):
    """A model of three labels, valence and arousal."""
    return AffectConfig(**{"streams": streams(), "fusion_config": {"width": 16}, "labels": LABELS, "affect": True, **options})


def model(**options):
    """The same with random weights."""
    torch.manual_seed(0)
    return AffectModel(config(**options)).eval()


def example(number=0, *, said="I do not believe it", before=True, **shown):
    """One turn of a talk."""
    labels = {"history": ({"speaker": "A", "text": "What is it?"},) if before else (), "emotion": LABELS[number % 3]}
    media = (Media(kind="video", source=clip(seed=number, **shown)),) if shown.get("picture", True) or shown.get("sound", True) else ()
    return Example(id=f"row {number}", media=media, texts={"transcript": said}, labels=labels)


ROWS = [
    example(1), example(2, sound=False), example(3, picture=False, before=False), example(4, said=""),
    example(5, picture=False, sound=False),
]  # fmt: skip


def test_each_row_tells_the_same_alone_and_beside_rows_with_other_streams():
    own = model()
    opener = RowOpener(own)
    rows = [opener.open(row) for row in ROWS]
    there = [set(row.streams) for row in rows]
    assert there == [
        {"video", "audio", "text", "before"}, {"video", "text", "before"}, {"audio", "text"}, {"video", "audio", "before"},
        {"text", "before"},
    ]  # fmt: skip
    together = tell_opened(own, rows)
    for i, row in enumerate(rows):
        alone = tell_opened(own, [row])
        for key in ("logits", "affect"):
            np.testing.assert_allclose(together[key][i], alone[key][0], atol=2e-5)
    assert together["affect"].min() > -1 and together["affect"].max() < 1
    assert np.allclose(together["probabilities"].sum(1), 1)


def test_every_stream_is_told_of_and_counts():
    own = model()
    row = RowOpener(own).open(ROWS[0])
    assert all(r.present for r in row.reports.values())
    assert row.reports["audio"].samples > 0 and row.reports["video"].frames > 0
    whole = tell_opened(own, [row])["logits"]
    for name in own.config.streams:
        muted = row.without([name])
        assert name not in muted.streams and muted.reports[name].reason == "muted on request"
        assert not np.allclose(tell_opened(own, [muted])["logits"], whole, atol=1e-6), name
    reason = RowOpener(own).open(ROWS[2]).reports
    assert reason["before"].reason == "nothing was said before" and not reason["video"].present


def test_a_row_of_nothing_is_refused():
    with pytest.raises(NoStreamError, match="row 9: no stream of the model is in this row"):
        RowOpener(model()).open(example(9, said="", before=False, picture=False, sound=False))
    with pytest.raises(NoStreamError, match="no sound"):
        RowOpener(model(streams={"audio": stream("whisper")})).open(example(9, sound=False))


def test_frozen_encoders_stay_as_they_are_and_trained_ones_move_where_they_may():
    own = model(streams={"audio": stream("whisper"), "text": stream("bert", trained=1)})
    own.train()
    assert own.encoders["text"].training and not own.encoders["audio"].training
    before = {n: p.detach().clone() for n, p in own.named_parameters()}
    sound = weights_hash(own.encoders["audio"])
    batch = collate_rows([RowOpener(own).open(row) for row in (ROWS[0], ROWS[2])], own.streams, own.config.metadata)
    optimizer = torch.optim.SGD([p for p in own.parameters() if p.requires_grad], lr=1.0)
    own(batch).logits_BK.square().sum().backward()
    optimizer.step()
    moved = {n.split(".")[0] + "." + n.split(".")[1] for n, p in own.named_parameters() if not torch.equal(p, before[n])}
    assert "encoders.text" in moved and weights_hash(own.encoders["audio"]) == sound
    free = [n for n, p in own.encoders["text"].named_parameters() if p.requires_grad]
    assert free and all("layer.1." in n for n in free)  # the last of two blocks


def test_blocks_are_let_in_from_the_last_on():
    own = model(streams={"text": stream("bert", trained=-1)})
    trained = [p for p in own.encoders["text"].parameters() if p.requires_grad]
    assert len(own.waiting(0.0)) == len(trained) and not own.waiting(1.0)
    half = {id(p) for p in own.waiting(0.5)}
    let_in = [n for n, p in own.encoders["text"].named_parameters() if p.requires_grad and id(p) not in half]
    assert let_in and all("layer.1." in n for n in let_in)


def test_stored_features_tell_what_files_tell(tmp_path):
    own = model()
    assert store_features(own, ROWS, tmp_path) == 6  # five clips, and what was said before, once
    assert store_features(own, ROWS, tmp_path) == 0
    fresh, stored = ([opener.open(row) for row in ROWS] for opener in (RowOpener(own), RowOpener(own, stores=tmp_path)))
    assert all(item.tokens_SD is not None for row in stored for item in row.streams.values())
    assert [set(r.streams) for r in stored] == [set(r.streams) for r in fresh]
    np.testing.assert_allclose(tell_opened(own, stored)["logits"], tell_opened(own, fresh)["logits"], atol=0.05)  # kept in bfloat16


def test_a_model_comes_back_as_it_was(tmp_path):
    fields = MetadataFields.of([{"speaker_age": "young", "cause": "a lost dog"}])
    own = model(metadata=fields, temperature=1.7)
    save_affect(own, tmp_path / "m", provenance={"recipe": "emotion"})
    assert is_affect(tmp_path / "m") and not is_affect(tmp_path)
    again = load_affect(tmp_path / "m")
    assert again.config.to_dict() == own.config.to_dict()
    rows = [RowOpener(own).open(replace(row, labels={**row.labels, "metadata": {"speaker_age": "young"}})) for row in ROWS]
    for key in ("logits", "probabilities", "affect"):
        np.testing.assert_array_equal(tell_opened(again, rows)[key], tell_opened(own, rows)[key])


def test_weights_may_be_stored_in_half_the_bytes(tmp_path):
    own = model()
    sizes = {}
    for name, dtype in STORED.items():
        save_affect(own, tmp_path / name, provenance={}, dtype=dtype)
        sizes[name] = (tmp_path / name / "model.safetensors").stat().st_size
        again = load_affect(tmp_path / name)
        assert {p.dtype for p in again.parameters()} == {torch.float32}
        close = {"float32": 0.0, "float16": 1e-3, "bfloat16": 1e-2}[name]
        assert all(torch.allclose(a, b, atol=close, rtol=close) for a, b in zip(again.parameters(), own.parameters(), strict=True))
    assert max(sizes["float16"], sizes["bfloat16"]) < 0.6 * sizes["float32"]
    with torch.no_grad():
        own.heads["valence"][-1].bias.fill_(1e5)
    with pytest.raises(CheckpointError, match=r"heads.valence.*bias. is not finite in torch.float16"):
        save_affect(own, tmp_path / "float16", provenance={}, dtype=torch.float16)


def test_a_damaged_folder_is_refused(tmp_path):
    save_affect(model(), tmp_path, provenance={})
    raw = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"streams": {**raw["streams"], "audio": {**raw["streams"]["audio"], "encoder": "os:system"}}}, "only catalog names"),
        ({"labels": ["a", "b"]}, r"heads.emotion.2"), ({"fusion": "os.path"}, "only catalog names"),
        ({"model_type": "other"}, "no emotion model"),
    ):  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps({**raw, **change}))
        with pytest.raises(CheckpointError, match=said):
            load_affect(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"streams": {}}, "no streams"),
        ({"labels": ("a",)}, "two or more"),
        ({"labels": ("a", "a")}, "two or more"),
        ({"labels": (), "affect": False}, "neither labels"),
    ],
)
def test_what_tells_nothing_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        config(**options)


def test_only_words_can_be_of_what_was_said_before():
    with pytest.raises(ConfigError, match="cannot read what was said before"):
        stream("whisper", reads="history")
    with pytest.raises(ConfigError, match="clip or history"):
        stream("bert", reads="both")


def test_words_of_a_row():
    row = Example(id="r", texts={"transcript": "Hello there"}, labels={"history": [{"speaker": "A", "text": "Hi"}, {"text": "Yes?"}]})
    (media,) = media_of(row)
    assert media.source.transcript == "Hello there" and media.source.duration_s > 0
    assert history_text(row) == "A: Hi\nYes?"
    assert media_of(Example(id="r")) == ()


def test_a_chat_asks_for_a_chat_model(tmp_path):
    save_affect(model(), tmp_path / "run" / "seed-0", provenance={})
    with pytest.raises(CheckpointError, match="is an emotion model; it tells emotions alone: unifusion emotion"):
        Engine.from_pretrained(str(tmp_path / "run" / "seed-0"))
    with pytest.raises(CheckpointError, match=r"several seeds; name one of them: .*seed-0"):
        Engine.from_pretrained(str(tmp_path / "run"))
