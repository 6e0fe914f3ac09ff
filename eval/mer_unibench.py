"""Suite: MER-UniBench (Lian et al. 2025): nine sets, emotions in free words, sentiment; the sets that are there, and the paper's table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unifusion import atomic
from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.open_emotion import UNIBENCH, mer_unibench
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

OPEN, SENTIMENT = "emotions_open", "sentiment"
PARTS = {
    "MER2023": Source(dataset="mer", task=OPEN, path="mer2023", max_new_tokens=64),
    "MER2024": Source(dataset="mer", task=OPEN, path="mer2024", max_new_tokens=64),
    "MELD": Source(dataset="meld", task=OPEN, path="meld", max_new_tokens=64),
    "IEMOCAP": Source(dataset="iemocap", task=OPEN, path="iemocap", max_new_tokens=64),
    "CMU-MOSI": Source(dataset="messages", task=SENTIMENT, path="mosi.jsonl"),
    "CMU-MOSEI": Source(dataset="messages", task=SENTIMENT, path="mosei.jsonl"),
    "SIMS": Source(dataset="messages", task=SENTIMENT, path="sims.jsonl"),
    "SIMS-v2": Source(dataset="messages", task=SENTIMENT, path="sims2.jsonl"),
    "OV-MERD+": Source(dataset="mer", task=OPEN, path="ovmerd", max_new_tokens=64),
}
"""Sets without a reader come as rows of `{"video": .., "sentiment": -1.4, "transcript": ..}`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the tables, write the report and `unibench.md`."""
    results, page = suite("mer_unibench", PARTS, SuiteChoices, argv)
    figures = {}
    for name, part in results["parts"].items():
        cell = part["conditions"]["all"][part["first"]]
        if name in UNIBENCH and UNIBENCH[name] in cell["metrics"]:
            figures[name] = cell["metrics"][UNIBENCH[name]]
    table = mer_unibench(figures).markdown()
    atomic.write_text(Path(page).parent / "unibench.md", table)
    print(f"\n{table}")


if __name__ == "__main__":
    script(main)
