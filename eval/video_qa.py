"""Suite: questions about videos, open and with options, of the published sets that lie in the folder of data, and of clip world."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.evaluation.suite.parts import Source
from unifusion.evaluation.suite.running import SuiteChoices

PARTS = {
    "msrvtt_qa": Source(dataset="msrvtt_qa", task="open_qa", path="msrvtt_qa"),
    "msvd_qa": Source(dataset="msvd_qa", task="open_qa", path="msvd_qa"),
    "activitynet_qa": Source(dataset="activitynet_qa", task="open_qa", path="activitynet_qa"),
    "tvqa": Source(dataset="tvqa", task="multiple_choice", path="tvqa", split="val"),
    "nextqa": Source(dataset="nextqa", task="multiple_choice", path="nextqa"),
    "mvbench": Source(dataset="mvbench", task="multiple_choice", path="mvbench"),
    "video_mme": Source(dataset="video_mme", task="multiple_choice", path="video_mme"),
    "clip_world": Source.world("open_qa", 300),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write the report."""
    suite("video_qa", PARTS, SuiteChoices, argv)


if __name__ == "__main__":
    script(main)
