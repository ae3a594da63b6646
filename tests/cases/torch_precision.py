"""How far lamp and torch are from the truth on the samples of torch's table, in float32, bfloat16 and float16.

The truth is what torch computes in float64 from the same rounded inputs and weights.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing._internal.common_modules import ModuleInput
from torch.utils._pytree import tree_leaves, tree_map

import lamp
from tests.cases import precision, torch_tables

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
MOST = 1.5  # times torch's error: sums in another order are as exact in the mean, but not each of them
FREE = {
    torch.float32: 3.0,
    torch.bfloat16: 1.0,
    torch.float16: 1.0,
}  # units of the last digit: sums in another order; two roundings
LOST = 0.1  # as a relative error
WITHOUT_ONEDNN = {"LSTM", "LSTMCell"}  # oneDNN's are up to twice as exact as the same in torch's operations


def off(name: str, sample: ModuleInput, training: bool, dtype: torch.dtype) -> dict[str, str]:
    """What lamp computes less exactly than torch. RuntimeError where torch does not have the module in this dtype."""
    truth, module = torch_tables.both(name, sample)
    twin, module = copy.deepcopy(truth.train(training)).to(dtype), module.to(dtype)
    module.train(training or isinstance(module, lamp.Loss))

    def draw(seed: int) -> list[tuple[str, float, float]]:
        return errors(name, sample, truth, twin, module, dtype, seed)

    return precision.off(draw, MOST, FREE[dtype], LOST / torch.finfo(dtype).eps)


def errors(
    name: str, sample: ModuleInput, truth: nn.Module, twin: nn.Module, module: Any, dtype: torch.dtype, seed: int
) -> list[tuple[str, float, float]]:
    """What was computed, lamp's error and torch's, in units of the last digit, with weights of this seed.

    truth   torch's module in float64; `twin` and `module` are torch's and lamp's in this dtype
    """
    torch.manual_seed(seed)
    for each in [*truth.parameters(), *truth.buffers()]:
        if each.is_floating_point():
            each.data.uniform_(0.2, 1.0).copy_(each.to(dtype))
    twin.load_state_dict(truth.state_dict())
    module.load_state_dict(twin.state_dict())
    module.zero_grad()
    tree = sample.forward_input.args, sample.forward_input.kwargs
    wants = [each.requires_grad for each in _tensors(tree)]
    given = floats(tree, lambda x: _moved(x.detach().to(dtype), seed if x.requires_grad else 0))

    exact, right, upstream = by_autograd(truth, floats(given, Tensor.double), wants, None, dtype)
    with _no_onednn() if name in WITHOUT_ONEDNN else nullcontext():
        theirs = by_autograd(twin, given, wants, upstream, dtype)[1]
    if isinstance(module, lamp.Loss) and not all(torch.isfinite(each).all() for each in (right[0], theirs[0])):
        return []  # an error in lamp
    ours = by_lamp(module, given, wants, exact, upstream)
    found = []
    for (what, own), other, true in zip(ours, theirs, right, strict=True):
        if own is not None:
            assert own.dtype == other.dtype, f"{what}: {own.dtype} instead of {other.dtype}"
            found.append((what, far(own, true, dtype), far(other, true, dtype)))
    return found


@contextmanager
def _no_onednn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about GPUs of Intel
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _moved(x: Tensor, seed: int) -> Tensor:
    """The same numbers, or from 0 to 4 units of the last digit nearer to 0: so they stay between their bounds."""
    return x if seed == 0 else x * (1.0 - torch.randint(5, x.shape) * torch.finfo(x.dtype).eps).to(x.dtype)


def by_autograd(module: nn.Module, given: Any, wants: list[bool], upstream: Any, dtype: torch.dtype) -> Any:
    """The output, [outputs, gradients of inputs and of parameters], and upstream, drawn in this dtype if None."""
    left = iter(wants)
    leaves = tree_map(lambda x: _leaf(x, next(left)) if isinstance(x, Tensor) else x, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = module(*leaves[0], **leaves[1])
    outputs = [each for each in _tensors(y) if each.is_floating_point()]
    if upstream is None:
        upstream = [torch.randn_like(each).to(dtype) for each in outputs]
    variables = [each for each in _tensors(leaves) if each.requires_grad] + list(module.parameters())
    pairs = [(each, dy.to(each.dtype)) for each, dy in zip(outputs, upstream, strict=True) if each.requires_grad]
    gradients = (
        torch.autograd.grad(
            [each for each, _ in pairs], variables, [dy for _, dy in pairs], allow_unused=True, materialize_grads=True
        )
        if pairs and variables
        else []
    )
    return y, [*(each.detach() for each in outputs), *gradients], upstream


def by_lamp(module: Any, given: Any, wants: list[bool], exact: Any, upstream: list[Tensor]) -> list[Any]:
    """The same, computed by lamp: pairs of what it is, and the tensor, or None where lamp has no such gradient."""
    is_loss = isinstance(module, lamp.Loss)
    runs = module if is_loss else torch_tables.Within(module)
    plain = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, given)
    y = runs(*plain[0], **plain[1])
    found: list[Any] = [(f"output {k}", each) for k, each in enumerate(e for e in _tensors(y) if e.is_floating_point())]
    if not (any(wants) or list(module.parameters())):
        return found
    left = iter(upstream)
    dy = tree_map(lambda x: next(left) if x.is_floating_point() else None, exact)
    dx = runs.backward(*dy) if isinstance(dy, tuple) else runs.backward(dy)
    inputs = [*given[0], *given[1].values()]
    dx = list(dx) if isinstance(dx, tuple) and len(inputs) > 1 else [dx]
    dx += [None] * (len(inputs) - len(dx))
    want = iter(wants)
    for k, (x, dx_k) in enumerate(zip(inputs, dx, strict=True)):
        leaves = [next(want) for _ in _tensors(x)]
        own = tree_leaves(dx_k, is_leaf=lambda each: each is None) if dx_k is not None else [None] * len(leaves)
        found += [(f"dx {k}.{j}", each) for j, each in enumerate(own) if leaves[j]]
    return found + [(f"d{path}", parameter.grad) for path, parameter in module.named_parameters()]


def far(found: Tensor, exact: Tensor, dtype: torch.dtype) -> float:
    """The norm of the error, relative to that of the truth, in units of the last digit."""
    known = torch.isfinite(exact)
    found, exact = found.detach().double()[known], exact[known]
    if not exact.numel():
        return 0.0
    norm = exact.norm().clamp_min(torch.finfo(dtype).smallest_normal)
    return float((found - exact).norm() / norm) / torch.finfo(dtype).eps


def floats(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return tree_map(lambda x: change(x) if isinstance(x, Tensor) and x.is_floating_point() else x, tree)


def _leaf(x: Tensor, wanted: bool) -> Tensor:
    return x.detach().clone().requires_grad_(wanted)


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]
