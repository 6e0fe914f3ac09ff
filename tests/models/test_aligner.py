"""An embedding model: unit vectors, absent modalities, several encoders of one space, clocks, what is trained, files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from tests.toys import byte_tokenizer, clip
from unifusion import catalog
from unifusion.batch import Features
from unifusion.conversation import Example, Media
from unifusion.encoders.encoder import weights_hash
from unifusion.engine.embedder import Embedder
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.aligner import CLIP, Aligner, AlignerConfig, AlignerStream
from unifusion.models.aligner_files import is_aligner, load_aligner, save_aligner, stream_of
from unifusion.models.opened_rows import RowOpener, collate_rows
from unifusion.models.towers import Clock, ClockPool, Head, Tower
from unifusion.training.aligning import make_aligner

CLOCK = {"bin_s": 0.1, "bins": 10, "channels": 4}


def stream(encoder, **options):
    """A stream of an encoder's own tiny config."""
    return AlignerStream(encoder=encoder, encoder_config=vars(catalog.load("encoders", encoder).tiny()), **options)


def streams(**options):
    """Two encoders of the picture, one of the sound, one of words."""
    tiny = vars(catalog.load("adapters", "windowed_qformer").tiny())
    adapter = {"adapter": "windowed_qformer", "adapter_config": tiny, "adapter_width": 24}
    return {
        "frames": stream("clip", **adapter), "motion": stream("videomae", clock=CLOCK, **options), "audio": stream("whisper", clock=CLOCK),
        "text": stream("bert", trained=-1),
    }  # fmt: skip


def config(**options):
    """A space of 16 numbers."""
    made = {"streams": streams(), "towers": {"video": ["frames", "motion"], "audio": ["audio"], "text": ["text"]}, "width": 16}
    return AlignerConfig(**{**made, "head": {"width": 32}, **options})


def model(**options):
    """The same with random weights."""
    torch.manual_seed(0)
    return Aligner(config(**options)).eval()


ROWS = [
    Example(id="both", media=(Media(kind="video", source=clip(seed=1)),), texts={"transcript": "a dog"}),
    Example(id="picture", media=(Media(kind="video", source=clip(seed=2, sound=False)),)),
    Example(id="sound", media=(Media(kind="video", source=clip(seconds=0.6, seed=3, picture=False)),)),
]


def batch_of(own, rows):
    """Rows as a batch."""
    opener = RowOpener(own)
    return collate_rows([opener.open(row) for row in rows], own.streams)


@torch.no_grad()
def test_vectors_are_of_length_one_or_absent_and_do_not_depend_on_other_rows():
    own = model()
    found = own.vectors(batch_of(own, ROWS))
    there = {space: t.tolist() for space, (_, t) in found.items()}
    assert there == {"video": [True, True, False], "audio": [True, False, True], "text": [True, False, False], CLIP: [True, True, True]}
    for vectors_BD, there_B in found.values():
        assert torch.allclose(vectors_BD.norm(dim=-1), there_B.float(), atol=1e-6)
    for i, row in enumerate(ROWS):
        alone = own.vectors(batch_of(own, [row]))
        assert {s for s, (_, t) in alone.items() if t[0]} == {s for s, t in there.items() if t[i]}
        for space, (vectors_1D, there_1) in alone.items():
            if there_1[0]:
                assert torch.allclose(vectors_1D[0], found[space][0][i], atol=1e-5), (row.id, space)


@torch.no_grad()
def test_a_clip_is_the_sum_of_picture_and_sound_and_words_are_not_in_it():
    own = model()
    found = own.vectors(batch_of(own, ROWS[:1]))
    both = found["video"][0][0] + found["audio"][0][0]
    assert torch.allclose(found[CLIP][0][0], both / both.norm(), atol=1e-6)


def test_the_scale_is_learned_kept_and_bounded_and_no_vector_has_it():
    own = model(temperature=0.05)
    assert own.scale.item() == pytest.approx(20.0) and own.logit_scale.requires_grad
    with torch.no_grad():
        own.logit_scale.fill_(9.0)
        assert own.scale.item() == pytest.approx(100.0)
        assert own(batch_of(own, ROWS))["video"].norm(dim=-1).max() <= 1 + 1e-5


def test_only_what_is_to_be_trained_moves():
    made = streams(trained=-1)
    made["frames"].adapt = False
    torch.manual_seed(0)
    own = Aligner(config(streams=made)).train()
    frozen = {"frames": own.encoders["frames"], "audio": own.encoders["audio"], "adapter": own.adapters["frames"]}
    before = {name: weights_hash(part) for name, part in frozen.items()}
    loss = sum(v.square().sum() * 0 + v[:, 0].sum() for v in own(batch_of(own, ROWS)).values())
    loss.backward()
    torch.optim.SGD([p for p in own.parameters() if p.requires_grad], lr=0.1).step()
    assert {name: weights_hash(part) for name, part in frozen.items()} == before
    moved = [n for n in ("motion", "text") if any(p.grad is not None and p.grad.abs().sum() > 0 for p in own.encoders[n].parameters())]
    assert moved == ["motion", "text"] and not own.encoders["frames"].training and own.encoders["motion"].training


def test_folders_give_equal_vectors_and_refuse_what_is_not_theirs(tmp_path):
    own = model()
    with torch.no_grad():
        own.config.calibration = {"threshold": 0.25}
        save_aligner(own, tmp_path / "a", provenance={"recipe": "align"})
        again = load_aligner(tmp_path / "a")
        for space, vectors_BD in own(batch_of(own, ROWS)).items():
            assert torch.equal(again(batch_of(again, ROWS))[space], vectors_BD)
    assert is_aligner(tmp_path / "a") and again.config.calibration == {"threshold": 0.25} and list(again.streams) == list(own.streams)
    told = json.loads((tmp_path / "a" / "config.json").read_text())
    told["streams"]["audio"]["encoder"] = "os.path:join"
    (tmp_path / "a" / "config.json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="only catalog names"):
        load_aligner(tmp_path / "a")
    with pytest.raises(CheckpointError, match="no embedding model"):
        load_aligner("tiny-emotion")


def test_a_stream_of_a_chat_model_is_taken_with_its_adapter():
    made, encoder, adapter = stream_of("tiny-chat", "audio")
    alone = AlignerConfig(streams={"audio": made}, width=8, head={"width": 32})
    own = Aligner(alone, encoders={"audio": encoder}, adapters={"audio": adapter})
    assert weights_hash(own.adapters["audio"]) == weights_hash(adapter) and own.config.towers == {"audio": ("audio",)}
    with pytest.raises(ConfigError, match="no stream 'smell'"):
        stream_of("tiny-chat", "smell")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"streams": {}}, "no streams"),
        ({"towers": {"video": ["frames", "motion"], "audio": ["sound"], "text": ["text"]}}, "reads the stream 'sound'"),
        ({"towers": {"video": ["frames"], "audio": ["audio"], "text": ["text"]}}, "0 towers read the stream 'motion'"),
        ({"towers": {"all": ["frames", "motion", "audio", "text"]}}, "the tower 'all'"),
        ({"towers": {"clip": ["frames", "motion"], "audio": ["audio"], "text": ["text"]}}, "the tower 'clip'"),
        ({"width": 0}, "width 0"),
        ({"head": {"layers": 4, "width": 32}}, "4 layers"),
        ({"head": {"depth": 4}}, "no choice 'depth'"),
    ],
)  # fmt: skip
def test_choices_that_make_no_model_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        Aligner(config(**options))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_projections_are_linear_or_of_two_or_three_layers(layers):
    tower = Tower({"a": 8}, {}, Head(width=32, layers=layers, dropout=0.0), 5)
    assert sum(isinstance(m, torch.nn.Linear) for m in tower.projection) == layers


def features(times, tokens):
    """One row of tokens."""
    return Features(tokens_BSD=tokens[None], mask_BS=torch.ones(1, len(times), dtype=torch.bool), times_BS=torch.tensor(times)[None])


@torch.no_grad()
def test_a_clock_tells_when_something_was_and_looks_no_further_than_its_last_bin():
    torch.manual_seed(0)
    tower = Tower({"a": 8}, {"a": (8, Clock(bin_s=0.5, bins=4))}, Head(width=32), 16).eval()
    tokens = torch.randn(6, 8)
    times = [0.1, 0.6, 1.1, 1.6, 2.1, 2.6]
    first = tower.clocks["a"](features(times, tokens))
    swapped = tower.clocks["a"](features(times, tokens[[1, 0, 2, 3, 4, 5]]))
    beyond = tower.clocks["a"](features(times, torch.cat([tokens[:4], torch.randn(2, 8)])))
    within = tower.clocks["a"](features([0.2, 0.7, 1.3, 1.7, 2.1, 2.6], tokens))
    assert (first - swapped).abs().max() > 1e-3
    assert torch.allclose(first, beyond, atol=1e-6) and torch.allclose(first, within, atol=1e-6)
    nothing = Features(tokens_BSD=tokens[None], mask_BS=torch.zeros(1, 6, dtype=torch.bool), times_BS=torch.tensor(times)[None])
    assert torch.isfinite(tower.clocks["a"](nothing)).all()


@torch.no_grad()
def test_a_clock_with_slots_tells_where_in_a_bin_something_was():
    torch.manual_seed(0)
    pool = ClockPool(8, 16, Clock(bin_s=0.5, bins=3, channels=4, slots=2)).eval()
    tokens = torch.randn(5, 8)
    times = [0.1, 0.2, 0.3, 1.1, 1.2]  # three in the first bin, none in the second
    steps_BNC, there_BN = pool.steps(features(times, tokens))
    assert there_BN.tolist() == [[True, False, True]]
    laid = [pool.norm(tokens[[0, 1]]).flatten(), None, pool.norm(tokens[[3, 4]]).flatten()]
    wanted_NC = torch.stack([pool.absent(1)[0, 0] if x is None else pool.value(x) for x in laid])
    wanted_NC = wanted_NC + pool.over_time(wanted_NC.T[None])[0].T
    assert torch.allclose(steps_BNC[0], wanted_NC, atol=1e-6)
    first = pool(features(times, tokens))
    assert (first - pool(features(times, tokens[[1, 0, 2, 3, 4]]))).abs().max() > 1e-3
    third = torch.cat([tokens[:2], torch.randn(1, 8), tokens[3:]])
    assert torch.allclose(first, pool(features(times, third)), atol=1e-6)
    padded = Features(
        tokens_BSD=torch.cat([tokens, torch.randn(2, 8)])[None], mask_BS=torch.tensor([[True] * 5 + [False] * 2]),
        times_BS=torch.tensor([[*times, 0.15, 0.6]]),
    )  # fmt: skip
    assert torch.allclose(first, pool(padded), atol=1e-6)
    with pytest.raises(ConfigError, match="slots"):
        Clock(bin_s=0.5, bins=3, slots=-1)


def test_embedding_is_the_same_in_any_company():
    own = Embedder(model(), name="toy")
    media = [row.media[0] for row in ROWS]
    together = own.embed(media, batch_size=3)
    for one, each in zip(media, together, strict=True):
        (alone,) = own.embed([one])
        assert set(alone.vectors) == set(each.vectors) and CLIP in alone.vectors
        for space, vector_D in alone.vectors.items():
            assert np.allclose(vector_D, each.vectors[space], atol=1e-5) and np.linalg.norm(vector_D) == pytest.approx(1.0, abs=1e-5)


def test_frozen_streams_of_a_shipped_checkpoint_are_borrowed_and_known_by_their_hash(tmp_path):
    choices = SimpleNamespace(
        seed=0, streams={"video": {"checkpoint": "tiny-chat", "adapt": False}, "sound": {"checkpoint": "tiny-chat", "stream": "audio"}},
        towers=None, width=8, head={"width": 32}, max_seconds=10.0, temperature=0.07, self_contained=False, text_tower=None,
    )  # fmt: skip
    own = make_aligner(choices).eval()
    assert own.config.streams["video"].borrowed["checkpoint"] == "tiny-chat" and own.config.streams["sound"].borrowed == {}
    save_aligner(own, tmp_path / "a", provenance={})
    keys = set(load_file(tmp_path / "a" / "model.safetensors"))
    assert not any(k.startswith(("encoders.video", "adapters.video")) for k in keys) and any(k.startswith("encoders.sound") for k in keys)
    again = load_aligner(tmp_path / "a")
    assert weights_hash(again) == weights_hash(own) and Embedder(again).key == Embedder(own).key
    told = json.loads((tmp_path / "a" / "config.json").read_text())
    for change, message in (({"hash": "0" * 64}, "not those that tiny-chat holds"), ({"checkpoint": "/tmp/x"}, "no shipped checkpoint")):
        told["streams"]["video"]["borrowed"] = own.config.streams["video"].borrowed | change
        (tmp_path / "a" / "config.json").write_text(json.dumps(told))
        with pytest.raises(CheckpointError, match=message):
            load_aligner(tmp_path / "a")
    choices.self_contained = True
    assert make_aligner(choices).config.streams["video"].borrowed == {}


def test_another_text_tower_is_one_option(tmp_path):
    config = BertConfig(vocab_size=262, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path / "bert")
    byte_tokenizer().save_pretrained(tmp_path / "bert")
    choices = SimpleNamespace(
        seed=0, streams={"audio": {"checkpoint": "tiny-chat"}, "text": {"encoder": "bert"}}, towers=None, width=8, head={"width": 32},
        max_seconds=10.0, temperature=0.07, self_contained=False, text_tower=str(tmp_path / "bert"),
    )  # fmt: skip
    own = make_aligner(choices)
    assert own.streams["text"].encoder == "sbert" and own.live == () and own.width_of("text") == 16
    vectors_ND = Embedder(own).embed_texts(["a dog", "rain falls on the roof"])
    assert vectors_ND.shape == (2, 8) and abs(vectors_ND[0] @ vectors_ND[1]) < 0.999
