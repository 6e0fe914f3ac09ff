"""What is hidden: a function of each row's number, never all and never nothing, patches that lie where their tokens look."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion import catalog
from unifusion.batch import Features
from unifusion.encoders.encoder import blank_input
from unifusion.errors import ConfigError
from unifusion.training.masking import Masking, hidden_moments, hidden_patches, hide_words, patch_places, seen_part, whole_streams


def features(times, real=None, width=3):
    times = torch.tensor(times, dtype=torch.float32)
    mask = torch.ones_like(times, dtype=torch.bool) if real is None else torch.tensor(real)
    return Features(tokens_BSD=torch.randn(*times.shape, width), mask_BS=mask, times_BS=times)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 8), min_size=2, max_size=12), st.floats(0, 0.95), st.integers(0, 2**62 - 1))
def test_some_of_a_row_is_hidden_and_some_is_seen(times, share, draw):
    found = features([sorted(times)])
    hidden = hidden_moments(found, [draw], "video", share=share, span_s=0.5)
    assert 0 < hidden.sum() < len(times)
    moments = np.floor(np.array(sorted(times), np.float32) / 0.5)  # as features have them
    if len(set(moments)) > 1:  # tokens of one moment are hidden together
        assert all(len(set(hidden[0][torch.from_numpy(moments == m)].tolist())) == 1 for m in set(moments))
    assert torch.equal(hidden, hidden_moments(found, [draw], "video", share=share, span_s=0.5))


def test_draws_belong_to_rows_not_to_their_places_and_streams_differ():
    times = [[0.1 * k for k in range(40)]] * 3
    found = features(times)
    hidden = hidden_moments(found, [5, 6, 5], "video", share=0.5, span_s=0.5)
    assert torch.equal(hidden[0], hidden[2]) and not torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden_moments(found, [5, 6, 5], "audio", share=0.5, span_s=0.5)[0])
    even = features([[0.5 * k for k in range(20)]])
    shares = [float(hidden_moments(even, [i], "a", share=0.3, span_s=0.5).float().mean()) for i in range(300)]
    assert np.mean(shares) == pytest.approx(0.3, abs=0.04)


def test_one_token_is_not_hidden_and_padding_neither():
    found = features([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], [[True, False, False], [True, True, False]])
    hidden = hidden_moments(found, [1, 2], "a", share=0.9, span_s=0.5)
    assert not hidden[0].any() and hidden[1].sum() == 1 and not hidden[1, 2]


def test_whole_streams_are_hidden_where_another_is_left():
    there = {"video": [True, True, False], "audio": [True, False, True]}
    gone = whole_streams(there, [3, 3, 3], 0.999)
    assert [gone["video"][0], gone["audio"][0]].count(True) == 1
    assert not gone["video"][1] and not gone["audio"][2]
    often = np.mean([any(g[0] for g in whole_streams(there, [i, 0, 0], 0.2).values()) for i in range(500)])
    assert often == pytest.approx(0.2, abs=0.06)


def test_a_view_leaves_the_same_moments_out_of_both_kinds_of_tokens():
    adapted, own = features([[0.2, 0.7, 1.2, 1.7]]), features([[0.1, 0.3, 0.6, 0.8, 1.1, 1.3, 1.6, 1.8]])
    views = [seen_part({"audio": (adapted, own)}, [7], view, share=0.5)["audio"] for view in ("one", "two", "one")]
    for coarse, fine in views:
        assert torch.equal(coarse.mask_BS[0].repeat_interleave(2), fine.mask_BS[0])
    assert torch.equal(views[0][0].mask_BS, views[2][0].mask_BS)
    differ = [
        not torch.equal(*(seen_part({"audio": (adapted, own)}, [i], v, share=0.5)["audio"][0].mask_BS for v in ("one", "two")))
        for i in range(20)
    ]
    assert sum(differ) > 10


@pytest.mark.parametrize(
    ("shape", "tokens", "tubelet", "lead"),
    [((6, 8, 8), 16, 1, 0), ((3, 8, 8), 5, 1, 1), ((4, 3, 8, 8), 8, 2, 0), ((5, 12), 4, 1, 0)],
)
def test_patches_hold_every_number_once(shape, tokens, tubelet, lead):
    places = patch_places(shape, tokens, tubelet)
    assert len(places) == tokens and bool((places[:lead] == -1).all())
    assert sorted(places[lead:].flatten().tolist()) == list(range(int(np.prod(shape))))


def test_patches_lie_where_they_look():
    picture = torch.arange(3 * 8 * 8).reshape(3, 8, 8)
    places = patch_places((3, 8, 8), 16)
    assert torch.equal(picture.flatten()[places[5]].reshape(3, 2, 2), picture[:, 2:4, 2:4])
    sound = torch.arange(5 * 12).reshape(5, 12)
    assert set(sound.flatten()[patch_places((5, 12), 4)[1]].tolist()) == set(sound[:, 3:6].flatten().tolist())
    assert patch_places((5, 13), 4) is None and patch_places((3, 8, 8), 7) is None and patch_places((100,), 4) is None


@pytest.mark.parametrize("name", ["resnet", "sound_resnet", "videomae", "vit", "whisper"])
def test_encoders_whose_tokens_stand_on_a_grid_are_known(name):
    encoder = catalog.load("encoders", name).build(catalog.load("encoders", name).tiny())
    given = blank_input(encoder, encoder.config)
    tubelet = encoder.layout(encoder.config).tubelet if hasattr(encoder, "layout") else 1
    for value in given.tensors.values():
        assert patch_places(value.shape[1:], len(given.times_S) // len(value), tubelet) is not None


def test_a_patch_is_hidden_in_every_clip():
    hidden = hidden_patches([1, 2], 4, [1, 2], [False, True], "video", 0.3)
    assert hidden.shape == (3, 4) and hidden[0].any() and hidden[1:].all()


def test_words_are_hidden_as_bert_hides_them():
    encoder = catalog.load("encoders", "bert")
    config = encoder.resolve(encoder.tiny())
    ids = torch.randint(4, 260, (200, 40))
    real = torch.ones_like(ids)
    real[:, 30:] = 0
    batch = {"input_ids": ids, "attention_mask": real, "chunks": torch.ones(200, dtype=torch.long)}
    shown, told = hide_words(batch, config, list(range(200)), "text", 0.25)
    assert told[:, 30:].sum() == 0 and told.any(dim=1).all()
    assert float(told[:, :30].float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(shown[~told], ids[~told])
    assert float((shown[told] == 3).float().mean()) == pytest.approx(0.8, abs=0.05)
    alone = {"input_ids": ids[:1, :30], "attention_mask": real[:1, :30], "chunks": batch["chunks"][:1]}
    assert torch.equal(hide_words(alone, config, [0], "text", 0.25)[0][0], shown[0, :30])  # beside other texts, or padded further


@pytest.mark.parametrize(
    ("options", "told"), [({"share": 1.0}, "share is 1.0"), ({"span_s": 0}, "moments of 0 s"), ({"form": "pixel"}, "no form 'pixel'")]
)
def test_choices_that_cannot_be_meant_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        Masking(**options)
