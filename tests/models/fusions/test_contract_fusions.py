"""What every early fusion of the catalog keeps: absent is absent, masked is not seen, rows are alone, and two streams are really joined."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.models.fusions.toys import FIELDS, KNOWN, SHAPES, batch, changed, fusion, padded, rows, shapes_of
from unifusion import catalog
from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.fusions.fusion import Inputs, StreamShape

NAMES = catalog.names("fusions")
each = pytest.mark.parametrize("name", NAMES)
close = {"rtol": 1e-4, "atol": 1e-5}


def same(one, other, at=slice(None)):
    """Whether all outputs are equal."""
    assert one.outputs.keys() == other.outputs.keys()
    for name, found in one.outputs.items():
        torch.testing.assert_close(found[at], other.outputs[name], **close)


def test_the_six_are_there():
    assert {"attention_pool", "audio_text_metadata", "cross_attention", "flava", "perceiver_io", "video_text_metadata"} <= set(NAMES)


@each
@pytest.mark.parametrize("metadata", [None, FIELDS])
def test_a_finite_vector_for_each_output_of_each_row(name, metadata):
    model = fusion(name, metadata=metadata)
    found = model(batch(model.shapes, known=metadata and KNOWN))
    assert set(found.outputs) == {"emotion", "valence"} and found.weights == {}
    for vectors in found.outputs.values():
        assert vectors.shape == (4, model.width) and bool(torch.isfinite(vectors).all())


@each
def test_rows_differ_and_every_real_token_counts(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    before = model(inputs).outputs["emotion"].detach()
    assert float((before[0] - before[1]).abs().max()) > 1e-3
    for stream, features in inputs.streams.items():
        for at in features.mask_BS[0].nonzero()[:, 0].tolist():
            moved = features.tokens_BSD.clone()
            moved[0, at] += 3.0 * torch.randn(moved.shape[-1], generator=torch.Generator().manual_seed(at))
            after = model(changed(inputs, **{stream: Features(moved, features.mask_BS, features.times_BS)})).outputs["emotion"].detach()
            assert float((after[0] - before[0]).abs().max()) > 1e-5, (stream, at)
            torch.testing.assert_close(after[1:], before[1:], **close)


@each
@pytest.mark.parametrize("before", [0, 2])
def test_padding_full_of_nan_changes_nothing_wherever_it_stands(name, before):
    model = fusion(name)
    inputs = batch(model.shapes)
    found = model(changed(inputs, **{n: padded(f, before=before) for n, f in inputs.streams.items()}), want_weights=True)
    same(model(inputs), found)
    for stream, features in inputs.streams.items():
        mask = padded(features, before=before).mask_BS
        assert float(found.weights[stream].masked_fill(mask, 0.0).abs().max()) == 0.0


@each
def test_a_row_is_the_same_alone_and_among_others(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    together = model(inputs)
    for row in range(4):
        same(together, model(rows(inputs, [row])), at=[row])
    same(together, model(rows(inputs, [2, 0, 3, 1])), at=[2, 0, 3, 1])


@each
def test_a_stream_that_is_masked_empty_or_left_out_is_absent_alike(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    for stream, features in inputs.streams.items():
        left_out = model(changed(inputs, **{stream: None}))
        nowhere = torch.zeros_like(features.mask_BS)
        garbage = torch.full_like(features.tokens_BSD, float("nan"))
        same(left_out, model(changed(inputs, **{stream: Features(garbage, nowhere, features.times_BS)})))
        empty = Features(features.tokens_BSD[:, :0], features.mask_BS[:, :0], features.times_BS[:, :0])
        same(left_out, model(changed(inputs, **{stream: empty})))
        assert float((left_out.outputs["emotion"][0] - model(inputs).outputs["emotion"][0]).abs().max()) > 1e-4, stream


@each
def test_without_any_stream_metadata_alone_is_told(name):
    model = fusion(name)
    known = Inputs(streams={}, metadata=FIELDS.encode(KNOWN))
    found = model(known).outputs["emotion"]
    assert found.shape == (4, model.width) and bool(torch.isfinite(found).all())
    with pytest.raises(ConfigError, match="no rows"):
        model(Inputs(streams={}))


@each
def test_the_order_in_which_streams_are_given_does_not_matter(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    turned = Inputs(streams=dict(reversed(inputs.streams.items())), metadata=inputs.metadata)
    same(model(inputs), model(turned))


@each
def test_the_order_of_tokens_is_their_time_not_their_place(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    face = next(n for n in model.shapes if n in ("face", "voice"))
    order = order[order < inputs.streams[face].mask_BS.shape[1]]
    f = inputs.streams[face]
    found = model(changed(inputs, **{face: Features(f.tokens_BSD[:, order], f.mask_BS[:, order], f.times_BS[:, order])}), want_weights=True)
    same(model(inputs), found)
    weights = model(inputs, want_weights=True).weights[face]
    torch.testing.assert_close(found.weights[face], weights[:, order], **close)


@each
def test_weights_are_of_real_tokens_and_sum_to_one_at_most(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    found = model(inputs, want_weights=True)
    same(found, model(inputs))
    assert set(found.weights) == set(inputs.streams)
    total = torch.zeros(4)
    for stream, weights in found.weights.items():
        mask = inputs.streams[stream].mask_BS
        assert weights.shape == mask.shape and float(weights.min()) >= 0.0
        assert float(weights.masked_fill(mask, 0.0).max()) == 0.0 and float(weights[mask].min()) > 0.0
        total += weights.sum(dim=1)
    assert float(total.max()) <= 1.0 + 1e-5 and float(total[0]) > 0.05 and float(total[3]) == 0.0
    without = model(changed(inputs, **{next(iter(model.shapes)): None}), want_weights=True)
    assert set(without.weights) == set(list(model.shapes)[1:])


@each
def test_metadata_counts_and_unknown_is_a_value(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    told = model(inputs).outputs["emotion"]
    unknown = model(Inputs(streams=inputs.streams, metadata=FIELDS.encode([{}] * 4))).outputs["emotion"]
    assert ((told - unknown).abs().amax(dim=1) > 1e-4).tolist() == [True, True, False, True]
    strange = [{"topic": "never met", "speaker_gender": ""}] * 4
    for other in (FIELDS.encode(strange), None):
        torch.testing.assert_close(model(Inputs(streams=inputs.streams, metadata=other)).outputs["emotion"], unknown, **close)


@each
def test_all_that_is_used_learns_and_a_saved_state_is_the_same_model(name):
    model = fusion(name).train()
    inputs = batch(model.shapes)
    # All rows lack the first stream here: its weights still take part, so that no process of several waits for them.
    for given in (inputs, changed(inputs, **{next(iter(model.shapes)): None})):
        model.zero_grad()
        sum(v.square().sum() for v in model(given).outputs.values()).backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None and not n.startswith("pretraining.")]
        assert idle == []
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    again = fusion(name, seed=1)
    assert float((again(inputs).outputs["emotion"] - model.eval()(inputs).outputs["emotion"]).abs().max()) > 1e-3
    again.load_state_dict(model.state_dict(), strict=True)
    same(model(inputs), again(inputs))


@each
def test_lower_precision_is_near(name):
    model = fusion(name)
    inputs = batch(model.shapes)
    whole = model(inputs, want_weights=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(inputs, want_weights=True)
    for output, vectors in whole.outputs.items():
        torch.testing.assert_close(half.outputs[output].float(), vectors, rtol=0.0, atol=0.15)
    assert float(sum(w.sum(dim=1) for w in half.weights.values()).max()) <= 1.0 + 1e-2
    stored = {n: Features(f.tokens_BSD.half(), f.mask_BS, f.times_BS) for n, f in inputs.streams.items()}
    torch.testing.assert_close(model(changed(inputs, **stored)).outputs["emotion"], whole.outputs["emotion"], rtol=0.0, atol=0.02)
    kept = model.bfloat16()(inputs).outputs["emotion"]
    assert kept.dtype == torch.bfloat16
    torch.testing.assert_close(kept.float(), whole.outputs["emotion"], rtol=0.0, atol=0.3)


@each
def test_what_cannot_be_built_or_read_says_what_to_do(name):
    cls = catalog.load("fusions", name)
    shapes = shapes_of(name)
    for modality in cls.needs:
        with pytest.raises(ConfigError, match=rf"no {modality} stream.*{', '.join(cls.needs)} are needed"):
            fusion(name, shapes={n: s for n, s in shapes.items() if s.modality != modality})
    if not cls.others:
        with pytest.raises(ConfigError, match="another fusion"):
            fusion(name, shapes=SHAPES)
    model = fusion(name)
    inputs = batch(shapes)
    first, features = next(iter(inputs.streams.items()))
    with pytest.raises(ConfigError, match="smell"):
        model(changed(inputs, smell=features))
    with pytest.raises(ConfigError, match="wide"):
        model(changed(inputs, **{first: Features(features.tokens_BSD[..., :-1], features.mask_BS, features.times_BS)}))
    with pytest.raises(ConfigError, match="3 and 4 rows"):
        model(changed(inputs, **{first: rows(inputs, [0, 1, 2]).streams[first]}))
    with pytest.raises(ConfigError, match="without"):
        fusion(name, metadata=None)(inputs)


def examples(n, seed, kind, width=6, length=4):
    """Two streams of noise in each of which a hidden direction has a sign; `one`: the first's is the label, `both`: whether they agree."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n, 2), generator=generator)
    direction = F.normalize(torch.tensor([1.0, -1.0, 0.5, 2.0, -0.5, 1.0]), dim=0)
    found = []
    for i in range(2):
        noise = torch.randn(n, length, width, generator=generator)
        tokens = noise - (noise @ direction)[..., None] * direction + 2.0 * (2 * signs[:, i, None, None] - 1) * direction
        found.append(Features(tokens, torch.ones(n, length, dtype=torch.bool), torch.arange(float(length)).expand(n, -1)))
    return found, signs[:, 0] if kind == "one" else signs[:, 0] ^ signs[:, 1]


def taught(model, names, kind, steps):
    """Share of unseen examples told right after a few seconds of training, with both streams and with the first alone."""
    head = torch.nn.Linear(model.width, 2)
    weights = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=5e-3)
    (one, two), labels = examples(512, 0, kind)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        at = torch.randperm(512, generator=generator)[:64]
        inputs = rows(Inputs(streams={names[0]: one, names[1]: two}), at)
        optimizer.zero_grad()
        F.cross_entropy(head(model(inputs).outputs["emotion"]), labels[at]).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    (one, two), labels = examples(512, 1, kind)

    def right(streams):
        with torch.no_grad():
            return float((head(model(Inputs(streams=streams)).outputs["emotion"]).argmax(dim=1) == labels).float().mean())

    return right({names[0]: one, names[1]: two}), right({names[0]: one})


@each
@pytest.mark.parametrize("kind", ["one", "both"])
def test_it_learns_what_one_stream_tells_and_what_only_two_tell(name, kind):
    needs = catalog.load("fusions", name).needs or ("audio", "video")
    shapes = {m: StreamShape(modality=m, width=6) for m in needs}
    both, alone = taught(
        fusion(name, metadata=None, outputs=("emotion",), shapes=shapes), list(shapes), kind, 100 if kind == "one" else 250
    )
    assert both > 0.95
    assert alone < 0.65 if kind == "both" else True


def test_the_page_of_fusions_has_them_all():
    page = (Path(__file__).resolve().parents[3] / "docs" / "fusions.md").read_text(encoding="utf-8")
    assert set(NAMES) <= set(re.findall(r"\| `([a-z0-9_]+)` \|", page))
