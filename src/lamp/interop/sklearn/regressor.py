"""Regression by an ensemble of networks."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.interop.sklearn.estimator import MLP
from lamp.interop.sklearn.networks import REGRESSION, loss_of
from lamp.interop.sklearn.samples import Array, Samples, Standard
from lamp.losses import KLDivLoss, Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.probabilities import BinaryLoss
from lamp.losses.weighted import WeightedLoss
from lamp.module import Module
from lamp.signatures import called

LARGE = 1e30  # scales of targets up to which predictions stay in float32, where tables are


class MLPRegressor(RegressorMixin, MLP):  # type: ignore[misc]
    """Multi-layer perceptrons for regression, as a scikit-learn estimator; targets (n,) or (n, outputs).

        model = lamp.MLPRegressor(members=8).fit(X, y)
        mean, std = model.predict(X_new, return_std=True)  # std: the members' disagreement

    loss  "squared_error", "absolute_error", or a lamp loss such as lamp.HuberLoss(delta=0.5), its class or name. It is
          a loss of standardised targets, unless standardize=False
    """

    _numeric = True

    @called()
    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "relu",
        *,
        loss: Any = "squared_error",
        solver: Any = "adam",
        alpha: float = 1e-4,
        dropout: float = 0.0,
        batch_size: int | str = "auto",
        learning_rate: Any = "cosine",
        learning_rate_init: float = 0.01,
        power_t: float = 0.5,
        max_iter: int = 30,
        shuffle: bool = True,
        standardize: bool = True,
        encoding: str | None = None,
        n_bins: int = 16,
        members: int = 1,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = "auto",
        validation_fraction: float | str = "auto",
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        clip_norm: float | None = None,
        dtype: str = "float32",
        engine: str = "auto",
    ) -> None:
        self._take(locals())

    # ---- targets ---------------------------------------------------------------------------------------------------
    def _coded(self, y: Array, first: bool) -> Array:
        numbers = np.asarray(y, dtype=np.float64)
        if first:
            self._flat, self._width = numbers.ndim == 1, math.prod(numbers.shape[1:])
        numbers = numbers.reshape(len(numbers), -1)
        if numbers.shape[1] != self._width:
            raise ArgumentError(
                "y has another number of outputs than the networks",
                expected=(len(numbers), self._width),
                got=numbers.shape,
                fix="fit a new estimator",
            )
        return numbers

    def _prepare_targets(self, samples: Samples) -> int:
        self.out_activation_ = "identity"
        none = Standard.none(self._width)
        self._of_targets = Standard.of(samples.targets, samples.weights) if self.standardize else none
        return self._width

    def _loss_and_tail(self) -> tuple[Loss, Module | None]:
        criterion = loss_of(self.loss, "squared_error", REGRESSION)
        if isinstance(criterion, ClassLoss | BinaryLoss | KLDivLoss):
            raise ArgumentError(
                f"{type(criterion).__name__} is not a loss for regression",
                expected="a loss of an output and a target of its shape, such as lamp.MSELoss()",
                got=repr(self.loss),
                fix='loss="squared_error", or lamp.MLPClassifier',
            )
        return criterion, None

    def _reported_share(self) -> float:
        """scikit-learn minimises the sum over outputs of the squared error, and reports the mean over them."""
        return 1.0 / self._width if self.loss == "squared_error" else 1.0

    def _tensor(self, targets: Array, criterion: Loss, weights: Array | None) -> Tensor:
        numbers = self._of_targets(targets, self.dtype)
        if isinstance(criterion, WeightedLoss) and weights is not None:
            numbers = np.hstack([numbers, weights.astype(self.dtype)])
        return torch.from_numpy(numbers)

    # ---- learning and using ----------------------------------------------------------------------------------------
    @called()
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one more epoch, on these samples. All samples are standardised by those of the first call."""
        return self._learn_more(X, y, sample_weight, coded=False)

    @called()
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the members' predictions, (n,) or (n, outputs), in the form of y.

        return_std  whether to return also the members' standard deviation, which is 0 for one member
        """
        mean, std = (each[:, 0] if self._flat else each for each in self._predicted(X))
        return (mean, std) if return_std else mean

    def _predictions(self, outputs: Array) -> Array:
        scale, mean = self._of_targets.scale, self._of_targets.mean
        sizes = np.abs([scale, mean])
        fits = sizes.max() < LARGE and sizes[0].min() > 1.0 / LARGE  # else a float32 would lose them
        dtype = outputs.dtype if fits else np.float64
        return outputs * scale.astype(dtype) + mean.astype(dtype)  # type: ignore[no-any-return]

    def _unfold(self, weight: Array, bias: Array) -> None:
        weight *= self._of_targets.scale
        bias *= self._of_targets.scale
        bias += self._of_targets.mean

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
