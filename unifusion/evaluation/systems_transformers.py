"""Any multimodal chat model of transformers, measured through its own processor and its own `generate`."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unifusion.batch import ModalityReport
from unifusion.conversation import Conversation
from unifusion.encoders.encoder import weights_hash
from unifusion.engine import Answer, LabelScores
from unifusion.errors import CheckpointError, ConfigError, LimitError, MediaError, UniFusionError
from unifusion.evaluation.world import Kept
from unifusion.limits import Limits
from unifusion.models.existing.processor import ExistingOpener
from unifusion.models.peers import Peer, load_peer
from unifusion.processor.conversing import check_limits, merge_reports

__all__ = ["TransformersSystem"]

_GREEDY = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
_ALIGNED = ("attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")
"""Inputs with an entry for each token; behind an answer they go on as at the prompt's end."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A prompt: its messages, what the network takes of them, and what it shows."""

    messages: list[dict[str, Any]]
    inputs: dict[str, Tensor]
    report: ModalityReport


class TransformersSystem:
    """Asked as an `Engine` is, one conversation at a time, greedily; a clip is decoded once for all that is asked about it.

    Args:
        network: of transformers.
        peer: its processor.
        name: what tables call it.
        weights: a short hash of them.
        isolate: decode in a killable child.
    """

    can_score = True

    def __init__(self, network: Any, peer: Peer, *, name: str = "", weights: str = "", isolate: bool = False) -> None:
        self.network, self.peer, self.name, self.weights = network, peer, name, weights
        text = network.config.get_text_config()
        self.context = int(getattr(text, "max_position_embeddings", None) or Limits().max_tokens)
        self.opener = ExistingOpener(peer, self.context)
        self.opener.isolate, self.opener.strict = isolate, False
        self._kept = Kept(self.opener.open)
        ends = network.generation_config.eos_token_id
        ends = ends if ends is not None else peer.own.tokenizer.eos_token_id
        self.ends = [int(e) for e in (ends if isinstance(ends, list) else [ends])]

    @classmethod
    def from_pretrained(cls, source: str | Path, *, device: str = "cpu", frames: int = 8, isolate: bool = False) -> TransformersSystem:
        """Load a folder, or a name on the hub.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        network, peer = load_peer(source, device=device, frames=frames)
        return cls(network, peer, name=Path(source).name, weights=weights_hash(network)[:16], isolate=isolate)

    @property
    def shown(self) -> dict[str, Any]:
        """The number of pictures."""
        return {"frames": self.peer.max_frames}

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int = 64, batch_size: int = 1
    ) -> list[Answer | UniFusionError]:  # fmt: skip
        """Answers in order; one that fails holds its error. They are asked one by one, so `batch_size` changes nothing."""
        del batch_size
        return [self._answered(c, min(max_new_tokens, Limits().max_new_tokens)) for c in conversations]

    def score_labels(
        self, conversations: Sequence[Conversation], labels: Sequence[Sequence[str]], *, task: str = "", batch_size: int = 1
    ) -> list[LabelScores | UniFusionError]:  # fmt: skip
        """Likelihoods of each conversation's labels as whole answers, their ends included; nothing is calibrated."""
        del task, batch_size
        return [self._scored(c, tuple(own)) for c, own in zip(conversations, labels, strict=True)]

    def forget(self) -> None:
        """Let the clips go."""
        self._kept.clips.clear()

    def _asked(self, conversation: Conversation, room: int) -> _Asked:
        """The prompt of a conversation.

        Raises:
            MediaError: a clip cannot be read, or the model is not shown what its report would say.
            LimitError: it is too long.
        """
        check_limits(conversation, Limits())
        opened = [self._kept.open(m) for m in conversation.media]
        messages = self.peer.prompt(conversation, opened)
        inputs, report = self.peer.inputs(messages), merge_reports(opened)
        for stream in self.peer.takes:
            told = report.streams.get(stream)
            found = self.peer.count(inputs, stream)
            if bool(found) != bool(told and told.present):
                raise MediaError(
                    f"{conversation.id or 'a conversation'}: the model's prompt has {found} tokens of {stream}, the clips"
                    f" {'have' if told and told.present else 'do not have'} that stream;",
                    remedy="its chat template does not show what it is given: copy it again, or mute the stream.",
                )
            if told:
                told.tokens = found
        length = inputs["input_ids"].shape[1]
        if length + room > self.context:
            found_and_room = f"{conversation.id or 'a conversation'} has {length} tokens, with {room} for the answer;"
            raise LimitError(found_and_room, remedy=f"the model takes {self.context}: show fewer pictures or a shorter span.")
        network = self.network
        there = {k: v.to(network.device, network.dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        return _Asked(messages=messages, inputs=there, report=report)

    @torch.no_grad()
    def _answered(self, conversation: Conversation, max_new_tokens: int) -> Answer | UniFusionError:
        """One answer, or what went wrong."""
        began = time.perf_counter()
        try:
            asked = self._asked(conversation, max_new_tokens)
        except UniFusionError as error:
            return error
        opened = time.perf_counter()
        length = asked.inputs["input_ids"].shape[1]
        ids = self.network.generate(**asked.inputs, max_new_tokens=max_new_tokens, **_GREEDY)[0, length:].tolist()
        text = self.peer.own.tokenizer.decode(ids, skip_special_tokens=True).strip()
        now = time.perf_counter()
        timing = {"open_s": opened - began, "total_s": now - began, "new_tokens": float(len(ids))}
        return Answer(text=text, report=asked.report, timing=timing, stopped=bool(ids) and ids[-1] in self.ends, ids=ids)

    @torch.no_grad()
    def _scored(self, conversation: Conversation, labels: tuple[str, ...]) -> LabelScores | UniFusionError:
        """One conversation's labels as answers to it, or what went wrong.

        Raises:
            ConfigError: no labels, or two that are the same.
        """
        if not labels or len(set(labels)) != len(labels):
            raise ConfigError(f"cannot score the labels {list(labels)};", remedy="give two or more different labels.")
        try:
            asked = self._asked(conversation, 0)
        except UniFusionError as error:
            return error
        answers = [self.peer.answer_ids(asked.messages, label, self.ends) for label in labels]
        told = tuple(self._likelihood(asked.inputs, ids) for ids in answers)
        try:
            return LabelScores(labels=labels, log_probs=told, report=asked.report).checked()
        except CheckpointError as error:
            return error

    def _likelihood(self, inputs: Mapping[str, Tensor], ids: Sequence[int]) -> float:
        """Log-likelihood of an answer after a prompt, in one whole pass: how a cache is gone on with is each family's own."""
        ids_L = torch.tensor(ids, device=inputs["input_ids"].device)
        longer = {k: torch.cat([v, v[:, -1:].repeat(1, len(ids), *(1,) * (v.dim() - 2))], 1) for k, v in inputs.items() if k in _ALIGNED}
        longer["input_ids"] = torch.cat([inputs["input_ids"], ids_L[None]], 1)
        keep = {"logits_to_keep": len(ids) + 1} if "logits_to_keep" in inspect.signature(self.network.forward).parameters else {}
        logits_SV = self.network(**{**inputs, **longer}, use_cache=False, **keep).logits[0]
        told_LV = logits_SV[-len(ids) - 1 : -1].float().log_softmax(-1)
        return float(told_LV.gather(-1, ids_L[:, None]).sum())
