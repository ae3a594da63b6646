"""Optimizers without a twin of the same arguments: Lion, Muon, SparseAdam and LBFGS."""

import copy
import math

import pytest
import torch
from torch.optim import lbfgs

import lamp
from lamp.optim.line_search import Point, cubic_minimum, strong_wolfe
from lamp.parameter import Parameter, flatten

K = 3


# ---- Lion ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("maximize", [False, True])
def test_lion_follows_its_paper(maximize):
    values, gradients = torch.randn(4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    parameter = Parameter(values.clone())
    optimizer = lamp.Lion([parameter], lr=0.1, betas=(0.8, 0.7), weight_decay=0.3, maximize=maximize)
    mean = torch.zeros(4, dtype=torch.float64)
    for gradient in gradients:
        parameter.grad = -gradient if maximize else gradient
        optimizer.step()
        values = values - 0.1 * ((0.8 * mean + 0.2 * gradient).sign() + 0.3 * values)
        mean = 0.7 * mean + 0.3 * gradient
    torch.testing.assert_close(parameter.data, values, rtol=1e-13, atol=0)


def test_lion_compiles():
    losses = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(2, 5), lamp.Tanh(), lamp.Linear(5, 1)).double()
        x = torch.randn(64, 2, dtype=torch.float64)
        optimizer = lamp.Lion(model.parameters(), lr=1e-2, weight_decay=0.1)
        history = lamp.fit(
            model, lamp.MSELoss(), optimizer, (x, x.prod(1, keepdim=True)), epochs=5, batch_size=16, engine=engine
        )
        assert history.engine == engine
        losses.append(torch.as_tensor(history["loss"]))
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "Rprop", "SparseAdam"])
@pytest.mark.parametrize("seeds", [None, range(K)], ids=["one network", "a population"])
def test_new_rules_compile(kind, seeds):
    """Parameters and state are those of the eager engine, for one network and in a population."""
    found = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(2, 5), lamp.Tanh(), lamp.Linear(5, 1)).double()
        if seeds:
            model = lamp.population(model, seeds=seeds)
        x = torch.randn(64, 2, dtype=torch.float64)
        optimizer = getattr(lamp, kind)(model.parameters(), lr=1e-2)
        data = (x, x.prod(1, keepdim=True))
        history = lamp.fit(model, lamp.MSELoss(), optimizer, data, epochs=4, batch_size=16, engine=engine)
        assert history.engine == engine
        state = [tensor for each in optimizer.state_dict()["state"].values() for tensor in each.values()]
        found.append([each.data.clone() for each in model.parameters()] + state)
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-9, atol=1e-12)


# ---- Muon ------------------------------------------------------------------------------------------------------------
def test_muon_brings_singular_values_near_one():
    torch.manual_seed(0)
    from lamp.optim.muon import orthogonal

    for shape in [(6, 4), (4, 6), (5, 5)]:
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape), (3.4445, -4.7750, 2.0315), 5, 1e-7).float())
        assert values.min() > 0.3
        assert values.max() < 1.3


@pytest.mark.parametrize("adjust_lr_fn", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(6, 2), (2, 6), (3, 3)], ids=str)
def test_muon_adjusts_its_rate_as_torchs(shape, adjust_lr_fn):
    parameter, twin = Parameter(torch.randn(shape)), torch.nn.Parameter(torch.zeros(shape))
    twin.data.copy_(parameter.data)
    optimizer = lamp.Muon([parameter], lr=0.3, adjust_lr_fn=adjust_lr_fn)
    other = torch.optim.Muon([twin], lr=0.3, adjust_lr_fn=adjust_lr_fn)
    for _ in range(3):
        parameter.grad = torch.randn(shape)
        twin.grad = parameter.grad.clone()
        optimizer.step()
        other.step()
    torch.testing.assert_close(parameter.data, twin.detach(), rtol=1e-6, atol=1e-6)


def test_muon_in_a_population():
    """Replica k moves as it would alone, but for rounding in bfloat16: 8 bits, in a step of lr."""
    data, grads = torch.randn(K, 4, 6), torch.randn(5, K, 4, 6)
    rates = torch.tensor([0.1, 0.2, 0.05])
    together = Parameter(data.clone(), replicas=K)
    optimizer = lamp.Muon([together], lr=rates)
    for grad in grads:
        together.grad = grad
        optimizer.step()
    for k in range(K):
        alone = Parameter(data[k].clone())
        single = lamp.Muon([alone], lr=rates[k].item())
        for grad in grads[:, k]:
            alone.grad = grad
            single.step()
        torch.testing.assert_close(together.data[k], alone.data, rtol=0, atol=5 * rates[k].item() * 2**-6)


def test_muon_refuses_vectors_and_trains_eager():
    model = lamp.Sequential(lamp.Linear(2, 5, bias=False), lamp.Tanh(), lamp.Linear(5, 1, bias=False))
    with pytest.raises(lamp.ShapeError, match="matrices"):
        lamp.Muon(lamp.Linear(2, 3).parameters())
    x = torch.randn(64, 2)
    optimizer = lamp.Muon(model.parameters(), lr=0.02)
    history = lamp.fit(model, lamp.MSELoss(), optimizer, (x, x[:, :1]), epochs=20, batch_size=16)
    assert history.engine == "eager"
    assert history["loss"][-1] < history["loss"][0] / 2
    with pytest.raises(lamp.LampError, match="Muon does not treat each number"):
        lamp.fit(model, lamp.MSELoss(), optimizer, (x, x[:, :1]), epochs=1, engine="compiled")


# ---- SparseAdam ------------------------------------------------------------------------------------------------------
def test_sparse_adam_leaves_rows_without_gradient_alone():
    table = Parameter(torch.randn(5, 3))
    before = table.data.clone()
    optimizer = lamp.SparseAdam([table], lr=0.1)
    for _ in range(3):
        table.grad = torch.zeros(5, 3)
        table.grad[[1, 3]] = torch.randn(2, 3)
        optimizer.step()
    assert torch.equal(table.data[[0, 2, 4]], before[[0, 2, 4]])
    assert (table.data[[1, 3]] != before[[1, 3]]).all()
    assert not optimizer.state[table]["exp_avg"][[0, 2, 4]].any()


# ---- L-BFGS ----------------------------------------------------------------------------------------------------------
def fitted(line_search_fn, **options):
    """A network, lamp's and torch's, with closures of the same loss."""
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(2, 6), lamp.Tanh(), lamp.Linear(6, 1)).double()
    twin = lamp.to_torch(model)
    x = torch.randn(40, 2, dtype=torch.float64)
    y = x.prod(1, keepdim=True).sin()
    criterion = lamp.MSELoss()
    optimizer = lamp.LBFGS(model.parameters(), line_search_fn=line_search_fn, **options)
    other = torch.optim.LBFGS(twin.parameters(), line_search_fn=line_search_fn, **options)

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        model.backward(criterion.backward())
        return loss

    def closure_of_twin():
        other.zero_grad()
        loss = torch.nn.functional.mse_loss(twin(x), y)
        loss.backward()
        return loss

    return model, twin, optimizer, other, closure, closure_of_twin


@pytest.mark.parametrize(
    "options",
    [{}, {"history_size": 2}, {"max_iter": 5, "max_eval": 9}, {"lr": 0.5}, {"tolerance_change": 1e3}],
    ids=str,
)
@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_lbfgs_goes_torchs_way(line_search_fn, options):
    """Rounding grows along the way: the first steps agree to 1e-9, and the number of evaluations always."""
    model, twin, optimizer, other, closure, closure_of_twin = fitted(line_search_fn, **options)
    for _ in range(3):
        loss, theirs = optimizer.step(closure), other.step(closure_of_twin)
        assert float(loss) == pytest.approx(theirs.item(), rel=1e-6)
    for mine, its in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.data, its.detach(), rtol=1e-5, atol=1e-7)
    state = optimizer.state_dict()["state"][0]
    assert state["func_evals"] == other.state_dict()["state"][0]["func_evals"]
    assert state["n_iter"] == other.state_dict()["state"][0]["n_iter"]


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_lbfgs_resumes_from_a_state_dict_of_either(line_search_fn):
    model, _, optimizer, other, closure, closure_of_twin = fitted(line_search_fn, max_iter=4)
    optimizer.step(closure), other.step(closure_of_twin)
    for state in (optimizer.state_dict(), other.state_dict()):
        copied = copy.deepcopy((model, optimizer))
        again = lamp.LBFGS(copied[0].parameters())
        again.load_state_dict(copy.deepcopy(state))
        assert again.param_groups[0]["max_iter"] == 4
        assert again.state_dict()["state"][0]["n_iter"] == 4
    values = [each.data.clone() for each in model.parameters()]
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.step(closure)
    went = [each.data.clone() for each in model.parameters()]
    for each, value in zip(model.parameters(), values, strict=True):
        each.data.copy_(value)
    optimizer.load_state_dict(saved)
    optimizer.step(closure)
    assert all(torch.equal(each.data, value) for each, value in zip(model.parameters(), went, strict=True))


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_fit_trains_with_lbfgs(line_search_fn):
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(2, 6), lamp.Tanh(), lamp.Linear(6, 1)).double()
    x = torch.randn(40, 2, dtype=torch.float64)
    optimizer = lamp.LBFGS(model.parameters(), line_search_fn=line_search_fn, lr=1.0 if line_search_fn else 0.3)
    history = lamp.fit(model, lamp.MSELoss(), optimizer, (x, x.prod(1, keepdim=True)), epochs=10, batch_size=40)
    assert history.engine == "eager"
    assert history["loss"][-1] < history["loss"][0] / 20


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_lbfgs_begins_anew_where_other_parameters_train(line_search_fn):
    """As a new optimizer would; back and forth between two layers of as many numbers."""
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)
    found = []
    for anew in (False, True):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(3, 3), lamp.Tanh(), lamp.Linear(3, 3)).double()
        optimizer = lamp.LBFGS(model.parameters(), lr=0.5, max_iter=3, line_search_fn=line_search_fn)
        for frozen in (None, 0, 2, None):
            for k in (0, 2):
                model[k].requires_grad_(k != frozen)
            if anew:
                optimizer = lamp.LBFGS(model.parameters(), lr=0.5, max_iter=3, line_search_fn=line_search_fn)
            lamp.fit(model, lamp.MSELoss(), optimizer, x, y, epochs=2, batch_size=20, progress=False)
            state = optimizer.state_dict()
            optimizer.load_state_dict(state)
        found.append([each.data.clone() for each in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_lbfgs_takes_on_another_dtype():
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 1))
    other = copy.deepcopy(model).double()
    pairs = [(model, lamp.LBFGS(model.parameters(), max_iter=3)), (other, lamp.LBFGS(other.parameters(), max_iter=3))]
    for epoch in range(3):
        for each, optimizer in pairs:
            data = (x, y) if each is model and epoch == 0 else (x.double(), y.double())
            lamp.fit(each, lamp.MSELoss(), optimizer, data, epochs=1, batch_size=20, progress=False)
        model.double()
    assert len(pairs[0][1].state_dict()["state"][0]["old_dirs"]) > 3
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.data, two.data, rtol=1e-3, atol=1e-4)


def test_lbfgs_refuses_what_it_cannot_do():
    model = lamp.Sequential(lamp.Linear(2, 1))
    with pytest.raises(lamp.ArgumentError, match="closure"):
        lamp.LBFGS(model.parameters()).step()
    with pytest.raises(lamp.ArgumentError, match="one group"):
        lamp.LBFGS([{"params": [each]} for each in model.parameters()])
    with pytest.raises(lamp.ArgumentError, match="one network"):
        lamp.LBFGS(lamp.population(model, seeds=range(3)).parameters())
    with pytest.raises(lamp.ArgumentError, match="line_search_fn"):
        lamp.LBFGS(model.parameters(), line_search_fn="armijo")
    with pytest.raises(lamp.StateDictError):
        lamp.LBFGS(model.parameters()).load_state_dict(
            {"state": {0: {"n_iter": 3}}, "param_groups": lamp.LBFGS(model.parameters()).state_dict()["param_groups"]}
        )


def test_a_line_search_fulfils_both_conditions():
    """On functions of one number, from several first lengths."""
    functions = [
        (lambda t: (t - 3.0) ** 2, lambda t: 2.0 * (t - 3.0)),
        (lambda t: t**4 - 8.0 * t**2 - 5.0 * t, lambda t: 4.0 * t**3 - 16.0 * t - 5.0),
        (lambda t: -t / (t * t + 2.0), lambda t: (t * t - 2.0) / (t * t + 2.0) ** 2),
    ]
    one = torch.ones(1, dtype=torch.float64)
    for value, slope in functions:
        for first in (1e-3, 0.1, 1.0, 10.0, 100.0):
            look = lambda t, f=value, g=slope: Point(t, f(t), one * g(t), g(t))  # noqa: E731
            start = look(0.0)
            found, looks = strong_wolfe(look, start, start.slope, first, one, 1e-9, 25)
            assert found.loss <= start.loss + 1e-4 * found.at * start.slope
            assert abs(found.slope) <= 0.9 * abs(start.slope)
            assert 1 <= looks <= 26


def wave(k):
    """A function of one number that falls at 0, with hills and steep walls, and its slope."""
    a, b, c, d = torch.rand(4, generator=torch.Generator().manual_seed(k), dtype=torch.float64).tolist()
    return (
        lambda t: a * (t - 3.0 * b) ** 2 + c * math.sin(5.0 * t + d) - (1.0 + 5.0 * c) * t * math.exp(-t * t),
        lambda t: (
            2.0 * a * (t - 3.0 * b)
            + 5.0 * c * math.cos(5.0 * t + d)
            - (1.0 + 5.0 * c) * (1.0 - 2.0 * t * t) * math.exp(-t * t)
        ),
    )


@pytest.mark.parametrize("first", [1e-3, 0.3, 1.0, 8.0])
@pytest.mark.parametrize(("most", "tolerance"), [(25, 1e-9), (4, 1e-9), (25, 0.3)])
def test_a_line_search_goes_torchs_way(first, most, tolerance):
    """The same points are looked at, one after the other, and the same one is chosen."""
    one = torch.ones(1, dtype=torch.float64)
    searched = 0
    for value, slope in map(wave, range(60)):
        if not slope(0.0) < 0.0:
            continue
        mine, its = [], []

        def look(t, value=value, slope=slope, seen=mine):
            seen.append(t)
            return Point(t, value(t), one * slope(t), slope(t))

        def evaluate(x, t, d, value=value, slope=slope, seen=its):
            seen.append(float(t))
            return value(float(t)), one * slope(float(t))

        start = Point(0.0, value(0.0), one * slope(0.0), slope(0.0))
        found, looks = strong_wolfe(look, start, start.slope, first, one, tolerance, most)
        loss, _, at, count = lbfgs._strong_wolfe(
            evaluate, [], first, one, value(0.0), one * slope(0.0), one[0] * slope(0.0), 1e-4, 0.9, tolerance, most
        )
        assert mine == pytest.approx(its, rel=1e-9, abs=1e-12)
        assert looks == count
        assert found.at == pytest.approx(float(at), rel=1e-9)
        assert found.loss == pytest.approx(float(loss))
        searched += 1
    assert searched > 40


def test_a_cubic_is_met_exactly():
    f, g = (lambda t: t**3 - 3.0 * t), (lambda t: 3.0 * t * t - 3.0)  # least at 1
    none = torch.zeros(0)
    one, other = Point(0.2, f(0.2), none, g(0.2)), Point(1.7, f(1.7), none, g(1.7))
    assert cubic_minimum(one, other, 0.2, 1.7) == pytest.approx(1.0)
    assert cubic_minimum(other, one, 0.2, 1.7) == pytest.approx(1.0)
    assert cubic_minimum(one, other, 1.2, 1.7) == pytest.approx(1.2)
    assert cubic_minimum(one, one, 0.2, 1.7) == 0.95  # one point determines no cubic: the middle
    assert cubic_minimum(Point(0.0, 0.0, none, 1.0), Point(1.0, 1.0, none, 1.0), 0.5, 2.5) == 1.5  # nor has a line


def test_flat_parameters_of_two_networks_move_together():
    models = [lamp.Linear(2, 1).double(), lamp.Linear(2, 1).double()]
    params = [each for model in models for each in model.parameters()]
    flatten(params[:2])
    flatten(params[2:])
    optimizer = lamp.LBFGS(params, line_search_fn="strong_wolfe")

    def closure():
        for each in params:
            each.grad = each.data - 2.0
        return sum(float((each.data - 2.0).square().sum()) / 2 for each in params)

    optimizer.step(closure)
    assert all(torch.allclose(each.data, torch.full_like(each.data, 2.0)) for each in params)
