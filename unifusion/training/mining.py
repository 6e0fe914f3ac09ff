"""Hard negatives: every so many steps the rows are embedded, and batches bring rows together with clips that their texts nearly fit.

After Xiong et al., "Approximate nearest neighbor negative contrastive learning for dense text retrieval" (ANCE, 2021). A row that is near
and fits is no negative: what is true of it is held against what the text says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, distributed
from transformers import TrainerCallback

from unifusion.conversation import Example
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError
from unifusion.models.aligner import CLIP, Aligner
from unifusion.models.opened_rows import to_device
from unifusion.training.align_rows import AlignRows, adapted_of, clip_batch, fact_numbers, text_rows
from unifusion.training.launch import everyone_waits, is_first, my_share
from unifusion.training.order import Order

__all__ = ["Mined", "Miner", "hard_negatives", "mined"]

log = logging.getLogger(__name__)
DEPTH = 16
"""Hard negatives that are kept of a row."""
_TRIED = 64
"""Nearest rows among which they are sought."""


def hard_negatives(texts_ND: Tensor, clips_ND: Tensor, said_NF: Tensor, true_NG: Tensor, *, depth: int = DEPTH) -> Tensor:
    """For each text the rows nearest to it whose clip it does not fit, nearest first (N, depth) int64; -1 where there are no more.

    | input | shape | meaning |
    |---|---|---|
    | texts_ND, clips_ND | (N, D) | vectors of length one: of a text of each row, and of its clip; a clip of zeros is none |
    | said_NF | (N, F) int64 | facts that the text tells, padded by -1 |
    | true_NG | (N, G) int64 | what is true of the clip, padded by -2 |
    """
    count, tried = len(texts_ND), min(max(_TRIED, 2 * depth), len(clips_ND))
    out_NK = torch.full((count, depth), -1, dtype=torch.int64)
    absent_N = ~clips_ND.any(dim=1)
    for first in range(0, count, 512):
        part = slice(first, min(first + 512, count))
        cosines = (texts_ND[part] @ clips_ND.T).masked_fill(absent_N, -2.0)
        value, near = cosines.topk(tried, dim=1)
        held = (said_NF[part][:, None, :, None] == true_NG[near][:, :, None]).any(dim=-1) | (said_NF[part] == -1)[:, None]
        own = near == torch.arange(part.start, part.stop, device=near.device)[:, None]
        wrong = ~(held.all(dim=-1) | own | (value < -1.5))
        for row, (rows, good) in enumerate(zip(near.cpu(), wrong.cpu(), strict=True)):
            found = rows[good][:depth]
            out_NK[first + row, : len(found)] = found
    return out_NK


class Mined(Order):
    """Rows of a mixture of which some have brought hard negatives along: a function of (seed, step, tables that were mined).

    Of a batch of B rows B / (1 + hard) are those that come next; each of them is followed by `hard` of its hard negatives, drawn among
    those of the newest table that counts at this step. Before the first one all rows are those that come next. Indices count on, so that
    every row of every step is a round of its own.

    Args:
        numbers: of the mixture's rows, one behind the other, the place of each in the pool of examples.
        pool: how many examples there are.
        batch_size: rows of a micro-batch, over all processes.
        hard: hard negatives of a row.
        every: steps between two tables; that of step m counts from step m + `lag` on, as data workers read ahead.
        folder: of the tables.
    """

    def __init__(
        self, numbers: Sequence[int], pool: int, batch_size: int, *, hard: int, every: int, folder: Path, lag: int = 2, seed: int = 0
    ) -> None:  # fmt: skip
        if hard < 1 or hard >= batch_size or every <= lag:
            found = f"batches of {batch_size} rows with {hard} hard negatives each, mined every {every} steps;"
            raise ConfigError(found, remedy=f"take 1 to {batch_size - 1} hard negatives, and {lag + 1} steps or more between two tables.")
        super().__init__(len(numbers), batch_size, seed=seed, shuffle=False)
        self.numbers, self.pool, self.hard, self.every, self.folder, self.lag = numbers, pool, hard, every, Path(folder), lag
        self._table: tuple[int, np.ndarray | None] = (0, None)

    def path(self, step: int) -> Path:
        """The file of the table that is mined after `step` steps."""
        return self.folder / f"mined-{step}.safetensors"

    def due(self, step: int) -> bool:
        """Whether a table is mined after `step` steps."""
        return step > 0 and step % self.every == 0

    def rows(self, step: int) -> list[int]:
        """The rows of micro-batch `step`."""
        first = step * self.batch_size
        own = [self.numbers[i % self.count] for i in range(first, first + self.batch_size)]
        when = (step - self.lag) // self.every * self.every if step >= self.lag else 0
        if when > 0:
            own = self._with_hard(own, self._read(when), np.random.default_rng((self.seed, step, 3)))
        return [(first + at) * self.pool + number for at, number in enumerate(own)]

    def _with_hard(self, own: list[int], table_NK: np.ndarray, rng: np.random.Generator) -> list[int]:
        """Rows with their hard negatives; where one has none left, the next row itself."""
        out: list[int] = []
        rest = iter(own)
        while len(out) < len(own):
            row = next(rest)
            out.append(row)
            found = [int(n) for n in table_NK[row] if n >= 0 and n not in out]
            picked = rng.permutation(len(found))[: min(self.hard, len(own) - len(out))]
            out += [found[k] for k in picked]
        return out

    def _read(self, step: int) -> np.ndarray:
        """The table of a step (N, K).

        Raises:
            ConfigError: it was not mined, or of other rows.
        """
        if self._table[0] != step or self._table[1] is None:
            path = self.path(step)
            table = load_file(path)["near"] if path.is_file() else None
            if table is None or len(table) != self.pool:
                raise ConfigError(f"{path} is missing or of other rows;", remedy="remove the run's folder to begin from nothing.")
            self._table = (step, table)
        found: np.ndarray = self._table[1] if self._table[1] is not None else np.zeros((0, 0))
        return found


def mined(c: Any, train: Mixture, work: Path) -> tuple[list[Example], Mined]:
    """The examples of a mixture, each once, and the order that reads them with hard negatives.

    Args:
        c: choices: `mine_every`, `hard`, `steps`, `batch_size`, `workers`, `seed`.
        train: kept in memory.
        work: folder of the run, where tables lie beside the checkpoints.

    Raises:
        ConfigError: a part can only be read forward, or choices that do not go together.
    """
    names = [name for name in train.parts if train.weights[name]]
    for name in names:
        if getattr(train.parts[name], "forward_only", False):
            raise ConfigError(f"{name} is read forward only, nothing can be mined from it;", remedy="set mine_every: 0, or leave it out.")
    start, pool = {}, list[Example]()
    for name in names:
        start[name] = len(pool)
        pool += list(train.parts[name])
    numbers = [start[name] + at for name, at in (train.place(i) for i in range(len(train)))]
    order = Mined(
        numbers, len(pool), c.batch_size, hard=c.hard, every=c.mine_every, folder=work, lag=2 + 2 * c.workers, seed=c.seed
    )  # fmt: skip
    return pool, order


class Miner(TrainerCallback):
    """Mines a table when one is due: of all rows, by the model as it is, shared by the processes; it is there before the checkpoint is.

    Args:
        model: that is trained.
        rows: all of them, each once.
        order: says when, and reads the table.
        work: folder of the tables.
    """

    def __init__(self, model: Aligner, rows: AlignRows, order: Mined, work: Path, *, batch_size: int = 64) -> None:
        self.model, self.rows, self.order, self.work, self.batch_size = model, rows, order, work, batch_size

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mine after a step."""
        if self.order.due(state.global_step):
            self.mine(state.global_step)

    def mine(self, step: int) -> Path:
        """Write the table of a step; returns its file."""
        mode = self.model.training
        self.model.eval()
        table = self._table(step)
        self.model.train(mode)
        path = self.order.path(step)
        if is_first():
            self.work.mkdir(parents=True, exist_ok=True)
            work = path.with_name(f".{path.name}.tmp")
            save_file({"near": table.numpy()}, work)
            work.replace(path)
            log.info("mined %d rows after %d steps: %.1f hard negatives each", len(table), step, float((table >= 0).sum(1).float().mean()))
        everyone_waits()
        return path

    @torch.no_grad()
    def _table(self, step: int) -> Tensor:
        """Hard negatives of each row (N, K), by what is said of it in this round."""
        own: list[tuple[int, np.ndarray, np.ndarray, list[int], list[int]]] = []
        todo = my_share(range(len(self.rows)))
        for first in range(0, len(todo), self.batch_size):
            at = todo[first : first + self.batch_size]
            own += self._embedded(list(at), step)
        if distributed.is_available() and distributed.is_initialized():
            everyone: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(everyone, own)
            own = [row for some in everyone for row in some]
        own.sort(key=lambda row: row[0])
        texts, clips = (torch.from_numpy(np.stack([row[k] for row in own])) for k in (1, 2))
        return hard_negatives(texts, clips, _padded([row[3] for row in own], -1), _padded([row[4] for row in own], -2))

    def _embedded(self, at: list[int], step: int) -> list[tuple[int, np.ndarray, np.ndarray, list[int], list[int]]]:
        """Rows: number, vector of the text, vector of the clip, facts of the text, facts of the row."""
        rows = [self.rows[step * len(self.rows) + i] for i in at]
        device = self.model.device
        clips = self.model.vectors(to_device(clip_batch(rows, self.rows.opener.streams, adapted_of(self.rows.opener)), device))
        said = [next(iter(row.texts.values()), None) for row in rows]
        words = self.model.vectors(to_device(text_rows(self.model, [s.text if s else "nothing" for s in said]), device))
        texts_BD = next(v for space, (v, _) in words.items() if space != CLIP).float().cpu().numpy()
        clips_BD = clips[CLIP][0].float().cpu().numpy()
        told = [fact_numbers([tuple(s.facts) if s else ()], -1)[0].tolist() for s in said]
        true = [fact_numbers([row.facts], -2)[0].tolist() for row in rows]
        return list(zip(at, texts_BD, clips_BD, told, true, strict=True))


def _padded(numbers: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Numbers of rows (N, F) int64, padded."""
    out = torch.full((len(numbers), max(len(n) for n in numbers)), pad, dtype=torch.int64)
    for row, own in enumerate(numbers):
        out[row, : len(own)] = torch.tensor(own)
    return out
