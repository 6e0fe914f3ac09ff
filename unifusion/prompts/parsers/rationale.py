"""Parser of a reasoned emotion: a label line and lines of evidence with stream and time.

Emotion: happy.
Picture 1.0-3.5 s: cheeks raised and lip corners pulled up.
Sound 0.4-2.9 s: fast, medium-loud voice with high and wide pitch.
Words 0.4-2.9 s: "I got the job" (happy).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from unifusion.prompts.matching import find_label, plain
from unifusion.prompts.parsed import Evidence, Parsed, RationaleAnswer, Unparsed

__all__ = ["rationale"]

_NUM = r"(\d{1,7}(?:\.\d{1,6})?)"
_LABEL = re.compile(r"^[\s*_#>-]{0,8}emotion[*_]{0,2}\s{0,4}:[*_]{0,2}\s{0,4}(.{1,500})$", re.IGNORECASE)
_EVIDENCE = re.compile(
    rf"^[\s*_#>-]{{0,8}}(picture|sound|words)\s{{1,4}}{_NUM}\s{{0,4}}[-\u2013]\s{{0,4}}{_NUM}\s{{0,4}}s\s{{0,4}}:\s{{0,4}}(\S.{{0,5000}})$",
    re.IGNORECASE,
)


def rationale(text: str, *, choices: Sequence[str] = (), aliases: Mapping[str, Sequence[str]] | None = None) -> Parsed:
    """Read the label and the evidence; without exactly one label the answer is `Unparsed`.

    Lines that are neither (also evidence that ends before it starts) are kept in `unread`. Empty `choices` accept any label.
    """
    labels: set[str] = set()
    evidence: list[Evidence] = []
    unread: list[str] = []
    for line in filter(None, (raw.strip() for raw in text.splitlines())):
        if match := _LABEL.match(line):
            found = find_label(match[1], choices, aliases) if choices else plain(match[1])
            if isinstance(found, Unparsed):
                return found
            labels.add(found)
        elif (match := _EVIDENCE.match(line)) and float(match[2]) <= float(match[3]):
            said = match[4].strip().removesuffix(".").rstrip()
            evidence.append(Evidence(match[1].lower(), float(match[2]), float(match[3]), said))
        else:
            unread.append(line)
    if len(labels) != 1 or "" in labels:
        return Unparsed(f"{len(labels)} lines name an emotion, one should")
    return RationaleAnswer(labels.pop(), tuple(evidence), tuple(unread))
