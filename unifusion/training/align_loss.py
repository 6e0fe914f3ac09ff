"""What an embedding model is trained by: texts with what they tell of, sound with picture, each pair by a contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unifusion.errors import ConfigError, nearest
from unifusion.losses._gather import gather_rows
from unifusion.losses.clip_loss import clip_loss
from unifusion.losses.siglip_loss import siglip_loss
from unifusion.losses.vicreg import vicreg
from unifusion.models.aligner import CLIP, Aligner
from unifusion.training.affect_loss import nothing_of
from unifusion.training.grad_cache import cached_loss

__all__ = ["LOSSES", "PAIRS", "AlignObjective", "fitting"]

PAIRS = {"clip": 1.0, "sight": 0.5, "sound": 0.5, "rhythm": 0.5}
"""Pairs of a batch with their weights: texts of the whole clip with its vector; of the picture, of the sound with theirs; sound with
picture of one clip."""
LOSSES = ("clip", "siglip")


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
        loss: clip (softmax over the batch) or siglip (each pair by itself).
        guard: weight of VICReg's variance term, against collapse.
        about: kind of text -> space that it is compared with.

    Raises:
        ConfigError: no such pair or loss.
    """

    def __init__(
        self, model: Aligner, *, weights: Mapping[str, float] | None = None, loss: str = "clip", guard: float = 0.0,
        about: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.kind, self.guard = model, loss, guard
        self.weights = {**PAIRS, **(weights or {})}
        self.about = {"clip": CLIP, "sight": "video", "sound": "audio", **(about or {})}
        unknown = [p for p in self.weights if p not in PAIRS]
        if unknown:
            raise ConfigError(f"no pair {unknown[0]!r};", remedy=nearest(unknown[0], list(PAIRS)))
        if loss not in LOSSES:
            raise ConfigError(f"no loss {loss!r};", remedy=nearest(loss, list(LOSSES)))

    def forward(self, clips: Sequence[Mapping[str, Any]], facts: Tensor, texts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss` (), a number; the batch has B rows and T texts.

        Several parts of a batch are gone over twice, in the memory of one of them (`grad_cache`).

        Args:
            clips: parts of the batch, each of `collate_rows`.
            facts: (B, G) int64, numbers of what is true of each row, padded by -2.
            texts: `parts`, each of `collate_rows`, T texts together; `facts` (T, F) padded by -1, `of` (T,) the row each was made from,
                `kind` (T,) its place in PAIRS.
        """
        loss = cached_loss(self._embedded, clips, lambda rows: self._loss(rows, facts, texts), parameters=self.parameters())
        return {"loss": loss + nothing_of(self)}

    def _embedded(self, clips: Mapping[str, Any]) -> dict[str, Tensor]:
        """Vectors (b, D) of every space of some rows, and which are there."""
        found = self.model.vectors(clips)
        rows, out = int(clips["rows"]), {}
        for space in (*self.model.config.spaces_of("media"), CLIP):
            none = torch.zeros(rows, self.model.config.width, device=self.model.device)
            out[space], out[f"{space}?"] = found.get(space, (none, none[:, 0].bool()))
        return out

    def _loss(self, rows: Mapping[str, Tensor], facts: Tensor, texts: Mapping[str, Any]) -> Tensor:
        """The loss () of a whole batch."""
        found = {space: (rows[space], rows[f"{space}?"]) for space in rows if not space.endswith("?")}
        words = [self.model.vectors(part) for part in texts["parts"]]
        told = {name: torch.cat([part[name][0] for part in words]) for name in self.model.config.spaces_of("text") if words}
        losses: dict[str, Tensor] = {}
        for number, pair in enumerate(PAIRS):
            if not self.weights[pair]:
                continue
            if pair == "rhythm":
                losses[pair] = self._rhythm(found)
                continue
            for text_TD in told.values():
                losses[pair] = self._texts(text_TD, found, pair, (texts["kind"] == number).nonzero()[:, 0], facts, texts)
        total = sum((self.weights[p] * value for p, value in losses.items()), self.model.logit_scale.new_zeros(()))
        if self.guard:
            least = self.model.config.width**-0.5
            spread = [vicreg(gather_rows(v[t])[0], variance=1.0, covariance=0.0, deviation=least) for v, t in found.values()]
            total = total + self.guard * sum(spread, total.new_zeros(()))
        return total

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
        all_a, start = gather_rows(a_TD)
        all_b, _ = gather_rows(b_TD)
        if not len(all_a):
            return text_TD.sum() * 0
        own = torch.arange(start, start + len(some), device=a_TD.device)[:, None] == torch.arange(len(all_a), device=a_TD.device)
        ab = fitting(text_facts, gather_rows(clip_facts)[0]) | own
        ba = fitting(gather_rows(text_facts)[0], clip_facts).T | own
        return self._contrast((a_TD, all_a), (b_TD, all_b), (ab, ba))

    def _rhythm(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """The loss of sound and picture of one clip."""
        if not {"video", "audio"} <= set(found):
            return self.model.logit_scale.new_zeros(())
        (video_BD, seen_B), (audio_BD, heard_B) = found["video"], found["audio"]
        both_B = seen_B & heard_B
        a_BD, b_BD = video_BD[both_B], audio_BD[both_B]
        all_a, start = gather_rows(a_BD)
        all_b, _ = gather_rows(b_BD)
        if not len(all_a):
            return video_BD.sum() * 0
        own = torch.arange(start, start + len(a_BD), device=a_BD.device)[:, None] == torch.arange(len(all_a), device=a_BD.device)
        return self._contrast((a_BD, all_a), (b_BD, all_b), (own, own))

    def _contrast(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], positives: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of rows, each with those of all processes."""
        scale = self.model.scale
        if self.kind == "siglip":
            return siglip_loss(a[0], b[0], scale=scale, bias=self.model.logit_bias, all_b_ND=b[1], positives_BN=positives[0])
        return clip_loss(a[0], b[0], scale=scale, all_a_ND=a[1], all_b_ND=b[1], positives=positives)
