"""`python -m unifusion` and `torchrun -m unifusion train ..`: the command line by another door."""

from __future__ import annotations

import sys

from unifusion.cli import main

if __name__ == "__main__":
    sys.exit(main())
