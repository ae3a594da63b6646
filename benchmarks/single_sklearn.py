"""One network in scikit-learn: MLPClassifier, one epoch per call."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Absent
from benchmarks.single import Task
from benchmarks.start import Array


class WithSklearn:
    """MLPClassifier.partial_fit on all samples, in their order, without weight decay."""

    def __init__(self, task: Task, threads: int) -> None:
        try:
            from sklearn.neural_network import MLPClassifier
            from sklearn.neural_network._stochastic_optimizers import AdamOptimizer
            from threadpoolctl import threadpool_limits
        except ImportError as error:
            raise Absent("scikit-learn is not installed: pip install scikit-learn") from error
        rule = task.rule

        class Adam(AdamOptimizer):  # type: ignore[misc]
            """Adds eps to the corrected root, as all others do. scikit-learn adds it before the correction."""

            @property
            def epsilon(self) -> float:
                return self.eps * (1 - self.beta_2**self.t) ** 0.5  # type: ignore[no-any-return]

            @epsilon.setter
            def epsilon(self, eps: float) -> None:
                self.eps = eps

        self.task, self.threads, self.limits = task, threads, threadpool_limits
        self.inputs, self.labels = np.concatenate(task.inputs), np.concatenate(task.targets)
        self.model = MLPClassifier(
            task.widths[1:-1],
            activation=task.activation.lower(),
            alpha=0.0,
            batch_size=task.batch,
            shuffle=False,
        )
        self.model.partial_fit(self.inputs, self.labels, classes=range(task.widths[-1]))  # allocates
        for own, value in zip(self.model.coefs_, task.weights, strict=True):
            own[:] = value.T
        for own, value in zip(self.model.intercepts_, task.biases, strict=True):
            own[:] = value
        parameters = [*self.model.coefs_, *self.model.intercepts_]
        self.model._optimizer = Adam(parameters, rule.lr, rule.beta1, rule.beta2, rule.eps)

    def run(self, steps: int) -> None:
        with self.limits(self.threads, user_api="blas"):
            for _ in range(self.task.epochs(steps)):
                self.model.partial_fit(self.inputs, self.labels)

    def parameters(self) -> dict[str, Array]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return self.task.named(each for weight, bias in pairs for each in (weight.T, bias))
