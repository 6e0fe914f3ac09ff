"""Every encoder with every adapter, and three families of language models in turn; with `--thorough` each of them, and docs/matrix.md."""

import itertools
import json
from pathlib import Path

import pytest

from tests.conftest import shared_folder
from tests.matrix import LLMS, check_cell
from tests.thorough import further
from unifusion import catalog

ENCODERS, ADAPTERS = catalog.names("encoders"), catalog.names("adapters")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "matrix.md"
HEAD = """# What goes with what

Every encoder with every adapter and each of {llms}, tiny and with random weights, as `pytest tests/test_matrix.py --thorough`
runs them (it writes this page). Of each was seen: two steps of training move the adapters and the LoRA of the language model, all
of them, and nothing else; saved and loaded strictly, and merged, logits are equal; two clips asked in one batch are answered as each alone.

In a cell: tokens that two clips of 0.9 s and 0.5 s become. `attention_pool` joins the stream with another one.

"""


@pytest.fixture(scope="module")
def seen(pytestconfig):
    """Where to write what the cells gave, those of other workers too; the last to end writes the page, when all were seen."""
    folder = shared_folder(pytestconfig) / "matrix"
    folder.mkdir(exist_ok=True)
    yield folder
    cells = {tuple(path.stem.split(".")): json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    if len(cells) == len(ENCODERS) * len(ADAPTERS) * len(LLMS):
        PAGE.write_text(page(cells), encoding="utf-8")


def page(found):
    """The table."""
    rows = [f"| encoder | modality | {' | '.join(f'`{a}`' for a in ADAPTERS)} |", "|---" * (len(ADAPTERS) + 2) + "|"]
    for encoder in ENCODERS:
        cells = [{found[encoder, a, llm]["tokens"] for llm in LLMS} for a in ADAPTERS]
        told = [str(c.pop()) for c in cells if len(c) == 1]
        rows.append(f"| `{encoder}` | {catalog.load('encoders', encoder).modality} | {' | '.join(told)} |")
    return HEAD.format(llms=", ".join(LLMS[:-1]) + f" and {LLMS[-1]}") + "\n".join(rows) + "\n"


def cell(encoder, adapter, llm):
    """Each encoder and each adapter meets every language model, and each pair of them one, unless all are asked for."""
    turn = (ENCODERS.index(encoder) + ADAPTERS.index(adapter)) % len(LLMS)
    return (encoder, adapter, llm) if llm == LLMS[turn] else further(encoder, adapter, llm)


@pytest.mark.parametrize(("encoder", "adapter", "llm"), [cell(*names) for names in itertools.product(ENCODERS, ADAPTERS, LLMS)])
def test_cell(encoder, adapter, llm, tmp_path, seen):
    (seen / f"{encoder}.{adapter}.{llm}.json").write_text(json.dumps(check_cell(encoder, adapter, llm, tmp_path)), encoding="utf-8")
