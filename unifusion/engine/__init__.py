"""The engine: the one place that answers. Command line, demo, server and evaluation all use it."""

from unifusion.engine.answers import Answer, EmotionAnswer, LabelScores
from unifusion.engine.engine import Engine
from unifusion.engine.session import Session

__all__ = ["Answer", "EmotionAnswer", "Engine", "LabelScores", "Session"]
