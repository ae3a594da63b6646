"""Mistakes with forward and backward, eval mode, and what replicas share."""

import copy

import torch

import lamp
from tests.cases.mistakes import Mistake

X, Y, LABELS = torch.randn(6, 3), torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
K = 3


def network(*last):
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2), *last)


def networks(*last):
    return lamp.population(network(*last), range(K))


def of_value(call):
    """A mistake that is made with a model, a criterion and a loss."""
    model, criterion = network(), lamp.CrossEntropyLoss()
    return call(model, criterion, criterion(model(X), LABELS))


def after(model, *calls):
    """Call a model several times and keep all outputs."""
    return [call(model) for call in calls]


def _evaluated(model):
    with lamp.evaluating():
        return model(X)


def _loss_of_evaluated():
    model, criterion = network(), lamp.MSELoss()
    criterion(_evaluated(model), Y)
    model.backward(criterion.backward())


def _gradient_of_another():
    one, other, criterion = network(), network(), lamp.MSELoss()
    one(X), criterion(other(X), Y)
    one.backward(criterion.backward())


def _past_a_network():
    encoder, decoder, criterion = lamp.Linear(3, 3), network(), lamp.MSELoss()
    criterion(decoder(encoder(X)), Y)
    encoder.backward(criterion.backward())


def _two_losses():
    model, criterion = network(), lamp.MSELoss()
    kept = criterion(model(X), Y), criterion(model(X + 1), Y)
    criterion.backward()
    return kept


def _changed(change, back):
    population, criterion = lamp.population(lamp.Linear(3, 1), range(K)), lamp.MSELoss()
    output = change(population(X))
    criterion(output, torch.zeros_like(output))
    population.backward(back(criterion.backward()))


class Scale(lamp.Module):
    def __init__(self):
        self.w = lamp.Parameter(torch.randn(3))

    def forward(self, x):
        self.remember(x)
        return x * self.w.data

    def backward(self, dy):
        self.w.grad.add_((dy * self.recall()).sum(0))
        return dy * self.w.data


class Seeded(Scale):
    def reset_parameters(self, *, generator=None):
        self.w.data.normal_(generator=generator)


class Flat(lamp.Module):
    def forward(self, x):
        self.remember(x.shape)
        return x.reshape(x.shape[0], -1)

    def backward(self, dy):
        return dy.reshape(self.recall())


class Normed(lamp.Module):
    def forward(self, x):
        return (x - x.mean(0)) / x.std(0)

    def backward(self, dy):
        return dy


def _tried(module, x=X):
    return lamp.population(lamp.Sequential(module, lamp.Linear(3, 2)), range(K))(x)


BACK = "model.backward(criterion.backward())"
MISTAKES = [
    Mistake(
        "loss.backward(), as in torch",
        lambda: of_value(lambda m, c, v: v.backward()),
        RuntimeError,
        "CrossEntropyLoss",
        (BACK,),
    ),
    Mistake(
        "loss.backward(retain_graph=True)",
        lambda: of_value(lambda m, c, v: v.backward(retain_graph=True)),
        RuntimeError,
        "CrossEntropyLoss",
        (BACK,),
    ),
    Mistake(
        "model.backward(loss)", lambda: of_value(lambda m, c, v: m.backward(v)), RuntimeError, "Sequential", (BACK,)
    ),
    Mistake(
        "model.backward_parameters(loss)",
        lambda: of_value(lambda m, c, v: m.backward_parameters(v)),
        RuntimeError,
        "Sequential",
        (BACK,),
    ),
    Mistake(
        "model.backward() without a gradient",
        lambda: of_value(lambda m, c, v: m.backward()),
        RuntimeError,
        "Sequential",
        (BACK,),
    ),
    Mistake(
        "output.backward(gradient)",
        lambda: network()(X).backward(Y),
        RuntimeError,
        "this tensor is an output of",
        ("gradient of the output",),
    ),
    Mistake(
        "the loss of a network that ends in it: loss.backward()",
        lambda: network(lamp.MSELoss())(X, Y)[1].backward(),
        RuntimeError,
        "this tensor is an output of",
        ("model.backward()",),
    ),
    Mistake(
        "a network that ends in its loss: model.backward(loss)",
        lambda: after(network(lamp.MSELoss()), lambda m: m.backward(m(X, Y)[1])),
        RuntimeError,
        "Sequential",
        ("model(x, target)",),
    ),
    Mistake(
        "a network that ends in its loss, called without a target",
        lambda: after(network(lamp.MSELoss()), lambda m: m(X), lambda m: m.backward()),
        RuntimeError,
        "MSELoss",
    ),
    Mistake(
        "backward before any forward", lambda: network().backward(Y), RuntimeError, "Sequential.2", ("before forward",)
    ),
    Mistake(
        "criterion.backward() before any forward",
        lambda: lamp.MSELoss().backward(),
        RuntimeError,
        "MSELoss",
        ("before forward",),
    ),
    Mistake(
        "backward twice by hand",
        lambda: after(network(), lambda m: m(X) * 1, lambda m: m.backward(Y), lambda m: m.backward(Y)),
        RuntimeError,
        "Sequential.2",
        ("twice",),
    ),
    Mistake(
        "criterion.backward() twice",
        lambda: of_value(lambda m, c, v: (c.backward(), c.backward())),
        RuntimeError,
        "CrossEntropyLoss",
        ("twice",),
    ),
    Mistake(
        "backward in eval mode",
        lambda: after(network().eval(), lambda m: m(X), lambda m: m.backward(Y)),
        RuntimeError,
        "Sequential.2",
        ("train()",),
    ),
    Mistake(
        "backward of what evaluating put out", _loss_of_evaluated, RuntimeError, "Sequential.2", ("lamp.evaluating()",)
    ),
    Mistake(
        "backward after predict alone",
        lambda: after(network(), lambda m: lamp.predict(m, X), lambda m: m.backward(Y)),
        RuntimeError,
        "Sequential.2",
        ("before forward",),
    ),
    Mistake(
        "backward of a copy",
        lambda: after(network(), lambda m: m(X), lambda m: copy.deepcopy(m).backward(Y)),
        RuntimeError,
        "Sequential.2",
        ("before forward",),
    ),
    Mistake(
        "a gradient by hand after two forwards",
        lambda: after(network(), lambda m: m(X), lambda m: m(X + 1), lambda m: m.backward(Y)),
        RuntimeError,
        "Sequential",
        ("lamp.evaluating()",),
    ),
    Mistake("two losses of one criterion, kept", _two_losses, RuntimeError, "MSELoss", ("loss.item()",)),
    Mistake(
        "the gradient of another network's output",
        _gradient_of_another,
        RuntimeError,
        "Sequential",
        ("another network",),
    ),
    Mistake(
        "a gradient handed past a network",
        _past_a_network,
        RuntimeError,
        "Linear",
        ("pass on what it returns",),
    ),
    Mistake(
        "the loss of population(x).squeeze(-1)",
        lambda: _changed(lambda y: y.squeeze(-1), lambda d: d.unsqueeze(-1)),
        RuntimeError,
        "Population",
        ("lamp.per_replica(outputs)",),
    ),
    Mistake(
        "the loss of population(x)[..., 0]",
        lambda: _changed(lambda y: y[..., 0], lambda d: d.unsqueeze(-1)),
        RuntimeError,
        "Population",
        ("lamp.per_replica(outputs)",),
    ),
    Mistake(
        "the loss of population(x) * 2",
        lambda: _changed(lambda y: y * 2, lambda d: d * 2),
        RuntimeError,
        "Population",
        ("lamp.per_replica(outputs)",),
    ),
    Mistake(
        "the mark on the gradient alone",
        lambda: _changed(lambda y: y * 2, lambda d: lamp.per_replica(d * 2)),
        RuntimeError,
        "Population",
        ("lamp.per_replica(outputs)",),
    ),
    Mistake(
        "a batch for another number of replicas",
        lambda: networks()(lamp.per_replica(torch.randn(4, 6, 3))),
        ValueError,
        "Population",
        ("4 replicas", "population.per_replica"),
    ),
    Mistake(
        "a gradient for another number of replicas",
        lambda: after(networks(), lambda p: p(X), lambda p: p.backward(lamp.per_replica(torch.randn(4, 6, 2)))),
        ValueError,
        "Population",
        ("4 replicas",),
    ),
    Mistake(
        "population.per_replica of a shared batch",
        lambda: networks().per_replica(X),
        ValueError,
        "3 replicas",
        ("stack",),
    ),
    Mistake(
        "population.per_replica of an array",
        lambda: networks().per_replica(X.numpy()),
        ValueError,
        "3 replicas",
        ("ndarray",),
    ),
    Mistake("per_replica of a list", lambda: lamp.per_replica([X, X]), TypeError, "per_replica", ("torch.stack",)),
    Mistake(
        "per_replica of a number", lambda: lamp.per_replica(torch.tensor(1.0)), ValueError, "per_replica", ("(K, ...)",)
    ),
    Mistake(
        "labels of their own without the batch's mark",
        lambda: lamp.CrossEntropyLoss()(networks()(torch.randn(K, 6, 3)), torch.zeros(K, 6).long()),
        ValueError,
        "CrossEntropyLoss",
        ("lamp.per_replica(x)",),
    ),
    Mistake(
        "a module whose parameters no seed draws",
        lambda: lamp.population(lamp.Sequential(Scale(), lamp.Linear(3, 2)), range(K)),
        ValueError,
        "Sequential.0: Scale",
        ("reset_parameters(self, *, generator=None)",),
    ),
    Mistake(
        "a module whose parameters meet samples",
        lambda: _tried(Seeded(), torch.randn(K, 3)),
        ValueError,
        "Sequential.0: Seeded",
        ("unsqueeze(-2)", "takes_replicas"),
    ),
    Mistake(
        "a module that flattens from the first axis",
        lambda: _tried(Flat(), torch.randn(K, 3)),
        ValueError,
        "Sequential.0: Flat",
        ("replicas",),
    ),
    Mistake(
        "a module that takes the mean of the batch",
        lambda: _tried(Normed()),
        ValueError,
        "Sequential.0: Normed",
        ("replicas",),
    ),
    Mistake(
        "an ensemble asked with inputs of the members' own",
        lambda: lamp.Ensemble(networks())(lamp.per_replica(torch.randn(K, 6, 3))),
        ValueError,
        "ensemble",
        ("lamp.predict",),
    ),
    Mistake("predict with batch_size=0", lambda: lamp.predict(network(), X, batch_size=0), ValueError, "batch_size"),
    Mistake("predict with a class", lambda: lamp.predict(lamp.Sequential, X), ValueError, "predict", ("the class",)),
    Mistake("predict with an ensemble", lambda: lamp.predict(lamp.Ensemble(networks()), X), ValueError, "predict"),
    Mistake("predict of words", lambda: lamp.predict(network(), ["a", "b"]), ValueError, "inputs"),
    Mistake("predict of nothing", lambda: lamp.predict(network(), None), ValueError, "inputs"),
]
