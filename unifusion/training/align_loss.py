"""What an embedding model is trained by: texts with what they tell of, sound with picture, each pair by a contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from unifusion.errors import ConfigError, nearest
from unifusion.losses._gather import gather_rows
from unifusion.losses.nt_xent import nt_xent
from unifusion.losses.vicreg import vicreg
from unifusion.models.aligner import CLIP, Aligner
from unifusion.training.affect_loss import nothing_of
from unifusion.training.grad_cache import cached_loss
from unifusion.training.masking import seen_part
from unifusion.training.pair_losses import PairLoss
from unifusion.training.timing import Timing

__all__ = ["PAIRS", "AlignObjective", "fitting"]

PAIRS = {"clip": 1.0, "sight": 0.5, "sound": 0.5, "rhythm": 0.5, "views": 0.0, "wordings": 0.0, "timing": 0.0}
"""Pairs of a batch with their weights: texts of the whole clip with its vector; of the picture, of the sound with theirs; sound with
picture of one clip; two views of a clip, two wordings of a text (NT-Xent); each moment of the picture with the sound then (`Timing`)."""
VIEWS = ("a view", "another view")


def fitting(texts_TF: Tensor, clips_NG: Tensor) -> Tensor:
    """Which texts are true of which clips (T, N) bool: every fact of the text is one of the clip.

    Args:
        texts_TF: int64 numbers of a text's facts, padded by -1.
        clips_NG: of a clip's, padded by -2.
    """
    held_TNF = (texts_TF[:, None, :, None] == clips_NG[None, :, None, :]).any(dim=-1)
    return (held_TNF | (texts_TF == -1)[:, None]).all(dim=-1)


class AlignObjective(nn.Module):
    """A model with its loss.

    Args:
        model: to train.
        weights: pair -> weight; see PAIRS.
        loss: clip (softmax over the batch), siglip (each pair by itself), supcon or triplet; see `PairLoss`.
        guard: weight of VICReg's variance term, against collapse.
        about: kind of text -> space that it is compared with.
        view_dropout: share of the moments of each stream that are absent in a view of a clip.
        loss_config: choices of the loss.

    Raises:
        ConfigError: no such pair or loss.
    """

    def __init__(
        self, model: Aligner, *, weights: Mapping[str, float] | None = None, loss: str = "clip", guard: float = 0.0,
        about: Mapping[str, str] | None = None, view_dropout: float = 0.3, loss_config: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.view_dropout = view_dropout
        self.model, self.pair_loss, self.guard = model, PairLoss(loss, loss_config), guard
        self.weights = {**PAIRS, **(weights or {})}
        self.about = {"clip": CLIP, "sight": "video", "sound": "audio", **(about or {})}
        unknown = [p for p in self.weights if p not in PAIRS]
        if unknown:
            raise ConfigError(f"no pair {unknown[0]!r};", remedy=nearest(unknown[0], list(PAIRS)))
        self.timing = Timing(model) if self.weights["timing"] else None

    def forward(self, clips: Sequence[Mapping[str, Any]], facts: Tensor, texts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss` (), a number; the batch has B rows and T texts.

        Several parts of a batch are gone over twice, in the memory of one of them (`grad_cache`).

        Args:
            clips: parts of the batch, each of `collate_rows`.
            facts: (B, G) int64, numbers of what is true of each row, padded by -2.
            texts: `parts`, each of `collate_rows`, T texts together; `facts` (T, F) padded by -1, `of` (T,) the row each was made from,
                `kind` (T,) its place in PAIRS. Where views have a weight, each part of `clips` has `draws` (b,) int64, a number a row, and
                `whose` (b,) int64, the same for rows of one example. A text of kind `wordings` says what its row's of kind `clip` says.
        """
        loss = cached_loss(self.embedded, clips, lambda rows: self.loss(rows, facts, texts), parameters=self.parameters())
        return {"loss": loss + nothing_of(self)}

    def embedded(self, clips: Mapping[str, Any]) -> dict[str, Tensor]:
        """Vectors (b, D) of every space of some rows, and which are there; of views, where they have a weight, those of whole clips."""
        read = self.model.read(clips)
        found = self.model.joined(read)
        rows, out = int(clips["rows"]), {}
        names = [*self.model.config.spaces_of("media"), CLIP]
        if self.weights["views"]:
            out["whose"] = clips["whose"]
            for view in VIEWS:
                names.append(view)
                seen = seen_part(read, clips["draws"].tolist(), view, share=self.view_dropout)
                whole = self.model.joined(seen)
                if CLIP in whole:
                    found[view] = whole[CLIP]
        if self.timing is not None:
            towers: list[Any] = list(self.model.towers.values())
            pools = {n: pool for tower in towers for n, pool in tower.clocks.items()}
            out["off"], out["moments"] = self.timing(pools, read) if read else (self._none(rows)[:, 0], self._none(rows)[:, 0])
        for space in names:
            none = self._none(rows)
            out[space], out[f"{space}?"] = found.get(space, (none, none[:, 0].bool()))
        return out

    def loss(self, rows: Mapping[str, Tensor], facts: Tensor, texts: Mapping[str, Any]) -> Tensor:
        """The loss () of a whole batch, of what `embedded` gave."""
        found = {space: (rows[space], rows[f"{space}?"]) for space in rows if f"{space}?" in rows}
        words = [self.model.vectors(part) for part in texts["parts"]]
        told = {
            name: torch.cat([part[name][0] for part in words]) if words else self._none(0) for name in self.model.config.spaces_of("text")
        }  # fmt: skip
        losses: dict[str, Tensor] = {}
        for number, pair in enumerate(PAIRS):
            if not self.weights[pair]:
                continue
            if pair == "views":
                losses[pair] = self._views(found, rows["whose"])
                continue
            if pair == "wordings":
                losses[pair] = self._wordings(told, texts)
                continue
            if pair == "timing":
                losses[pair] = _mean_of_all(rows["off"], rows["moments"])
                continue
            if pair == "rhythm":
                losses[pair] = self._rhythm(found)
                continue
            for text_TD in told.values():
                losses[pair] = self._texts(text_TD, found, pair, (texts["kind"] == number).nonzero()[:, 0], facts, texts)
        total = sum((self.weights[p] * value for p, value in losses.items()), self.model.logit_scale.new_zeros(()))
        if self.guard:
            least = self.model.config.width**-0.5
            some = [found[space] for space in found if space not in VIEWS]
            spread = [vicreg(gather_rows(v[t])[0], variance=1.0, covariance=0.0, deviation=least) for v, t in some]
            total = total + self.guard * sum(spread, total.new_zeros(()))
        return total

    def _none(self, rows: int) -> Tensor:
        """Vectors (b, D) of nothing, with a gradient of 0: where other processes have some, all wait for each other's."""
        return torch.zeros(rows, self.model.config.width, device=self.model.device) * self.model.logit_scale

    def _texts(
        self, text_TD: Tensor, found: Mapping[str, tuple[Tensor, Tensor]], pair: str, some: Tensor, facts: Tensor,
        texts: Mapping[str, Any],
    ) -> Tensor:  # fmt: skip
        """The loss of one kind of text against its space."""
        vectors_BD, there_B = found.get(self.about[pair], (text_TD[:0], None))
        rows = texts["of"][some]
        if there_B is None:
            return text_TD.sum() * 0
        keep = there_B[rows]
        some, rows = some[keep], rows[keep]
        a_TD, b_TD = text_TD[some], vectors_BD[rows]
        text_facts, clip_facts = texts["facts"][some], facts[rows]
        fits = fitting(text_facts, gather_rows(_as_wide(clip_facts, -2))[0])
        return self._contrast(a_TD, b_TD, fits)

    def _rhythm(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """The loss of sound and picture of one clip."""
        if not {"video", "audio"} <= set(found):
            return self.model.logit_scale.new_zeros(())
        (video_BD, seen_B), (audio_BD, heard_B) = found["video"], found["audio"]
        both_B = seen_B & heard_B
        return self._contrast(video_BD[both_B], audio_BD[both_B], None)

    def _views(self, found: Mapping[str, tuple[Tensor, Tensor]], whose_B: Tensor) -> Tensor:
        """NT-Xent of two views of each clip."""
        (a_BD, there_B), (b_BD, also_B) = (found[view] for view in VIEWS)
        both_B = there_B & also_B
        return self._two(a_BD[both_B], b_BD[both_B], whose_B[both_B])

    def _wordings(self, told: Mapping[str, Tensor], texts: Mapping[str, Any]) -> Tensor:
        """NT-Xent of two wordings of each text that has two."""
        first, second = ((texts["kind"] == list(PAIRS).index(kind)).nonzero()[:, 0] for kind in ("clip", "wordings"))
        same_NM = texts["of"][second][:, None] == texts["of"][first]
        pairs_P2 = same_NM.nonzero()
        facts = _as_wide(texts["facts"], -1).sort(dim=1).values[first[pairs_P2[:, 1]]]
        losses = [self._two(x_TD[first[pairs_P2[:, 1]]], x_TD[second[pairs_P2[:, 0]]], facts) for x_TD in told.values()]
        return torch.stack(losses).sum() if losses else self.model.logit_scale.new_zeros(())

    def _two(self, a_BD: Tensor, b_BD: Tensor, groups: Tensor) -> Tensor:
        """NT-Xent of rows of all processes; those of one group (B,) or (B, F) are not each other's negatives."""
        all_a, all_b, groups = gather_rows(a_BD)[0], gather_rows(b_BD)[0], gather_rows(groups)[0]
        if not len(all_a):
            return a_BD.sum() * 0
        number_B = torch.unique(groups, dim=0, return_inverse=True)[1]
        return nt_xent(all_a, all_b, temperature=1.0 / self.model.scale, groups_B=number_B)

    def _contrast(self, a_BD: Tensor, b_BD: Tensor, fits_BN: Tensor | None) -> Tensor:
        """The loss of pairs of all processes, in each of them: so it does not matter how many pairs each has. `fits_BN` says with which
        of all pairs' right sides the left side of an own pair goes beside its own."""
        all_a, start = gather_rows(a_BD)
        all_b, _ = gather_rows(b_BD)
        if not len(all_a):
            return a_BD.sum() * 0
        own_NN = torch.eye(len(all_a), dtype=torch.bool, device=a_BD.device)
        positives_NN = own_NN if fits_BN is None else gather_rows(fits_BN | own_NN[start : start + len(a_BD)])[0]
        return self.pair_loss(all_a, all_b, positives_NN, scale=self.model.scale, bias=self.model.logit_bias)


def _mean_of_all(sums_B: Tensor, counts_B: Tensor) -> Tensor:
    """The mean () of what is counted in all processes; their gradients are averaged, so each counts its own against all."""
    count, world = counts_B.detach().sum(), 1
    if distributed.is_available() and distributed.is_initialized():
        world = distributed.get_world_size()
        distributed.all_reduce(count)
    return sums_B.sum() * world / count.clamp(min=1)


def _as_wide(facts_NF: Tensor, pad: int) -> Tensor:
    """Facts (N, F) as wide as those of the process that has the most: rows of all processes are gathered in one shape."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return facts_NF
    widest = torch.tensor(facts_NF.shape[1], device=facts_NF.device)
    distributed.all_reduce(widest, op=distributed.ReduceOp.MAX)
    return F.pad(facts_NF, (0, int(widest) - facts_NF.shape[1]), value=pad)
