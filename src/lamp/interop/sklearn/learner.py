"""The network of an estimator, or a population of them, and what their training needs from call to call."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.compiler.tiling import PART
from lamp.cpu_settings import threads_for
from lamp.data import DataLoader
from lamp.errors import ArgumentError, TrainingWarning
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Linear, Sequential
from lamp.optim import AdamW, Optimizer
from lamp.replicas import population
from lamp.training import Callback, History, Training, fit, predict

# What an eager training takes, and from when on it is compiled: later fits of the same shapes then take a tenth.
EAGER_STEP = 30e-6  # seconds of a step, for each layer and one more
EAGER_RATE = 20e9  # multiplications a second beyond that
COMPILED_FROM = 0.02  # seconds
LAMP_DECIDES_FROM = 0.5

Batch = tuple[Tensor, Tensor]


class Objective(Callback):
    """Notes what was minimised in each epoch, the loss with the penalty of the weights: the mean over the members.

    share   what the loss is multiplied by, where scikit-learn reports another multiple than it minimises
    losses  one number per epoch

    The penalty is that of the weights which the epoch's steps began with: of its first step, where it has only one, and
    else the mean of the first and the last epoch's end.
    """

    changes_model = False

    def __init__(self, share: float) -> None:
        self.share, self.losses = share, list[float]()

    def on_start(self, training: Training) -> None:
        self.needs_model = any(group["weight_decay"] for group in _penalised(training.optimizer))  # type: ignore[misc]
        self._penalty = self._of_weights(training.optimizer)

    def on_epoch(self, training: Training) -> None:
        before, self._penalty = self._penalty, self._of_weights(training.optimizer)
        steps = training.step // (training.epoch + 1)
        penalty = before if steps == 1 else (before + self._penalty) / 2
        loss = torch.as_tensor(training.history.last["loss"], dtype=torch.float64)
        self.losses.append(float((loss * self.share + penalty).nanmean()))

    def _of_weights(self, optimizer: Optimizer) -> Tensor:
        """weight_decay / 2 |W|^2 of each member, () or (K,)."""
        penalty = torch.zeros((), dtype=torch.float64)
        for group in _penalised(optimizer):
            for parameter in group["params"]:
                squares = parameter.data.double().square()
                each = squares.sum() if parameter.replicas is None else squares.flatten(1).sum(1)
                penalty = penalty + each * (group["weight_decay"] / 2)
        return penalty


def _penalised(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups whose weights are penalised in the loss: AdamW makes weights smaller beside it."""
    groups = [] if isinstance(optimizer, AdamW) else optimizer.param_groups
    return [group for group in groups if group.get("weight_decay")]


class Plateau(Callback):
    """Ends a training whose objective has not become better by `tol` for `patience` epochs.

    reduce  what to try first: it returns False once there is nothing left to try
    """

    def __init__(
        self, objective: Objective, tol: float, patience: float, reduce: Callable[[Optimizer], bool] | None = None
    ) -> None:
        self.objective, self.tol, self.patience, self.reduce = objective, tol, patience, reduce
        self.best, self.epochs = math.inf, 0
        self.needs_model = reduce is not None  # type: ignore[misc]

    def on_epoch(self, training: Training) -> None:
        loss = self.objective.losses[-1]
        self.epochs = self.epochs + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        if self.epochs <= self.patience:
            return
        if self.reduce is not None and self.reduce(training.optimizer):
            self.epochs = 0
            return
        training.stop(f"the loss has not improved by more than {self.tol} for {self.epochs} epochs")


class Learner:
    """Networks of one architecture, one a seed.

    members  the network that there is, or the population
    seeds    of their initial weights
    order    the seed of the order in which samples are taken, the same one for all
    epochs   trained so far, in all calls; samples, how many were taken in them
    """

    def __init__(self, network: Sequential, criterion: Loss, seeds: Sequence[int], order: int) -> None:
        self.network, self.criterion, self.seeds, self.order = network, criterion, tuple(seeds), order
        self.epochs = self.samples = 0
        with threads_for(0):
            self.members = self._initial()
        self.optimizer: Optimizer | None = None
        self.optimizer_state: Any = None  # where the optimizer itself is not at hand: after a copy or an unpickling
        self._exact: Module | None = None  # the members in float64

    def _initial(self) -> Module:
        """The members with their initial weights."""
        if len(self.seeds) > 1:
            return population(self.network, seeds=self.seeds)
        self.network.reset_parameters(generator=torch.Generator().manual_seed(self.seeds[0]))
        return self.network

    # ---- learning --------------------------------------------------------------------------------------------------
    def groups(self, penalty: float) -> list[dict[str, Any]]:
        """The parameters as an optimizer takes them: weights, of which large ones are penalised, and the others."""
        if not penalty:
            return [{"params": list(self.members.parameters())}]
        weights = [module.weight for module in self.members.modules() if isinstance(module, Linear)]
        others = [parameter for parameter in self.members.parameters() if parameter not in weights]
        return [{"params": weights, "weight_decay": penalty}, *([{"params": others}] if others else [])]

    def forget_columns(self, columns: NDArray[np.bool_]) -> None:
        """Start without weights for inputs that never change: their values in use would act through chance alone."""
        if columns.any():
            self.layers()[0].weight.data[..., torch.from_numpy(columns)] = 0.0

    def train(
        self,
        data: Batch,
        held_out: Batch | None,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        engine: str,
        **options: Any,
    ) -> History:
        """Some epochs; options are those of lamp.fit."""
        assert self.optimizer is not None
        self._exact = None
        loader = DataLoader(data, batch_size, shuffle, drop_last=drop_last, seed=self.order)
        loader.epoch = self.epochs
        history = self._fit(loader, engine, epochs=epochs, validation=held_out, **options)
        self.epochs += history.epochs
        self.samples += history.epochs * len(data[0])
        return history

    def _fit(self, loader: DataLoader, engine: str, **options: Any) -> History:
        assert self.optimizer is not None
        work, layers = self._work(loader)
        chosen = self._engine(work, layers, options["epochs"] * len(loader)) if engine == "auto" else engine
        job = self.members, self.criterion, self.optimizer, loader
        # One network's small steps are made on one thread: all that others would do is wait for each other.
        with (
            threads_for(0) if len(self.seeds) == 1 and work < 2 * PART else nullcontext(),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", ".*of one class", TrainingWarning)  # the data may have one class alone
            try:
                return fit(*job, engine=chosen, **options)
            except ArgumentError:
                if engine == chosen:
                    raise
            return fit(*job, engine="auto", **options)

    def _work(self, loader: DataLoader) -> tuple[float, int]:
        """The multiplications of a step of one network, and its layers; no end of them if it cannot be compiled."""
        try:
            plan = plan_of(self.members)
        except NotCompiled:
            return math.inf, 0
        return 3 * plan.multiplications * loader.batch_size, len(plan.layers)

    def _engine(self, work: float, layers: int, steps: int) -> str:
        """The engine for this job, whatever ran before it in this process: so that a seed gives one result."""
        seconds = steps * (EAGER_STEP * (layers + 1) + 2 * work * len(self.seeds) / EAGER_RATE)
        if COMPILED_FROM < seconds < LAMP_DECIDES_FROM:
            return "compiled"
        return "eager" if seconds <= COMPILED_FROM else "auto"

    # ---- using -----------------------------------------------------------------------------------------------------
    @property
    def in_float64(self) -> bool:
        """Whether they learn in float64."""
        return self.layers()[0].weight.dtype is torch.float64

    def outputs(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """What each member puts out for inputs (n, features): (members, n, outputs) in the inputs' dtype.

        Networks that learned in float32 are asked in float64 too: then the answer to a sample does not depend on those
        that are asked with it.
        """
        x, members = torch.from_numpy(inputs), self.members
        if x.dtype is torch.float64 and not self.in_float64:
            if self._exact is None:
                self._exact = copy.deepcopy(self).members.to(dtype=torch.float64)
            members = self._exact
        put_out: np.ndarray[Any, Any] = predict(members, x).numpy()
        return put_out[None] if len(self.seeds) == 1 else put_out

    def layers(self) -> list[Linear]:
        """The affine layers, with weights (out, in), or of several members (K, out, in)."""
        return [module for module in self.members.modules() if isinstance(module, Linear)]

    # ---- state -----------------------------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        members = self.members
        optimizer = self.optimizer.state_dict() if self.optimizer is not None else self.optimizer_state
        return {
            **vars(self),
            "members": _with(members.state_dict(), _array),
            "extra": [_with(module.get_extra_state(), _array) for module in members.modules()],
            "optimizer": None,
            "optimizer_state": _with(optimizer, _array),
            "_exact": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        extra, weights = state.pop("extra"), state.pop("members")
        vars(self).update(state)
        self.optimizer_state = _with(self.optimizer_state, _tensor)
        self.members = self._initial()
        self.members.load_state_dict(_with(weights, _tensor))
        for module, kept in zip(self.members.modules(), extra, strict=True):
            if kept is not None:
                module.set_extra_state(_with(kept, _tensor))

    def use(self, optimizer: Optimizer, go_on: bool) -> None:
        """Learn by this optimizer from now on; `go_on` where the one before, of the same kind, has come to."""
        state = self.optimizer_state if self.optimizer is None else self.optimizer.state_dict()
        if go_on and state is not None:
            optimizer.load_state_dict(state)
        self.optimizer, self.optimizer_state = optimizer, None


def _with(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of dicts, lists and tuples with each of the others changed."""
    if isinstance(value, dict):
        return {name: _with(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with(each, change) for each in value)
    return change(value)


def _array(value: Any) -> Any:
    return value.numpy().copy() if isinstance(value, Tensor) else value


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
