"""Contrastive losses against loops in float64, pytorch-metric-learning and transformers."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import nn

from tests.losses.brute import MANY, SEEDS, SOME, close, cosine, drawn, given, grown, log_sum, rows, st
from unifusion.errors import ConfigError
from unifusion.losses._contrast import FORMS
from unifusion.losses.anchored_pairs import anchored_pairs
from unifusion.losses.clip_loss import clip_loss
from unifusion.losses.info_nce import info_nce
from unifusion.losses.nt_xent import nt_xent
from unifusion.losses.siglip_loss import siglip_loss
from unifusion.losses.supervised_contrastive import supervised_contrastive

SIZES, WIDTHS = st.integers(1, 5), st.integers(1, 4)
HEAT = st.sampled_from([0.01, 0.07, 0.5, 2.0])
FORM = st.sampled_from(FORMS)


def similar(a, b, scale):
    """Logits of all with all, as lists."""
    return [[cosine(x, y) * scale for y in b.tolist()] for x in a.tolist()]


def places(mask):
    """Of each row where a mask is true."""
    return [[j for j, v in enumerate(row) if v] for row in mask.tolist()]


def masked(generator, *shape, share=0.5):
    return torch.rand(*shape, generator=generator) < share


@MANY
@given(SEEDS, SIZES, WIDTHS, HEAT, FORM, st.sampled_from(["plain", "shared", "own", "only own", "mask", "candidates"]))
def test_info_nce_is_the_formula(seed, count, width, heat, form, how):
    g = drawn(seed)
    queries, given_keys, more = rows(g, count, width), {}, None
    keys = count if how not in ("mask", "candidates") else count + 2
    named = rows(g, keys, width)
    right, among = torch.eye(count, keys, dtype=torch.bool), torch.ones(count, keys, dtype=torch.bool)
    if how in ("mask", "candidates"):
        right = given_keys["positives_BN"] = masked(g, count, keys)
    if how == "candidates":
        among = given_keys["candidates_BN"] = masked(g, count, keys, share=0.7)
    if how in ("shared", "own", "only own"):
        more = given_keys["negatives"] = rows(g, 3, width) if how == "shared" else rows(g, count, 3, width)
    if how == "only own":
        given_keys["in_batch"], among = False, right
    logits, allowed = similar(queries, named, 1 / heat), places(among)
    if more is not None:
        for i, row in enumerate(logits):
            row += similar(queries[i : i + 1], more if more.ndim == 2 else more[i], 1 / heat)[0]
            allowed[i] = allowed[i] + [keys, keys + 1, keys + 2]
    close(info_nce(queries, named, temperature=heat, form=form, **given_keys), grown(logits, places(right), allowed, form))


@MANY
@given(SEEDS, SIZES, WIDTHS, HEAT, st.booleans())
def test_nt_xent_is_the_formula(seed, count, width, heat, grouped):
    g = drawn(seed)
    a, b = rows(g, count, width), rows(g, count, width)
    groups = torch.randint(0, 3, (count,), generator=g) if grouped else torch.arange(count)
    views, total = [*a.tolist(), *b.tolist()], 0.0
    for i, x in enumerate(views):
        other = (i + count) % (2 * count)
        among = [j for j in range(2 * count) if j == other or groups[j % count] != groups[i % count]]
        total += log_sum([cosine(x, views[j]) / heat for j in among]) - cosine(x, views[other]) / heat
    close(nt_xent(a, b, temperature=heat, groups_B=groups if grouped else None), total / (2 * count))


@MANY
@given(SEEDS, SIZES, WIDTHS, st.sampled_from([1.0, 14.3, 100.0]), FORM, st.booleans(), st.booleans())
def test_clip_loss_is_the_formula(seed, count, width, scale, form, grouped, gathered):
    """Local rows against all: the mean of two halves is also the loss of all rows."""
    g = drawn(seed)
    total = 2 * count if gathered else count
    a, b = rows(g, total, width), rows(g, total, width)
    groups = torch.randint(0, 3, (total,), generator=g) if grouped else torch.arange(total)
    right, everyone = places(groups[:, None] == groups), [list(range(total))] * total
    logits = similar(a, b, scale)
    turned = [list(column) for column in zip(*logits, strict=True)]
    wanted = (grown(logits, right, everyone, form) + grown(turned, right, everyone, form)) / 2
    parts = []
    for start in range(0, total, count):
        own = slice(start, start + count)
        others = {"all_a_ND": a, "all_b_ND": b, "offset": start, "all_groups_N": groups if grouped else None} if gathered else {}
        parts.append(float(clip_loss(a[own], b[own], scale=scale, form=form, groups_B=groups[own] if grouped else None, **others)))
    close(sum(parts) / len(parts), wanted)


@MANY
@given(SEEDS, SIZES, WIDTHS, st.sampled_from([1.0, 10.0, 100.0]), st.sampled_from([0.0, -10.0]), st.booleans(), st.booleans())
def test_siglip_loss_is_the_formula(seed, count, width, scale, bias, grouped, gathered):
    g = drawn(seed)
    total = 2 * count if gathered else count
    a, b = rows(g, total, width), rows(g, total, width)
    groups = torch.randint(0, 3, (total,), generator=g) if grouped else torch.arange(total)
    wanted = 0.0
    for i, row in enumerate(similar(a, b, scale)):
        for j, logit in enumerate(row):
            x = (logit + bias) * (1 if groups[i] == groups[j] else -1)
            wanted += math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x)) - x
    parts = []
    for start in range(0, total, count):
        own = slice(start, start + count)
        others = {"all_b_ND": b, "offset": start, "all_groups_N": groups if grouped else None} if gathered else {}
        parts.append(float(siglip_loss(a[own], b[own], scale=scale, bias=bias, groups_B=groups[own] if grouped else None, **others)))
    close(sum(parts) / len(parts), wanted / total)


@MANY
@given(SEEDS, SIZES, WIDTHS, HEAT, FORM, st.integers(1, 3))
def test_supervised_contrastive_is_the_formula(seed, count, width, heat, form, views):
    g = drawn(seed)
    x, labels = rows(g, count, views, width), torch.randint(0, 3, (count,), generator=g)
    labels[masked(g, count, share=0.15)] = -100
    flat, named = x.flatten(0, 1), labels.repeat_interleave(views).tolist()
    among = [[j for j, other in enumerate(named) if j != i and -100 not in (own, other)] for i, own in enumerate(named)]
    right = [[j for j, other in enumerate(named) if other == own] for own in named]
    got = supervised_contrastive(x[:, 0] if views == 1 else x, labels, temperature=heat, form=form)
    close(got, grown(similar(flat, flat, 1 / heat), right, among, form))


@MANY
@given(SEEDS, SIZES, WIDTHS, HEAT, FORM, st.booleans())
def test_supervised_contrastive_of_rows_that_have_no_one_class(seed, count, width, heat, form, parted):
    g = drawn(seed)
    x, right, among = rows(g, count, width), masked(g, count, count), masked(g, count, count, share=0.7 if parted else 2)
    got = supervised_contrastive(x, temperature=heat, form=form, positives_BB=right, candidates_BB=among if parted else None)
    other = among & ~torch.eye(count, dtype=torch.bool)
    close(got, grown(similar(x, x, 1 / heat), places(right & other), places(other), form))


@MANY
@given(SEEDS, SIZES, WIDTHS, FORM, st.sampled_from(["anchor", "pairs", "triplets"]), st.booleans())
def test_anchored_pairs_is_the_formula(seed, count, width, form, mode, grouped):
    """Rows that both modalities have, pair by pair; what stands in the others is NaN."""
    g = drawn(seed)
    names = ["image", "audio", "text"]
    vectors, present = {n: rows(g, count, width) for n in names}, {n: masked(g, count, share=0.7) for n in names}
    groups = torch.randint(0, 3, (count,), generator=g) if grouped else torch.arange(count)
    whole = [i for i in range(count) if all(present[n][i] for n in names)]
    told = []
    for one, other in combinations(names, 2):
        if mode == "anchor" and "audio" not in (one, other):
            continue
        both = whole if mode == "triplets" else [i for i in range(count) if present[one][i] and present[other][i]]
        if len(both) < 2:
            continue
        logits = similar(vectors[one][both], vectors[other][both], 10.0)
        turned = [list(column) for column in zip(*logits, strict=True)]
        right, everyone = places(groups[both][:, None] == groups[both]), [list(range(len(both)))] * len(both)
        told.append((grown(logits, right, everyone, form) + grown(turned, right, everyone, form)) / 2)
    for n in names:
        vectors[n][~present[n]] = math.nan
    chosen = {"mode": mode, "form": form, "anchor": "audio" if mode == "anchor" else None, "groups_B": groups if grouped else None}
    close(anchored_pairs(vectors, present, scale=10.0, **chosen), sum(told) / max(1, len(told)))


@SOME
@given(SEEDS, st.integers(2, 5), st.sampled_from([0.07, 0.5]))
def test_nt_xent_and_supcon_are_those_of_pytorch_metric_learning(seed, count, heat):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    g = drawn(seed)
    a, b = rows(g, count, 3, awkward=False), rows(g, count, 3, awkward=False)
    both, twice = torch.cat([a, b]), torch.arange(count).repeat(2)
    close(nt_xent(a, b, temperature=heat), float(losses.NTXentLoss(temperature=heat)(both, twice)))
    labels = torch.randint(0, 2, (count,), generator=g).repeat(2)
    if len(labels.unique()) > 1:  # theirs is 0 without negatives
        theirs = float(losses.SupConLoss(temperature=heat, reducer=reducers.MeanReducer())(both, labels))
        close(supervised_contrastive(both, labels, temperature=heat), theirs)
        # Each positive against the negatives alone, and the mean over all pairs: the mean of rows' means where labels are equally frequent.
        if len(set(labels.bincount().tolist())) == 1:
            theirs = float(losses.NTXentLoss(temperature=heat)(both, labels))
            close(supervised_contrastive(both, labels, temperature=heat, form="apart"), theirs)


def test_clip_and_siglip_are_those_of_transformers():
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 50, "projection_dim": 8, "bos_token_id": 1, "eos_token_id": 49, "pad_token_id": 0}
    picture = small | {"image_size": 8, "patch_size": 4, "projection_dim": 8}
    ids, pixels = torch.randint(2, 49, (4, 6)), torch.randn(4, 3, 8, 8)
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=picture, projection_dim=8)).eval()
    siglip = SiglipModel(SiglipConfig(text_config=text, vision_config=picture)).eval()
    with torch.no_grad():
        out = clip(input_ids=ids, pixel_values=pixels, return_loss=True)
        close(clip_loss(out.text_embeds, out.image_embeds, scale=clip.logit_scale.exp()), float(out.loss))
        nn.init.constant_(siglip.logit_scale, 2.3)
        nn.init.constant_(siglip.logit_bias, -10.0)
        out = siglip(input_ids=ids, pixel_values=pixels, return_loss=True)
        close(siglip_loss(out.text_embeds, out.image_embeds, scale=siglip.logit_scale.exp(), bias=siglip.logit_bias), float(out.loss))


def test_in_batch_negatives_are_cross_entropy():
    """By hand: cosines 1 and 0 at temperature 0.5, so logits 2 and 0."""
    x = torch.eye(2)
    assert float(info_nce(x, x, temperature=0.5)) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)
    assert float(clip_loss(x, 7 * x, scale=2.0)) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)


def test_equal_labels_are_not_negatives():
    """Two captions of one clip pull towards it; as negatives they would push each other away."""
    clip, captions = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0]])
    groups = torch.tensor([7, 7, 3])
    told = {form: float(clip_loss(clip, captions, scale=50.0, groups_B=groups, form=form)) for form in FORMS}
    assert told["apart"] < 1e-6 and told["mil"] < 1e-6
    assert told["out"] == pytest.approx(2 * math.log(2) / 3, abs=1e-3)
    assert float(clip_loss(clip, captions, scale=50.0)) > 0.4
    assert float(nt_xent(clip, captions, temperature=0.02, groups_B=groups)) < 1e-6 < 0.1 < float(nt_xent(clip, captions, temperature=0.02))


def test_a_missing_modality_gets_no_gradient_and_is_still_part_of_the_graph():
    vectors = {n: torch.randn(4, 3, requires_grad=True) for n in ("image", "audio", "text")}
    present = {"audio": torch.tensor([True, False, True, False]), "text": torch.tensor([False, True, False, False])}
    anchored_pairs(vectors, present, scale=5.0, anchor="image").backward()
    assert vectors["audio"].grad[[0, 2]].any() and not vectors["audio"].grad[[1, 3]].any()
    assert vectors["text"].grad is not None and not vectors["text"].grad.any()


def test_a_learned_temperature_learns():
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    for loss in (
        lambda s: clip_loss(a, b, scale=s), lambda s: info_nce(a, b, temperature=s), lambda s: nt_xent(a, b, temperature=s),
        lambda s: siglip_loss(a, b, scale=s, bias=s), lambda s: anchored_pairs({"x": a, "y": b}, scale=s, mode="pairs"),
        lambda s: supervised_contrastive(a, torch.tensor([0, 0, 1, 1]), temperature=s),
    ):  # fmt: skip
        scale = torch.tensor(2.0, requires_grad=True)
        loss(scale).backward()
        assert scale.grad.isfinite() and scale.grad != 0


X = torch.randn(3, 4)
EYE = torch.eye(3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: info_nce(X, X[:2]), r"info_nce of shapes \(3, 4\), \(2, 4\)"),
        (lambda: info_nce(X[:0], X[:0]), "one row or more"),
        (lambda: info_nce(X, X, temperature=0.0), "temperature is 0.0"),
        (lambda: info_nce(X, X, in_batch=False), "neither the batch's keys nor others"),
        (lambda: info_nce(X, X, negatives=X[:, :2]), r"negatives of shape \(3, 2\)"),
        (lambda: info_nce(X, X, positives_BN=EYE.float()), "positives_BN is torch.float32"),
        (lambda: info_nce(X, X, candidates_BN=EYE[:2]), r"candidates_BN is torch.bool of shape \(2, 3\)"),
        (lambda: info_nce(X, X, form="in"), "form is 'in'; take one of out, mil, apart"),
        (lambda: nt_xent(X, X, temperature=-1.0), "temperature is -1.0"),
        (lambda: nt_xent(X, X, groups_B=torch.zeros(2, dtype=torch.int64)), "whole number to each row"),
        (lambda: clip_loss(X, X, scale=1.0, all_a_ND=X), "of one side only"),
        (lambda: clip_loss(X, X, scale=1.0, all_a_ND=X, all_b_ND=X, offset=1), "3 rows at 1 of 3"),
        (lambda: clip_loss(X, X, scale=1.0, all_a_ND=X, all_b_ND=X, groups_B=torch.zeros(3, dtype=torch.int64)), "give all_groups_N"),
        (lambda: clip_loss(X, X, scale=1.0, all_groups_N=torch.zeros(3, dtype=torch.int64)), "give both or neither"),
        (lambda: clip_loss(X.long(), X.long(), scale=1.0), "give float vectors"),
        (lambda: siglip_loss(X, X, scale=1.0, bias=0.0, all_b_ND=X, groups_B=torch.zeros(3, dtype=torch.int64)), "give all_groups_N"),
        (lambda: siglip_loss(X, X, scale=float("inf"), bias=0.0), "scale is inf"),
        (lambda: supervised_contrastive(X, torch.zeros(3)), "labels torch.float32"),
        (lambda: supervised_contrastive(X, torch.zeros(3, dtype=torch.int64), positives_BB=EYE), "labels and positives, or neither"),
        (lambda: anchored_pairs({"x": X}, scale=1.0, anchor="x"), "1 modalities"),
        (lambda: anchored_pairs({"x": X, "y": X}, scale=1.0, mode="triplets"), "three or more"),
        (lambda: anchored_pairs({"x": X, "y": X}, scale=1.0), "the anchor is None in mode anchor"),
        (lambda: anchored_pairs({"x": X, "y": X}, scale=1.0, anchor="x", mode="pairs"), "the anchor is 'x' in mode pairs"),
        (lambda: anchored_pairs({"image": X, "y": X}, scale=1.0, anchor="imagr"), "did you mean 'image'"),
        (lambda: anchored_pairs({"image": X, "y": X}, {"z": EYE[0]}, scale=1.0, mode="pairs"), "presence of 'z'"),
        (lambda: anchored_pairs({"image": X, "y": X}, {"y": EYE}, scale=1.0, mode="pairs"), "presence of y is"),
        (lambda: anchored_pairs({"image": X, "y": X}, scale=1.0, mode="all"), "mode is 'all'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ConfigError, match=said):
        call()
