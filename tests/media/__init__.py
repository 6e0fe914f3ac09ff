"""Tests of unifusion.media, and the clips they make."""
