"""The job script of a training: told to end, it lets the run save itself and goes back into the queue."""

import os
import signal
import subprocess
import time

from unifusion import share

SCRIPT = share.folder("train") / "slurm" / "tune.sbatch"


def stand_ins(folder, run):
    """`srun`, `torchrun` and `scontrol` that write down what they were asked."""
    scripts = {
        "srun": 'shift\nexec "$@"',
        "torchrun": f'echo "$@" > {folder}/asked\ntouch {folder}/began\n{run}',
        "scontrol": f'[ "$1" = show ] && echo node1 || echo "$@" > {folder}/queue',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8"}
    return {**os.environ, **job, "PATH": f"{folder}:{os.environ['PATH']}", "CONFIG": "mine.yaml", "OUT": "out"}


def test_a_job_that_is_told_to_end_saves_and_is_queued_again(tmp_path):
    run = f"trap 'touch {tmp_path}/saved; exit 143' TERM\nwhile true; do sleep 0.1; done"
    with subprocess.Popen(["bash", str(SCRIPT)], env=stand_ins(tmp_path, run), text=True, stdout=subprocess.PIPE) as job:
        while not (tmp_path / "began").exists():
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        said = job.communicate(timeout=30)[0]
    assert job.returncode == 0 and "back into the queue" in said and (tmp_path / "saved").exists()
    assert (tmp_path / "queue").read_text().split() == ["requeue", "77"]
    asked = (tmp_path / "asked").read_text()
    assert "--nnodes 2 --nproc-per-node 8" in asked and "-m unifusion train tune --config mine.yaml --out out" in asked


def test_a_run_that_fails_is_not_queued_again(tmp_path):
    job = subprocess.run(["bash", str(SCRIPT)], env=stand_ins(tmp_path, "exit 4"), capture_output=True, text=True, timeout=30)
    assert job.returncode == 4 and not (tmp_path / "queue").exists()
    environment = {k: v for k, v in stand_ins(tmp_path, "exit 0").items() if k != "CONFIG"}
    job = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=30)
    assert job.returncode != 0 and "CONFIG: the file of choices" in job.stderr
