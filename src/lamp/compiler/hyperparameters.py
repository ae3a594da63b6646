"""An optimizer whose hyperparameters tell only which terms its rule has, for the time in which code is written.

Code gets the numbers of a step as coefficients. A number that `update` took from `group` would stand in the code as it
was when the code was written, and no schedule or callback would change it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, NoReturn

from torch import Tensor

from lamp.compiler.coefficients import RATE
from lamp.compiler.not_compiled import NotCompiled
from lamp.optim import Optimizer
from lamp.optim.groups import ParameterGroup, ParameterGroups
from lamp.overrides import is_lamps

USES = (
    *("__float__", "__int__", "__index__", "__neg__", "__pos__", "__abs__", "__round__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__getitem__", "__iter__", "__len__"),
    *(f"__{side}{name}__" for side in ("", "r") for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")),
)


class Hyperparameter:
    """A number that is not to be used. Whether it is 0 may be asked, unless it is the learning rate."""

    def __init__(self, owner: str, name: str) -> None:
        self._owner, self._name = owner, name

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotCompiled(
            f"the update of {self._owner} takes {self._name} from group, where it may change in a training: return it "
            "from coefficients, and take it from c"
        )

    def __getattr__(self, name: str) -> Any:
        return self._refuse()

    def __eq__(self, other: object) -> bool:
        if self._name == RATE or isinstance(other, bool) or not (isinstance(other, float | int) and other == 0):
            self._refuse()
        return isinstance(self, _Zero)

    def __ne__(self, other: object) -> bool:
        return not self.__eq__(other)

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        return self._refuse()


for _name in USES:
    setattr(Hyperparameter, _name, Hyperparameter._refuse)


class _Zero(Hyperparameter, float):
    """A hyperparameter that is 0; a float, as `lamp.formulas.is_zero` asks."""

    def __new__(cls, *_: Any) -> _Zero:
        return float.__new__(cls)


def without_numbers(optimizer: Optimizer) -> Optimizer:
    """The optimizer; of a user's class, a copy whose groups have a Hyperparameter in the place of each number."""
    kind = type(optimizer)
    if is_lamps(kind):
        return optimizer
    twin = object.__new__(kind)
    vars(twin).update(vars(optimizer))
    groups = [_hidden(kind.__name__, group) for group in optimizer.param_groups]
    vars(twin)["param_groups"] = ParameterGroups(ParameterGroup(group, twin) for group in groups)
    return twin


def _hidden(owner: str, group: Mapping[str, Any]) -> dict[str, Any]:
    def hidden(name: str, value: Any) -> Any:
        if isinstance(value, tuple) and name != "params":
            return tuple(hidden(name, each) for each in value)
        if isinstance(value, bool) or not isinstance(value, Real | Tensor):
            return value
        zero = isinstance(value, Real) and value == 0 and name != RATE
        return (_Zero if zero else Hyperparameter)(owner, name)

    return {name: hidden(name, value) for name, value in group.items()}
