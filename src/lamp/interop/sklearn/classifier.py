"""Classification by an ensemble of networks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from torch import Tensor

from lamp.errors import ArgumentError, LabelError
from lamp.interop.sklearn.estimator import MLP
from lamp.interop.sklearn.learner import Batch
from lamp.interop.sklearn.losses import LabelsLogLoss
from lamp.interop.sklearn.networks import CLASSIFICATION, classes_tail, loss_of
from lamp.interop.sklearn.samples import Array, Folds, Samples, dense
from lamp.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss
from lamp.losses.weighted import WeightedLoss
from lamp.module import Module
from lamp.signatures import called
from lamp.studies.calibration import of_all_members


class MLPClassifier(ClassifierMixin, MLP):  # type: ignore[misc]
    """Multi-layer perceptrons for classification, as a scikit-learn estimator.

        model = lamp.MLPClassifier(members=8).fit(X, y)
        model.predict_proba(X_new)  # the mean of the members' probabilities

    y are labels (n,), numbers or strings; or indicators (n, labels), if a sample may have several labels.

    loss          "log_loss", which is softmax and cross-entropy, or for indicators the sum of binary ones; or a lamp
                  loss, its class or name: CrossEntropyLoss(label_smoothing=0.1), BCEWithLogitsLoss, or one that
                  compares probabilities with 0 and 1, such as MSELoss
    class_weight  the weight of each class: a dict from classes to numbers, or "balanced" for equal total weights

    After fit the attribute classes_ lists the classes, and temperature_ is what scores are divided by.
    """

    _numeric = False

    @called()
    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "relu",
        *,
        loss: Any = "log_loss",
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
        class_weight: Any = None,
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
        self.class_weight = class_weight
        self._take(locals())

    # ---- targets ---------------------------------------------------------------------------------------------------
    def _coded(self, y: Array, first: bool) -> Array:
        y = dense(y)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        several = kind == "multilabel-indicator"
        if not several and y.ndim > 1:
            raise LabelError(
                "several labels per sample must be given as indicators",
                expected="y (n,), or (n, labels) of 0 and 1",
                got=f"y {y.shape}, {kind}",
                fix="one classifier for each column: sklearn.multioutput.MultiOutputClassifier",
            )
        if several:
            return self._indicators(y, first)
        return self._labels(y, first)

    def _indicators(self, y: Array, first: bool) -> Array:
        if first:
            self.classes_, self._several = np.arange(y.shape[1]), True
        if not self._several or y.shape[1] != len(self.classes_):
            raise self._other_classes("as many labels", y.shape)
        return y.astype(np.float32)

    def _labels(self, y: Array, first: bool) -> Array:
        if first:
            self.classes_, labels = np.unique(y, return_inverse=True)
            self._several = False
            return labels
        if self._several:
            raise self._other_classes(f"indicators (n, {len(self.classes_)})", y.shape)
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (strangers := self.classes_[labels] != y).any():
            raise self._other_classes(list(self.classes_), list(np.unique(y[strangers])))
        return labels

    def _other_classes(self, expected: object, got: object) -> LabelError:
        return LabelError(
            "`y` has classes that the networks do not know",
            expected=expected,
            got=got,
            fix="fit a new classifier (warm_start=False); name all classes in the first partial_fit",
        )

    def _weigh(self, samples: Samples) -> Samples:
        if self.class_weight is None:
            return samples
        if self._several:
            raise ArgumentError(
                "class_weight needs one label per sample", expected="None", got=self.class_weight, fix="sample_weight"
            )
        by_class = np.bincount(samples.targets, samples.weights, len(self.classes_))
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            there = by_class > 0
            factors = by_class.sum() / (there.sum() * np.where(there, by_class, 1.0))
        elif isinstance(self.class_weight, dict):
            classes = self.classes_.tolist()
            unknown = [key for key in self.class_weight if key not in classes]
            if unknown and any(each not in self.class_weight for each in classes):  # as in scikit-learn
                raise ArgumentError(
                    "class_weight has keys that are no classes, and lacks classes",
                    expected=f"a dict from some of {classes} to weights"[:200],
                    got=f"the keys {unknown}"[:200],
                    fix="write the classes as the targets have them; text and numbers differ",
                )
            factors = np.array([self.class_weight.get(each, 1.0) for each in classes], dtype=float)
            if (factors < 0).any():
                raise ArgumentError(
                    "class_weight: a weight is negative",
                    expected="numbers of at least 0",
                    got=self.class_weight,
                    fix="0.0 leaves a class out",
                )
        else:
            raise ArgumentError(
                "class_weight has a wrong value",
                expected='"balanced", or a dict from class to weight',
                got=repr(self.class_weight),
                fix='class_weight="balanced"',
            )
        return Samples(samples.inputs, samples.targets, samples.weights * factors[samples.targets])

    def _prepare_targets(self, samples: Samples) -> int:
        self.temperature_ = 1.0
        self.out_activation_ = "logistic" if self._several or self._each_for_itself() else "softmax"
        return len(self.classes_)

    def _each_for_itself(self) -> bool:
        """Whether the network's outputs are independent log-odds of each class."""
        return isinstance(self._loss_and_tail()[0], BCEWithLogitsLoss)

    def _calibrate(self, data: Batch, validation: Batch | None, folds: Folds | None, weights: Array) -> None:
        self.temperature_ = 1.0
        held_out = data if folds is not None else validation
        members = len(self._learner.seeds)
        if held_out is None or members == 1 or len(self.classes_) == 1 or not self._likelihood():
            return
        scores, rows = self._learner.unseen(held_out[0], folds)
        targets, counts = held_out[1][rows], torch.from_numpy(weights)[rows]
        if self._several:  # each label of a row is a row of its own, of two classes with the scores 0 and s
            labels = targets[:, : len(self.classes_)].flatten().round().long()
            scores = scores.flatten(1).unsqueeze(-1)  # (m, n labels, 1)
            scores = torch.cat([torch.zeros_like(scores), scores], -1)
            counts = counts.repeat_interleave(len(self.classes_))
        else:
            labels = targets if targets.dim() == 1 else targets.argmax(1)
        self.temperature_ = of_all_members(scores, labels, members, weights=counts)

    def _likelihood(self) -> bool:
        """Whether the outputs are scores whose log loss is trained on, so that a temperature makes sense."""
        criterion, tail = self._loss_and_tail()
        return tail is None and isinstance(criterion, BCEWithLogitsLoss if self._several else CrossEntropyLoss)

    def _loss_and_tail(self) -> tuple[Loss, Module | None]:
        loss = LabelsLogLoss if self._several and self.loss == "log_loss" else self.loss
        criterion = loss_of(loss, "log_loss", CLASSIFICATION)
        return criterion, classes_tail(criterion, self._several)

    def _tensor(self, targets: Array, criterion: Loss, weights: Array | None) -> Tensor:
        labels_alone = isinstance(criterion, CrossEntropyLoss)
        if labels_alone and weights is None:
            return torch.from_numpy(targets.astype(np.int64))
        shares = targets if self._several else np.eye(len(self.classes_))[targets]
        if weights is None:
            return torch.from_numpy(shares.astype(self.dtype))
        if not isinstance(criterion, WeightedLoss):  # cross-entropy: the weight is part of the target
            smoothing = self._loss_and_tail()[0].label_smoothing  # type: ignore[attr-defined]
            shares = (shares * (1.0 - smoothing) + smoothing / len(self.classes_)) * weights
            return torch.from_numpy(shares.astype(self.dtype))
        return torch.from_numpy(np.hstack([shares, weights]).astype(self.dtype))

    # ---- learning and using ----------------------------------------------------------------------------------------
    @called()
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one more epoch, on these samples. All samples are standardised by those of the first call.

        classes  all classes that will occur; required in the first call, except for indicators
        """
        first = not hasattr(self, "_learner")
        several = type_of_target(y).startswith("multilabel")
        if first and classes is None and not several:
            raise ArgumentError(
                "classes must be passed on the first call to partial_fit",
                expected="all classes that will occur",
                got="None",
                fix="partial_fit(X, y, classes=numpy.unique(all_labels))",
            )
        if classes is not None and not several:
            named = np.unique(np.asarray(classes))
            if first:
                self.classes_, self._several = named, False
            elif not np.array_equal(named, self.classes_):
                raise self._other_classes(list(self.classes_), list(named))
        return self._learn_more(X, y, sample_weight, coded=not several)

    @called()
    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the members' probabilities, (n, classes), in the order of classes_.

        return_std  whether to return also the members' standard deviation, which is 0 for one member
        """
        mean, std = self._predicted(X)
        return (mean, std) if return_std else mean

    @called()
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))  # type: ignore[no-any-return]

    @called()
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The most probable class of each sample, (n,); for indicators, the labels above probability 1/2, (n, labels).

        return_std  whether to return also the standard deviation of the members' probabilities of that class (or label)
        """
        mean, std = self._predicted(X)
        if self._several:
            found = (mean > 0.5).astype(np.int64)
            return (found, std) if return_std else found
        places = mean.argmax(1)
        found = self.classes_[places]
        return (found, std[np.arange(len(places)), places]) if return_std else found

    def _predictions(self, outputs: Array) -> Array:
        scores = torch.from_numpy(outputs) / self.temperature_
        criterion, tail = self._loss_and_tail()
        if tail is None and isinstance(criterion, CrossEntropyLoss):
            scores = scores.softmax(-1)
        elif tail is None:
            scores = scores.sigmoid()
            if not self._several:
                scores = scores / scores.sum(-1, keepdim=True)
        return scores.numpy()

    def _unfold(self, weight: Array, bias: Array) -> None:
        weight /= self.temperature_
        bias /= self.temperature_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
