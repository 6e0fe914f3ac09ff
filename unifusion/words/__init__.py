"""Words and when they are said: known words laid over the sound they are spoken in."""
