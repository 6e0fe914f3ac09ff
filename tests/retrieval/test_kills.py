"""After 200 SIGKILLs the library is whole each time, and comes to what it should be."""

import json
import subprocess
import sys

import pytest

from tests.test_readme import ROOT


def figures(tmp_path, kills):
    words = [sys.executable, "-m", "tests.retrieval.kills", str(tmp_path), "--kills", str(kills)]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_twelve_kills(tmp_path):
    told = figures(tmp_path, 12)
    assert told["kills"] == 12 and told["typed"] == 0 and told["windows"] > 0 and told["litter"] == 0


@pytest.mark.slow
def test_two_hundred_kills(tmp_path):
    told = figures(tmp_path, 200)
    assert told["kills"] == 200 and 50 < told["aimed"] < 150
    assert told["typed"] == 0 and told["windows"] > 1000 and told["merged"] > 0 and told["litter"] == 0
