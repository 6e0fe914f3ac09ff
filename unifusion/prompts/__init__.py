"""The prompt manager: a template and an Example give messages; a parser reads the answer back.

Templates are the files of `prompts/` (data, no Python). See `template.Template` for what a file may hold.
"""

from __future__ import annotations

from unifusion.prompts.coloured import coloured
from unifusion.prompts.parsed import (
    CitedAnswer,
    Evidence,
    FreeAnswer,
    LabelAnswer,
    LabelsAnswer,
    NumberAnswer,
    OptionAnswer,
    Parsed,
    RationaleAnswer,
    SpanAnswer,
    Statement,
    Unparsed,
    ValenceArousalAnswer,
    YesNoAnswer,
)
from unifusion.prompts.template import Template, load_template

__all__ = [
    "CitedAnswer",
    "Evidence",
    "FreeAnswer",
    "LabelAnswer",
    "LabelsAnswer",
    "NumberAnswer",
    "OptionAnswer",
    "Parsed",
    "RationaleAnswer",
    "SpanAnswer",
    "Statement",
    "Template",
    "Unparsed",
    "ValenceArousalAnswer",
    "YesNoAnswer",
    "coloured",
    "load_template",
]
