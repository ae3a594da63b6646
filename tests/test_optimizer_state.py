"""Optimizers' state dicts are compatible with torch.optim, and a run resumed from one is unchanged."""

import copy
import io

import pytest
import torch

import lamp.optim
from lamp.errors import LampError, StateDictError
from lamp.parameter import Parameter, flatten
from tests.cases.optimizers import OPTIMIZERS, SHAPES, Pair, close

MACHINERY = {"foreach", "fused", "capturable", "differentiable"}  # how torch computes, not what


def _check_equal(ours, theirs):
    """That lamp's state dict is torch's, without the keys of its machinery."""
    assert set(ours) == set(theirs)
    assert list(ours["state"]) == list(theirs["state"])
    for number, state in theirs["state"].items():
        assert set(ours["state"][number]) == set(state)
        for name, tensor in state.items():
            assert ours["state"][number][name].shape == tensor.shape
            mine = ours["state"][number][name]
            close(
                mine if tensor.dim() else mine.double(),
                tensor if tensor.dim() else tensor.double(),
                f"{name} of {number}",
            )
    for group, other in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        assert group == {key: value for key, value in other.items() if key not in MACHINERY}


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_state_dict_is_torchs(case, steps):
    pair = case.pair()
    pair.step(steps)
    _check_equal(pair.optimizer.state_dict(), pair.twin.state_dict())


def _saved_and_read(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_goes_on_from_torchs_state_dict(case, steps):
    pair = case.pair()
    pair.step(steps)
    optimizer = case.make(pair.params)
    optimizer.load_state_dict(_saved_and_read(pair.twin.state_dict()))
    resumed = Pair(pair.params, pair.twins, optimizer, pair.twin)
    resumed.step(3)
    resumed.check()


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_torch_goes_on_from_lamps_state_dict(case, steps):
    pair = case.pair()
    pair.step(steps)
    twin = case.make_torch(pair.twins)
    twin.load_state_dict(_saved_and_read(pair.optimizer.state_dict()))
    resumed = Pair(pair.params, pair.twins, pair.optimizer, twin)
    resumed.step(3)
    resumed.check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_a_resumed_run_is_the_same_run_to_the_bit(case, dtype):
    whole, resumed = (
        [Parameter(torch.linspace(-1, 1, 12).view(3, 4).to(dtype) + k) for k in range(3)] for _ in range(2)
    )
    grads = torch.randn(9, 3, 3, 4, dtype=dtype)
    uninterrupted, before = case.make(whole), case.make(resumed)
    flatten(whole)

    def step(optimizer, params, grad):
        for param, g in zip(params, grad, strict=True):
            param.grad = g
        optimizer.step()

    for grad in grads:
        step(uninterrupted, whole, grad)
    for grad in grads[:4]:
        step(before, resumed, grad)
    after = lamp_default(case, resumed)
    after.load_state_dict(_saved_and_read(before.state_dict()))
    for grad in grads[4:]:
        step(after, resumed, grad)
    assert all(torch.equal(a.data, b.data) for a, b in zip(whole, resumed, strict=True))


def lamp_default(case, params):
    """An optimizer over the same groups with its default hyperparameters: those of the state dict must replace them."""
    n = len(case.groups)
    return getattr(lamp.optim, case.kind)([{"params": params[k::n]} for k in range(n)] if n else params)


def test_a_state_dict_is_a_copy():
    pair = OPTIMIZERS[6].pair()
    pair.step()
    state = pair.optimizer.state_dict()
    before = copy.deepcopy(state)
    pair.step(2)
    assert all(
        torch.equal(state["state"][k]["momentum_buffer"], before["state"][k]["momentum_buffer"]) for k in range(6)
    )
    pair.optimizer.load_state_dict(state)
    pair.step(2)
    assert all(
        torch.equal(state["state"][k]["momentum_buffer"], before["state"][k]["momentum_buffer"]) for k in range(6)
    )


def test_a_state_that_is_none_is_no_state():
    """Older versions of torch save an unused momentum this way."""
    pair = OPTIMIZERS[0].pair()
    state = pair.optimizer.state_dict()
    pair.optimizer.load_state_dict({**state, "state": {k: {"momentum_buffer": None} for k in range(len(SHAPES))}})
    pair.step(2)
    pair.check()


def test_groups_stay_the_same_dicts_when_a_state_is_loaded():
    """A reference to a group, such as a schedule's, is still valid afterwards."""
    optimizer = lamp.optim.Adam([Parameter(torch.zeros(2))], lr=0.1)
    group = optimizer.param_groups[0]
    optimizer.load_state_dict(
        {**optimizer.state_dict(), "param_groups": [{**optimizer.state_dict()["param_groups"][0], "lr": 0.5}]}
    )
    assert group is optimizer.param_groups[0]
    assert group["lr"] == 0.5


def test_the_initial_learning_rate_of_a_schedule_is_kept():
    optimizer, other = (lamp.optim.Adam([Parameter(torch.zeros(2))], lr=0.1) for _ in range(2))
    lamp.optim.ExponentialLR(optimizer, 0.5).step()
    other.load_state_dict(optimizer.state_dict())
    assert (other.param_groups[0]["lr"], other.param_groups[0]["initial_lr"]) == (0.05, 0.1)


# ---- state dicts that do not fit -------------------------------------------------------------------------------------
def _changed(path, value):
    def change(state):
        place = state
        for key in path[:-1]:
            place = place[key]
        if value is _DROP:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return state

    return change


_DROP = object()
GROUP = ("param_groups", 0)
MISFITS = {
    "nothing": lambda state: {},
    "not a dict": lambda state: [1, 2],
    "no groups": lambda state: {"state": state["state"], "param_groups": []},
    "a group more": lambda state: {**state, "param_groups": state["param_groups"] * 2},
    "a parameter less": _changed((*GROUP, "params"), list(range(len(SHAPES) - 1))),
    "state of a stranger": _changed(("state", 17), {"step": torch.tensor(4.0)}),
    "another shape": _changed(("state", 1, "exp_avg"), torch.zeros(5)),
    "no tensor": _changed(("state", 1, "exp_avg"), 3.0),
    "half a state": _changed(("state", 1, "exp_avg_sq"), _DROP),
    "another optimizer's state": _changed(("state", 1), {"step": torch.tensor(4.0), "momentum_buffer": torch.zeros(4)}),
    "no betas": _changed((*GROUP, "betas"), _DROP),
    "betas out of range": _changed((*GROUP, "betas"), (0.9, 1.5)),
    "one beta": _changed((*GROUP, "betas"), (0.9,)),
    "a NaN": _changed((*GROUP, "lr"), float("nan")),
}


@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS.keys())
def test_a_state_dict_that_does_not_fit_changes_nothing(change):
    case = next(case for case in OPTIMIZERS if str(case) == "Adam(lr=0.05)")
    pair = case.pair()
    pair.step(4)
    wrong = change(copy.deepcopy(pair.optimizer.state_dict()))
    with pytest.raises(StateDictError) as caught:
        pair.optimizer.load_state_dict(wrong)
    assert "the state dict does not fit this Adam" in str(caught.value)
    assert isinstance(caught.value, LampError)
    _check_equal(pair.optimizer.state_dict(), pair.twin.state_dict())
    pair.step(2)
    pair.check()


def test_the_state_of_another_optimizer_is_refused():
    adam = next(case for case in OPTIMIZERS if str(case) == "Adam()").pair()
    sgd = next(case for case in OPTIMIZERS if str(case) == "SGD(lr=0.1, momentum=0.9)").pair()
    for pair in (adam, sgd):
        pair.step()
    with pytest.raises(StateDictError, match="betas"):
        adam.optimizer.load_state_dict(sgd.optimizer.state_dict())
    with pytest.raises(StateDictError, match="momentum"):
        sgd.optimizer.load_state_dict(adam.optimizer.state_dict())


def test_repr_says_what_torchs_says():
    params = [Parameter(torch.zeros(2))], [torch.nn.Parameter(torch.zeros(2))]
    ours, theirs = (
        repr(package.AdamW(ps, lr=0.3)) for package, ps in zip((lamp.optim, torch.optim), params, strict=True)
    )
    assert ours.split("\n") == [line for line in theirs.split("\n") if line.strip().split(":")[0] not in MACHINERY]
