"""Tests of unifusion.processor."""
