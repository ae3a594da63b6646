"""Studies: many trainings, asked one question."""

from lamp.studies.ensemble import Ensemble, EnsemblePrediction
from lamp.studies.folds import cross_validate
from lamp.studies.scores import CrossValidation

__all__ = ["CrossValidation", "Ensemble", "EnsemblePrediction", "cross_validate"]
