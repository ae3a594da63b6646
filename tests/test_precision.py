"""In float32, bfloat16 and float16 every module is as near to the truth, which is computed in float64, as torch is.

The errors are norms over all numbers of an output or a gradient. Activations are measured number by number, in
tests/test_activation_extremes.py.
"""

import copy
import inspect
import math

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import lamp
from lamp.module import Module
from tests.cases.convolutions import LAZY
from tests.cases.modules import ACTIVATIONS
from tests.cases.precision import PRECISION, off

MOST = 1.6  # times torch's error
FREE = {  # an error that is always allowed, in units of the last digit
    torch.float32: 3.0,  # sums in another order
    torch.bfloat16: 0.45,  # two roundings
    torch.float16: 0.45,
}
WITHOUT_TORCH = 1.0  # allowed where torch does not have the dtype
ROUND_NOTHING = {  # they move numbers, draw masks, or are made of others in the table
    *("Identity", "Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "Sequential", "Residual"),
    *(
        "Parallel",
        "Container",
        "ModuleList",
        "ModuleDict",
        "Activation",
        "PiecewiseLinearEncoding",
        "MaxUnpool1d",
        "MaxUnpool2d",
        "MaxUnpool3d",
        "UpsamplingNearest2d",
    ),
    *("UpsamplingBilinear2d", "FractionalMaxPool2d", "FractionalMaxPool3d", "AlphaDropout", "FeatureAlphaDropout"),
    *("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "RReLU", "Transformer", "TransformerEncoder"),
    *("TransformerDecoder", *(f"{kind}Pad{n}d" for kind in ("Constant", "Zero") for n in (1, 2, 3))),
    *(f"{kind}Pad{n}d" for kind in ("Reflection", "Replication", "Circular") for n in (1, 3)),
}


@pytest.fixture(scope="module", autouse=True)
def after_the_first_exp():
    """One exp on all threads before anything is measured.

    In one of 230 fresh processes torch.exp, called alone and for the first time, by two threads, was off by 1,240 units
    of the last digit. Nothing of lamp's takes part there, so this test leaves out the calls that set torch up.
    """
    torch.rand(2**17).exp()


def floats(tree, change):
    return tree_map(lambda x: change(x) if isinstance(x, torch.Tensor) and x.is_floating_point() else x, tree)


def tensors(tree):
    return [each for each in tree_leaves(tree) if isinstance(each, torch.Tensor) and each.is_floating_point()]


def by_autograd(twin, row, inputs, upstream):
    """Outputs, and gradients of inputs and parameters, of a module of torch; dy is drawn if there is none."""
    leaves = [x if k in row.targets else floats(x, lambda t: t.clone().requires_grad_()) for k, x in enumerate(inputs)]
    y = twin(*leaves)
    found = tensors(y)
    upstream = [torch.randn_like(each) for each in found] if upstream is None else upstream
    variables = [*(each for each in tensors(leaves) if each.requires_grad), *twin.parameters()]
    given = [dy.to(each.dtype) for dy, each in zip(upstream, found, strict=True)]
    gradients = torch.autograd.grad(found, variables, given, allow_unused=True, materialize_grads=True)
    return y, [*(each.detach() for each in found), *gradients], upstream


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("dtype", FREE, ids=str)
@pytest.mark.parametrize("row", PRECISION, ids=str)
def test_as_near_to_the_truth_as_torch(row, dtype):
    assert not off(lambda seed: errors(row, dtype, seed), MOST, FREE[dtype], math.inf)


def errors(row, dtype, seed):
    """What was computed, lamp's error and torch's, or one digit where torch does not have the dtype."""
    torch.manual_seed(seed)
    twin = row.make(torch.nn).to(dtype)
    truth, module = copy.deepcopy(twin).double(), row.make(lamp).to(dtype)
    module.load_state_dict(twin.state_dict())
    inputs = floats([each() for each in row.inputs], lambda x: x.to(dtype))
    exactly, right, upstream = by_autograd(truth, row, floats(inputs, lambda x: x.double()), None)
    upstream = [each.to(dtype) for each in upstream]
    right = by_autograd(truth, row, floats(inputs, lambda x: x.double()), upstream)[1]
    try:
        by_torch = by_autograd(twin, row, inputs, upstream)[1]
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        by_torch = None

    y = module(*inputs)
    left = iter(upstream)
    dy = tree_map(lambda each: next(left) if each.is_floating_point() else None, exactly)
    dx = module.backward(*dy) if isinstance(dy, tuple) else module.backward(dy)
    gradients = [None if k in row.targets else each for k, each in enumerate(dx if isinstance(dx, tuple) else (dx,))]
    found = [*tensors(y), *tensors(gradients), *(each.grad for each in module.parameters())]
    assert len(found) == len(right)
    assert all(each.dtype == dtype for each in found)

    def far(each, exact):
        return float((each.double() - exact).norm() / exact.norm()) / torch.finfo(dtype).eps

    ours = [far(each, exact) for each, exact in zip(found, right, strict=True)]
    theirs = [WITHOUT_TORCH / MOST] * len(ours) if by_torch is None else [*map(far, by_torch, right)]
    theirs = [each if math.isfinite(each) else 0.0 for each in theirs]  # some of torch's sums leave the range
    return [(str(k), own, other) for k, (own, other) in enumerate(zip(ours, theirs, strict=True))]


def test_every_module_that_computes_is_in_the_table():
    public = {name for package in (lamp.nn, lamp.losses) for name in package.__all__}
    kinds = {name for name in public if inspect.isclass(kind := getattr(lamp, name, None)) and issubclass(kind, Module)}
    abstract = {"Loss", "SampleLoss"}
    measured = {row.kind for row in PRECISION} | {type(case.make()).__name__ for case in ACTIVATIONS}
    assert kinds - measured - ROUND_NOTHING - abstract - {kind.__name__ for kind in LAZY} == set()
