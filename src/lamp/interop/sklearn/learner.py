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

from lamp.axes import per_replica
from lamp.compiler.tiling import PART
from lamp.cpu_settings import threads_for
from lamp.data import DataLoader
from lamp.errors import TrainingWarning
from lamp.interop.sklearn.samples import Folds
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Linear, Sequential
from lamp.optim import AdamW, Optimizer
from lamp.replicas import population
from lamp.training import Callback, EarlyStopping, History, Training, fit, predict
from lamp.training.arguments import EVALUATION_BATCH

Batch = tuple[Tensor, Tensor]
SLOWER, SLOWEST = 0.2, 1e-6  # learning_rate="adaptive": its factor and its lowest rate, as in scikit-learn


class Objective(Callback):
    """Records the minimised objective of each epoch: the loss plus the penalty on the weights, averaged over members.

    share    a factor of the loss, where scikit-learn reports another multiple of the loss than it minimises
    penalty  a factor of the penalty of a full batch: the penalty of an epoch, where its last batch is smaller
    losses   one number per epoch

    For an epoch of one step, the penalty is that of the weights before the step. For a longer epoch it is the mean of
    the penalties before and after the epoch.
    """

    changes_model = False

    def __init__(self, share: float, penalty: float) -> None:
        self.share, self.penalty, self.losses = share, penalty, list[float]()

    def on_start(self, training: Training) -> None:
        self.needs_model = any(group["weight_decay"] for group in _penalised(training.optimizer))  # type: ignore[misc]
        self._penalty = self._of_weights(training.optimizer)

    def on_epoch(self, training: Training) -> None:
        before, self._penalty = self._penalty, self._of_weights(training.optimizer)
        steps = training.step // (training.epoch + 1)
        penalty = before if steps == 1 else (before + self._penalty) / 2
        loss = torch.as_tensor(training.history.last["loss"], dtype=torch.float64)
        self.losses.append(float((loss * self.share + penalty * self.penalty).nanmean()))

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
    """The groups whose weights are penalised in the loss. AdamW has none, since its decay is not part of the loss."""
    groups = [] if isinstance(optimizer, AdamW) else optimizer.param_groups
    return [group for group in groups if group.get("weight_decay")]


class Plateau(Callback):
    """Ends a training whose objective has not improved by `tol` for `patience` epochs.

    reduce  None, or a function that first reduces the learning rate, and returns False once it can reduce it no more
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


def slower(optimizer: Optimizer) -> bool:
    """learning_rate="adaptive": a fifth of the rate, or False once it is too small to go on."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * SLOWER
    return bool(optimizer.param_groups[0]["lr"] > SLOWEST)


class StoppingTogether(EarlyStopping):
    """Early stopping that ends the training of all members at once, when none has improved for `patience` epochs.

    Each member has its own best weights at the end, as with EarlyStopping. If members ended one by one, kernels for
    fewer members would have to be prepared each time. In a small table that takes longer than all the steps.
    """

    changes_model = False

    def _end_replicas(self, training: Training, over: Tensor, why: str) -> None:
        if over[training.going].all():
            training.stop(f"{why}, in any member")


class Learner:
    """Networks of one architecture, one per seed, with their training and prediction.

    members  the network if there is one seed, else the population
    seeds    the seeds of the initial weights
    order    the seed of the order of samples, which all networks share
    epochs   the number of epochs trained in all calls; `samples`, the number of samples seen in them
    batch_weight  the sum of the sample weights that the optimizer's penalty was divided by
    """

    def __init__(self, network: Sequential, criterion: Loss, seeds: Sequence[int], order: int) -> None:
        self.network, self.criterion, self.seeds, self.order = network, criterion, tuple(seeds), order
        self.epochs = self.samples = 0
        self.batch_weight = 1.0
        with threads_for(0):
            self.members = self._initial()
        self.optimizer: Optimizer | None = None
        self.optimizer_state: Any = None  # the optimizer's state after a copy or unpickling, which drop the optimizer
        self._exact: Module | None = None  # the members in float64

    def _initial(self) -> Module:
        """The members with their initial weights."""
        if len(self.seeds) > 1:
            return population(self.network, seeds=self.seeds)
        self.network.reset_parameters(generator=torch.Generator().manual_seed(self.seeds[0]))
        return self.network

    # ---- learning --------------------------------------------------------------------------------------------------
    def groups(self, penalty: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: the weights of Linear with the penalty, and the other parameters."""
        if not penalty:
            return [{"params": list(self.members.parameters())}]
        weights = [module.weight for module in self.members.modules() if isinstance(module, Linear)]
        others = [parameter for parameter in self.members.parameters() if parameter not in weights]
        return [{"params": weights, "weight_decay": penalty}, *([{"params": others}] if others else [])]

    def forget_columns(self, columns: NDArray[np.bool_]) -> None:
        """Set the weights of constant input columns to zero, since other values later would have random effects."""
        if columns.any():
            self.layers()[0].weight.data[..., torch.from_numpy(columns).nonzero().flatten()] = 0.0

    def train(
        self,
        data: Batch,
        held_out: Batch | None,
        folds: Folds | None,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        engine: str,
        **options: Any,
    ) -> History:
        """Train for some epochs, and return the history; the options are those of lamp.fit.

        held_out  the validation samples of all members
        folds     in their place, the rows of `data` that each member trains on and holds out
        """
        assert self.optimizer is not None
        self._exact = None
        indices = None if folds is None else folds.training
        loader = DataLoader(data, batch_size, shuffle, drop_last=drop_last, seed=self.order, indices=indices)
        loader.epoch = self.epochs
        validation: Any = held_out
        if folds is not None:
            rows = folds.held_out.reshape(len(folds.held_out), -1)
            validation = DataLoader(data, EVALUATION_BATCH, indices=rows)
        history = self._fit(loader, engine, epochs=epochs, validation=validation, **options)
        self.epochs += history.epochs
        self.samples += history.epochs * loader.samples
        return history

    def _fit(self, loader: DataLoader, engine: str, **options: Any) -> History:
        assert self.optimizer is not None
        # Small steps of a single network run on one thread; several threads would only wait for each other.
        with (
            threads_for(0) if len(self.seeds) == 1 and self._work(loader) < 2 * PART else nullcontext(),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", ".*of one class", TrainingWarning)  # the data may have only one class
            return fit(self.members, self.criterion, self.optimizer, loader, engine=engine, **options)

    def _work(self, loader: DataLoader) -> int:
        """The multiplications of a step of one network."""
        return 3 * loader.batch_size * sum(layer.in_features * layer.out_features for layer in self.layers())

    # ---- using -----------------------------------------------------------------------------------------------------
    @property
    def in_float64(self) -> bool:
        """Whether the networks are trained in float64."""
        return self.layers()[0].weight.dtype is torch.float64

    def outputs(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The outputs of each member for inputs (n, features): (members, n, outputs) in the inputs' dtype.

        For inputs in float64, networks that were trained in float32 compute in float64, so that the outputs of a sample
        do not depend on the other samples of the batch.
        """
        x, members = torch.from_numpy(inputs), self.members
        if x.dtype is torch.float64 and not self.in_float64:
            if self._exact is None:
                self._exact = copy.deepcopy(self).members.to(dtype=torch.float64)
            members = self._exact
        outputs: np.ndarray[Any, Any] = predict(members, x).numpy()
        return outputs[None] if len(self.seeds) == 1 else outputs

    def unseen(self, inputs: Tensor, folds: Folds | None) -> tuple[Tensor, Tensor]:
        """Outputs (m, n, outputs) of members that have not trained on these inputs, and the rows (n,) of the inputs.

        folds  which rows each member holds out; None if all members hold out all inputs
        """
        if folds is None:
            outputs = predict(self.members, inputs)
            return outputs if len(self.seeds) > 1 else outputs[None], torch.arange(len(inputs))
        members, *parts = folds.held_out.shape
        own = inputs[torch.from_numpy(folds.held_out.reshape(members, -1))]  # (members, rows, features)
        outputs = predict(self.members, per_replica(own)).unflatten(1, parts)
        unseen, rows = folds.unseen(outputs.numpy())
        return torch.from_numpy(unseen), torch.from_numpy(rows)

    def layers(self) -> list[Linear]:
        """The Linear layers, with weights (out, in), or (K, out, in) for several members."""
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

    def use(self, optimizer: Optimizer, batch_weight: float, go_on: bool) -> None:
        """Use this optimizer from now on; with `go_on` it takes over the state of the former one of the same class.

        batch_weight  the sum of the weights of a batch, which its penalty was divided by
        """
        state = self.optimizer_state if self.optimizer is None else self.optimizer.state_dict()
        if go_on and state is not None:
            optimizer.load_state_dict(state)
        else:
            self.batch_weight = batch_weight
        self.optimizer, self.optimizer_state = optimizer, None


def _with(value: Any, change: Callable[[Any], Any]) -> Any:
    """The nested dicts, lists and tuples, with `change` applied to all other values."""
    if isinstance(value, dict):
        return {name: _with(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with(each, change) for each in value)
    return change(value)


def _array(value: Any) -> Any:
    return value.numpy().copy() if isinstance(value, Tensor) else value


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
