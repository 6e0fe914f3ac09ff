"""CAV-MAE against its published arithmetic, written out here over a dictionary of weights with the published names."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch.nn import functional

from unifusion.cav_mae import CAVMAEConfig, CAVMAEForPreTraining, CAVMAEModel, patch_targets
from unifusion.conversation import Clip
from unifusion.encoders.cav_mae import CAVMAE
from unifusion.encoders.cav_mae_video import CAVMAEVideo
from unifusion.errors import CheckpointError

SHAPE = {
    "hidden_size": 16, "num_attention_heads": 2, "mlp_ratio": 2, "audio_layers": 2, "video_layers": 2, "joint_layers": 1,
    "audio_frames": 64, "num_mel_bins": 32, "image_size": 32, "decoder_hidden_size": 24, "decoder_layers": 2, "decoder_attention_heads": 4,
}  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = CAVMAEForPreTraining(CAVMAEConfig(**SHAPE)).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def block(w, name, x, way="", heads=2):
    """`Block.forward` of the published code."""

    def norm(i, y):
        return functional.layer_norm(y, y.shape[-1:], w[f"{name}.norm{i}{way}.weight"], w[f"{name}.norm{i}{way}.bias"])

    def linear(layer, y):
        return functional.linear(y, w[f"{name}.{layer}.weight"], w[f"{name}.{layer}.bias"])

    y = norm(1, x)
    b, n, d = y.shape
    q, k, v = linear("attn.qkv", y).reshape(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    mixed = ((q @ k.transpose(-2, -1)) * (d // heads) ** -0.5).softmax(dim=-1) @ v
    x = x + linear("attn.proj", mixed.transpose(1, 2).reshape(b, n, d))
    return x + linear("mlp.fc2", functional.gelu(linear("mlp.fc1", norm(2, x))))


def embedded(w, x, letter):
    """Patches, positions and modality, then the stream's own blocks."""
    if letter == "a":
        x = x.unsqueeze(1).transpose(2, 3)
    x = functional.conv2d(x, w[f"patch_embed_{letter}.proj.weight"], w[f"patch_embed_{letter}.proj.bias"], stride=16)
    return x.flatten(2).transpose(1, 2) + w[f"pos_embed_{letter}"] + w[f"modality_{letter}"]


def ln(w, name, x):
    return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def own(w, x, letter):
    for i in range(2):
        x = block(w, f"blocks_{letter}.{i}", x)
    return x


@pytest.fixture
def given():
    torch.manual_seed(1)
    return {"audio": torch.randn(3, 64, 32), "video": torch.randn(3, 3, 32, 32)}


def test_each_way_through_the_network_is_the_published_one(model, given):
    w = model.state_dict()
    a, v = own(w, embedded(w, given["audio"], "a"), "a"), own(w, embedded(w, given["video"], "v"), "v")
    network = CAVMAEModel.forward
    with torch.no_grad():
        torch.testing.assert_close(network(model, input_values=given["audio"]), ln(w, "norm_a", block(w, "blocks_u.0", a, "_a")))
        torch.testing.assert_close(network(model, pixel_values=given["video"]), ln(w, "norm_v", block(w, "blocks_u.0", v, "_v")))
        both = network(model, input_values=given["audio"], pixel_values=given["video"])
        torch.testing.assert_close(both, ln(w, "norm", block(w, "blocks_u.0", torch.cat([a, v], dim=1))))
        with pytest.raises(ValueError, match="neither"):
            network(model)


def test_several_shared_blocks_follow_each_other_in_every_way(given):
    torch.manual_seed(0)
    deep = CAVMAEModel(CAVMAEConfig(**{**SHAPE, "joint_layers": 2})).eval()
    w = deep.state_dict()
    a = own(w, embedded(w, given["audio"], "a"), "a")
    chained = ln(w, "norm_a", block(w, "blocks_u.1", block(w, "blocks_u.0", a, "_a"), "_a"))
    with torch.no_grad():
        torch.testing.assert_close(deep(input_values=given["audio"]), chained)
        assert not torch.allclose(chained, ln(w, "norm_a", block(w, "blocks_u.1", a, "_a"))), "only the last block would count"


def published_losses(w, given, order):
    """`forward` of the published pre-training, for an order of the patches; the first quarter is shown."""
    x, latent, restore, gone = {}, {}, {}, {}
    for stream, letter in (("audio", "a"), ("video", "v")):
        tokens = embedded(w, given[stream], letter)
        restore[letter] = order[stream].argsort(dim=1)
        n = int(tokens.shape[1] * 0.25)
        kept = order[stream][:, :n]
        x[letter] = own(w, torch.gather(tokens, 1, kept.unsqueeze(-1).repeat(1, 1, 16)), letter)
        gone[letter] = torch.gather(torch.cat([torch.zeros(3, n), torch.ones(3, tokens.shape[1] - n)], 1), 1, restore[letter])
        latent[letter] = ln(w, f"norm_{letter}", block(w, "blocks_u.0", x[letter], f"_{letter}"))
    y = ln(w, "norm", block(w, "blocks_u.0", torch.cat([x["a"], x["v"]], dim=1)))
    y = functional.linear(y, w["decoder_embed.weight"], w["decoder_embed.bias"])
    parts = []
    for letter, piece in zip("av", y.split([x["a"].shape[1], x["v"].shape[1]], dim=1), strict=True):
        full = torch.cat([piece, w["mask_token"].repeat(3, restore[letter].shape[1] - piece.shape[1], 1)], dim=1)
        full = torch.gather(full, 1, restore[letter].unsqueeze(-1).repeat(1, 1, 24))
        parts.append(full + w[f"decoder_pos_embed_{letter}"] + w[f"decoder_modality_{letter}"])
    y = torch.cat(parts, dim=1)
    for i in range(2):
        y = block(w, f"decoder_blocks.{i}", y, heads=4)
    y = ln(w, "decoder_norm", y)
    mae = {}
    for letter, piece in zip("av", y.split([p.shape[1] for p in parts], dim=1), strict=True):
        guess = functional.linear(piece, w[f"decoder_pred_{letter}.weight"], w[f"decoder_pred_{letter}.bias"])
        picture = given["audio"].unsqueeze(1).transpose(2, 3) if letter == "a" else given["video"]
        n, c, height, width = picture.shape
        target = torch.einsum("nchpwq->nhwpqc", picture.reshape(n, c, height // 16, 16, width // 16, 16)).reshape(n, -1, 256 * c)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        mae[letter] = (((guess - target) ** 2).mean(-1) * gone[letter]).sum() / gone[letter].sum()
    a, v = (functional.normalize(latent[k].mean(dim=1), dim=-1) for k in "av")
    total = torch.mm(a, v.T) / 0.05
    nce = -torch.mean(torch.diag(functional.log_softmax(total, dim=0)))
    return mae["a"], mae["v"], nce, mae["a"] + mae["v"] + 0.01 * nce


def test_losses_of_masked_pre_training_are_the_published_ones(model, given):
    rows = torch.Generator().manual_seed(5)
    order = {s: torch.rand(3, n, generator=rows).argsort(dim=1) for s, n in (("audio", 8), ("video", 4))}
    with torch.no_grad():
        losses = model(given["audio"], given["video"], generator=torch.Generator().manual_seed(5))
        wanted = published_losses(model.state_dict(), given, order)
    for found, expected in zip((losses.audio, losses.video, losses.contrast, losses.loss), wanted, strict=True):
        torch.testing.assert_close(found, expected)
    assert 0 <= float(losses.accuracy) <= 1


def test_pre_training_learns(given):
    torch.manual_seed(0)
    model = CAVMAEForPreTraining(CAVMAEConfig(**SHAPE))
    frozen = model.pos_embed_a.clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    told = []
    for step in range(60):
        losses = model(given["audio"], given["video"], contrast_weight=1.0, generator=torch.Generator().manual_seed(step % 4))
        optimiser.zero_grad()
        losses.loss.backward()
        optimiser.step()
        told.append(losses)
    assert told[-1].loss < 0.6 * told[0].loss and told[-1].accuracy == 1 and torch.equal(model.pos_embed_a, frozen)
    assert all(p.grad is not None for p in model.parameters())


def test_positions_are_those_of_maes_code(model):
    def sines(width, places):
        omega = 1.0 / 10000 ** (np.arange(width // 2, dtype=float) / (width / 2.0))
        out = np.einsum("m,d->md", places.reshape(-1), omega)
        return np.concatenate([np.sin(out), np.cos(out)], axis=1)

    for found, width in ((model.pos_embed_a, 16), (model.decoder_pos_embed_a, 24)):
        grid = np.stack(np.meshgrid(np.arange(4, dtype=np.float32), np.arange(2, dtype=np.float32)), axis=0).reshape(2, 1, 2, 4)
        wanted = np.concatenate([sines(width // 2, grid[0]), sines(width // 2, grid[1])], axis=1)
        np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-6)


def test_targets_are_normalised_patches():
    cut = patch_targets(torch.randn(2, 3, 32, 48), 16)
    assert cut.shape == (2, 6, 768)
    torch.testing.assert_close(cut.mean(dim=-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(cut.var(dim=-1), torch.ones(2, 6), atol=1e-3, rtol=0)


@pytest.fixture
def published(model, tmp_path):
    """A file as the authors save it: names behind `module.`, all three sets of normalisations in every block."""
    weights = OrderedDict((f"module.{k}", v.clone()) for k, v in model.state_dict().items())
    for letter in "av":
        for way in ("_a", "_v"):
            for i in (1, 2):
                weights[f"module.blocks_{letter}.0.norm{i}{way}.weight"] = torch.full((16,), 9.0)
    torch.save(weights, tmp_path / "cav.pth")
    return tmp_path / "cav.pth"


def clips():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    sound = rng.normal(0.1, 0.2, 64 * 160).astype(np.float32)
    return Clip(frames_THWC=frames, frame_times_s=np.arange(2) / 4, waveform_N=sound, duration_s=0.64)


def test_encoders_read_the_published_file(model, published):
    shape = {k: v for k, v in SHAPE.items() if not k.startswith("decoder")}
    for cls, key in ((CAVMAE, "input_values"), (CAVMAEVideo, "pixel_values")):
        encoder = cls.build(cls.Config(source=str(published), backbone=shape, **({"tokens": "grid"} if cls is CAVMAE else {}))).eval()
        prepared = encoder.preprocess(encoder.config, clips())
        with torch.no_grad():
            found = encoder.encode_chunks(**prepared.tensors)
            wanted = CAVMAEModel.forward(model, **{key: prepared.tensors[key]})
        if cls is CAVMAE:
            wanted = wanted.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
            assert prepared.times_S.tolist() == sorted(prepared.times_S.tolist()) and len(prepared.times_S) == 8
        torch.testing.assert_close(found, wanted)
        again = cls.build(encoder.config, load_weights=False)
        again.load_state_dict(encoder.state_dict())


def test_a_folder_written_by_save_pretrained(model, tmp_path):
    model.save_pretrained(tmp_path)
    encoder = CAVMAE.build(CAVMAE.Config(source=str(tmp_path))).eval()
    assert encoder.config.backbone["streams"] == ["audio"] and encoder.width == 16
    prepared = encoder.preprocess(encoder.config, clips())
    with torch.no_grad():
        wanted = CAVMAEModel.forward(model, input_values=prepared.tensors["input_values"]).unflatten(1, (2, 4)).mean(dim=1)
        torch.testing.assert_close(encoder.encode_chunks(**prepared.tensors), wanted)


class Harmful:
    def __reduce__(self):
        return (print, ("this ran",))


def test_files_that_do_not_fit_are_refused(published, tmp_path, capsys):
    shape = {**SHAPE, "audio_layers": 3}
    with pytest.raises(CheckpointError, match=r"lacks 1\d weights of the network .*blocks_a\.2"):
        CAVMAE.build(CAVMAE.Config(source=str(published), backbone=shape))
    with pytest.raises(CheckpointError, match=r"of another shape: .*\(16,.* instead of \(32,"):
        CAVMAE.build(CAVMAE.Config(source=str(published), backbone={**SHAPE, "hidden_size": 32}))
    torch.save({"module.norm_a.weight": Harmful()}, tmp_path / "harm.pth")
    with pytest.raises(CheckpointError, match="without running code"):
        CAVMAE.build(CAVMAE.Config(source=str(tmp_path / "harm.pth")))
    assert "this ran" not in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="cannot read"):
        CAVMAE.build(CAVMAE.Config(source=str(tmp_path / "none.pth")))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        CAVMAE.build(CAVMAE.Config(source=str(tmp_path / "list.pth")))


def test_published_shape_has_half_a_thousand_patches():
    config = CAVMAE.resolve(CAVMAE.Config(source="cav.pth"))
    grid = CAVMAE.grid(config)
    assert (grid.rows, grid.steps, grid.frames) == (8, 64, 1024)
    assert CAVMAEVideo.layout(CAVMAEVideo.resolve(CAVMAEVideo.Config(backbone={"hidden_size": 16}))).tokens == 196
