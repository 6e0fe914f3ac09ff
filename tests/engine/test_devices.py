"""Nothing is left on the CPU when a model is elsewhere: answers, sessions, label scores, training steps, every encoder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toys import chat_model, talk, video

ROOT = Path(__file__).parents[2]


def test_a_batch_is_moved_with_its_media():
    _, processor = chat_model()
    batch = processor([talk((video(),), "what?")]).to("meta")
    moved = [batch["input_ids"], *(t for stream in batch["media"].values() for t in stream.values())]
    assert {str(t.device) for t in moved} == {"meta"} and batch.reports[0].streams["video"].present


@pytest.mark.slow
@pytest.mark.parametrize("what", ["answers", "existing", "steps", "encoders"])
def test_on_a_second_device(what, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "tests.engine.on_a_device", what, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
