"""Wrong values for every argument of every constructor of lamp.nn give a LampError, or a module."""

import inspect

import pytest
import torch

import lamp
from lamp.errors import LampError

KINDS = [getattr(lamp.nn, name) for name in lamp.nn.__all__ if name not in ("Activation", "Sequential", "Identity")]
NEEDED = {"in_features": 3, "out_features": 4, "threshold": 0.1, "value": 0.2, "dim": 1, "unflattened_size": (3, 1)}
NEEDED |= {"in_channels": 3, "out_channels": 4, "kernel_size": 2, "padding": 1, "output_size": 3}
NEEDED |= {"normalized_shape": 3, "num_features": 3, "num_groups": 1, "num_channels": 4, "size": 3}
NEEDED |= {"in1_features": 3, "in2_features": 4, "groups": 2, "upscale_factor": 2, "downscale_factor": 2}

NEEDED |= {"num_embeddings": 7, "embedding_dim": 3, "input_size": 3, "hidden_size": 4}
NEEDED |= {"n_classes": 9, "cutoffs": [2, 5], "div_value": 1.0}
NEEDED |= {"d_model": 4, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 8}
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
    10**30,
    10**400,
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
            sizes = (
                "unflattened_size",
                "normalized_shape",
                "kernel_size",
                "stride",
                "padding",
                "output_padding",
                "output_size",
                "dilation",
                "size",
                "cutoffs",
            )
            empty = (name == "modules" and wrong in ([], {})) or (name == "edges" and wrong == [])
            assert isinstance(wrong, int | float | type(None)) or (name in sizes and wrong == [1]) or empty, told


# ---- arguments that there are not ------------------------------------------------------------------------------------
def public_callables():
    """All public classes and functions, by name."""
    rooms = {"lamp": lamp, "data": lamp.data, "plots": lamp.plots, "init": lamp.init}
    for room, where in rooms.items():
        for name in where.__all__ if hasattr(where, "__all__") else dir(where):
            thing = getattr(where, name)
            if room == "init" and not name.endswith("_"):
                continue
            if not callable(thing) or name.startswith("_") or not thing.__module__.startswith("lamp"):
                continue
            if not (isinstance(thing, type) and issubclass(thing, BaseException)):
                yield f"{room}.{name}", thing


# Excluded: what lamp makes itself, what a training calls, and what takes any argument.
NOT_CALLED = {
    *("CrossValidation", "EnsemblePrediction", "GradientReport", "Graph", "History", "Summary", "Sweep", "Training"),
    *("as_batches", "as_column", "as_columns", "check_finite", "is_batched", "length_of", "order", "read_idx"),
    *("accuracy", "per_replica", "samples", "grid", "evaluating", "Identity"),
}
CALLABLES = [(name, thing) for name, thing in public_callables() if name.partition(".")[2] not in NOT_CALLED]


@pytest.mark.parametrize(("name", "thing"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_an_argument_that_there_is_not_gets_an_error_of_lamps(name, thing):
    for args, kwargs in (((), {"no_such_argument": 1}), (range(40), {})):
        if args and any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(thing).parameters.values()):
            continue
        with pytest.raises(lamp.CallError) as caught:
            thing(*args, **kwargs)
        assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
        assert caught.value.__cause__ is None


def torchs_arguments():
    """Arguments of torch's constructors that lamp's classes of the same names do not have."""
    for space in (torch.nn, torch.optim, torch.utils.data):
        for name in dir(lamp):
            kind, peer = getattr(lamp, name), getattr(space, name, None)
            if isinstance(kind, type) and isinstance(peer, type) and name not in ("Sequential", "Dataset"):
                own = inspect.signature(kind).parameters
                theirs = [each for each in inspect.signature(peer).parameters if each not in ("args", "kwargs")]
                yield from ((kind, each) for each in theirs if each not in own)


@pytest.mark.parametrize(("kind", "name"), list(torchs_arguments()), ids=lambda each: getattr(each, "__name__", each))
def test_an_argument_of_torchs_gets_the_way_out(kind, name):
    with pytest.raises(lamp.CallError) as caught:
        kind(**{name: True})
    assert name in caught.value.got
    assert "help(" not in caught.value.fix


def test_activations_have_no_arguments_to_show():
    assert not inspect.signature(lamp.ReLU).parameters
    with pytest.raises(lamp.CallError, match="no arguments"):
        lamp.ReLU(True)  # type: ignore[call-arg]
