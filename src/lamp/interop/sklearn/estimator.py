"""`MLP`, the base class of the classifier and the regressor: from tables to trained networks and to predictions."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lamp.cpu_settings import threads_for
from lamp.errors import ArgumentError
from lamp.interop.sklearn.learner import Batch, Learner, Objective, Plateau, StoppingTogether, slower
from lamp.interop.sklearn.networks import network_of, with_weights
from lamp.interop.sklearn.parameters import ABOUT, INSTEAD, architecture_of, check_parameters, decided, sizes_of
from lamp.interop.sklearn.rates import Planned, cosine, inverse_scaling, optimizer_for, penalty_of_batches, planned
from lamp.interop.sklearn.samples import (
    FEWEST_FOLDED,
    MOST_FOLDED,
    MOST_HELD_OUT,
    Array,
    Folds,
    Samples,
    Standard,
    checked_weights,
    dense,
    numbers_of,
)
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import PiecewiseLinearEncoding
from lamp.optim import LRScheduler, Optimizer, ReduceLROnPlateau
from lamp.signatures import called, check_takes
from lamp.torch_habits import missing_attribute
from lamp.training import Callback, History

SEEDS = 2**31 - 1
STEPS, LEAST_BATCH, PART, MOST_BATCH = 8, 32, 50, 256  # the constants of batch_size="auto"
PREDICTED_AT_ONCE = 2**16  # rows that are predicted at a time, by all members
LANES = 16  # samples in a vector register of compiled code
TABLES = {"accept_sparse": ["csr", "csc"], "dtype": [np.float64, np.float32]}


class MLP(BaseEstimator):  # type: ignore[misc]
    """Base of lamp's estimators. A subclass defines how targets become tensors, and which loss it has."""

    hidden_layer_sizes: Any
    activation: Any
    loss: Any
    solver: Any
    alpha: float
    dropout: float
    batch_size: int | str
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    standardize: bool
    encoding: str | None
    n_bins: int
    members: int
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool | str
    validation_fraction: float | str
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    clip_norm: float | None
    dtype: str
    engine: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("lamp."):
            cls.__doc__ = f"{cls.__doc__}{ABOUT}"

    def _take(self, parameters: Mapping[str, Any]) -> None:
        """Store the constructor's arguments (its `locals()`) unchanged under their names, as scikit-learn requires."""
        for name in self._get_param_names():
            setattr(self, name, parameters[name])

    # ---- what a subclass defines -----------------------------------------------------------------------------------
    @abstractmethod
    def _coded(self, y: Array, first: bool) -> Array:
        """The targets as numbers: labels (n,), indicators (n, labels) or numbers (n, outputs)."""

    @abstractmethod
    def _loss_and_tail(self) -> tuple[Loss, Module | None]:
        """The loss for the estimator's parameters, and the module that ends the network, if any."""

    @abstractmethod
    def _prepare_targets(self, samples: Samples) -> int:
        """Learn how targets become a network's outputs, and return the number of outputs."""

    @abstractmethod
    def _tensor(self, targets: Array, criterion: Loss, weights: Array | None) -> Tensor:
        """Coded targets in the form that the loss takes, with the samples' weights (n, 1) if there are any."""

    @abstractmethod
    def _predictions(self, outputs: Array) -> Array:
        """The members' predictions from their outputs; both (members, n, outputs)."""

    def _weigh(self, samples: Samples) -> Samples:
        """The samples, with their weights multiplied by those of their classes."""
        return samples

    def _reported_share(self) -> float:
        """The factor of the loss in `loss_` and `loss_curve_`."""
        return 1.0

    _numeric: ClassVar[bool]  # whether targets are numbers

    # ---- learning --------------------------------------------------------------------------------------------------
    @called()
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on a table X (n, features) and targets y. Returns the estimator.

        sample_weight  (n,), the weight of each sample
        X_val, y_val   a validation set: its loss is measured after each epoch, and ends the training with
                       early_stopping; without it, early_stopping holds out samples of X

        Raises the errors of scikit-learn's validation, lamp.ArgumentError for a parameter, lamp.DataError for too few
        samples, and lamp.NonFiniteError if no member's loss stays finite.
        """
        first = not hasattr(self, "_learner") or not self.warm_start
        check_parameters(self, None if first else self._built)
        samples = self._samples(X, y, sample_weight, reset=first, first=first)
        if X_val is None and y_val is None:
            return self._learn(samples, None, first)
        if X_val is None or y_val is None:
            what = "validation needs X_val and y_val"
            raise ArgumentError(what, expected="both, or neither", got="one of them", fix="pass both")
        return self._learn(samples, self._samples(X_val, y_val, sample_weight_val, reset=False, first=False), first)

    def _learn_more(self, X: Any, y: Any, sample_weight: Any, *, coded: bool) -> Self:
        """The implementation of partial_fit. `coded` says whether the coding of targets is known already."""
        first = not hasattr(self, "_learner")
        check_parameters(self, None if first else self._built)
        samples = self._samples(X, y, sample_weight, reset=first, first=first and not coded)
        return self._learn(samples, None, first, partial=True)

    def _samples(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, first: bool) -> Samples:
        X, y = numbers_of(X, "X"), numbers_of(y, "y", self._numeric)
        X, y = validate_data(self, X, y, reset=reset, multi_output=True, y_numeric=self._numeric, **TABLES)
        X = dense(X)
        samples = Samples(X, self._coded(y, first), checked_weights(sample_weight, len(X)))
        return self._weigh(samples.counting()).counting()

    def _learn(self, samples: Samples, held_out: Samples | None, first: bool, partial: bool = False) -> Self:
        """Train for up to max_iter epochs, or for one with `partial`, and set the attributes of the result."""
        random = check_random_state(self.random_state)
        seed = int(random.randint(SEEDS))
        seed = seed if first else self._learner.order  # so that what is held out stays the same
        samples, folds = samples.merged(seed), None
        if held_out is None and not partial:
            members = int(self.members) if first else len(self._learner.seeds)
            samples, held_out, folds = self._hold_out(samples, seed, members)
        if first:
            self._begin(samples, int(random.randint(SEEDS)), seed)
            self._built = architecture_of(self)
        learner = self._learner
        rows = len(samples) if folds is None else folds.training.shape[1]
        size = self._batch_size(rows)
        drop_last = self.batch_size == "auto" and bool(self.shuffle)  # each epoch leaves out other samples
        steps = rows // size if drop_last else -(-rows // size)
        trained = min(rows, steps * size)  # in an epoch
        with threads_for(0):
            data, validation = self._batches(samples, held_out)
            weight = size * float(samples.weights.mean())  # of a batch
            if not partial or learner.optimizer is None:
                learner.use(self._new_optimizer(weight), weight, go_on=partial)
        optimizer, scale = learner.optimizer, learner.batch_weight / weight
        assert isinstance(optimizer, Planned)
        optimizer.penalty_plan = penalty_of_batches(scale, trained, size, optimizer.step_count[0])
        objective = Objective(self._reported_share(), scale * steps * size / trained)
        ends = [] if partial else self._callbacks(objective, validation is not None or folds is not None)
        history = learner.train(
            data,
            validation,
            folds,
            epochs=1 if partial else int(self.max_iter),
            batch_size=size,
            shuffle=bool(self.shuffle),
            drop_last=drop_last,
            engine=self.engine,
            scheduler=self._schedule(optimizer, rows, steps, partial),
            clip_norm=self.clip_norm,
            callbacks=[objective, *ends],
            progress=bool(self.verbose),
        )
        if not partial:
            self._calibrate(data, validation, folds, samples.weights if held_out is None else held_out.weights)
        self._keep(history, objective.losses, go_on=not first, partial=partial)
        return self

    def _hold_out(self, samples: Samples, seed: int, members: int) -> tuple[Samples, Samples | None, Folds | None]:
        """The samples to train on, and of them those that all members hold out, or each member's folds."""
        asked, by_class = decided(self, "early_stopping"), samples.targets.ndim == 1
        fraction = float(decided(self, "validation_fraction"))
        if members > 1 and self.validation_fraction == "auto":
            fraction = min(fraction, MOST_HELD_OUT / len(samples))
        if not asked or (self.early_stopping == "auto" and len(samples) < FEWEST_FOLDED):
            return samples, None, None
        if members > 1 and FEWEST_FOLDED <= len(samples) <= MOST_FOLDED:
            return samples, None, samples.folds(members, fraction, seed, by_class)
        return *samples.split(fraction, seed, by_class), None

    def _calibrate(self, data: Batch, validation: Batch | None, folds: Folds | None, weights: Array) -> None:
        """Learn from held-out samples how sure the members may be; `weights` are those of the samples they are among.

        folds  the rows of `data` that each member holds out; without them all members hold out `validation`, if any
        """

    def _begin(self, samples: Samples, seed: int, order: int) -> None:
        """Make new networks and the standardisation of their inputs."""
        features = samples.inputs.shape[1]
        self._standard = Standard.of(samples.inputs, samples.weights) if self.standardize else Standard.none(features)
        self.n_outputs_ = self._prepare_targets(samples)
        hidden = sizes_of(decided(self, "hidden_layer_sizes"))
        criterion, tail = self._loss_and_tail()
        encoding = None
        if self.encoding is not None:
            inputs = torch.from_numpy(self._standard(samples.inputs, self.dtype))
            encoding = PiecewiseLinearEncoding.fit(inputs, int(self.n_bins)).to(dtype=inputs.dtype)
            features = encoding.out_features
        dropout = float(self.dropout)
        network = network_of(features, hidden, self.n_outputs_, self.activation, dropout, tail, self.dtype, encoding)
        self.n_layers_ = len(hidden) + 2
        self._learner = Learner(network, criterion, range(seed, seed + int(self.members)), order)
        self._learner.forget_columns(self._standard.constant)

    def _batches(self, samples: Samples, held_out: Samples | None) -> tuple[Batch, Batch | None]:
        """The training and the validation samples as tensors, in the form that the networks and the loss take."""
        both = [samples] if held_out is None else [samples, held_out]
        weighted = not all(each.alike for each in both)
        criterion, _ = self._loss_and_tail()
        self._learner.criterion = with_weights(criterion) if weighted else criterion
        found: list[Batch] = []
        for each in both:
            inputs = torch.from_numpy(self._standard(each.inputs, self.dtype))
            weights = (each.weights / each.weights.mean())[:, None] if weighted else None
            found.append((inputs, self._tensor(each.targets, self._learner.criterion, weights)))
        return found[0], None if held_out is None else found[1]

    def _batch_size(self, samples: int) -> int:
        if self.batch_size != "auto":
            return min(int(self.batch_size), samples)
        size = max(min(samples // STEPS, LEAST_BATCH), min(samples // PART, MOST_BATCH), 1)
        return size if size < LANES else size // LANES * LANES

    def _new_optimizer(self, weight_of_batch: float) -> Optimizer:
        numbers = {
            "lr": float(self.learning_rate_init),
            "momentum": float(self.momentum),
            "nesterov": bool(self.nesterovs_momentum),
            "betas": (float(self.beta_1), float(self.beta_2)),
            "eps": float(self.epsilon),
        }
        groups = self._learner.groups(float(self.alpha) / weight_of_batch)
        return planned(optimizer_for(self.solver, groups, numbers))

    def _schedule(
        self, optimizer: Optimizer, samples: int, steps: int, partial: bool
    ) -> LRScheduler | ReduceLROnPlateau | None:
        """Set the optimizer's plan, or return the schedule that the user's function makes."""
        assert isinstance(optimizer, Planned)
        optimizer.plan = None
        if callable(self.learning_rate):
            check_takes("learning_rate", self.learning_rate, "optimizer")
            return None if partial else self.learning_rate(optimizer)
        if self.learning_rate == "cosine" and not partial:
            optimizer.plan = cosine(int(self.max_iter) * steps)
        elif self.learning_rate == "invscaling":
            optimizer.plan = inverse_scaling(
                float(self.power_t), samples, steps, self._learner.samples, optimizer.step_count[0] if partial else None
            )
        return None

    def _callbacks(self, objective: Objective, validated: bool) -> list[Callback]:
        """The callbacks that may end the training early."""
        if decided(self, "early_stopping") and validated:
            patience = int(min(self.n_iter_no_change, self.max_iter))
            return [StoppingTogether(patience, min_delta=float(self.tol))]
        if self.learning_rate == "cosine":  # its end is fixed from the beginning
            return []
        reduce = slower if self.learning_rate == "adaptive" else None
        return [Plateau(objective, float(self.tol), self.n_iter_no_change, reduce)]

    def _keep(self, history: History, losses: list[float], *, go_on: bool, partial: bool) -> None:
        """Set the attributes of the result; `losses` are those of the epochs, with the penalty."""
        self.history_, self.n_iter_, self.t_ = history, history.epochs, self._learner.samples
        before: list[float] = self.loss_curve_ if go_on else []
        self.loss_curve_: list[float] = before + losses
        validation = history.mean("validation_loss").tolist() if "validation_loss" in history else []
        before = (self.validation_loss_curve_ or []) if go_on else []
        self.validation_loss_curve_: list[float] | None = before + validation or None
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        self.best_loss_ = min(self.loss_curve_, default=math.nan)
        self.best_validation_loss_ = min(self.validation_loss_curve_ or [math.nan])
        if history.stopped.startswith("interrupted"):
            warnings.warn("Training interrupted by user.", stacklevel=4)
        planned_end = partial or callable(self.learning_rate) or self.learning_rate == "cosine"
        if history.epochs == self.max_iter and not planned_end and history.stopped == "all epochs done":
            warnings.warn(
                f"the training has not converged within max_iter={self.max_iter} epochs; increase it, or use "
                'learning_rate="cosine", which always ends with the last epoch',
                ConvergenceWarning,
                stacklevel=4,
            )

    # ---- using -----------------------------------------------------------------------------------------------------
    def _predicted(self, X: Any) -> tuple[Array, Array]:
        """The mean of the members' predictions, (n, ...), and their standard deviation.

        The dtype is float64 if X or the networks are, else float32.
        """
        check_is_fitted(self, "n_iter_")
        X = dense(validate_data(self, numbers_of(X, "X"), reset=False, **TABLES))
        learner = self._learner
        dtype = "float64" if learner.in_float64 else X.dtype.name
        means, spreads = [], []
        for start in range(0, len(X), PREDICTED_AT_ONCE):
            each = self._predictions(learner.outputs(self._standard(X[start : start + PREDICTED_AT_ONCE], dtype)))
            means.append(each.mean(0))
            spreads.append(each.std(0))
        return np.concatenate(means), np.concatenate(spreads)

    if not TYPE_CHECKING:  # type checkers must go on to report missing attributes

        def __getattr__(self, name: str) -> Any:
            unfitted = name.endswith("_") and not hasattr(self, "_learner")
            raise missing_attribute(self, name, {name: "call fit(X, y) first"} if unfitted else INSTEAD)

    @property
    def network_(self) -> Module:
        """The network, or a population of the members; it takes standardised inputs."""
        return self._fitted().members

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (in, out) or (members, in, out), as if nothing were standardised."""
        return [weight for weight, _ in self._affine()]

    @property
    def intercepts_(self) -> list[Array]:
        """The intercepts of each layer, (out,) or (members, out), as if nothing were standardised."""
        return [bias for _, bias in self._affine()]

    def _fitted(self) -> Learner:
        if not hasattr(self, "_learner"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return self._learner

    def _affine(self) -> list[tuple[Array, Array]]:
        layers = []
        for layer in self._fitted().layers():
            assert layer.bias is not None
            weight = layer.weight.data.double().mT.numpy()  # (in, out) or (members, in, out)
            layers.append((weight.copy(), layer.bias.data.double().numpy().copy()))
        weight, bias = layers[0]
        columns = weight[..., : len(self._standard.mean), :]  # without those of an encoding's bins
        columns /= self._standard.scale[:, None]
        bias -= self._standard.mean @ columns
        self._unfold(*layers[-1])
        return layers

    def _unfold(self, weight: Array, bias: Array) -> None:
        """Bring the last layer's weights to the targets' own units, in place."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
