"""One of several processes that gather rows and hand in the gradients of a small network: what one process with all rows has to give too.

    python -m tests.losses.gathered FOLDER RANK WORLD
"""

import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from unifusion.losses._gather import gather_rows
from unifusion.losses.anchored_pairs import anchored_pairs
from unifusion.losses.clip_loss import clip_loss
from unifusion.losses.siglip_loss import siglip_loss
from unifusion.losses.supervised_contrastive import supervised_contrastive
from unifusion.losses.vicreg import vicreg

ROWS = 6
UNEVEN = {0: slice(0, 4), 1: slice(4, 6)}


class Towers(nn.Module):
    """A tower a modality, a learned scale and bias; the loss of its rows and all others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleDict({n: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)) for n in ("image", "audio", "text")})
        self.scale, self.bias = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(-2.0))

    def forward(self, name, rows, present, groups):
        x = {n: self.towers[n](rows[n]) for n in self.towers}
        all_x = {n: gather_rows(v)[0] for n, v in x.items()}
        (all_groups, offset), scale = gather_rows(groups), self.scale.exp()
        if name == "clip":
            others = {"all_a_ND": all_x["image"], "all_b_ND": all_x["text"], "offset": offset}
            loss = clip_loss(x["image"], x["text"], scale=scale, groups_B=groups, all_groups_N=all_groups, **others)
        elif name == "siglip":
            loss = siglip_loss(x["image"], x["text"], scale=scale, bias=self.bias, all_b_ND=all_x["text"], offset=offset)
        elif name == "pairs":
            there = {n: gather_rows(m)[0] for n, m in present.items()}
            loss = anchored_pairs(all_x, there, scale=scale, anchor="image")
        else:
            loss = supervised_contrastive(all_x["audio"], all_groups) + vicreg(all_x["text"], all_x["image"])
        return loss + 0.0 * sum(v.sum() for v in x.values()) + 0.0 * (self.scale + self.bias)  # each takes part, as DDP wants


def batch():
    """All rows, which modalities they have, and their groups."""
    g = torch.Generator().manual_seed(3)
    rows = {n: torch.randn(ROWS, 4, generator=g) for n in ("image", "audio", "text")}
    present = {"audio": torch.tensor([1, 1, 0, 0, 0, 1]).bool(), "text": torch.tensor([0, 1, 1, 1, 1, 0]).bool()}
    return rows, present, torch.tensor([0, 1, 1, 2, 0, 2])


def gradients(model, name, span):
    """Loss and gradients of one's own rows."""
    rows, present, groups = batch()
    model.zero_grad()
    loss = model(name, {n: v[span] for n, v in rows.items()}, {n: v[span] for n, v in present.items()}, groups[span])
    loss.backward()
    return {"loss": loss.detach(), **{n.removeprefix("module."): p.grad.clone() for n, p in model.named_parameters()}}


def main(folder, rank, world):
    """All losses, with rows shared out evenly and not."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    model = DistributedDataParallel(Towers())
    even = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    told = {f"even {name}": gradients(model, name, even) for name in ("clip", "siglip", "pairs", "labels")}
    told |= {f"uneven {name}": gradients(model, name, UNEVEN[rank]) for name in ("pairs", "labels")}
    torch.save(told, Path(folder) / f"told{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
