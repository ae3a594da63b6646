"""What all exporters need: a group of networks as one predictor, its bins, and what a raw column holds, in words."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta

import torch

from lamp.nn import Linear, Softmax
from lamp.replicas import Population
from lamp.studies import Ensemble
from lamp.tables import dates, parsing
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.groups import Group
from lamp.tables.kinds import listed
from lamp.tables.model import TableModel


def ensemble_of(model: TableModel, group: Group) -> Population | Ensemble:
    """The mean of a group's members for encoded inputs: of their probabilities, or of their standardised numbers."""
    networks = copy.deepcopy(group.networks)
    if not model.target.is_classes:
        return networks
    last = [module for module in networks.modules() if isinstance(module, Linear)][-1]
    for parameter in last.parameters():
        parameter.data.div_(model.temperature)
    return Ensemble(networks, probabilities=Softmax(-1))


def bins_of(group: Group, inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """For each bin of a group's encoding: the input that it is of, its lower edge, its width. None without encoding."""
    if group.encoding is None:
        return None
    lower, upper = group.encoding.lower.data, group.encoding.upper.data
    return group.sources(inputs)[inputs:], lower, upper - lower


def days_among(column: DateColumn) -> list[float]:
    """The days since 1970 among the words that mean missing in a column of dates."""
    return [
        (each - datetime(1970, 1, 1)) / timedelta(days=1) for each in parsing.days_among(tuple(column.missing_words))
    ]


def taken(column: Column) -> str:
    """What a raw column holds, in words."""
    if isinstance(column, NumberColumn):
        return f"numbers, in {column.unit}" if column.unit else "numbers"
    if isinstance(column, BooleanColumn):
        return "yes or no"
    if isinstance(column, CategoryColumn):
        return f"words: {listed([repr(level) for level in column.levels], 5)}"
    assert isinstance(column, DateColumn)
    if column.format == dates.TIME_ALONE:
        return "times of day"
    zone = {None: "", True: "; in UTC, or with a time zone", False: "; without a time zone"}[column.zoned]
    return ("dates" if column.format is None else f"dates, or text written as {dates.described(column.format)}") + zone
