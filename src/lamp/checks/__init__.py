"""Tools that check a user's own modules."""

from lamp.checks.gradients import check_gradients
from lamp.checks.report import GradientReport, TensorCheck

__all__ = ["GradientReport", "TensorCheck", "check_gradients"]
