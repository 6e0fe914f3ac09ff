"""Evaluation: batched prediction over manifests; suites, decoding and results."""
