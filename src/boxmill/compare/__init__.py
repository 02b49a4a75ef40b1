"""The scripts that people write, and boxmill, over the same images on this machine."""

from __future__ import annotations

from boxmill.compare.comparison import compare, listed
from boxmill.compare.markdown import markdown
from boxmill.compare.order import Limits
from boxmill.compare.plot import plot
from boxmill.compare.programs import Plan, needs_half_file
from boxmill.compare.rows import Comparison, Missing, Row, Sample
from boxmill.compare.watch import check_psutil

__all__ = [
    "Comparison",
    "Limits",
    "Missing",
    "Plan",
    "Row",
    "Sample",
    "check_psutil",
    "compare",
    "listed",
    "markdown",
    "needs_half_file",
    "plot",
]
