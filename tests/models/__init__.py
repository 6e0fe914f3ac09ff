"""Tests of unifusion.models."""
