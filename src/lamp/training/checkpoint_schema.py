"""What a checkpoint must hold, as type hints that it is checked against when it is read (see `lamp.saving.schema`).

The hints are not kept as text, so that reading a checkpoint evaluates nothing.
"""

from typing import Any, NotRequired, TypedDict

from torch import Tensor

from lamp.saving.schema import Count


class HistoryState(TypedDict):
    """Of `History.state_dict`."""

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
    """Of an optimizer's `state_dict`, and the steps that each group has taken."""

    state: dict[Count, dict[str, Tensor]]
    param_groups: list[dict[str, Any]]
    taken: list[Count]


class ScheduleState(TypedDict):
    """The hyperparameters that a schedule has set, and its own numbers."""

    groups: list[dict[str, Any]]
    scheduler: dict[str, Any]


class DataState(TypedDict):
    """What decides the batches to come: of lamp's loader, or of another one's generator."""

    seed: NotRequired[int | list[int] | None]
    epoch: NotRequired[Count]
    generator: NotRequired[Tensor]


class CrewState(TypedDict):
    """Which replicas train, and where their data are."""

    rows: Tensor | None
    target_axes: Count | None
    data: DataState
    validation: DataState


class LastGoodState(TypedDict):
    """The last weights whose loss was finite, and the step at which to copy them again."""

    kept: list[Tensor]
    next: Count


class RandomState(TypedDict):
    """The default generators of torch, Python and numpy."""

    torch: Tensor
    cuda: list[Tensor]
    python: list[Any]
    numpy: dict[str, Any]


class BeginOfEpoch(TypedDict):
    """What it takes to go over an epoch's batches once more."""

    random: RandomState
    data: DataState


Several = Tensor | tuple[Tensor | tuple[Tensor, ...], ...]  # what a network puts out, or a target


class MetricsState(TypedDict):
    """What an epoch's metrics have taken in: outputs and targets where functions see them, and accumulators' states."""

    outputs: Several | None
    targets: Several | None
    accumulators: dict[str, list[dict[str, Any]]]


class EagerUnderWay(TypedDict):
    """What the eager engine has of an epoch that is not done."""

    losses: Tensor
    divisors: Tensor
    metrics: MetricsState
    begin: BeginOfEpoch | None
    seconds: float


class Record(TypedDict):
    """What compiled steps left."""

    losses: Tensor
    right: Tensor
    outputs: Tensor | None


class CompiledUnderWay(TypedDict):
    """What the compiled engine has of an epoch that is not done."""

    record: Record
    weights: Tensor
    schedule: ScheduleState | None
    seconds: float


class EngineState(TypedDict):
    """What an engine has of its own."""

    under_way: dict[str, Any] | None  # of the engine that it was
    last_good: NotRequired[dict[Count, Tensor]]
    before: NotRequired[Tensor | None]


class CallbackState(TypedDict):
    """What a callback remembers."""

    kind: str
    state: dict[str, Any]


class FingerprintState(TypedDict):
    """What a training is made of; see `lamp.training.fingerprint`."""

    attributes: dict[str, Any]


class State(TypedDict):
    """Everything that a training goes on from, but for the weights."""

    made_of: FingerprintState
    moved: FingerprintState
    epoch: Count
    step: Count
    ending: str | None
    history: HistoryState
    modules: dict[str, Any]
    optimizer: OptimizerState
    schedule: ScheduleState
    crew: CrewState  # the replicas that are still training; the key keeps its name in the files
    last_good: LastGoodState
    by_engine: EngineState
    callbacks: list[CallbackState]
    random: RandomState


class StateDocument(TypedDict):
    """The file `state.json`: what `State` is packed as."""

    state: dict[str, Any]
