"""Several processes that train one model: torchrun underneath, with the cores shared out among them."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from unifusion.errors import ConfigError

__all__ = [
    "alone_under_torchrun", "as_many_as_fit", "everyone_waits", "first_process_first", "is_first", "launch", "my_share", "rank",
    "rows_each", "world_size",
]  # fmt: skip

T = TypeVar("T")
_PATIENCE = timedelta(hours=12)
"""How long processes wait for the first, which may be rendering clips."""


def world_size() -> int:
    """Processes that take part, as torchrun says; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among all, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def my_share(items: Sequence[T]) -> Sequence[T]:
    """Every n-th item, so that n processes have all of them between them."""
    return items[rank() :: world_size()]


def rows_each(batch_size: int) -> int:
    """Rows of a step for each process.

    Raises:
        ConfigError: they cannot be shared out evenly.
    """
    rows, left = divmod(batch_size, world_size())
    if left or not rows:
        raise ConfigError(
            f"a batch of {batch_size} rows cannot be shared by {world_size()} processes;", remedy="take a batch that is a multiple of them."
        )
    return rows


def _state() -> Any:
    """Accelerate's process group, the one that Trainer uses."""
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process do what is in the block while the others wait, then the others, who find it done."""
    if world_size() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def everyone_waits() -> None:
    """Return when all processes are here."""
    if world_size() > 1:
        _state().wait_for_everyone()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_many_as_fit(most: int = 4) -> int:
    """Processes that suit this machine: one a GPU, or one a core, a power of two so that batches divide."""
    there = torch.cuda.device_count() or cores()
    return int(2 ** (min(there, most).bit_length() - 1))


def alone_under_torchrun() -> None:
    """Let one process that nobody launched look as torchrun's: DeepSpeed would ask MPI otherwise."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for key, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        os.environ.setdefault(key, str(value))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back how this process answers signals; torchrun's agent changes it and leaves it so, and whatever is forked later inherits it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, answer in before.items():
            if answer is not None:  # set by C
                signal.signal(number, answer)


def launch(words: Sequence[str], processes: int) -> int:
    """Run `unifusion train WORDS ..` in several processes, wait for them, and return the exit code of the first that failed, or 0.

    A signal ends them all, and the code is 128 and its number, as a shell has it.

    Threads are shared out unless OMP_NUM_THREADS is set. When one process fails the others are ended.

    Raises:
        ConfigError: more processes than GPUs, or fewer than one.
    """
    if processes < 1:
        raise ConfigError(f"{processes} processes cannot train;", remedy="take 1 or more.")
    if 0 < torch.cuda.device_count() < processes:
        raise ConfigError(f"{processes} processes for {torch.cuda.device_count()} GPUs;", remedy="take one process a GPU.")
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, run_id=uuid.uuid4().hex,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0",  # a free port, so that two runs go side by side
    )  # fmt: skip
    for noisy in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    given = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = given or str(max(1, cores() // processes))
    try:
        with _signals_kept():
            elastic_launch(config, sys.executable)("-m", "unifusion", "train", *words)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    finally:
        if given is None:
            del os.environ["OMP_NUM_THREADS"]
    return 0
