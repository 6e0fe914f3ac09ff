"""Files of the `whisper` package: the encoder they hold gives what that package's encoder gives."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unifusion.conversation import Clip
from unifusion.encoders.whisper import Whisper
from unifusion.errors import CheckpointError

DIMS = {
    "n_mels": 16, "n_audio_ctx": 50, "n_audio_state": 24, "n_audio_head": 3, "n_audio_layer": 2, "n_vocab": 99, "n_text_ctx": 8,
    "n_text_state": 24, "n_text_head": 3, "n_text_layer": 1,
}  # fmt: skip


class Attention(nn.Module):
    """`MultiHeadAttention` as the package has it."""

    def __init__(self, n_state, n_head):
        super().__init__()
        self.n_head = n_head
        self.query, self.value, self.out = (nn.Linear(n_state, n_state) for _ in range(3))
        self.key = nn.Linear(n_state, n_state, bias=False)

    def forward(self, x):
        q, k, v = (y.view(*y.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) for y in (self.query(x), self.key(x), self.value(x)))
        scale = q.shape[-1] ** -0.25
        weight = ((q * scale) @ (k * scale).transpose(-1, -2)).softmax(dim=-1)
        return self.out((weight @ v).permute(0, 2, 1, 3).flatten(start_dim=2))


class Block(nn.Module):
    def __init__(self, n_state, n_head):
        super().__init__()
        self.attn, self.attn_ln = Attention(n_state, n_head), nn.LayerNorm(n_state)
        self.mlp = nn.Sequential(nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state))
        self.mlp_ln = nn.LayerNorm(n_state)

    def forward(self, x):
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(nn.Module):
    """`AudioEncoder` as the package has it."""

    def __init__(self, n_mels, n_ctx, n_state, n_head, n_layer):
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.randn(n_ctx, n_state))
        self.blocks = nn.ModuleList([Block(n_state, n_head) for _ in range(n_layer)])
        self.ln_post = nn.LayerNorm(n_state)

    def forward(self, x):
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(x)))).permute(0, 2, 1)
        x = x + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    encoder = AudioEncoder(16, 50, 24, 3, 2).eval()
    weights = {f"encoder.{k}": v for k, v in encoder.state_dict().items()} | {"decoder.ln.weight": torch.ones(24)}
    torch.save({"dims": DIMS, "model_state_dict": weights}, tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt", encoder


def test_tokens_are_those_of_the_package(saved):
    file, theirs = saved
    ours = Whisper.build(Whisper.Config(source=str(file))).eval()
    sound = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    given = Whisper.preprocess(ours.config, Clip(waveform_N=sound, duration_s=1.25)).tensors["input_features"]
    with torch.no_grad():
        torch.testing.assert_close(ours.encode_chunks(given), theirs(given), atol=1e-4, rtol=0)
    assert ours.config.backbone["max_source_positions"] == 50 and len(given) == 2


def test_half_precision_files_are_read_in_full(saved, tmp_path):
    file, theirs = saved
    held = torch.load(file, weights_only=True)
    held["model_state_dict"] = {k: v.half() for k, v in held["model_state_dict"].items()}
    torch.save(held, tmp_path / "half.pt")
    ours = Whisper.build(Whisper.Config(source=str(tmp_path / "half.pt"))).eval()
    assert all(p.dtype == torch.float32 for p in ours.parameters())
    given = torch.randn(1, 16, 100)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode_chunks(given), theirs(given), atol=2e-2, rtol=0)


def test_other_files_are_refused(saved, tmp_path):
    file, _ = saved
    held = torch.load(file, weights_only=True)
    del held["model_state_dict"]["encoder.blocks.1.mlp.2.weight"]
    torch.save(held, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of the network .*layers\.1\.fc2\.weight"):
        Whisper.build(Whisper.Config(source=str(tmp_path / "short.pt")))
    torch.save(held["model_state_dict"], tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match="no sizes under `dims`"):
        Whisper.resolve(Whisper.Config(source=str(tmp_path / "bare.pt")))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.pt"):
        Whisper.resolve(Whisper.Config(source=str(tmp_path / "text.pt")))
