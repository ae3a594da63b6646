"""Learning-rate schedules: decays, annealing, and combinations of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from lamp.errors import ArgumentError, StateDictError
from lamp.formulas import Number
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Optimizer
from lamp.optim.schedule import LRScheduler, ScaledLR, cosine, per_group
from lamp.signatures import called, check_takes
from lamp.values import integer, kind_of, several

FACTORS = Range()  # the allowed factors of a learning rate


def functions_of_epoch(lr_lambda: Any, optimizer: Optimizer, owner: str) -> list[Callable[[Any], float]]:
    """The functions of each parameter group. Raises ArgumentError for anything but functions of the epoch."""
    functions = lr_lambda if isinstance(lr_lambda, list | tuple) else [lr_lambda]
    if not all(map(callable, functions)):
        raise ArgumentError(
            f"{owner} needs a function of the epoch",
            expected="a function, or a list with one for each group",
            got=lr_lambda,
            fix="lambda epoch: 0.95**epoch" if owner == "LambdaLR" else "lambda epoch: 0.95",
        )
    for function in functions:
        check_takes("lr_lambda", function, "epoch")
    return per_group(lr_lambda, optimizer, owner, "lr_lambda")


def checked_factor(owner: str, epoch: float, factor: Any) -> Any:
    """The factor that lr_lambda returned. Raises ArgumentError if it is out of range."""
    if not FACTORS.holds(factor):
        raise ArgumentError(
            f"{owner}: lr_lambda({epoch}) is out of range",
            expected=f"a factor, {FACTORS}",
            got=repr(factor),
            fix="return the factor of the "
            + ("initial learning rate" if owner == "LambdaLR" else "last learning rate"),
        )
    return factor


class LambdaLR(LRScheduler):
    """lr = lr_0 lr_lambda(t), for any function of the epoch t, or a list with one function per group.

    Source    torch.optim.lr_scheduler.LambdaLR
    """

    absolute = True
    listed = ("lr_lambdas",)

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[Any], float] | list[Callable[[Any], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = functions_of_epoch(lr_lambda, optimizer, "LambdaLR")
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        return initial_lr * checked_factor("LambdaLR", epoch, self.lr_lambdas[group](epoch))


class MultiplicativeLR(LRScheduler):
    """lr <- lr lr_lambda(t) at each epoch t from 1 on, for any function, or a list with one function per group.

    Source    torch.optim.lr_scheduler.MultiplicativeLR
    """

    listed = ("lr_lambdas", "_reached")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[Any], float] | list[Callable[[Any], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = functions_of_epoch(lr_lambda, optimizer, "MultiplicativeLR")
        self._reached = [(0, 1.0)] * len(self.lr_lambdas)  # per group the last epoch, and the product up to there
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        done, product = self._reached[group]
        if done > epoch:
            done, product = 0, 1.0
        for t in range(done + 1, int(epoch) + 1):
            product *= checked_factor("MultiplicativeLR", t, self.lr_lambdas[group](t))
        self._reached[group] = (max(done, int(epoch)), product)
        return initial_lr * product


class InverseTimeDecay(ScaledLR):
    """lr = lr_0 / (1 + decay t).

    Source    Robbins & Monro 1951; the option `decay` of early implementations of SGD
    """

    ranges: ClassVar = {"decay": Range()}

    def __init__(self, optimizer: Optimizer, decay: float, last_epoch: int = -1) -> None:
        self.decay = decay
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return 1.0 / (1.0 + self.decay * epoch)


class ExponentialLR(ScaledLR):
    """lr = lr_0 gamma^t.  Source: torch.optim.lr_scheduler.ExponentialLR."""

    ranges: ClassVar = {"gamma": Range(single=True)}

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return float(self.gamma**epoch)


class StepLR(ScaledLR):
    """lr = lr_0 gamma^(t // step_size).  Source: torch.optim.lr_scheduler.StepLR."""

    ranges: ClassVar = {"step_size": Range(1, whole=True), "gamma": Range(single=True)}

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return float(self.gamma ** (epoch // self.step_size))


def _whole(milestones: Iterable[int]) -> list[int]:
    """The milestones as a list. Raises ArgumentError unless they are integers."""
    return [integer(each, "a milestone") for each in several(milestones, "milestones", "epochs")]


class MultiStepLR(ScaledLR):
    """lr = lr_0 gamma^(number of milestones up to t).  Source: torch.optim.lr_scheduler.MultiStepLR."""

    ranges: ClassVar = {"gamma": Range(single=True)}

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(_whole(milestones))  # a milestone named twice counts twice
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return float(self.gamma ** bisect_right(sorted(self.milestones.elements()), epoch))


class ConstantLR(ScaledLR):
    """lr = lr_0 factor until epoch total_iters, then lr_0.  Source: torch.optim.lr_scheduler.ConstantLR."""

    ranges: ClassVar = {"factor": Range(), "total_iters": Range(whole=True)}

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(ScaledLR):
    """lr from lr_0 start_factor to lr_0 end_factor in total_iters equal steps, for example as a warm-up.

    Source    torch.optim.lr_scheduler.LinearLR
    """

    ranges: ClassVar = {"start_factor": Range(), "end_factor": Range(), "total_iters": Range(1, whole=True)}

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        done = min(epoch / self.total_iters, 1.0)
        return self.start_factor + (self.end_factor - self.start_factor) * done


class PolynomialLR(ScaledLR):
    """lr = lr_0 (1 - t / total_iters)^power, 0 from epoch total_iters on.

    Source    torch.optim.lr_scheduler.PolynomialLR
    """

    ranges: ClassVar = {"total_iters": Range(1, whole=True), "power": Range(single=True)}

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: float) -> float:
        return float((1.0 - min(epoch / self.total_iters, 1.0)) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2, which falls until epoch T_max and then rises again.

    Source    torch.optim.lr_scheduler.CosineAnnealingLR; Loshchilov & Hutter 2016, equation 5
    """

    ranges: ClassVar = {"T_max": Range(1, whole=True), "eta_min": Range()}

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        return cosine(initial_lr, self.eta_min, epoch / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing from lr_0 to eta_min in T_0 epochs, then again from lr_0 in T_0 T_mult epochs, and so on.

    Source    torch.optim.lr_scheduler.CosineAnnealingWarmRestarts; Loshchilov & Hutter 2016
    """

    ranges: ClassVar = {"T_0": Range(1, whole=True), "T_mult": Range(1, whole=True), "eta_min": Range()}
    absolute = True

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def _restarted(self, epoch: float) -> tuple[float, float]:
        """The number of epochs since the last restart, and the number between that restart and the next."""
        length = self.T_0
        if self.T_mult == 1:
            epoch %= length
        while epoch >= length:
            epoch -= length
            length *= self.T_mult
        return epoch, length

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        since, length = self._restarted(epoch)
        return cosine(initial_lr, self.eta_min, since / length)

    @called()
    def state_dict(self) -> dict[str, Any]:
        since, length = self._restarted(self.last_epoch)
        return {
            **super().state_dict(),
            "T_cur": since,
            "T_i": length,
        }  # these two are there for torch alone


# ---- combinations of schedules -------------------------------------------------------------------------------------
class Composed(LRScheduler):
    """Base of the schedules that combine others; only `lr_at` and `momentum_at` of those are called, never `step`."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], last_epoch: int = -1) -> None:
        name = type(self).__name__
        schedulers = several(schedulers, "schedulers", "schedules")
        for scheduler in schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise ArgumentError(
                    f"{name} can only combine schedules that are a function of the epoch",
                    expected="LRSchedulers",
                    got=kind_of(scheduler),
                    fix="use ReduceLROnPlateau alone, with no other schedule on its optimizer",
                )
            if scheduler.optimizer is not optimizer:
                raise ArgumentError(
                    f"{name}: the schedules belong to different optimizers",
                    expected="schedules of one optimizer",
                    got=f"a {type(scheduler).__name__} of another {type(scheduler.optimizer).__name__}",
                    fix="build all schedules with the same optimizer",
                )
        self._schedulers = list(schedulers)
        super().__init__(optimizer, last_epoch)

    def _epochs(self, epoch: float) -> list[float]:
        """The present epoch of each schedule, counted from where it begins."""
        return [epoch] * len(self._schedulers)

    def _add_group(self, k: int, group: Group, epoch: float) -> None:
        for scheduler, its_epoch in zip(self._schedulers, self._epochs(epoch), strict=True):
            scheduler._add_group(k, group, its_epoch)
        super()._add_group(k, group, epoch)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        saved = state_dict.get("_schedulers", ())
        if not set(self.state_dict()) <= set(state_dict) or len(saved) != len(self._schedulers):
            raise StateDictError(
                f"the state dict does not fit this {type(self).__name__}",
                expected=f"{', '.join(self.state_dict())}; {len(self._schedulers)} schedules",
                got=f"{', '.join(state_dict)}; {len(saved)} schedules",
                fix="build the same schedules that were saved",
            )
        for scheduler, state in zip(self._schedulers, saved, strict=True):
            scheduler._check_state(state)


class SequentialLR(Composed):
    """Schedules in sequence: each milestone is the epoch at which the next schedule begins, at its own epoch 0.

    Each schedule begins with the learning rate that it would have alone; the first with the groups' "initial_lr".

    Source    torch.optim.lr_scheduler.SequentialLR
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        schedulers, milestones = several(schedulers, "schedulers", "schedules"), _whole(milestones)
        if len(schedulers) != len(milestones) + 1 or list(milestones) != sorted(set(milestones)):
            raise ArgumentError(
                "SequentialLR needs one milestone between each two schedules",
                expected="one schedule more than milestones, which must increase",
                got=f"{len(schedulers)} schedules, milestones {list(milestones)}",
                fix="pass the epoch at which each schedule but the first begins",
            )
        self._milestones = list(milestones)
        super().__init__(optimizer, schedulers, last_epoch)

    def _now(self, epoch: float) -> tuple[LRScheduler, float]:
        """The schedule that is active at this epoch, and its own epoch."""
        turn = bisect_right(self._milestones, epoch)
        return self._schedulers[turn], epoch - (self._milestones[turn - 1] if turn else 0)

    def _epochs(self, epoch: float) -> list[float]:
        now, its_epoch = self._now(epoch)
        return [its_epoch if scheduler is now else 0 for scheduler in self._schedulers]

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        scheduler, its_epoch = self._now(epoch)
        if scheduler is self._schedulers[0] and not scheduler.absolute:
            return scheduler.lr_at(its_epoch, initial_lr, group)
        return scheduler.lr_at(its_epoch, scheduler.base_lrs[group], group)

    def momentum_at(self, epoch: float, group: int) -> Number | None:
        scheduler, its_epoch = self._now(epoch)
        return scheduler.momentum_at(its_epoch, group)


class ChainedScheduler(Composed):
    """Schedules applied one to the result of the other: at every epoch, lr of one is the initial lr of the next.

    lr = f_n(... f_2(f_1(lr_0, t), t), t); for schedules that multiply, this is lr_0 times the product of their factors

    CyclicLR and OneCycleLR ignore the schedules before them; later schedules multiply their learning rates.

    Source    torch.optim.lr_scheduler.ChainedScheduler, with equal values if all schedules multiply by a factor. With
              others among them, torch loses the factors of earlier epochs; here they are kept
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        schedulers = several(schedulers, "schedulers", "schedules")
        if not schedulers:
            raise ArgumentError(
                "ChainedScheduler needs schedules", expected="at least one", got="none", fix="pass a list of schedules"
            )
        super().__init__(getattr(schedulers[0], "optimizer", None) if optimizer is None else optimizer, schedulers)  # type: ignore[arg-type]

    def lr_at(self, epoch: float, initial_lr: Number, group: int) -> Number:
        for scheduler in self._schedulers:
            initial_lr = scheduler.lr_at(epoch, initial_lr, group)
        return initial_lr

    def momentum_at(self, epoch: float, group: int) -> Number | None:
        given: list[Any] = [scheduler.momentum_at(epoch, group) for scheduler in self._schedulers]
        return next((momentum for momentum in reversed(given) if momentum is not None), None)
