"""The schema of a checkpoint, as type hints that `lamp.saving.schema` checks it against when it is read.

This file does not import annotations from __future__: hints kept as text would have to be evaluated.
"""

from typing import Any, NotRequired, TypedDict

from torch import Tensor

from lamp.saving.schema import Count


class HistoryState(TypedDict):
    """The result of `History.state_dict`."""

    engine: str
    why: str
    replicas: Count | None
    stopped: str
    compile_seconds: float
    endings: dict[Count, str]
    failed: list[Count]
    seconds: Tensor
    measured: dict[str, Tensor]
    missing: dict[str, list[Count]]


class OptimizerState(TypedDict):
    """An optimizer's `state_dict`, and the number of steps that each parameter group has taken."""

    state: dict[Count, dict[str, Any]]
    param_groups: list[dict[str, Any]]
    taken: list[Count]


class ScheduleState(TypedDict):
    """The hyperparameters that a schedule has set, and the schedule's own state."""

    groups: list[dict[str, Any]]
    scheduler: dict[str, Any]


class OwnStateDict(TypedDict):
    """Numbers and generators of the user's objects, by path."""

    numbers: NotRequired[dict[str, int | float]]
    generators: NotRequired[dict[str, Any]]


class DataState(OwnStateDict):
    """What determines the next batches: seed, epoch and settings of lamp's loader, and the state in the user's
    objects."""

    seed: NotRequired[int | list[int] | None]
    epoch: NotRequired[Count]
    batch_size: NotRequired[Count]
    shuffle: NotRequired[bool]
    drop_last: NotRequired[bool]


class CrewState(TypedDict):
    """Which replicas are still training, and the position in their data."""

    rows: Tensor | None
    target_axes: Count | None
    data: DataState
    validation: DataState


class LastGoodState(TypedDict):
    """The last state whose loss was finite, and the step at which to copy it again."""

    kept: list[Tensor]
    next: Count


class RandomState(TypedDict):
    """The default generators of torch, Python and numpy."""

    torch: Tensor
    cuda: list[Tensor]
    python: list[Any]
    numpy: dict[str, Any]


class BeginOfEpoch(TypedDict):
    """What is needed to repeat an epoch's batches."""

    random: RandomState
    data: OwnStateDict


Several = Tensor | tuple[Tensor | tuple[Tensor, ...], ...]  # outputs of a network, or targets


class MetricsState(TypedDict):
    """The metrics of an epoch so far: outputs and targets for plain functions, and the states of accumulators."""

    outputs: Several | None
    targets: Several | None
    accumulators: dict[str, list[dict[str, Any]]]


class EagerUnderWay(TypedDict):
    """The eager engine's state of an unfinished epoch."""

    losses: Tensor
    divisors: Tensor
    metrics: MetricsState
    begin: BeginOfEpoch | None
    seconds: float


class Record(TypedDict):
    """The results of compiled steps."""

    losses: Tensor
    right: Tensor
    outputs: Tensor | None


class CompiledUnderWay(TypedDict):
    """The compiled engine's state of an unfinished epoch."""

    record: Record
    weights: Tensor
    schedule: ScheduleState | None
    seconds: float


class EngineState(TypedDict):
    """The state of an engine."""

    under_way: dict[str, Any] | None  # EagerUnderWay or CompiledUnderWay; None between epochs
    last_good: NotRequired[dict[Count, Tensor]]
    before: NotRequired[Tensor | None]


class CallbackState(TypedDict):
    """The state of a callback, and the name of its class."""

    kind: str
    state: dict[str, Any]


class FingerprintState(TypedDict):
    """The fingerprint of a training (see `lamp.training.fingerprint`)."""

    attributes: dict[str, Any]


class State(TypedDict):
    """Everything that is needed to continue a training, except the weights."""

    made_of: FingerprintState
    moved: FingerprintState
    epoch: Count
    step: Count
    ending: str | None
    history: HistoryState
    modules: dict[str, Any]
    optimizer: OptimizerState
    schedule: ScheduleState
    clipping: NotRequired[list[Any]]  # clip_norm and clip_value
    crew: CrewState  # the active replicas; files of earlier versions use this key
    last_good: LastGoodState
    by_engine: EngineState
    callbacks: list[CallbackState]
    random: RandomState
    generators: NotRequired[dict[str, Any]]  # of the user's objects, by path


class StateDocument(TypedDict):
    """The file `state.json`, which holds a packed `State`."""

    state: dict[str, Any]
