"""Trains towers by a contrastive loss over large batches, in one process or several, whole or a chunk at a time; for `forks`."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from unifusion.losses._gather import gather_rows
from unifusion.losses.anchored_pairs import anchored_pairs
from unifusion.training.fit import FitChoices, fit
from unifusion.training.grad_cache import cached_loss
from unifusion.training.launch import is_first

NAMES = ("image", "audio", "text")


class Towers(nn.Module):
    """A tower a modality into one space; with `chunk` rows at a time."""

    def __init__(self, chunk=0, dropout=0.0, inner=16):
        super().__init__()
        self.chunk = chunk
        self.towers = nn.ModuleDict(
            {n: nn.Sequential(nn.Linear(6, inner), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(inner), nn.Linear(inner, 5)) for n in NAMES}
        )
        self.scale = nn.Parameter(torch.tensor(2.0))

    def embed(self, rows):
        """Vectors and presence of some rows."""
        return {n: self.towers[n](rows[n]) for n in NAMES} | {f"{n} there": rows[f"{n} there"] for n in NAMES}

    def contrast(self, made):
        """The loss of all rows of all processes."""
        made = {n: gather_rows(v)[0] for n, v in made.items()}
        return anchored_pairs({n: made[n] for n in NAMES}, {n: made[f"{n} there"] for n in NAMES}, scale=self.scale.exp(), anchor="image")

    def forward(self, **rows):
        """The loss () of rows (B, 6) a modality."""
        size = self.chunk or len(rows["image"])
        chunks = [{n: v[i : i + size] for n, v in rows.items()} for i in range(0, len(rows["image"]), size)]
        return {"loss": cached_loss(self.embed, chunks, self.contrast, parameters=self.parameters())}


class Rows:
    """Rows of which some lack a modality."""

    def __init__(self, count=48):
        g = torch.Generator().manual_seed(1)
        shared = torch.randn(count, 6, generator=g)
        self.rows = {n: shared + 0.3 * torch.randn(count, 6, generator=g) for n in NAMES}
        self.rows |= {f"{n} there": torch.rand(count, generator=g) < (1.0 if n == "image" else 0.7) for n in NAMES}

    def __len__(self):
        return len(self.rows["image"])

    def name(self, index):
        return str(index)

    def __getitem__(self, index):
        return {n: v[index] for n, v in self.rows.items()}


def collate(rows):
    return {n: torch.stack([row[n] for row in rows]) for n in rows[0]}


def main(out, options):
    """Train; the weights go to a file, the losses are in the run's log."""
    options = json.loads(options)
    torch.manual_seed(0)
    model = Towers(options["chunk"])
    choices = FitChoices(
        steps=12, batch_size=16, learning_rate=1e-2, save_every=1000, log_every=1, precision="float32", accumulate=options["accumulate"]
    )
    fit(model, Rows(), choices, Path(out) / "run", collate=collate)
    if is_first():
        save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, Path(out) / "weights.safetensors")
