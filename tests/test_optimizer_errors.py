"""Optimizers: bad input gets an error that says what was expected, what came and what to do, and changes nothing."""

import pytest
import torch

import lamp.optim
from lamp.errors import ArgumentError
from lamp.nn import Linear, ReLU, Sequential
from lamp.optim import SGD, Adam, AdamW
from lamp.parameter import Parameter

NAN, INFINITY = float("nan"), float("inf")


def one():
    return Parameter(torch.zeros(3))


OUT_OF_RANGE = [
    *((kind, "lr", bad) for kind in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad") for bad in (-1e-3, NAN, INFINITY)),
    *((kind, "weight_decay", bad) for kind in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad") for bad in (-0.1, NAN)),
    *((kind, "eps", bad) for kind in ("Adam", "AdamW", "RMSprop", "Adagrad") for bad in (-1e-8, NAN)),
    *(
        ("Adam", "betas", bad)
        for bad in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, NAN), (0.9,), (0.9, 0.99, 0.5), 0.9)
    ),
    ("Adam", "betas", None),
    ("SGD", "momentum", -0.5),
    ("SGD", "momentum", NAN),
    ("SGD", "dampening", NAN),
    ("SGD", "dampening", INFINITY),
    ("RMSprop", "momentum", -0.5),
    ("RMSprop", "alpha", -0.1),
    ("RMSprop", "alpha", NAN),
    ("Adagrad", "lr_decay", -0.1),
    ("Adagrad", "initial_accumulator_value", -0.1),
    *((kind, "betas", bad) for kind in ("NAdam", "RAdam", "Adamax", "Lion") for bad in ((-0.1, 0.9), (0.9, 1.0))),
    *(("Adadelta", "rho", bad) for bad in (-0.1, 1.1)),
    *(("Rprop", "etas", bad) for bad in ((1.0, 1.2), (0.0, 1.2), (0.5, 1.0))),
    *(("ASGD", "alpha", bad) for bad in (-101.0, 101.0)),
    ("SGD", "lr", "0.1"),
    ("SGD", "lr", None),
    ("SGD", "lr", 1j),
    ("SGD", "lr", torch.tensor(-1.0)),
    ("SGD", "lr", torch.tensor(NAN)),
]


@pytest.mark.parametrize(("kind", "name", "bad"), OUT_OF_RANGE, ids=str)
def test_a_hyperparameter_out_of_range(kind, name, bad):
    with pytest.raises(ArgumentError) as caught:
        getattr(lamp.optim, kind)([one()], **{name: bad})
    text = str(caught.value)
    assert kind in text
    assert "expected" in text
    assert "fix" in text
    with pytest.raises(ArgumentError, match=kind):  # in a group it is the same
        getattr(lamp.optim, kind)([{"params": [one()]}, {"params": [one()], name: bad}])


@pytest.mark.parametrize(
    ("name", "bad"), [("ns_steps", 101), ("ns_coefficients", (1.0, 2.0)), ("ns_coefficients", 3.4)]
)
def test_an_option_of_muon_out_of_range(name, bad):
    with pytest.raises(ArgumentError, match="Muon"):
        lamp.optim.Muon([Parameter(torch.zeros(2, 3))], **{name: bad})


NO_PARAMETERS = {
    "an empty list": (lambda: [], "has no parameters"),
    "an iterator that is used up": (lambda: iter(()), "has no parameters"),
    "a network without any": (lambda: ReLU().parameters(), "has no parameters"),
    "an empty group": (lambda: [{"params": []}], "has no parameters"),
    "a group without": (lambda: [{"lr": 0.1}], "a parameter group is a dict"),
    "a group and a parameter": (lambda: [{"params": [one()]}, one()], "a parameter group is a dict"),
    "a parameter and a group": (lambda: [one(), {"params": [one()]}], "needs lamp's parameters"),
    "a group alone": (lambda: {"params": [one()]}, "put the group into a list"),
    "a set": (lambda: {one()}, "an ordered collection"),
    "a number": (lambda: 3.0, "needs an ordered collection"),
    "nothing": (lambda: None, "needs an ordered collection"),
    "a string": (lambda: "weights", "needs an ordered collection"),
    "a tensor": (lambda: torch.zeros(3), "needs an ordered collection"),
    "tensors": (lambda: [torch.zeros(3)], "lamp.Parameter(tensor)"),
    "torch's parameters": (lambda: torch.nn.Linear(2, 3).parameters(), "lamp.Parameter(tensor)"),
    "a network": (lambda: Linear(2, 3), "pass model.parameters()"),
    "a network that can be iterated": (lambda: Sequential(Linear(2, 3)), "pass model.parameters()"),
    "a network in a list": (lambda: [Linear(2, 3)], "pass model.parameters()"),
    "names and parameters": (lambda: Linear(2, 3).named_parameters(), "pass model.parameters()"),
    "a parameter twice": (lambda: [one()] * 2, "was passed twice"),
    "a parameter twice in a group": (lambda: [{"params": [one()] * 2}], "was passed twice"),
    "a group twice": (lambda: [{"params": [one()]}] * 2, "is in two groups"),
    "an unknown hyperparameter": (
        lambda: [{"params": [one()], "learning_rate": 0.1}],
        "no hyperparameter 'learning_rate'",
    ),
}


@pytest.mark.parametrize(("params", "says"), NO_PARAMETERS.values(), ids=NO_PARAMETERS.keys())
def test_what_is_no_list_of_parameters(params, says):
    with pytest.raises(ArgumentError) as caught:
        Adam(params())
    assert says in str(caught.value)


def test_one_parameter_alone_and_a_generator_are_lists_too():
    for params in (one(), (param for param in [one()]), (one(),), [{"params": one()}]):
        assert len(Adam(params).param_groups[0]["params"]) == 1


@pytest.mark.parametrize(
    "options",
    [{"nesterov": True}, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}],
    ids=["no momentum", "dampening"],
)
def test_nesterov_needs_a_momentum_and_no_dampening(options):
    with pytest.raises(ArgumentError, match="Nesterov momentum needs a momentum and no dampening"):
        SGD([one()], **options)


@pytest.mark.parametrize(
    "group",
    [{"params": [], "lr": 0.1}, {"params": [torch.zeros(2)]}, {"lr": 0.1}, [one()], {"params": [one()], "lr": -1.0}],
    ids=str,
)
def test_a_group_that_is_refused_is_not_added(group):
    param = one()
    optimizer = AdamW([param], lr=0.1)
    with pytest.raises(ArgumentError):
        optimizer.add_param_group(group)
    with pytest.raises(ArgumentError, match="is in two groups"):
        optimizer.add_param_group({"params": [param]})
    assert len(optimizer.param_groups) == 1
    param.grad = torch.ones(3)
    optimizer.step()
    assert param.data.all()
    assert set(optimizer.state_dict()["state"]) == {0}


def test_a_rule_must_be_complete():
    class Half(lamp.optim.Optimizer):
        def coefficients(self, group, step):
            return {}

    with pytest.raises(TypeError, match="update"):
        Half([one()], {})
