"""The lab: candidate sets replayed through every NMS there is, timed, compared and drawn."""

from __future__ import annotations

from boxmill.lab.candidates import Candidates, Scene, Selection, candidates_of, dumped_scenes
from boxmill.lab.claims import Claim, claims
from boxmill.lab.growth import SIZES, Growth, crossovers
from boxmill.lab.markdown import markdown
from boxmill.lab.plot import plots
from boxmill.lab.study import Plan, Study, study
from boxmill.lab.synthetic import SCENES, crowd, synthetic_scenes

__all__ = [
    "SCENES",
    "SIZES",
    "Candidates",
    "Claim",
    "Growth",
    "Plan",
    "Scene",
    "Selection",
    "Study",
    "candidates_of",
    "claims",
    "crossovers",
    "crowd",
    "dumped_scenes",
    "markdown",
    "plots",
    "study",
    "synthetic_scenes",
]
