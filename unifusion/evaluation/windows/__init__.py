"""From raw clips to windows of picture, sound and words: where a clip is cut, what a window's row holds, and runs over many clips."""
