"""Every argument of every constructor of lamp.nn, given what it cannot be: an error of lamp's, or a module."""

import inspect

import pytest
import torch

import lamp
from lamp.errors import LampError

KINDS = [getattr(lamp.nn, name) for name in lamp.nn.__all__ if name not in ("Activation", "Sequential", "Identity")]
NEEDED = {"in_features": 3, "out_features": 4, "threshold": 0.1, "value": 0.2, "dim": 1, "unflattened_size": (3, 1)}
WRONG = [
    None,
    "x",
    "",
    float("nan"),
    float("inf"),
    -1,
    0,
    -0.5,
    1e400,
    [],
    [1],
    {},
    object(),
    torch.ones(2),
    True,
    1j,
    b"1",
    int,
    print,
]
ARGUMENTS = [
    (kind, name) for kind in KINDS for name in inspect.signature(kind).parameters if name not in ("args", "kwargs")
]


@pytest.mark.parametrize(("kind", "name"), ARGUMENTS, ids=lambda each: getattr(each, "__name__", each))
def test_a_wrong_argument_gets_an_error_of_lamps(kind, name):
    needed = {key: value for key, value in NEEDED.items() if key in inspect.signature(kind).parameters}
    for wrong in WRONG:
        error = None
        try:
            module = kind(**{**needed, name: wrong})
        except LampError as raised:
            error = raised
        told = f"{kind.__name__}({name}={wrong!r}): {error}"
        if error is not None:
            assert None not in (error.expected, error.got, error.fix), told
        else:
            assert repr(module), told
            assert isinstance(wrong, int | float | type(None)) or (name, wrong) == ("unflattened_size", [1]), told
