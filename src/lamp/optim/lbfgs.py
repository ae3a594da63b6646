"""The L-BFGS optimizer, for whole data sets: it knows the curvature from the last steps, and searches along a line."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, BackwardError
from lamp.formulas import Number
from lamp.no_autograd import quick
from lamp.optim.checks import Range, check_choice
from lamp.optim.line_search import Point, strong_wolfe
from lamp.optim.optimizer import Group, Numbers, Optimizer, State
from lamp.optim.saved_state import matching_groups, misfit
from lamp.parameter import Parameter, Span, spans, trained
from lamp.signatures import called
from lamp.values import a_function, a_number

CURVED = 1e-10  # a step enters the memory if s y is larger


class LBFGS(Optimizer):
    """L-BFGS: Newton's method with the inverse Hessian H approximated from the last history_size steps.

    y = g - g of the iteration before,   s = the step that led here
    p <- p - t H g                             (t = lr, at the first iteration at most lr / |g|_1; or found by search)

    H g takes two loops over the memory:
    q = g;   from the newest (s, y) to the oldest:  a = s q / (s y),  q <- q - a y
    r = q (s y) / (y y) of the newest;   from the oldest to the newest:  r <- r + s (a - y r / (s y))

    A step is up to max_iter iterations. Each needs the loss again, so `step` takes a closure that computes the loss
    and, by a backward, its gradients:

        def closure():
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            model.backward(criterion.backward())
            return loss

        optimizer.step(closure)

    `lamp.fit` makes such a closure of each batch; use one batch of all samples.

    max_eval          the most evaluations of the closure in a step; max_iter * 5 // 4 by default
    tolerance_grad    the step ends where no gradient is larger
    tolerance_change  the step ends where neither the loss nor any parameter changes by more
    line_search_fn    None, or "strong_wolfe", which makes each step length fit the loss

    Where parameters are frozen, or free again, since the step before, it begins without a memory.

    Source    torch.optim.LBFGS (arguments, tolerances); Nocedal & Wright 2006, algorithms 7.4, 3.5 and 3.6

    Raises ArgumentError for several groups of parameters, for a population, and without a closure; and the errors of
    Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(single=True),
        "max_iter": Range(low=1, single=True, whole=True),
        "max_eval": Range(low=1, single=True, whole=True),
        "tolerance_grad": Range(single=True),
        "tolerance_change": Range(single=True),
        "history_size": Range(low=1, single=True, whole=True),
    }
    elementwise = False
    needs_closure = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None and isinstance(max_iter, int) else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        self._memory = Memory()
        super().__init__(params, defaults)

    # ---- a step ----------------------------------------------------------------------------------------------------
    @called()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter iterations. Returns what the closure returned first, the loss before the step."""
        if closure is None:
            raise ArgumentError(
                "LBFGS computes the loss several times in a step",
                expected="step(closure), a function that makes forward and backward, and returns the loss",
                got="step()",
                fix="see the example in help(lamp.LBFGS); lamp.fit does it by itself",
            )
        a_function(closure, "closure", "")
        (group,), memory = self.param_groups, self._memory
        parameters = trained(group["params"])
        flat = _Flat(spans(parameters), closure)
        first = closure()
        if flat.is_empty:  # all parameters are frozen
            return first
        now, evaluations = flat.point(first), 1
        memory.evaluations += 1
        if flat.is_flat(now, group["tolerance_grad"]):
            return first
        self._steps[0] += 1
        last = int(group["max_iter"])
        for iteration in range(1, last + 1):
            memory.iterations += 1
            with quick():
                memory.fit(parameters, now.gradient)
                direction = memory.direction(now.gradient, int(group["history_size"]))
                slope = float(now.gradient.dot(direction))
                length = group["lr"]
                if memory.gradient is None:
                    length = min(1.0, 1.0 / float(now.gradient.abs().sum())) * group["lr"]
            memory.gradient, memory.moved, memory.loss = now.gradient, (direction, length), now.loss
            if slope > -group["tolerance_change"]:
                break
            before, made = now, 0
            if group["line_search_fn"] is not None:
                most = int(group["max_eval"]) - evaluations
                search = flat.along(direction)
                now, made = strong_wolfe(search, now, slope, length, direction, group["tolerance_change"], most)
                length = now.at
                memory.moved = (direction, length)
                flat.move(direction, length)
            else:
                flat.move(direction, length)
                if iteration < last:
                    now, made = flat.point(closure()), 1
            evaluations += made
            memory.evaluations += made
            if iteration == last or evaluations >= group["max_eval"]:
                break
            if (
                flat.is_flat(now, group["tolerance_grad"])
                or float(direction.abs().max()) * length <= group["tolerance_change"]
                or abs(now.loss - before.loss) < group["tolerance_change"]
            ):
                break
        return first

    # ---- the interface of an optimizer -----------------------------------------------------------------------------
    def coefficients(self, group: Group, step: int) -> Numbers:
        return {}

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        raise BackwardError(
            "LBFGS has no rule for a single gradient",
            expected="step(closure)",
            got="update",
            fix="call step(closure)",
        )

    @called()
    def add_param_group(self, group: Group) -> None:
        if self.param_groups:
            raise ArgumentError(
                "LBFGS takes one group of parameters",
                expected="model.parameters()",
                got="several groups",
                fix="leave the groups out: all parameters move along one line",
            )
        super().add_param_group(group)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_choice(self, group, "line_search_fn", (None, "strong_wolfe"))
        replicas = next((each.replicas for each in group["params"] if each.replicas is not None), None)
        if replicas is not None:
            raise ArgumentError(
                "LBFGS trains one network: each would need steps of its own length",
                expected="the parameters of a single network",
                got=f"those of a population of {replicas}",
                fix="train the networks one by one, or use another optimizer, such as lamp.Adam",
            )

    @called()
    def state_dict(self) -> dict[str, Any]:
        """The state needed to resume: that of all parameters together, under the number of the first."""
        groups = [{**group, "params": list(range(len(group["params"])))} for group in self.param_groups]
        return {"state": {0: self._memory.state_dict()} if self._memory.iterations else {}, "param_groups": groups}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state dict of lamp or torch.optim. Raises StateDictError, and changes nothing, if it is wrong."""
        (group,) = matching_groups(self, state_dict)
        self._memory = Memory.loaded(self, state_dict["state"].get(0, {}), trained(group["params"]))
        for name, value in group.items():
            self.param_groups[0].put(name, value)


class _Flat:
    """All parameters of a group as one vector, which moves along directions."""

    def __init__(self, pieces: list[Span], closure: Callable[[], Any]) -> None:
        self._pieces, self._closure = pieces, closure
        self.is_empty = not pieces

    def point(self, loss: Any) -> Point:
        """The loss, and the gradient that the closure has left."""
        return Point(
            0.0,
            float(a_number(loss, "the closure's loss", finite=False)),
            torch.cat([piece.grad for piece in self._pieces]),
        )

    @staticmethod
    def is_flat(point: Point, tolerance: float) -> bool:
        return float(point.gradient.abs().max()) <= tolerance

    def move(self, direction: Tensor, length: float) -> None:
        """Add length times the direction."""
        parts = torch.split(direction, [piece.data.numel() for piece in self._pieces])
        for piece, part in zip(self._pieces, parts, strict=True):
            piece.data.add_(part, alpha=length)

    def along(self, direction: Tensor) -> Callable[[float], Point]:
        """The point at a length along the direction from here; the parameters come back here afterwards."""
        here = [piece.data.clone() for piece in self._pieces]

        def look(length: float) -> Point:
            self.move(direction, length)
            point = self.point(self._closure())
            for piece, data in zip(self._pieces, here, strict=True):
                piece.data.copy_(data)
            return Point(length, point.loss, point.gradient, float(point.gradient.dot(direction)))

        return look


class Memory:
    """What L-BFGS knows of earlier iterations.

    parameters      those that were trained
    steps, changes  the last steps s and changes of the gradient y, oldest first
    gradient        that of the last iteration
    moved           the last direction and its length
    scale           (s y) / (y y) of the newest pair
    loss            that before the last iteration
    """

    def __init__(self) -> None:
        self.iterations = self.evaluations = 0
        self.parameters: list[Parameter] = []
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.gradient: Tensor | None = None
        self.moved: tuple[Tensor, float] | None = None
        self.scale, self.loss = 1.0, 0.0

    def fit(self, parameters: list[Parameter], gradient: Tensor) -> None:
        """Forget earlier iterations if other parameters train now; take on another dtype or device."""
        if self.gradient is not None and self.moved is not None:
            same = len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))
            if not same:
                self.steps, self.changes, self.gradient, self.moved, self.scale = [], [], None, None, 1.0
            elif (self.gradient.dtype, self.gradient.device) != (gradient.dtype, gradient.device):
                self.steps, self.changes = ([each.to(gradient) for each in kept] for kept in (self.steps, self.changes))
                self.gradient, self.moved = self.gradient.to(gradient), (self.moved[0].to(gradient), self.moved[1])
        self.parameters = parameters

    def direction(self, gradient: Tensor, size: int) -> Tensor:
        """- H g, after the last step has been taken into the memory, which keeps this many."""
        if self.gradient is None or self.moved is None:
            return -gradient
        change, step = gradient - self.gradient, self.moved[0] * self.moved[1]
        curvature = float(change.dot(step))
        if curvature > CURVED:
            self.steps, self.changes = [*self.steps, step][-size:], [*self.changes, change][-size:]
            self.scale = curvature / float(change.dot(change))
        pairs = [(s, y, 1.0 / float(y.dot(s))) for s, y in zip(self.steps, self.changes, strict=True)]
        q, shares = -gradient, []
        for s, y, inverse in reversed(pairs):
            shares.append(float(s.dot(q)) * inverse)
            q.add_(y, alpha=-shares[-1])
        r = q * self.scale
        for (s, y, inverse), share in zip(pairs, reversed(shares), strict=True):
            r.add_(s, alpha=share - float(y.dot(r)) * inverse)
        return r

    def state_dict(self) -> dict[str, Any]:
        """The memory under torch.optim's names."""
        assert self.moved is not None
        return {
            "n_iter": self.iterations,
            "func_evals": self.evaluations,
            "d": self.moved[0],
            "t": self.moved[1],
            "old_dirs": list(self.changes),
            "old_stps": list(self.steps),
            "ro": [1.0 / float(y.dot(s)) for s, y in zip(self.steps, self.changes, strict=True)],
            "H_diag": self.scale,
            "prev_flat_grad": self.gradient,
            "prev_loss": self.loss,
        }

    @classmethod
    def loaded(cls, owner: LBFGS, state: Mapping[str, Any], parameters: list[Parameter]) -> Memory:
        """The memory that `state_dict` wrote, for these parameters."""
        memory, size = cls(), sum(parameter.elements for parameter in parameters)
        if not state:
            return memory
        names = ("n_iter", "func_evals", "d", "t", "old_dirs", "old_stps", "H_diag", "prev_flat_grad", "prev_loss")
        missing = [name for name in names if name not in state]
        if missing:
            raise misfit(owner, f"state {', '.join(names)}", f"no {', '.join(missing)}")
        vectors = [state["d"], state["prev_flat_grad"], *state["old_dirs"], *state["old_stps"]]
        if len(state["old_dirs"]) != len(state["old_stps"]) or not all(
            isinstance(vector, Tensor) and vector.shape == (size,) for vector in vectors
        ):
            raise misfit(owner, f"pairs of vectors ({size},)", f"{len(vectors)} tensors of other shapes or numbers")
        memory.iterations, memory.evaluations = int(state["n_iter"]), int(state["func_evals"])
        direction, memory.gradient, *pairs = (vector.to(parameters[0].data).clone() for vector in vectors)
        memory.parameters = parameters
        half = len(pairs) // 2
        memory.changes, memory.steps = pairs[:half], pairs[half:]
        memory.moved = (direction, float(state["t"]))
        memory.scale, memory.loss = float(state["H_diag"]), float(state["prev_loss"])
        return memory
