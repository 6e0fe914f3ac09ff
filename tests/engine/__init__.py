"""Tests of unifusion.engine."""
