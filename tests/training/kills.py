"""Kills a training again and again, at random moments and inside its saves, and compares what comes of it with a run that nobody touched.

    python tests/training/kills.py OUT --kills 30 --in-save 10 --workers 2
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch

from tests.training import ranks
from unifusion import atomic
from unifusion.training import snapshot, tensors
from unifusion.training.journal import logged

KEYS = ("step", "loss", "grad_norm", "learning_rate", "rows")
QUICK = {"steps": 60, "save_every": 5, "log_every": 1, "batch_size": 3}


def child(work):
    """Run `work` in a forked process; returns its number."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def dying_in_a_save(at):
    """Let this process kill itself at the at-th thing that a save does to the disk."""
    count = [0]

    def watched(function):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for place, name in ((tensors, "save_file"), (snapshot, "sync"), (atomic, "sync"), (atomic.os, "replace"), (atomic.shutil, "rmtree")):
        setattr(place, name, watched(getattr(place, name)))


def attempt(out, rng, in_save, seconds, options):
    """One attempt that is killed if it does not end before; returns whether it was, and what went wrong."""

    def work():
        if in_save:
            dying_in_a_save(rng.randrange(1, 60))
        ranks.run(out, **options)

    pid = child(work)
    if not in_save:
        time.sleep(rng.uniform(0.0, seconds))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt ended with {code}")
    return code != 0


def same(out, whole):
    """Whether a run's steps and weights are those of the unbroken one, bit by bit."""
    steps = [[{k: r.get(k) for k in KEYS} for r in logged(folder / "run") if "loss" in r] for folder in (out, whole)]
    one, two = (torch.load(folder / "kept.pt", weights_only=True)["weights"] for folder in (out, whole))
    return steps[0] == steps[1] and len(steps[0]) and all(torch.equal(one[n], two[n]) for n in two)


def killed(out, *, kills, in_save, workers, seed=0):
    """Kill that often; returns the figures.

    A run that came to its end between kills is compared, and the next one begun.
    """
    options, rng = {**QUICK, "workers": workers}, random.Random(seed)
    began = time.perf_counter()
    os.waitpid(child(lambda: ranks.run(out / "whole", **options)), 0)
    seconds = time.perf_counter() - began
    figures = {"kills": 0, "in_save": 0, "exact": 0, "different": 0, "unloadable": 0, "litter": 0, "seconds_unbroken": round(seconds, 2)}
    plan = [True] * in_save + [False] * (kills - in_save)
    rng.shuffle(plan)
    number, fresh = 0, out / "0"
    fresh.mkdir(parents=True)
    while plan:
        aimed = plan[-1]
        if attempt(fresh, rng, aimed, seconds, options):
            plan.pop()
            figures["kills"] += 1
            figures["in_save"] += aimed
            whole = [c for c in (fresh / "run").glob("checkpoint-*") if not snapshot._damage(c)]
            figures["unloadable"] += len(list((fresh / "run").glob("checkpoint-*"))) - len(whole)
        if not plan:
            os.waitpid(child(partial(ranks.run, fresh, **options)), 0)
        if (fresh / "told.json").exists():
            figures["exact" if same(fresh, out / "whole") else "different"] += 1
            figures["litter"] += len(list((fresh / "run").glob(".*")))
            number += 1
            fresh = out / str(number)
            fresh.mkdir()
    return figures


def main(*words):
    """Kill as a command line says, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    for flag, default in (("--kills", 30), ("--in-save", 10), ("--workers", 0), ("--seed", 0)):
        parser.add_argument(flag, type=int, default=default)
    given = parser.parse_args(words)
    given.out.mkdir(parents=True)
    torch.set_num_threads(1)
    print(json.dumps(killed(**vars(given))))


if __name__ == "__main__":
    main(*sys.argv[1:])
