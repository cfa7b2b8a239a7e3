"""What only a GPU can tell: ``python -m tools.gpu`` (make gpu) asks it in stages and writes down the answers."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "_build" / "gpu"))
"""What came along to a machine that lacks it (CONTRIBUTING.md); last, because what is installed goes first."""
