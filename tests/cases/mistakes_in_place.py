"""Mistakes between a forward and its backward: values that are written to, and gradients of something else."""

import torch

import lamp
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_passes import LABELS, X, Y, network, networks


def between(write, make=network, criterion=lamp.CrossEntropyLoss, target=LABELS):
    """A mistake made between the loss and the backward of a network."""

    def call():
        model, loss = make(), criterion()
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        output, y = model(X), target.clone()
        value = loss(output, y)
        write(model, optimizer, output, y)
        model.backward(loss.backward())
        return value

    return call


def of_another(change, *, head=False):
    """The loss, or another network, of something that is made of a network's output."""

    def call():
        model, after, loss = network(), lamp.Linear(2, 2), lamp.MSELoss()
        changed = change(model(X))
        loss(after(changed) if head else changed, Y)
        gradient = loss.backward()
        model.backward(after.backward(gradient) if head else gradient)

    return call


def _in_place(change):
    def call():
        model, loss = network(), lamp.MSELoss()
        output = model(X)
        change(output)
        loss(output, Y)
        model.backward(loss.backward())

    return call


def _remembered():
    tanh = lamp.Tanh()
    output = tanh(X)
    output.zero_()
    tanh.backward(torch.ones(6, 3))


def _compiled():
    model, loss = network(), lamp.CrossEntropyLoss()
    compiled = lamp.compile(model, loss, lamp.SGD(model.parameters(), lr=0.1), 6)
    loss(model(X), LABELS)
    gradient = loss.backward()
    compiled(X, LABELS)
    model.backward(gradient)


def _part():
    whole, loss = network(), lamp.MSELoss()
    whole.parameters()
    optimizer = lamp.SGD(whole[2].parameters(), lr=0.1)
    loss(whole(X), Y)
    optimizer.step()
    whole.backward(loss.backward())


def _torchs_call():
    loss = lamp.MSELoss()
    loss(X, X + 1)
    loss.backward().backward()


PARAMETERS, OUTPUT, OTHER = ("optimizer.step()", "forward again"), ("output.clone()",), ("gradient * 2", ".clone()")
SAID = "parameters were changed in place"


class _Doubles(lamp.Module):
    """y = 2 x, computed where x is or where dy is."""

    def __init__(self, where):
        self.where = where

    def forward(self, x):
        if self.where == "input":
            x *= 2.0
            return x
        return x * 2.0

    def backward(self, dy):
        if self.where == "gradient":
            dy *= 2.0
            return dy
        return dy * 2.0


def _in_a_branch(make, where):
    def call():
        model = lamp.Sequential(lamp.Linear(3, 3), make(_Doubles(where)), lamp.Linear(3, 2))
        model.backward(torch.ones_like(model(torch.ones(4, 3))))

    return Mistake(
        f"a branch of {make.__name__} that writes to its {where}",
        call,
        lamp.BackwardError,
        make(lamp.Tanh()).__class__.__name__,
        ("wrote to its", where, "x = x * 2"),
    )


def branches(first):
    return lamp.Parallel(lamp.Tanh(), first, lamp.Tanh())


MISTAKES = [
    *(_in_a_branch(make, where) for make in (lamp.Residual, branches) for where in ("input", "gradient")),
    Mistake(
        "a step before the backward",
        between(lambda m, o, y, t: o.step()),
        RuntimeError,
        "Sequential",
        (SAID, *PARAMETERS),
    ),
    Mistake(
        "a weight scaled before the backward",
        between(lambda m, o, y, t: m[2].weight.data.mul_(2)),
        RuntimeError,
        "Sequential",
        (SAID, *PARAMETERS),
    ),
    Mistake(
        "weights assigned before the backward",
        between(lambda m, o, y, t: setattr(m[0].weight, "data", torch.ones(4, 3))),
        RuntimeError,
        "Sequential",
        (SAID,),
    ),
    Mistake(
        "weights clipped before the backward",
        between(lambda m, o, y, t: [p.data.clamp_(-0.1, 0.1) for p in m.parameters()]),
        RuntimeError,
        "Sequential",
        (SAID,),
    ),
    Mistake(
        "weights loaded before the backward",
        between(lambda m, o, y, t: m.load_state_dict(network().state_dict())),
        RuntimeError,
        "Sequential",
        (SAID,),
    ),
    Mistake(
        "a step of a population before the backward",
        between(lambda m, o, y, t: o.step(), networks),
        RuntimeError,
        "Population",
        (SAID,),
    ),
    Mistake("a step of one layer's optimizer", _part, RuntimeError, "Sequential", (SAID,)),
    Mistake("a compiled step before the backward", _compiled, RuntimeError, "Sequential", (SAID,)),
    Mistake(
        "labels written to before the backward",
        between(lambda m, o, y, t: t.zero_()),
        RuntimeError,
        "CrossEntropyLoss",
        ("changed in place",),
    ),
    Mistake(
        "an output written to after its loss",
        between(lambda m, o, y, t: y.exp_(), criterion=lamp.MSELoss, target=Y),
        RuntimeError,
        "MSELoss",
        ("changed in place",),
    ),
    Mistake("output *= 2 before the loss", _in_place(lambda y: y.mul_(2)), RuntimeError, "Sequential", OUTPUT),
    Mistake("output.relu_() before the loss", _in_place(lambda y: y.relu_()), RuntimeError, "Sequential", OUTPUT),
    Mistake("output /= temperature", _in_place(lambda y: y.div_(0.5)), RuntimeError, "Sequential", OUTPUT),
    Mistake("an output that its module remembers", _remembered, RuntimeError, "Tanh", OUTPUT),
    Mistake("criterion(model(x) * 2, y)", of_another(lambda y: y * 2), RuntimeError, "Sequential", ("MSELoss", *OTHER)),
    Mistake("criterion(model(x).softmax(1), y)", of_another(lambda y: y.softmax(1)), RuntimeError, "Sequential", OTHER),
    Mistake("criterion(model(x) + other, y)", of_another(lambda y: y + Y), RuntimeError, "Sequential", OTHER),
    Mistake("criterion(model(x)[::-1], y)", of_another(lambda y: y.flip(0)), RuntimeError, "Sequential", OTHER),
    Mistake("criterion(other data, y)", of_another(lambda y: Y + 1), RuntimeError, "Sequential", OTHER),
    Mistake(
        "head(torch.relu(body(x)))", of_another(torch.relu, head=True), RuntimeError, "Sequential", ("Linear", *OTHER)
    ),
    Mistake("head(body(x) / 2)", of_another(lambda y: y / 2, head=True), RuntimeError, "Sequential", ("Linear",)),
    Mistake("gradient.backward(), as in torch", _torchs_call, RuntimeError, "MSELoss.backward()", ("model.backward(",)),
]
