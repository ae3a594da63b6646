"""lamp's errors and warnings. An error says where it happened, what was expected, what was given and how to fix it.

Every error that lamp raises on purpose is a `LampError` and also the builtin exception a caller would expect
(`ValueError`, `TypeError`, ...), so both `except lamp.LampError` and the usual `except ValueError` work. torch raises
RuntimeError for most tensors that do not fit, so these errors are RuntimeErrors too.
"""

import sys
import warnings
from typing import Any

from lamp.printable import printable

UNSAID = object()  # the default of arguments for which None is a value
PACKAGE = __name__.partition(".")[0]


class LampError(Exception):
    """Base of all of lamp's errors.

    what      what is wrong, in one sentence
    expected  what would have been right
    got       what was given instead
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
        self.__suppress_context__ = True  # this text explains the error that it replaces
        self.what, self.fix, self.where = what, fix, where
        self.expected, self.got = (
            None if each is UNSAID else "None" if each is None else each for each in (expected, got)
        )

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        for label, text in (("expected", self.expected), ("got", self.got), ("fix", self.fix)):
            if text is not None:
                lines.append(f"  {label:<9} {text}")
        return printable("\n".join(lines), keep="\n")  # names and files from elsewhere may hold control sequences


class ShapeError(LampError, ValueError, RuntimeError):
    """A tensor has the wrong shape."""


class DTypeError(LampError, TypeError, ValueError, RuntimeError):
    """A tensor has the wrong dtype, or something other than a tensor was given where one is needed."""


class DeviceError(LampError, ValueError, RuntimeError):
    """Tensors that are used together are on different devices."""


class LabelError(LampError, ValueError, RuntimeError):
    """A class label is out of range, or labels have the wrong form."""


class ArgumentError(LampError, ValueError, TypeError, RuntimeError):
    """An argument has a value that is not allowed."""


class BackwardError(LampError, RuntimeError):
    """A backward was called that does not belong to one forward: before any, twice, or with another pass's gradient."""


class MissingNameError(LampError, AttributeError):
    """lamp, or one of its objects, has no attribute of this name."""


class MissingImportError(LampError, ImportError):
    """A name that was imported from lamp does not exist there."""


class MissingIndexError(LampError, IndexError, KeyError):
    """An index is out of range, or there is nothing under a key."""


class CallError(LampError, TypeError):
    """A function or a class was called with arguments that it does not take."""


class UnwrittenError(LampError, NotImplementedError):
    """A user's class lacks a method that lamp calls."""


class StateDictError(LampError, KeyError):
    """A state dict does not fit the module that loads it."""

    __str__ = LampError.__str__  # KeyError would print the repr of the message


class NonFiniteError(LampError, ArithmeticError):
    """There is a NaN or an infinity where a finite number is needed.

    history  the `History` of the epochs before, if `fit` raised the error
    loss     the value of the loss, a tensor, if a loss raised the error
    """

    history: Any = None
    loss: Any = None


class TrainingWarning(UserWarning):
    """A training is probably not what the user meant; it runs nevertheless."""


class NonFiniteWarning(UserWarning):
    """Replicas of a population ended with a NaN or an infinity, or a validation loss was one; the training went on."""


class DataError(LampError, ValueError):
    """Data cannot be read or used: a file is missing or truncated, or inputs and targets do not match."""


class GradientError(LampError, AssertionError):
    """A module's backward is not the derivative of its forward."""


class CheckpointError(LampError, ValueError):
    """A saved file cannot be read, written or trusted, or it belongs to something else."""


class NotTraceable(LampError, NotImplementedError):
    """A network has no graph; `where` names the module, and the text says why.

    value  a value of the graph that would have to have its batch on the second axis, if that is the reason
    """

    value: Any = None


class ExportError(LampError, RuntimeError):
    """A network cannot be exported, or what was exported computes something else."""


class CheckpointWarning(UserWarning):
    """Something is wrong with saved files, and lamp continues: from an earlier checkpoint, or without a lock."""


def warn_of(text: str, category: type[Warning]) -> None:
    """Issue a warning at the line of the user's code that called lamp."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(printable(text, keep="\n"), category, stacklevel=level)
