"""`python -m keylease`: the same as the command `keylease`."""

from __future__ import annotations

import sys

from keylease.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
