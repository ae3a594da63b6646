"""After every step the parameters equal torch.optim's, wherever they lie in memory."""

import copy
import inspect
import itertools

import pytest
import torch

import lamp.optim
from lamp.nn import Linear, Sequential, Tanh
from lamp.optim import Adam, Optimizer, RMSprop, blocks
from lamp.parameter import Parameter, flatten, spans
from tests.cases.optimizers import OPTIMIZERS, Pair, close

KINDS = sorted({case.kind for case in OPTIMIZERS})
ELSEWHERE = {"Lion", "Muon", "SparseAdam", "LBFGS"}  # no twin of the same arguments: see tests/test_other_optimizers.py


def _apart(params):
    """Each parameter in a buffer of its own."""


def _in_two_networks(params):
    flatten(params[:2])
    flatten(params[2:])


def _in_another_order(params):
    flatten([*params[3:], *params[:3]])


def _among_others(params):
    """The parameters lie in a buffer together with others that the optimizer does not have."""
    mixed = []
    for param in params:
        mixed += [param, Parameter(torch.ones(3, dtype=torch.float64))]
    flatten(mixed)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_after_thirty_steps_are_torchs(case):
    pair = case.pair()
    for _ in range(30):
        pair.step()
        pair.check()


@pytest.mark.parametrize("lay", [_apart, _in_two_networks, _in_another_order, _among_others])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_wherever_parameters_lie(case, lay):
    pair = case.pair(lay)
    pair.step(4)
    pair.check()


def test_parameters_among_others_are_left_alone():
    ours, other = Parameter(torch.ones(4)), Parameter(torch.ones(5))
    flatten([ours, other])
    ours.grad, other.grad = torch.ones(4), torch.ones(5)
    optimizer = Adam([ours], lr=0.1)
    optimizer.step()
    optimizer.zero_grad()
    assert torch.equal(other.data, torch.ones(5))
    assert torch.equal(other.grad, torch.ones(5))
    assert not ours.grad.any()


@pytest.mark.parametrize("block", [1, 7, 10**6])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_the_size_of_a_block_does_not_matter(case, block, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", block)
    pair = case.pair()
    pair.step(5)
    pair.check()
    made = pair.optimizer._blocks[0]
    if not pair.optimizer.elementwise:
        assert len(made.blocks) == len(pair.optimizer.param_groups[0]["params"])
        return
    assert (len(made.blocks) > len(made.gradients)) == (block < 10)


def test_many_threads_share_a_block_and_a_large_buffer_has_several():
    torch.set_num_threads(2)
    param, alone = (Parameter(torch.linspace(-1, 1, 2 * 2 * blocks.BLOCK + 5)) for _ in range(2))
    optimizer = Adam([param], lr=0.1)
    torch.set_num_threads(1)
    assert [block.data.numel() for block in optimizer._blocks[0].blocks] == [2 * blocks.BLOCK, 2 * blocks.BLOCK, 5]
    other = Adam([alone], lr=0.1)
    assert len(other._blocks[0].blocks) == 5
    for _ in range(3):
        param.grad = alone.grad = torch.randn_like(param.data)
        optimizer.step()
        other.step()
    torch.testing.assert_close(param.data, alone.data, rtol=1e-6, atol=0)


def test_gradients_are_not_changed():
    for case in OPTIMIZERS:
        pair = case.pair()
        pair.step()
        before = [param.grad.clone() for param in pair.params]
        pair.optimizer.step()
        assert all(torch.equal(param.grad, old) for param, old in zip(pair.params, before, strict=True)), case


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Rprop"])  # whose steps have a least size
def test_learning_rate_zero_moves_nothing(kind):
    param = Parameter(torch.randn(5))
    before = param.data.clone()
    optimizer = getattr(lamp.optim, kind)([param], lr=0.0, weight_decay=0.3)
    for _ in range(3):
        param.grad = torch.randn(5)
        optimizer.step()
    assert torch.equal(param.data, before)


@pytest.mark.parametrize("kind", KINDS)
def test_maximize_is_the_step_for_the_opposite_gradient(kind):
    data, grads = torch.randn(5), torch.randn(4, 5)
    up, down = Parameter(data.clone()), Parameter(data.clone())
    options = {} if kind == "Rprop" else {"weight_decay": 0.0}
    climbing = getattr(lamp.optim, kind)([up], maximize=True, **options)
    falling = getattr(lamp.optim, kind)([down], **options)
    for grad in grads:
        up.grad, down.grad = grad, -grad
        climbing.step()
        falling.step()
    assert torch.equal(up.data, down.data)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_in_any_dress(kind):
    """An int, a tensor of one element and numpy's numbers are the same hyperparameter as the float."""
    import numpy as np

    data, results = torch.randn(5), []
    for lr in (1.0, 1, torch.tensor(1.0), torch.tensor([1.0]), np.float32(1.0), np.int64(1)):
        param = Parameter(data.clone())
        param.grad = torch.arange(5.0)
        optimizer = getattr(lamp.optim, kind)([param], lr=lr)
        optimizer.step()
        assert type(optimizer.param_groups[0]["lr"]) is float
        results.append(param.data)
    assert all(torch.equal(results[0], result) for result in results)


def test_hyperparameters_may_change_between_steps():
    pair = next(case for case in OPTIMIZERS if case.kind == "Adam" and case.groups).pair()
    for step in range(6):
        for optimizer in (pair.optimizer, pair.twin):
            optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            optimizer.param_groups[1]["betas"] = (0.5 + 0.05 * step, 0.9)
            optimizer.param_groups[2]["weight_decay"] = 0.1 * step
        pair.step()
        pair.check()


def test_an_option_may_be_switched_on_and_off():
    pair = next(case for case in OPTIMIZERS if str(case) == "SGD(lr=0.1)").pair()
    for momentum in (0.0, 0.9, 0.9):
        for optimizer in (pair.optimizer, pair.twin):
            optimizer.param_groups[0]["momentum"] = momentum
        pair.step()
        pair.check()
    pair.optimizer.param_groups[0]["momentum"] = 0.0
    pair.optimizer.step()
    assert pair.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_centered_rmsprop_has_no_nan_where_rounding_makes_the_variance_negative(alpha):
    """A gradient that stays the same: its variance is 0, and in float32 comes out below it."""
    grads = torch.linspace(0.1, 3.0, 500)
    ours, theirs = Parameter(torch.zeros(500)), torch.nn.Parameter(torch.zeros(500))
    optimizer = RMSprop([ours], lr=1e-3, alpha=alpha, centered=True)
    twin = torch.optim.RMSprop([theirs], lr=1e-3, alpha=alpha, centered=True)
    for _ in range(300):
        ours.grad, theirs.grad = grads, grads.clone()
        optimizer.step()
        twin.step()
    assert not theirs.isfinite().all(), "torch does better now: this test has lost its point"
    assert ours.data.isfinite().all()


# ---- networks that change under the optimizer ------------------------------------------------------------------------
def _network(*widths):
    layers = [Linear(n, m) for n, m in itertools.pairwise(widths)]
    return Sequential(*(module for layer in layers for module in (layer, Tanh())))


def _twins_of(params):
    return [torch.nn.Parameter(param.data.clone()) for param in params]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_grows(kind):
    model = _network(3, 5, 2).double()
    params = model.parameters()
    twins = _twins_of(params)
    pair = Pair(params, twins, getattr(lamp.optim, kind)(params, lr=0.1), getattr(torch.optim, kind)(twins, lr=0.1))
    pair.step(3)
    model.append(Linear(2, 4).double())
    new = model.parameters()[len(params) :]  # all parameters have moved to a new buffer here
    assert len(spans(model.parameters())) == 1
    pair.step(2)
    pair.check()
    new_twins = _twins_of(new)
    pair.optimizer.add_param_group({"params": new, "lr": 0.3})
    pair.twin.add_param_group({"params": new_twins, "lr": 0.3})
    grown = Pair([*params, *new], [*twins, *new_twins], pair.optimizer, pair.twin)
    grown.step(3)
    grown.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_changes_dtype(kind):
    model = _network(3, 5, 2)
    params = model.parameters()
    optimizer = getattr(lamp.optim, kind)(params, lr=0.1)
    for param in params:
        param.grad = torch.randn(param.shape)
    optimizer.step()
    optimizer.step()
    model.double()
    twins = _twins_of(params)
    twin = getattr(torch.optim, kind)(twins, lr=0.1)
    twin.load_state_dict(optimizer.state_dict())
    assert all(
        tensor.dtype == torch.float64 for tensor in optimizer.state_dict()["state"].get(0, {}).values() if tensor.dim()
    )
    pair = Pair(params, twins, optimizer, twin)
    pair.step(3)
    pair.check()


def test_weights_in_one_group_and_biases_in_another():
    model = _network(3, 5, 2).double()
    groups = [[p for p in model.parameters() if p.data.dim() == dim] for dim in (2, 1)]
    twins = [_twins_of(group) for group in groups]
    optimizer, twin = (
        package.AdamW([{"params": weights, "weight_decay": 0.4}, {"params": biases, "lr": 0.2}], lr=0.1)
        for package, (weights, biases) in ((lamp.optim, groups), (torch.optim, twins))
    )
    pair = Pair([*groups[0], *groups[1]], [*twins[0], *twins[1]], optimizer, twin)
    pair.step(5)
    pair.check()


def test_zero_grad_after_the_network_has_moved():
    model = _network(3, 5)
    optimizer = Adam(model.parameters())
    model.append(Linear(5, 2))
    for param in model.parameters():
        param.grad = torch.ones(param.shape)
    optimizer.zero_grad()
    assert [bool(param.grad.any()) for param in model.parameters()] == [False, False, True, True]


def test_a_copy_goes_its_own_way():
    model = _network(3, 5, 2)
    optimizer = Adam(model.parameters(), lr=0.1)
    for param in model.parameters():
        param.grad = torch.randn(param.shape)
    optimizer.step()
    other, its_optimizer = copy.deepcopy((model, optimizer))
    before = [param.data.clone() for param in model.parameters()]
    its_optimizer.step()
    assert all(torch.equal(param.data, old) for param, old in zip(model.parameters(), before, strict=True))
    optimizer.step()
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.data, its.data)


def test_a_rule_of_ones_own_that_returns_new_tensors():
    class SignDescent(Optimizer):
        def coefficients(self, group, step):
            return {"lr": group["lr"]}

        def update(self, parameter, gradient, state, c, group):
            return parameter - gradient.sign() * c["lr"]

    param = Parameter(torch.zeros(3))
    param.grad = torch.tensor([2.0, -3.0, 0.0])
    SignDescent([param], {"lr": 0.5}).step()
    torch.testing.assert_close(param.data, torch.tensor([-0.5, 0.5, 0.0]))


# ---- the tables are complete ---------------------------------------------------------------------------------------
def test_every_optimizer_is_in_the_table():
    public = {name for name in lamp.optim.__all__ if inspect.isclass(getattr(lamp.optim, name))}
    kinds = {name for name in public if issubclass(getattr(lamp.optim, name), Optimizer)} - {"Optimizer"}
    assert kinds == set(KINDS) | ELSEWHERE


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_are_torchs(kind):
    ours = inspect.signature(getattr(lamp.optim, kind)).parameters
    theirs = inspect.signature(getattr(torch.optim, kind)).parameters
    machinery = {"foreach", "fused", "capturable", "differentiable"}
    assert {name for name in theirs if name not in machinery} == set(ours)
    positional = [name for name, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [name for name in theirs if name in positional]
    for name, parameter in ours.items():
        assert parameter.default == theirs[name].default, name


def test_close_sees_a_small_mistake():
    with pytest.raises(AssertionError):
        close(torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0 + 1e-9], dtype=torch.float64))


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_a_rate_set_before_the_first_step_is_the_first_steps(case):
    """Some state begins with it: the sizes of Rprop's steps, ASGD's eta."""
    pair = case.pair()
    pair.optimizer.zero_grad()
    for ours, theirs in zip(pair.optimizer.param_groups, pair.twin.param_groups, strict=True):
        ours["lr"] = theirs["lr"] = 0.03 * theirs["lr"]
    pair.step(3)
    pair.check()


@pytest.mark.parametrize("kind", [lamp.Rprop, lamp.ASGD])
def test_a_rate_of_each_replica_set_before_the_first_step(kind):
    found = []
    for together in (True, False):
        rates = (0.002, 0.03)
        networks = [lamp.Linear(3, 2).double() for _ in rates]
        for k, network in enumerate(networks):
            network.reset_parameters(generator=torch.Generator().manual_seed(k))
        for model, rate in (
            [(lamp.stack(networks), torch.tensor(rates))] if together else zip(networks, rates, strict=True)
        ):
            optimizer = kind(model.parameters(), lr=0.1)
            optimizer.lr = rate
            x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(10, 3)
            lamp.fit(model, lamp.MSELoss(), optimizer, x, x[:, :2] ** 2, epochs=3, shuffle=False, progress=False)
            found.append(torch.cat([each.data.reshape(2 if together else 1, -1) for each in model.parameters()], 1))
    torch.testing.assert_close(found[0], torch.cat(found[1:]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_a_momentum_that_is_switched_on_later_begins_with_the_gradient_as_in_torch(engine, dampening):
    torch.manual_seed(0)
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64)
    model, twin = lamp.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    twin.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    rows = lamp.DataLoader((x, y), 20)
    optimizer, other = lamp.SGD(model.parameters(), lr=0.1), torch.optim.SGD(twin.parameters(), lr=0.1)
    for rounds in range(3):
        for group in (*optimizer.param_groups, *other.param_groups):
            group["momentum"], group["dampening"] = 0.9 * (rounds > 0), dampening
        if engine == "compiled" and rounds == 1 and dampening:  # two coefficients of one step
            lamp.fit(model, lamp.MSELoss(), optimizer, rows, epochs=2, progress=False)
        else:
            lamp.fit(model, lamp.MSELoss(), optimizer, rows, epochs=2, engine=engine, progress=False)
        for _ in range(2):
            other.zero_grad()
            torch.nn.functional.mse_loss(twin(x), y).backward()
            other.step()
        torch.testing.assert_close(model.weight.data, twin.weight.detach(), rtol=1e-11, atol=1e-13)
