"""Multimodal chat models of transformers, opened as they were published and asked as ours are.

One file per family holds what is its own: how pictures and sound become its tensors, how many tokens they become, and where these
stand. Templates, rows, reports, loading and the pass through the network are written once for all. `models.peers` has
models of any other kind through their own processors, to be measured.
"""

from unifusion.models.existing.loading import load_existing, supported

__all__ = ["load_existing", "supported"]
