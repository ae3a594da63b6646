"""What bad input gets: where it happened, what was expected, what came, and the way out.

Every error that lamp raises on purpose is a `LampError` and also the builtin exception a caller would expect
(`ValueError`, `TypeError`, ...), so both `except lamp.LampError` and the usual `except ValueError` work.
"""

import sys
import warnings
from typing import Any

UNSAID = object()  # None may be what came
PACKAGE = __name__.partition(".")[0]


class LampError(Exception):
    """Base of all of lamp's errors.

    what      one sentence on what is wrong
    expected  what would have been right
    got       what came instead
    fix       what to change
    where     the module's path in its network, such as "Sequential.2: Linear(25, 2)"; filled in by the network
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = UNSAID,
        got: object = UNSAID,
        fix: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what)
        self.__suppress_context__ = True  # this text says what the error behind it meant
        self.what, self.fix, self.where = what, fix, where
        self.expected, self.got = (
            None if each is UNSAID else "None" if each is None else each for each in (expected, got)
        )

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        for label, text in (("expected", self.expected), ("got", self.got), ("fix", self.fix)):
            if text is not None:
                lines.append(f"  {label:<9} {text}")
        return "\n".join(lines)


class ShapeError(LampError, ValueError):
    """A tensor has the wrong shape."""


class DTypeError(LampError, TypeError):
    """A tensor has the wrong dtype, or something that is no tensor came where one was needed."""


class DeviceError(LampError, ValueError):
    """Tensors that must meet lie on different devices."""


class LabelError(LampError, ValueError):
    """A class label is out of range, or labels came in the wrong form."""


class ArgumentError(LampError, ValueError):
    """An argument is outside what it may be."""


class BackwardError(LampError, RuntimeError):
    """backward was called without a forward to go back through."""


class MissingNameError(LampError, AttributeError):
    """lamp, or one of its objects, has nothing of this name."""


class MissingImportError(LampError, ImportError):
    """A name that is imported from lamp, and that lamp has not."""


class MissingIndexError(LampError, IndexError):
    """There is nothing at this place of a sequence."""


class CallError(LampError, TypeError):
    """A call with arguments that a function or a class does not take."""


class UnwrittenError(LampError, NotImplementedError):
    """A class of one's own lacks a method that lamp calls."""


class StateDictError(LampError, KeyError):
    """A state dict does not fit the module that was to load it."""

    __str__ = LampError.__str__  # KeyError would print the repr of the message


class NonFiniteError(LampError, ArithmeticError):
    """A NaN or an infinity where a finite number is needed.

    history  of the epochs before, where `fit` raised it
    """

    history: Any = None


class TrainingWarning(UserWarning):
    """A training that runs, and most probably is not what was meant."""


class NonFiniteWarning(UserWarning):
    """Some replicas of a population ended with a NaN or an infinity; the others went on."""


class DataError(LampError, ValueError):
    """Data that cannot be read or used: a missing file, a truncated one, inputs and targets that do not match."""


class GradientError(LampError, AssertionError):
    """A module's backward is not the derivative of its forward."""


class CheckpointError(LampError, ValueError):
    """A saved file that cannot be read or trusted, or that could not be written; or one that is of something else."""


class NotTraceable(LampError, NotImplementedError):
    """A network that cannot be written as a graph; `where` names the module, and the text says why."""


class ExportError(LampError, RuntimeError):
    """A network that cannot be written in another form here, or whose written form computes something else."""


class CheckpointWarning(UserWarning):
    """What is saved is not all as it should be, yet lamp goes on: from an earlier checkpoint, or without a lock."""


def warn_of(text: str, category: type[Warning]) -> None:
    """Warn at the line outside lamp that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
