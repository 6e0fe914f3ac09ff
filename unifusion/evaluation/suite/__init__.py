"""Suites: tasks asked of sets of rows under conditions, each answer kept, every figure with what makes it comparable."""
