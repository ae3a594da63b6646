"""torch's own table of module cases, `module_db`, to run lamp's modules on.

It comes with torch, for torch's own tests: for each class, samples of constructor arguments and inputs, and errors.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.testing._internal.common_modules import ModuleErrorEnum, ModuleInput, module_db
from torch.utils._pytree import register_pytree_node, tree_leaves, tree_map

import lamp
from lamp.module import Module
from tests.cases.module_case import error

# A packed sequence is mapped by its data alone.
register_pytree_node(
    PackedSequence, lambda packed: ([packed.data], packed[1:]), lambda data, rest: PackedSequence(data[0], *rest)
)
MODULES = {info.module_cls.__name__: info for info in module_db}
TOLERANCE = 1e-10  # relative, in float64
PLACE = {"device": "cpu", "dtype": torch.float64}
MODES = [  # each class in training and in evaluation mode; to a loss both are the same
    pytest.param(name, training, id=f"{name}-{'training' if training else 'eval'}")
    for name, info in MODULES.items()
    for training in (True, False)
    if training or not issubclass(info.module_cls, nn.modules.loss._Loss)
]


def samples(name: str, training: bool) -> Iterator[tuple[str, ModuleInput]]:
    """The samples of a class in float64, each with a description."""
    info = MODULES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = info.module_inputs_func(info, requires_grad=True, training=training, **PLACE)
    for k, sample in enumerate(made):
        yield f"{k} {sample.desc}", sample


def errors(name: str) -> list[Any]:
    """The inputs of a class that are errors."""
    info = MODULES[name]
    if info.module_error_inputs_func is None:
        return []
    return list(info.module_error_inputs_func(info, requires_grad=True, training=True, **PLACE))


class Within(Module):
    """A network in training mode around one module, so that backward works where that module is in eval mode."""

    def __init__(self, inner: Module) -> None:
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)

    def backward(self, *grad_outputs: Any) -> Any:
        return self.inner.backward(*grad_outputs)


def check(name: str, sample: ModuleInput, training: bool) -> None:
    """Compare output, gradients of all inputs and gradients of all parameters with torch's; AssertionError if off."""
    torch.manual_seed(0)
    twin, module = both(name, sample)
    twin.train(training)
    module.train(training or isinstance(module, lamp.Loss))  # nothing goes back through a root in eval mode
    given, named = sample.forward_input.args, sample.forward_input.kwargs
    leaves = tree_map(_leaf, (given, named))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = twin(*leaves[0], **leaves[1])
        if isinstance(twin, nn.modules.lazy.LazyModuleMixin):
            raise AssertionError("torch's module is still lazy")
    is_loss = isinstance(module, lamp.Loss)
    runs = module if is_loss else Within(module)
    plain = tree_map(lambda each: each.detach().clone() if isinstance(each, Tensor) else each, (given, named))
    if is_loss and not torch.isfinite(expected).all() and module.reduction != "none":  # type: ignore[attr-defined]
        with pytest.raises((lamp.NonFiniteError, lamp.LabelError)):  # lamp says so, where torch returns NaN
            runs(*plain[0], **plain[1])
        return
    found = runs(*plain[0], **plain[1])
    compare("the output", found, expected)

    upstream = tree_map(_upstream, expected)
    variables = [each for each in tree_leaves(leaves) if isinstance(each, Tensor) and each.requires_grad]
    parameters = dict(twin.named_parameters())
    outputs = [(y, dy) for y, dy in zip(_tensors(expected), _tensors(upstream), strict=True) if y.requires_grad]
    if not outputs:
        return
    wanted = torch.autograd.grad(
        [y for y, _ in outputs],
        [*variables, *parameters.values()],
        [dy for _, dy in outputs],
        allow_unused=True,
        materialize_grads=True,
    )
    upstream = tree_map(lambda each: each if each.dtype.is_floating_point else None, upstream)
    own = runs.backward(*upstream) if isinstance(upstream, tuple) else runs.backward(upstream)
    kept = {id(variable): gradient for variable, gradient in zip(variables, wanted, strict=False)}
    for k, (input, gradient) in enumerate(zip([*leaves[0], *leaves[1].values()], _aligned(own, leaves), strict=False)):
        if is_loss and k and gradient is None:
            continue  # a loss of one output has no gradient of its target
        want = tree_map(lambda each: kept.get(id(each)), input)
        compare(f"the gradient of input {k}", _given(gradient, want), want)
    ours = dict(module.named_parameters())
    for k, (path, _) in enumerate(parameters.items(), start=len(variables)):
        try:
            compare(f"the gradient of {path}", ours[path].grad, wanted[k])
        except AssertionError:  # is it a small difference of large numbers, which torch itself gets no better?
            moved = _moved_gradients(twin, leaves, upstream, k - len(variables))
            if not error(ours[path].grad, wanted[k]) < 10 * max(error(each, wanted[k]) for each in moved):
                raise


def _moved_gradients(twin: nn.Module, leaves: Any, upstream: Any, k: int) -> list[Tensor]:
    """torch's gradients of parameter k where the last digits of all parameters differ, up or down at random.

    A common factor would cancel in layers that normalise, so it would not show what rounding does.
    """
    parameters, found = list(twin.parameters()), []
    before = [parameter.detach().clone() for parameter in parameters]
    for trial in range(3):
        generator = torch.Generator().manual_seed(trial)
        with torch.no_grad():
            for parameter, start in zip(parameters, before, strict=True):
                up = torch.randint(2, start.shape, generator=generator).to(start) * 2.0 - 1.0
                parameter.copy_(start * (1.0 + up * 2.0**-52))
        outputs = _tensors(twin(*leaves[0], **leaves[1]))
        pairs = [(y, dy) for y, dy in zip(outputs, _tensors(upstream), strict=True) if y.requires_grad]
        found += torch.autograd.grad([y for y, _ in pairs], [parameters[k]], [dy for _, dy in pairs])
    with torch.no_grad():
        for parameter, start in zip(parameters, before, strict=True):
            parameter.copy_(start)
    return found


def both(name: str, sample: ModuleInput) -> tuple[nn.Module, Module]:
    """torch's module and lamp's, with the same random parameters and buffers."""
    args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about its shortcuts
        twin = MODULES[name].module_cls(*args, **kwargs).double()
    module = own(name, sample)
    if isinstance(twin, nn.modules.lazy.LazyModuleMixin):
        with torch.no_grad():
            copy.deepcopy(sample.forward_input)
            twin(*sample.forward_input.args, **sample.forward_input.kwargs)
        module(*tree_map(lambda each: each.detach() if isinstance(each, Tensor) else each, sample.forward_input.args))
    for each in [*twin.parameters(), *twin.buffers()]:
        if each.is_floating_point():
            each.data.uniform_(0.2, 1.0)
    module.load_state_dict(twin.state_dict())
    return twin, module


def own(name: str, sample: ModuleInput) -> Module:
    """lamp's module for a sample, in float64."""
    given = sample.constructor_input.args, sample.constructor_input.kwargs
    args, kwargs = tree_map(lambda each: lamp.from_torch(each) if isinstance(each, nn.Module) else each, given)
    module: Module = getattr(lamp, name)(*args, **kwargs).double()
    return module


def _leaf(each: Any) -> Any:
    if isinstance(each, Tensor):
        return each.detach().clone().requires_grad_(each.requires_grad)
    return each


def _upstream(each: Any) -> Any:
    return torch.randn_like(each) if each.dtype.is_floating_point else torch.zeros_like(each)


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


def _aligned(gradients: Any, leaves: Any) -> list[Any]:
    """The gradients that backward returned, one for each input, in order; those of trailing inputs may be left out."""
    return list(gradients) if isinstance(gradients, tuple) and len(leaves[0]) + len(leaves[1]) > 1 else [gradients]


def _given(gradient: Any, want: Any) -> Any:
    """The gradient; where all wanted are zero or None, None is as good."""
    if gradient is None and want is not None:
        return tree_map(lambda each: None if each is None else torch.zeros_like(each), want)
    return gradient


def compare(what: str, found: Any, expected: Any) -> None:
    """Raise AssertionError unless all tensors are equal up to TOLERANCE, and the two have the same structure."""
    if isinstance(expected, Tensor):
        assert isinstance(found, Tensor), f"{what}: {type(found).__name__} instead of a tensor"
        expected = expected.detach()
        if not expected.dtype.is_floating_point:
            assert torch.equal(found, expected), what
            return
        nans = expected.isnan()
        assert torch.equal(found.isnan(), nans), f"{what}: NaN in other places"
        far = error(found.masked_fill(nans, 0.0), expected.masked_fill(nans, 0.0))
        assert far < TOLERANCE, f"{what} is off by {far:.1e}"
        return
    if isinstance(expected, tuple | list):
        assert isinstance(found, tuple | list), what
        assert len(found) == len(expected), what
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            compare(f"{what}[{k}]", one, other)


def check_error(name: str, wrong: Any) -> None:
    """Compare the class of the exception for an input that is an error; AssertionError if lamp raises another."""
    sample: ModuleInput = wrong.module_error_input
    plain = tree_map(lambda each: each.detach() if isinstance(each, Tensor) else each, sample.forward_input)
    caught: BaseException | None = None
    module: Module | None = None
    try:
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        module = getattr(lamp, name)(*args, **kwargs)
        if wrong.error_on is not ModuleErrorEnum.CONSTRUCTION_ERROR:
            module.double()(*plain.args, **plain.kwargs)
    except lamp.LampError as error:
        caught = error
    assert isinstance(caught, wrong.error_type), f"{type(caught).__name__} instead of {wrong.error_type.__name__}"
    assert caught.expected is not None
    assert caught.got is not None
    told = caught.what if module is None else caught.where  # lamp finds some wrong options earlier than torch
    assert told is not None
    assert name in told
