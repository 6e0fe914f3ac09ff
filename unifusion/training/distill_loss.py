"""What a student learns a teacher by: features, similarities of rows, logits of clips over texts; the contrast of its own data beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.errors import ConfigError, nearest
from unifusion.losses._gather import gather_rows
from unifusion.losses.distillation import distillation
from unifusion.models.aligner import CLIP, Aligner
from unifusion.training.affect_loss import nothing_of
from unifusion.training.align_loss import AlignObjective
from unifusion.training.grad_cache import cached_loss

__all__ = ["FORMS", "DistillObjective"]

FORMS = ("features_mse", "features_cosine", "similarity_mse", "similarity_kl", "logits_kl")
WORDS, ENCODER = "words", "encoders."


class DistillObjective(nn.Module):
    """A student with its loss.

    Args:
        model: the student.
        pairs: what of the student learns what of the teacher: a space, `clip`, `words`, or `encoders.<stream>`, the mean of an encoder's
            tokens -> name of the teacher's vectors.
        widths: of the teacher's vectors. Features of another width are compared through a linear map, which is trained and is no part of
            the saved model.
        forms: of `losses.distillation` -> weight.
        temperature: of the softmaxes of similarities and logits.
        scale: of the teacher's logits.
        contrast: its loss is added; None leaves it out.
        contrast_weight: of it.

    Raises:
        ConfigError: no such form, or nothing to be compared.
    """

    def __init__(
        self, model: Aligner, pairs: Mapping[str, str], widths: Mapping[str, int], *, forms: Mapping[str, float],
        temperature: float = 0.1, scale: float = 1.0, contrast: AlignObjective | None = None, contrast_weight: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.pairs, self.temperature, self.scale = model, dict(pairs), temperature, scale
        self.forms = {form: float(weight) for form, weight in forms.items() if weight}
        self.contrast, self.contrast_weight = contrast, contrast_weight
        for form in self.forms:
            if form not in FORMS:
                raise ConfigError(f"no form {form!r} of distillation;", remedy=nearest(form, list(FORMS)))
        known = [*model.config.spaces_of("media"), CLIP, *([WORDS] if model.config.spaces_of("text") else [])]
        known += [f"{ENCODER}{n}" for n in model.encoders]
        for own, theirs in self.pairs.items():
            if own not in known or theirs not in widths:
                found = f"the student's {own!r} is to learn the teacher's {theirs!r};"
                raise ConfigError(found, remedy=f"the student has {', '.join(known)}; the teacher {', '.join(widths)}.")
        if not self.pairs or not self.forms:
            raise ConfigError("nothing is learned of the teacher;", remedy="name pairs {audio: audio} and forms {features_cosine: 1.0}.")
        if "logits_kl" in self.forms and not all(self.pairs.get(n) == n for n in (CLIP, WORDS)):
            raise ConfigError("logits are of clips over texts, and one of the two has none;", remedy="leave logits_kl out.")
        self.maps = nn.ModuleDict()
        if any(form.startswith("features") for form in self.forms):
            for own, theirs in self.pairs.items():
                width = model.width_of(own.removeprefix(ENCODER)) if own.startswith(ENCODER) else model.config.width
                if width != widths[theirs]:
                    self.maps[own.replace(".", " ")] = nn.Linear(width, widths[theirs])

    def mapped(self, name: str, student_BD: Tensor) -> Tensor:
        """The student's vectors (B, D) at the teacher's width (B, E)."""
        key = name.replace(".", " ")
        found: Tensor = self.maps[key](student_BD) if key in self.maps else student_BD
        return found

    def forward(self, clips: Sequence[Mapping[str, Any]], facts: Tensor, texts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss` (), a number, of B rows.

        Args:
            clips: parts of the batch, as `AlignObjective` has them, with `taught`: name -> the teacher's vectors (b, E), zero where a row
                has none; `plain`, a text of each row as a batch of its own, where words are learned.
            facts: (B, G) int64; with `texts` as `AlignObjective` has them.
        """
        loss = cached_loss(self.embedded, clips, lambda rows: self.loss(rows, facts, texts), parameters=self.parameters())
        return {"loss": loss + nothing_of(self)}

    def embedded(self, part: Mapping[str, Any]) -> dict[str, Tensor]:
        """Vectors (b, D) of the student and (b, E) of the teacher, and which are there."""
        out = {} if self.contrast is None else {f"contrast {k}": v for k, v in self.contrast.embedded(part).items()}
        for name, (value, there) in self.students(part).items():
            taught = part["taught"][self.pairs[name]]
            out |= {name: value, f"{name}!": taught, f"{name}?": there & taught.any(dim=1)}
        return out

    def students(self, part: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """What of the student is to learn: vectors (b, D) by name, and which rows have one."""
        rows, read = int(part["rows"]), self.model.read(part)
        found = self.model.joined(read)
        if WORDS in self.pairs:
            words = self.model.vectors(part["plain"])
            space = self.model.config.spaces_of("text")[0]
            found[WORDS] = words[space]
        for name in self.pairs:
            stream = name.removeprefix(ENCODER)
            if name.startswith(ENCODER) and stream in read:
                found[name] = _mean(read[stream][1])
        none = torch.zeros(rows, 1, device=self.model.device) * self.model.logit_scale
        widths = {n: self.model.width_of(n.removeprefix(ENCODER)) if n.startswith(ENCODER) else self.model.config.width for n in self.pairs}
        return {n: found[n] if n in found else (none.expand(-1, widths[n]), none[:, 0].bool() & False) for n in self.pairs}

    def loss(self, rows: Mapping[str, Tensor], facts: Tensor, texts: Mapping[str, Any]) -> Tensor:
        """The loss () of all rows of all processes, of what `embedded` gave."""
        own = {n: tuple(gather_rows(rows[f"{n}{end}"])[0] for end in ("", "!", "?")) for n in self.pairs}
        total = self.model.logit_scale * 0.0
        for form, weight in self.forms.items():
            if form == "logits_kl":
                total = total + weight * self._logits(own)
                continue
            parts = []
            for name, (student, taught, known) in own.items():
                student = self.mapped(name, student) if form.startswith("features") else student
                heat = self.temperature if form == "similarity_kl" else 1.0
                parts.append(distillation(student, taught, form=form, temperature=heat, known=known))
            total = total + weight * torch.stack(parts).mean()
        if self.contrast is not None and self.contrast_weight:
            seen = {k.removeprefix("contrast "): v for k, v in rows.items() if k.startswith("contrast ")}
            total = total + self.contrast_weight * self.contrast.loss(seen, facts, texts)
        return total

    def _logits(self, own: Mapping[str, tuple[Tensor, ...]]) -> Tensor:
        """The loss () of each clip's logits over the texts of all rows."""
        (clips, their_clips, there), (words, their_words, said) = own[CLIP], own[WORDS]
        if int(there.sum()) < 1 or int(said.sum()) < 2:
            return (clips.sum() + words.sum()) * 0
        student = self.model.scale * clips[there] @ words[said].T
        teacher = self.scale * their_clips[there] @ their_words[said].T
        return distillation(student, teacher, form="logits_kl")


def _mean(features: Features) -> tuple[Tensor, Tensor]:
    """The mean of real tokens (B, D), and which rows have any."""
    weight_BS1 = features.mask_BS[..., None].to(features.tokens_BSD.dtype)
    mean_BD = (features.tokens_BSD * weight_BS1).sum(dim=1) / weight_BS1.sum(dim=1).clamp(min=1)
    return mean_BD.float(), features.mask_BS.any(dim=1)
