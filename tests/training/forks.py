"""Trainings in processes of their own without the ten seconds of imports of each: one server imports, and forks for every training.

The processes have what torchrun's have: its variables, a store that nobody of them holds, and an end when the first of them fails.
What torchrun itself does is seen in test_launch.py and in the tests of signals.
"""

import atexit
import functools
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 30
"""Between the end of the first process that fails and that of the others, as torchrun has it."""


def child(job, rank):
    """Fork a process that calls `main` of a module with its words, ends as a script would, and writes what it says to a file."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(job["variables"] | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if job["variables"] else {}))
        said = os.open(job["said"], os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(said, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        importlib.import_module(job["module"]).main(*job["words"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # DeepSpeed's threads may wait for each other at exit


def wait(pids, timeout_s):
    """Wait for all of them; returns the code of the first that failed, or 0. When one fails the others are ended."""
    left, first, until = set(pids), 0, time.monotonic() + timeout_s
    while left:
        for pid in sorted(left):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            left.remove(pid)
            code = os.waitstatus_to_exitcode(status)
            if code and not first:
                first, until = code, min(until, time.monotonic() + GRACE_S)
                for other in left:
                    os.kill(other, signal.SIGTERM)
        if time.monotonic() > until:
            first = first or "timeout"
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.01)
    return first


def serve():
    """Import what trainings need, then do the jobs of stdin, a line each, and answer each with its exit code."""
    import transformers
    from transformers import Trainer  # noqa: F401

    for name in ("tests.training.ranks", "tests.training.kills", *(n for n in ("deepspeed",) if importlib.util.find_spec(n))):
        importlib.import_module(name)
    transformers.logging.set_verbosity_warning()
    for line in sys.stdin:
        job = json.loads(line)
        print("code", json.dumps(wait([child(job, rank) for rank in range(job["processes"])], job["timeout_s"])), flush=True)


@functools.cache
def server():
    """The server of this process; it ends with its input."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.forks"]
    made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    atexit.register(made.stdin.close)
    return made


def begin(module, *words, processes=1, timeout_s=280):
    """Call `main(*words)` of a module in one process or several; returns what waits for their end, and gives exit code and output."""
    from torch.distributed import TCPStore

    variables, store = {}, None
    if processes > 1:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))
        told = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
        variables = {k: str(v) for k, v in told.items()} | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    said = tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace")
    job = {"module": module, "words": words, "processes": processes, "timeout_s": timeout_s, "said": said.name, "variables": variables}
    print(json.dumps(job), file=server().stdin, flush=True)

    def ended():
        nonlocal store
        answer = next((line for line in server().stdout if line.startswith("code ")), None)
        assert answer, f"the server of forks ended with {server().wait()}"
        store = None
        with said:
            return json.loads(answer.removeprefix("code ")), said.read()

    return ended


def run(module, *words, **options):
    """`begin`, to the end."""
    return begin(module, *words, **options)()


if __name__ == "__main__":
    serve()
