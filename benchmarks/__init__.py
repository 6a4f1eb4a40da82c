"""Benchmarks: named shapes, peers as optional columns, a pytest-benchmark suite and a report.

``python -m benchmarks.report`` and pytest put the checkout first on ``sys.path``, where ``pyrnn/`` is source
without its compiled part. The package that is installed is the one to be timed, so the checkout goes last.
"""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [p for p in sys.path if os.path.abspath(p) != _ROOT] + [_ROOT]
