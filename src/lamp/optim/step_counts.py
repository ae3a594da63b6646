"""The number of steps that each parameter has been part of, which the rules of optimizers count by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from lamp.parameter import Parameter, trained


class StepCounts:
    """How many of its group's steps each parameter was not part of, because it was frozen in them.

    A rule that depends on the number of the step, such as Adam's corrections of its means, counts a parameter's own
    steps, as in torch. So those of a body that is frozen at first begin with 1 when it is free.
    """

    def __init__(self) -> None:
        self._missed: dict[Parameter, int] = {}  # of parameters that are trained; 0 for those that are not here
        self._own: dict[Parameter, int] = {}  # steps of parameters that are frozen

    def look(self, parameters: Iterable[Parameter], steps: int) -> None:
        """Find out which parameters of a group are frozen, or free again, after this number of its steps."""
        parameters = list(parameters)
        free = set(trained(parameters))
        for parameter in parameters:
            if parameter not in free:
                self._own.setdefault(parameter, self.of(parameter, steps))
                self._missed.pop(parameter, None)
            elif parameter in self._own:
                self.put(parameter, self._own.pop(parameter), steps)

    def put(self, parameter: Parameter, own: int, steps: int) -> None:
        """Say that a parameter was part of `own` of its group's steps."""
        if parameter.frozen:
            self._own[parameter] = own
        elif steps > own:
            self._missed[parameter] = steps - own
        else:
            self._missed.pop(parameter, None)

    def of(self, parameter: Parameter, steps: int) -> int:
        """How many of its group's steps a parameter was part of."""
        return self._own[parameter] if parameter in self._own else steps - self.missed(parameter)

    def resume(self, parameters: Iterable[Parameter], before: int, now: int, counts: bool, keeps_state: bool) -> None:
        """Say that a group had made `now` steps, where its state dict says `before`.

        counts       whether a state dict has each parameter's steps
        keeps_state  whether parameters have a state; without one, it is not known whether they have been trained
        """
        for parameter in parameters:
            own = self.of(parameter, before)
            self.put(parameter, own if counts or (own == 0 and keeps_state) else now, now)

    def missed(self, parameter: Parameter) -> int:
        """How many steps of its group a parameter that is trained was not part of."""
        return self._missed.get(parameter, 0)

    def of_others(self, parameters: Mapping[Parameter, Parameter]) -> Self:
        """The same for other parameters, which stand for these."""
        counts = type(self)()
        counts._missed = {parameters[each]: n for each, n in self._missed.items() if each in parameters}
        counts._own = {parameters[each]: n for each, n in self._own.items() if each in parameters}
        return counts
