"""Every method that users call, with arguments that it does not take: lamp's own error says which it takes.

`MADE` makes an object of each public class that
has methods; what lamp itself calls is in `CALLED_BY_LAMP`.
"""

import functools
import inspect
import warnings

import pytest
import torch

import lamp
from lamp.errors import LampError

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
TRAINED = {"epochs": 2, "progress": False}


def net():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def sgd():
    return lamp.SGD(net().parameters(), lr=0.1, momentum=0.9)


def history():
    model = net()
    told = {"validation": 0.25, "metrics": "accuracy", "engine": "eager"}
    return lamp.fit(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), (X, Y), **told, **TRAINED)


def classifier():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lamp.MLPClassifier(4, max_iter=2, engine="eager").fit(X.numpy(), Y.numpy())


def regressor():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lamp.MLPRegressor(4, max_iter=2, engine="eager").fit(X.numpy(), X[:, 0].numpy())


def compiled():
    model = net()
    return lamp.compile(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), batch_size=4)


@functools.cache
def swept():
    return lamp.sweep(net, {"lr": [0.1, 0.2]}, (X, Y), criterion=lamp.CrossEntropyLoss(), seeds=2, **TRAINED)


@functools.cache
def folds():
    return lamp.cross_validate(net(), (X, Y), criterion=lamp.CrossEntropyLoss(), folds=3, **TRAINED)


MADE = {
    "Sequential": net,
    "Linear": lambda: lamp.Linear(3, 2),
    "ModuleList": lambda: lamp.ModuleList([lamp.Linear(3, 2)]),
    "ModuleDict": lambda: lamp.ModuleDict({"a": lamp.Linear(3, 2)}),
    "Embedding": lambda: lamp.Embedding(7, 3),
    "EmbeddingBag": lambda: lamp.EmbeddingBag(7, 3),
    "BatchNorm1d": lambda: lamp.BatchNorm1d(3),
    "Dropout": lambda: lamp.Dropout(0.5),
    "CrossEntropyLoss": lamp.CrossEntropyLoss,
    "Population": lambda: lamp.population(net(), range(2)),
    "AveragedModel": lambda: lamp.AveragedModel(net()),
    "Parameter": lambda: lamp.Parameter(torch.ones(2)),
    "SGD": sgd,
    "Adam": lambda: lamp.Adam(net().parameters()),
    "LBFGS": lambda: lamp.LBFGS(net().parameters()),
    "StepLR": lambda: lamp.StepLR(sgd(), 2),
    "SWALR": lambda: lamp.SWALR(sgd(), 0.1),
    "ReduceLROnPlateau": lambda: lamp.ReduceLROnPlateau(sgd()),
    "CosineAnnealingWarmRestarts": lambda: lamp.CosineAnnealingWarmRestarts(sgd(), 2),
    "SequentialLR": lambda: (lambda o: lamp.SequentialLR(o, [lamp.StepLR(o, 2), lamp.StepLR(o, 3)], [2]))(sgd()),
    "DataLoader": lambda: lamp.DataLoader((X, Y), 4),
    "Dataset": lambda: lamp.Dataset(X, Y),
    "History": history,
    "Sweep": swept,
    "CrossValidation": folds,
    "Ensemble": lambda: lamp.Ensemble([net(), net()]),
    "Summary": lambda: lamp.summary(net(), X),
    "GradientReport": lambda: lamp.check_gradients(lamp.Tanh(), X, directions=1),
    "EarlyStopping": lambda: lamp.EarlyStopping(monitor="loss"),
    "Accuracy": lambda: lamp.metrics.Accuracy(),
    "F1": lambda: lamp.metrics.F1(),
    "AUC": lambda: lamp.metrics.AUC(),
    "R2": lambda: lamp.metrics.R2(),
    "MLPClassifier": classifier,
    "MLPRegressor": regressor,
    "Compiled": compiled,
}
CALLED_BY_LAMP = {
    # what a subclass defines, and what modules call within a pass
    *("forward", "backward", "backward_parameters", "trace", "extra_repr", "sigma", "dsigma", "value", "derivative"),
    "value_of_tensors",
    *("update", "coefficients", "state_names", "initial_state", "state_shape", "remember", "recall", "terms", "of"),
    *("backward_through", "forward_through", "trace_through", "backward_parameters_through", "shortened"),
    *("lr_at", "factor_at", "momentum_at", "on_start", "on_batch", "on_epoch", "on_end", "beside", "parts", "yes"),
    *("get_extra_state", "set_extra_state", "reset_running_stats", "initialize_parameters"),
    # the formulas and checks of losses
    *("check", "check_hyperparameters", "divisor", "doutput", "explain_non_finite", "per_replica_target", "prepare"),
    *("reduce", "times", "with_replicas", "derivative_per_mass", "log_probabilities", "counts_none", "classes"),
    *("explain_no_labels", "target_probability", "weight_of_labels", "check_unmarked", "numbers", "seeds"),
    # populations, optimizers and loaders of a training
    *("of_replicas", "take", "take_back", "pieces", "give", "copy_", "check_again", "check_step_in_backward"),
    *("freeze", "numel", "check_memory", "in_form", "order_of", "record", "line", "from_lines", "shared", "own"),
    # scikit-learn's own
    *("get_params", "set_params", "get_metadata_routing", "score"),
}


def methods():
    """(name of the object, name of the method) of every method that users call."""
    for name, make in MADE.items():
        kind = type(make())
        for each in sorted(dir(kind)):
            method = getattr(kind, each)
            own = str(getattr(method, "__module__", "")).startswith("lamp")
            if own and each[:1] != "_" and callable(method) and each not in CALLED_BY_LAMP:
                yield name, each


METHODS = list(methods())


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_an_argument_that_there_is_not_gets_an_error_of_lamps(name, method):
    for args, kwargs in (((), {"no_such_argument": 1}), (range(40), {})):
        function = getattr(MADE[name](), method)
        takes = inspect.signature(function).parameters.values()
        if any(each.kind is (each.VAR_POSITIONAL if args else each.VAR_KEYWORD) for each in takes):
            continue
        with pytest.raises(LampError) as caught:
            function(*args, **kwargs)
        assert None not in (caught.value.expected, caught.value.got, caught.value.fix), str(caught.value)
        assert caught.value.__cause__ is None
