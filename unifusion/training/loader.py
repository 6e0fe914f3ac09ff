"""Batches from a dataset, read by worker processes that are watched: a bad row is named, a dead or stuck worker is an error."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from unifusion.errors import ConfigError, DatasetError, UniFusionError
from unifusion.quarantine import Quarantine
from unifusion.training.order import StepSampler

__all__ = ["TOLD", "Bad", "Loader", "Told", "take"]

log = logging.getLogger(__name__)
TOLD = "told"
"""Key of a batch under which it carries its Told; the trainer takes it out before the model sees the batch."""


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A row that could not be read.

    Attributes:
        row: its index.
        name: what the dataset calls it.
        reason: why.
    """

    row: int
    name: str
    reason: str


@dataclass(kw_only=True)
class Told:
    """What a batch was made of: the rows that were read, and those that could not be."""

    rows: list[int] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)


class _Guarded(Dataset[Any]):
    """Rows with their index; one that cannot be read becomes a Bad, since an error would not cross the border of a worker whole."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Rows."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        """One row."""
        try:
            return index, self.dataset[index]
        except UniFusionError as error:
            name = getattr(self.dataset, "name", str)(index)
            return index, Bad(row=index, name=str(name), reason=str(error))


class _Collate:
    """Puts the rows that could be read together and tells which they were."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[tuple[int, Any]]) -> dict[str, Any]:
        """A batch, with its Told."""
        good = [(i, row) for i, row in items if not isinstance(row, Bad)]
        told = Told(rows=[i for i, _ in good], bad=[row for _, row in items if isinstance(row, Bad)])
        try:
            batch = self.collate([row for _, row in good])
        except UniFusionError as error:
            names = ", ".join(str(i) for i, _ in good)
            told.bad.append(Bad(row=-1, name=f"a batch of the rows {names}", reason=str(error)))
            return {TOLD: told}
        return {**batch, TOLD: told}


def _hush(worker: int) -> None:
    """Let a worker say nothing of a connection that broke: the process that trains has closed it, and says why."""
    hook = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """As before, but for those."""
        if not issubclass(kind, EOFError | ConnectionError):
            hook(kind, error, trace)

    sys.excepthook = told


@contextlib.contextmanager
def _no_child_signals() -> Iterator[None]:
    """Let the end of a child process pass without PyTorch's handler, which raises."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


class Loader:
    """Micro-batches of one process, from where a run goes on.

    Args:
        dataset: map-style; `name(index)`, where it has it, is what messages call a row. A row is a function of its index alone.
        sampler: which rows, and in which process.
        collate: rows to a dict; called with no rows where a process of several has none, and must give a batch that supervises nothing.
        workers: processes that read ahead; 0 reads in this one.
        timeout_s: seconds without a batch after which a worker counts as stuck.
    """

    def __init__(
        self, dataset: Any, sampler: StepSampler, collate: Callable[[list[Any]], Any], *, workers: int = 0, timeout_s: float = 50.0
    ) -> None:  # fmt: skip
        if workers < 0:
            raise ConfigError(f"{workers} workers cannot read;", remedy="take 0 or more.")
        self.dataset, self.batch_sampler, self.timeout_s = dataset, sampler, timeout_s
        self._batches: Any = None
        self._since: float | None = None
        self._stuck = False
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(dataset), batch_sampler=sampler, collate_fn=_Collate(collate), num_workers=workers,
            generator=torch.Generator().manual_seed(0),  # nothing is drawn from it, but without it a loader draws from the run's own state
            prefetch_factor=4 if workers else None, worker_init_fn=_hush, pin_memory=torch.cuda.is_available(),
        )  # fmt: skip

    def __len__(self) -> int:
        """Micro-batches of the whole run, those before a resume included: the trainer counts on from there."""
        return self.batch_sampler.stop

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The micro-batches that are left."""
        self._batches = iter(self._loader)
        done = threading.Event()
        if self._loader.num_workers:
            threading.Thread(target=self._watch, args=(done,), daemon=True).start()
        try:
            while True:
                self._since = time.monotonic()
                batch = next(self._batches, None)
                self._since = None
                if batch is None:
                    return
                yield batch
        finally:
            done.set()

    def _watch(self, done: threading.Event) -> None:
        """End workers that give nothing for too long.

        PyTorch's own timeout does not see one that is stopped while it hands a tensor over: this process waits for its answer.
        """
        while not done.wait(0.5):
            since = self._since
            if since is not None and time.monotonic() - since > self.timeout_s:
                self._stuck = True
                self._end()
                return

    def _end(self) -> None:
        """Kill all workers: one that is stopped would keep this process from ending."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.kill(worker.pid, signal.SIGKILL)

    @property
    def _workers(self) -> Sequence[Any]:
        """The processes that read."""
        found: Sequence[Any] = getattr(self._batches, "_workers", ())
        return found

    def _lost(self, error: Exception) -> bool:
        """Whether an error is about the workers: PyTorch says so, or a connection broke, as it does to a worker that has died."""
        if self._stuck or "DataLoader" in str(error):
            return True
        until = time.monotonic() + 1.0  # its connections are closed a little before it has ended
        while isinstance(error, EOFError | ConnectionError) and time.monotonic() < until:
            if any(not worker.is_alive() for worker in self._workers):
                return True
            time.sleep(0.01)
        return False

    def explain(self, error: Exception) -> UniFusionError | None:
        """Say what became of the workers when an error is about them, and end them all; None for another error.

        PyTorch raises at any line of the main thread when a worker dies; not here, and once they have ended no more.
        """
        with _no_child_signals():
            if not self._lost(error):
                return None
            self._end()
            for worker in self._workers:
                worker.join(5.0)
        if self._stuck:
            found = f"no batch came from the {self._loader.num_workers} data workers for {self.timeout_s:.0f} s: one is stuck;"
            return UniFusionError(
                found, remedy="look at the file it was reading, or raise --worker-timeout-s where one row may take longer."
            )
        said = str(error).splitlines() or [type(error).__name__]
        return UniFusionError(
            f"a data worker died: {said[0].strip()} (out of memory, most often, when it was killed);",
            remedy="run again to go on from the last checkpoint; take fewer workers, or --workers 0 to see its own error.",
        )


def take(quarantine: Quarantine, told: Told) -> None:
    """Note what a batch was made of.

    Raises:
        DatasetError: a row is bad and none may be skipped, or too many are.
    """
    quarantine.tried += len(told.rows) + len(told.bad)
    for bad in told.bad:
        if not quarantine.skip or bad.row < 0:
            raise DatasetError(
                f"{'' if bad.row < 0 else 'row '}{bad.name} cannot be trained on: {bad.reason}",
                remedy="Mend it." if bad.row < 0 else "Mend it, or go on without such rows: --on-bad-media skip.",
            )
        quarantine.add(bad.name, UniFusionError(bad.reason), row=bad.row)
    quarantine.hold()
