"""Prediction files: scored as the official scripts score them, and written as other people's tools want them."""

from multibench.scoring.glue import GLUE_SCORES, glue_score
from multibench.scoring.score import Scored, score
from multibench.scoring.submission import export_glue_submission, export_squad
from multibench.scoring.winogender import WinogenderScores, bias_of_runs, winogender_scores

__all__ = [
    "GLUE_SCORES",
    "Scored",
    "WinogenderScores",
    "bias_of_runs",
    "export_glue_submission",
    "export_squad",
    "glue_score",
    "score",
    "winogender_scores",
]
