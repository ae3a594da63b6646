"""Studies: many trainings that answer one question."""

from lamp.studies.each import fit_each
from lamp.studies.ensemble import Ensemble, EnsemblePrediction
from lamp.studies.folds import cross_validate
from lamp.studies.scores import CrossValidation
from lamp.studies.settings import choice, grid, log_uniform, samples, uniform
from lamp.studies.sweep import sweep
from lamp.studies.sweep_table import Sweep

__all__ = [
    "CrossValidation",
    "Ensemble",
    "EnsemblePrediction",
    "Sweep",
    "choice",
    "cross_validate",
    "fit_each",
    "grid",
    "log_uniform",
    "samples",
    "sweep",
    "uniform",
]
