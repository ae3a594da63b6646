"""Mistakes with the arguments of methods, and with an optimizer's own rule."""

import operator

import torch

import lamp
from lamp.errors import ArgumentError
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_fitting import X, Y, fit, network


class Rule(lamp.Optimizer):
    """An optimizer whose `coefficients` return this."""

    counts_steps = False

    def __init__(self, params, returned):
        super().__init__(params, {"lr": 0.1})
        self._returned = returned

    def coefficients(self, group, step):
        return self._returned

    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * c["lr"]


def sgd():
    return lamp.SGD(network().parameters(), lr=0.1)


def called(thing, method, *args, **kwargs):
    return getattr(thing, method)(*args, **kwargs)


def _with_group(optimizer):
    optimizer.param_groups.append({"params": []})


def by_hand(method, *args, **kwargs):
    """A backward by hand, and then a call of this method of the network."""
    model, criterion = network(), lamp.CrossEntropyLoss()
    criterion(model(X), Y)
    return getattr(model, method)(criterion.backward(), *args, **kwargs)


def _rule(name, returned, *words, **options):
    return [
        Mistake(
            f"coefficients {name}, {engine}",
            lambda engine=engine: fit(optimizer=lambda each: Rule(each, returned), engine=engine, **options),
            ValueError,
            "Rule.coefficients",
            words,
        )
        for engine in ("eager", "compiled")
    ]


def _of_model(name, call, *words, where="Sequential"):
    return Mistake(name, lambda: call(network()), TypeError, where, words)


MISTAKES = [
    # ---- arguments that torch, Keras or scikit-learn have
    Mistake(
        "model.backward(gradient, retain_graph=True)",
        lambda: by_hand("backward", retain_graph=True),
        TypeError,
        "Sequential.backward",
        ("retain_graph=", "leave it out"),
    ),
    Mistake(
        "criterion.backward(retain_graph=True)",
        lambda: called(lamp.MSELoss(), "backward", retain_graph=True),
        TypeError,
        "MSELoss.backward",
        ("leave it out",),
    ),
    Mistake(
        "model.backward(gradient, lr=0.1)",
        lambda: by_hand("backward", lr=0.1),
        TypeError,
        "Sequential.backward",
        ("lr=",),
    ),
    _of_model("model.eval(X, y)", lambda model: model.eval(X, Y), "lamp.evaluate(", where="Sequential.eval"),
    _of_model("model.train(X, y)", lambda model: model.train(X, Y), "lamp.fit(", where="Sequential.train"),
    _of_model("model.train(epochs=10)", lambda model: model.train(epochs=10), "'epochs'", "lamp.fit("),
    _of_model("model.zero_grad(set_none=True)", lambda model: model.zero_grad(set_none=True), "set_to_none="),
    _of_model("model.parameters(recurse=False)", lambda model: model.parameters(recurse=False), "leave it out"),
    _of_model("named_parameters(prefix=)", lambda model: model.named_parameters(prefix="a"), "add the prefix"),
    _of_model("state_dict(keep_vars=True)", lambda model: model.state_dict(keep_vars=True), "leave it out"),
    _of_model("load_state_dict(assign=True)", lambda model: model.load_state_dict({}, assign=True), "copied"),
    _of_model("model.append of two", lambda model: model.append(lamp.ReLU(), lamp.ReLU()), where="Sequential.append"),
    _of_model("model.to with a keyword of torch's", lambda model: model.to(memory_format=torch.channels_last)),
    Mistake(
        "scheduler.step(epoch, metrics)",
        lambda: called(lamp.StepLR(sgd(), 1), "step", 1, 0.5),
        TypeError,
        "StepLR.step",
    ),
    Mistake(
        "optimizer.step(grad_scaler=)",
        lambda: called(sgd(), "step", grad_scaler=None),
        TypeError,
        "SGD.step",
        ("closure",),
    ),
    Mistake(
        "history.plot(smooth=3)", lambda: called(fit(), "plot", smooth=3), TypeError, "History.plot", ("'smooth'",)
    ),
    Mistake(
        "classifier.fit(epochs=)",
        lambda: called(lamp.MLPClassifier(), "fit", X.numpy(), Y.numpy(), epochs=3),
        TypeError,
        "MLPClassifier.fit",
        ("'epochs'",),
    ),
    Mistake(
        "classifier.predict(batch_size=)",
        lambda: called(lamp.MLPClassifier(), "predict", X.numpy(), batch_size=3),
        TypeError,
        "MLPClassifier.predict",
        ("'batch_size'",),
    ),
    *(
        Mistake(
            f"{kind.__name__}(output, target)",
            lambda kind=kind: kind(X, Y),
            TypeError,
            kind.__name__,
            ("criterion(output, target)",),
        )
        for kind in (lamp.CrossEntropyLoss, lamp.BCEWithLogitsLoss, lamp.MSELoss, lamp.HuberLoss, lamp.GaussianNLLLoss)
    ),
    Mistake("predict(x, model)", lambda: lamp.predict(X, network()), ArgumentError, "predict", ("(model, inputs)",)),
    Mistake(
        "SGD(lr=a text)",
        lambda: lamp.SGD(network().parameters(), lr="0.1"),
        ArgumentError,
        "SGD: lr is not a number",
        ("'0.1'", "lr=0.1"),
    ),
    *(
        Mistake(
            f"param_groups.{name}",
            lambda change=change: change(sgd().param_groups),
            ArgumentError,
            "param_groups",
            ("add_param_group",),
        )
        for name, change in {
            "pop()": lambda groups: groups.pop(),
            "clear()": lambda groups: groups.clear(),
            "reverse()": lambda groups: groups.reverse(),
            "extend([])": lambda groups: groups.extend([]),
            "__delitem__(0)": lambda groups: operator.delitem(groups, 0),
            "__iadd__([])": lambda groups: operator.iadd(groups, []),
        }.items()
    ),
    *(
        Mistake(
            f"StepLR.{name} = {value!r}",
            lambda name=name, value=value: setattr(lamp.StepLR(sgd(), 3), name, value),
            ArgumentError,
            f"StepLR: {name}",
        )
        for name, value in (("gamma", "a"), ("gamma", -1.0), ("step_size", 0), ("step_size", None))
    ),
    # ---- the rule of an optimizer
    *_rule("that are one number", 0.1, '{"lr": group["lr"]}'),
    *_rule("that are nothing", None, "return {...}"),
    *_rule("that are texts", {"lr": "0.1"}, "lr: '0.1'"),
    *_rule("that are vectors", {"lr": torch.ones(3)}, "a tensor (3,)"),
    *_rule("of other replicas", {"lr": torch.ones(3)}, "or a tensor (4", model=lamp.population(network(), range(4))),
    # ---- states, groups and values that methods are given
    *(
        Mistake(
            f"optimizer.load_state_dict of {name}",
            lambda state=state: called(sgd(), "load_state_dict", state),
            KeyError,
            "SGD",
        )
        for name, state in (
            ("nothing", {}),
            ("a number for groups", {"state": {}, "param_groups": 3}),
            ("texts for groups", {"state": {}, "param_groups": ["a"]}),
            ("groups without parameters", {"state": {}, "param_groups": [{}]}),
            ("a list for the state", {"state": [1], "param_groups": sgd().state_dict()["param_groups"]}),
            ("texts for the state", {"state": {0: "a"}, "param_groups": sgd().state_dict()["param_groups"]}),
        )
    ),
    *(
        Mistake(
            f"{type(thing).__name__}.load_state_dict of {state!r}",
            lambda thing=thing, state=state: called(thing, "load_state_dict", state),
            KeyError,
            type(thing).__name__,
            ("state_dict()",),
        )
        for thing in (
            lamp.metrics.F1(),
            lamp.metrics.AUC(),
            lamp.metrics.R2(),
            lamp.DataLoader((X, Y), 4),
            lamp.EarlyStopping(monitor="loss"),
        )
        for state in (3, {})
    ),
    Mistake("optimizer.param_groups = []", lambda: setattr(sgd(), "param_groups", []), ValueError, "SGD", ("freeze",)),
    Mistake(
        "a group that is appended to a list",
        lambda: _with_group(sgd()),
        ValueError,
        "param_groups",
        ("add_param_group",),
    ),
    Mistake(
        "a closure that returns nothing",
        lambda: lamp.LBFGS(network().parameters()).step(lambda: None),
        ValueError,
        "closure",
    ),
    Mistake("a plateau of a dict", lambda: lamp.ReduceLROnPlateau(sgd()).step({"loss": 1.0}), ValueError, "metrics"),
    Mistake("a plateau of a text", lambda: lamp.ReduceLROnPlateau(sgd()).step("loss"), ValueError, "metrics"),
    Mistake("scheduler.step('10')", lambda: called(lamp.StepLR(sgd(), 1), "step", "10"), ValueError, "epoch"),
    Mistake(
        "scheduler.get_lr()",
        lambda: called(lamp.StepLR(sgd(), 1), "get_lr"),
        AttributeError,
        "StepLR",
        ("get_last_lr()",),
    ),
    Mistake("per_replica()", lambda: called(lamp, "per_replica"), TypeError, "per_replica"),
    Mistake(
        "metric.update of outputs alone",
        lambda: called(lamp.metrics.F1(), "update", Y),
        TypeError,
        "F1.update",
        ("target",),
    ),
    Mistake("a sample beyond the end", lambda: lamp.Dataset(X, Y)[99], IndexError, "99", ("len(dataset)",)),
    Mistake(
        "a column of a data set by name",
        lambda: called(lamp.Dataset(X, Y), "__getitem__", "inputs"),
        ValueError,
        "data set",
        ("dataset.inputs",),
    ),
    Mistake(
        "dataset.normalized(mean)",
        lambda: called(lamp.Dataset(X, Y), "normalized", 0.5),
        ValueError,
        "normalized",
        ("using=train",),
    ),
    Mistake("history.of a replica that is not there", lambda: fit().of(3), IndexError, "replica 3"),
    Mistake(
        "history.best_epoch(mode='highest')",
        lambda: fit().best_epoch("loss", "highest"),
        ValueError,
        "mode",
        ('mode="max"',),
    ),
    Mistake("history.interval(level='95 %')", lambda: called(fit(), "interval", "loss", "95 %"), ValueError, "level"),
    _of_model("model.cuda(True)", lambda model: model.cuda(True), where="to()"),
    Mistake(
        "model.apply of a function of nothing",
        lambda: called(network(), "apply", lambda: 1),
        ValueError,
        "function",
        ("module",),
    ),
    Mistake("model.get_submodule([0])", lambda: called(network(), "get_submodule", [0]), AttributeError, "Sequential"),
    Mistake(
        "a mask for other replicas",
        lambda: lamp.population(network(), range(3)).select(torch.tensor([True])),
        ValueError,
        "mask",
        ("(3,)",),
    ),
]
