"""`check_gradients`, which checks the backward of a user's own module."""

from lamp.checks.gradients import check_gradients
from lamp.checks.report import GradientReport, TensorCheck

__all__ = ["GradientReport", "TensorCheck", "check_gradients"]
