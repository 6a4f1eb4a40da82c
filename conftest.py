"""`python -m pytest` puts the checkout first on the path; what is tested is the pyrnn that pip installed."""

import sys
from pathlib import Path

root = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != root] + [str(root)]
