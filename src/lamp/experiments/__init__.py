"""The experiments of the five systems lamp grew from, each in its own file, by their labels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamp.experiments.reproduction import Experiment

LABELS = ("lamp-2019", "mini-2019", "torchlike-2019", "mini-2020", "lamp-2021")


def experiment(label: str) -> Experiment:
    """The experiment with this label."""
    module = import_module(f"lamp.experiments.{label.replace('-', '_')}")
    found: Experiment = module.EXPERIMENT
    return found
