"""Every argument of every public callable, given what it cannot be: it works, or lamp's own error comes with a fix.

`NEEDED` says what a callable needs; one that is missing there is called with its junk alone.
"""

import functools
import inspect
import warnings

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import LampError

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
OUTPUT = X[:, :2] + 0.5
Y = (X.sum(1) > 0).long()
ROOMS = ["lamp", "nn", "optim", "losses", "metrics", "data", "plots", "init"]


def net():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def sgd():
    return lamp.SGD(net().parameters(), lr=0.1, momentum=0.9)


# What nobody means, whatever the argument; made anew for each call.
NEVER = {
    "object()": object,
    "1j": lambda: 1j,
    "a set": lambda: {1},
    "a torch optimizer": lambda: torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1),
    "an array of objects": lambda: np.array(["a", None], dtype=object),
}
JUNK = {
    **NEVER,
    "None": lambda: None,
    "a text": lambda: "x",
    "no text": lambda: "",
    "NUL": lambda: "a\0b",
    "bytes": lambda: b"1",
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "2.5": lambda: 2.5,
    "True": lambda: True,
    "no list": lambda: [],
    "[1]": lambda: [1],
    "[None]": lambda: [None],
    "uneven lists": lambda: [[1, 2], [3]],
    "a dict": lambda: {"a": 1},
    "int": lambda: int,
    "lamp.ReLU": lambda: lamp.ReLU,
    "lamp.ReLU()": lambda: lamp.ReLU(),
    "a torch module": lambda: torch.nn.Linear(2, 2),
    "an array": lambda: np.array([1, 2]),
    "np.int64(2)": lambda: np.int64(2),
    "a vector": lambda: torch.ones(2),
    "a matrix": lambda: torch.ones(2, 3),
    "an empty tensor": lambda: torch.ones(0, 3),
    "NaNs": lambda: torch.full((12, 3), float("nan")),
    "a function of nothing": lambda: lambda: 1,
    "a generator": lambda: (k for k in (1, 2)),
}
HUGE = {"10**30": lambda: 10**30}  # not for what is counted up to, or allocated
COUNTS = {"epochs", "n", "resolution", "replicas", "T_max", "batch_size", "folds", "repeats", "directions", "count"}
COUNTS |= {
    "num_features",
    "normalized_shape",
    "in_features",
    "out_features",
    "columns",
    "rows",
    "keep",
    "max_iter",
    "stages",
}

OPTIMIZERS = ["Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "Lion", "NAdam", "RAdam"]
OPTIMIZERS += ["RMSprop", "Rprop", "SGD", "SparseAdam"]
FIT = {"criterion": lamp.CrossEntropyLoss, "data": lambda: (X, Y), "epochs": lambda: 1, "engine": lambda: "eager"}
FIT["progress"] = lambda: False
NEEDED = {
    **{each: {"data": lambda: X.clone()} for each in ["Buffer", "Parameter"]},
    **{each: {"params": lambda: net().parameters()} for each in OPTIMIZERS},
    **{each: {"optimizer": sgd} for each in ["ConstantLR", "LinearLR", "PolynomialLR", "ReduceLROnPlateau"]},
    "Muon": {"params": lambda: [each for each in net().parameters() if each.dim() == 2]},
    **{
        f"Conv{kind}{n}d": {"in_channels": lambda: 3, "out_channels": lambda: 2, "kernel_size": lambda: 2}
        for kind in ("", "Transpose")
        for n in (1, 2, 3)
    },
    **{
        f"LazyConv{kind}{n}d": {"out_channels": lambda: 2, "kernel_size": lambda: 2}
        for kind in ("", "Transpose")
        for n in (1, 2, 3)
    },
    "LazyLinear": {"out_features": lambda: 2},
    "Fold": {"output_size": lambda: 3, "kernel_size": lambda: 2},
    "Unfold": {"kernel_size": lambda: 2},
    **{f"ConstantPad{n}d": {"padding": lambda: 1, "value": lambda: 0.5} for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": {"num_features": lambda: 3} for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": {"num_features": lambda: 3} for n in (1, 2, 3)},
    "GroupNorm": {"num_groups": lambda: 2, "num_channels": lambda: 4},
    "LocalResponseNorm": {"size": lambda: 3},
    "AveragedModel": {"model": net},
    "MultiheadAttention": {"embed_dim": lambda: 4, "num_heads": lambda: 2},
    **{f"Transformer{kind}Layer": {"d_model": lambda: 4, "nhead": lambda: 2} for kind in ("Encoder", "Decoder")},
    "TransformerEncoder": {"encoder_layer": lambda: lamp.TransformerEncoderLayer(4, 2), "num_layers": lambda: 1},
    "TransformerDecoder": {"decoder_layer": lambda: lamp.TransformerDecoderLayer(4, 2), "num_layers": lambda: 1},
    "Transformer": {"d_model": lambda: 4, "nhead": lambda: 2, "num_encoder_layers": lambda: 1},
    **{f"{kind}{n}d": {"kernel_size": lambda: 2} for kind in ("MaxPool", "AvgPool", "MaxUnpool") for n in (1, 2, 3)},
    **{f"LPPool{n}d": {"norm_type": lambda: 2, "kernel_size": lambda: 2} for n in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{n}d": {"output_size": lambda: 2} for kind in ("Avg", "Max") for n in (1, 2, 3)},
    **{f"FractionalMaxPool{n}d": {"kernel_size": lambda: 2, "output_size": lambda: 2} for n in (2, 3)},
    "LinearCrossEntropyLoss": {"in_features": lambda: 3, "num_classes": lambda: 2},
    "AdaptiveLogSoftmaxWithLoss": {
        "in_features": lambda: 4,
        "n_classes": lambda: 9,
        "cutoffs": lambda: [2, 5],
        "div_value": lambda: 2.0,
    },
    "MultiplicativeLR": {"optimizer": sgd, "lr_lambda": lambda: lambda epoch: 0.9},
    "SWALR": {"optimizer": sgd, "swa_lr": lambda: 0.1},
    "update_bn": {"loader": lambda: [X], "model": lambda: lamp.BatchNorm1d(3)},
    "Bilinear": {"in1_features": lambda: 3, "in2_features": lambda: 4, "out_features": lambda: 2},
    "ChannelShuffle": {"groups": lambda: 2},
    "PixelShuffle": {"upscale_factor": lambda: 2},
    "PixelUnshuffle": {"downscale_factor": lambda: 2},
    **{each: {"scale_factor": lambda: 2} for each in ["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"]},
    "ChainedScheduler": {"schedulers": lambda: [lamp.StepLR(sgd(), 2)]},
    "Checkpoint": {"folder": lambda: "runs"},
    "CosineAnnealingLR": {"optimizer": sgd, "T_max": lambda: 3},
    "CosineAnnealingWarmRestarts": {"optimizer": sgd, "T_0": lambda: 3},
    "CyclicLR": {"optimizer": sgd, "base_lr": lambda: 0.1, "max_lr": lambda: 0.2},
    "DataLoader": {"dataset": lambda: (X, Y)},
    "Dataset": {"inputs": lambda: X, "targets": lambda: Y},
    **{
        each: {"input_size": lambda: 3, "hidden_size": lambda: 2}
        for each in ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]
    },
    "EmbeddingBag": {"num_embeddings": lambda: 7, "embedding_dim": lambda: 3},
    "Embedding": {"num_embeddings": lambda: 7, "embedding_dim": lambda: 3},
    "Ensemble": {"members": lambda: [net(), net()]},
    "ExponentialLR": {"optimizer": sgd, "gamma": lambda: 0.9},
    "InverseTimeDecay": {"optimizer": sgd, "decay": lambda: 0.9},
    "LambdaLR": {"optimizer": sgd, "lr_lambda": lambda: lambda epoch: 0.9},
    **{each: {"normalized_shape": lambda: 3} for each in ["LayerNorm", "RMSNorm"]},
    "Linear": {"in_features": lambda: 3, "out_features": lambda: 2},
    "MultiStepLR": {"optimizer": sgd, "milestones": lambda: [2]},
    "OneCycleLR": {"optimizer": sgd, "max_lr": lambda: 0.2, "total_steps": lambda: 5},
    "Population": {"single": net, "replicas": lambda: 2},
    "SequentialLR": {"optimizer": sgd, "schedulers": list, "milestones": list},
    "StepLR": {"optimizer": sgd, "step_size": lambda: 2},
    "TensorBoard": {"log_dir": lambda: "events"},
    "Threshold": {"threshold": lambda: 0.1, "value": lambda: 0.2},
    "Unflatten": {"dim": lambda: 1, "unflattened_size": lambda: (3, 1)},
    "accuracy": {"output": lambda: OUTPUT, "target": lambda: Y},
    "check_gradients": {"module": lamp.ReLU, "inputs": lambda: X, "directions": lambda: 1},
    "choice": {"options": lambda: [1, 2]},
    "clip_grad_norm_": {"parameters": lambda: net().parameters(), "max_norm": lambda: 1.0},
    "clip_grad_value_": {"parameters": lambda: net().parameters(), "clip_value": lambda: 1.0},
    "compile": {"model": net, "criterion": lamp.CrossEntropyLoss, "optimizer": sgd, "batch_size": lambda: 4},
    "cross_validate": {**FIT, "model": net, "folds": lambda: 2},
    "evaluate": {"model": net, "criterion": lamp.CrossEntropyLoss, "data": lambda: (X, Y)},
    "first_non_finite": {"model": net, "inputs": lambda: X},
    "fit": {**FIT, "model": net},
    "fit_each": {**FIT, "models": lambda: [net()], "optimizer": lambda: lamp.Adam},
    "from_torch": {"module": lambda: torch.nn.Linear(2, 2)},
    "load": {"model": net, "path": lambda: "net.safetensors"},
    **{each: {"low": lambda: 0.1, "high": lambda: 1.0} for each in ["uniform", "log_uniform"]},
    "per_replica": {"tensor": lambda: X},
    "population": {"model": net},
    "predict": {"model": net, "inputs": lambda: X},
    "samples": {"count": lambda: 3, "draws": lambda: lamp.uniform(0.1, 0.2)},
    "save": {"model": net, "path": lambda: "net.safetensors"},
    "stack": {"networks": lambda: [net(), net()]},
    **{each: {"model": net, "inputs": lambda: X} for each in ["summary", "trace"]},
    "sweep": {**FIT, "model": lambda: net, "settings": lambda: {"lr": [0.1, 0.2]}},
    "to_onnx": {"model": net, "path": lambda: "net.onnx"},
    "to_python": {"model": net, "path": lambda: "net_in_python.py"},
    "to_torch": {"model": net},
    "data.disk": {"n": lambda: 10},
    "spirals": {"n": lambda: 10},
    "read_idx": {"path": lambda: "x"},
    "curves": {"runs": lambda: [1.0, 2.0]},
    **{each: {"inputs": lambda: X[:, :2], "targets": lambda: Y} for each in ["data_set", "points"]},
    "heat_map": {"values": lambda: torch.ones(2, 3), "xs": lambda: [1, 2, 3], "ys": lambda: [1, 2]},
    "output_map": {"model": lambda: lamp.Sequential(lamp.Linear(2, 2)), "resolution": lambda: 4},
    "panels": {"columns": lambda: 1},
    "runs_overlaid": {"inputs": lambda: X[:, :2], "targets": lambda: Y, "predictions_of_runs": lambda: [Y, Y]},
    "plots.save": {"figure": lambda: lamp.plots.curves([1.0]), "path": lambda: "figure.png"},
    "calculate_gain": {"nonlinearity": lambda: "relu"},
    "constant_": {"tensor": lambda: torch.zeros(2, 3), "val": lambda: 1.0},
}
# Bases of a user's classes, what lamp makes itself, and the parts of the data sets that check nothing.
NOT_CALLED = {
    *("Activation", "Callback", "Container", "LRScheduler", "Loss", "Metric", "Module", "Optimizer", "ScaledLR"),
    *("Schedule", "SumMetric", "CrossValidation", "EnsemblePrediction", "GradientReport", "Graph", "History"),
    *("Summary", "Sweep", "Training", "evaluating", "Identity", "BinaryLoss", "ClassLoss", "DifferenceLoss"),
    *("as_batches", "as_column", "as_columns", "check_finite", "is_batched", "length_of", "order", "fan_in_and_out"),
}
ANYTHING = {  # values to choose among, or to write down
    *(("choice", "options"), ("grid", "values"), ("samples", "draws"), ("heat_map", "xs"), ("heat_map", "ys")),
}
FUNCTIONS = {  # a user's function may do anything, torch's module fail in it
    *((f"Conv{kind}{n}d", "init") for kind in ("", "Transpose") for n in (1, 2, 3)),
    *(("CyclicLR", "scale_fn"), ("LambdaLR", "lr_lambda"), ("Linear", "init"), ("output_map", "output")),
    ("MultiplicativeLR", "lr_lambda"),
    ("AveragedModel", "avg_fn"),
    *(("evaluate", "metrics"), ("fit", "metrics"), ("fit_each", "metrics"), ("cross_validate", "metrics")),
    *((study, made) for study in ("fit_each", "cross_validate", "sweep") for made in ("optimizer", "scheduler")),
    *((kind, made) for kind in ("MLPClassifier", "MLPRegressor") for made in ("solver", "learning_rate")),
    ("sweep", "model"),
    ("sweep", "metrics"),
}
SKLEARNS = {("MLPClassifier", "random_state"), ("MLPRegressor", "random_state")}  # scikit-learn's check says its own
INTERNAL = {("Population", "sizes")}


def callables():
    found = {}
    for room in ROOMS:
        space = lamp if room == "lamp" else getattr(lamp, room)
        for name in getattr(space, "__all__", dir(space)):
            thing = getattr(space, name)
            exception = isinstance(thing, type) and issubclass(thing, BaseException)
            if room == "init" and not name.endswith("_") and name != "calculate_gain":
                continue
            own = getattr(thing, "__module__", "").startswith("lamp")
            if own and callable(thing) and not exception and name not in NOT_CALLED and name[:1] != "_":
                key = f"{room}.{name}" if name in ("disk", "save") and room != "lamp" else name
                found.setdefault(key, thing)
    return found


CALLABLES = callables()


signature_of = functools.cache(inspect.signature)  # of each function it is asked for again for each junk


def needed(name):
    own = NEEDED.get(name)
    if own is None and name.endswith("_"):
        own = {"tensor": lambda: torch.zeros(2, 3)}
    return own or {}


def call(name, function, given, junk):
    """Call it with these arguments, and use what it makes a little, since some errors only come then."""
    if name == "fit" and junk != "optimizer":
        model = given["model"]
        given["optimizer"] = lamp.SGD((model if isinstance(model, lamp.Module) else net()).parameters(), lr=0.1)
    args, signature = [], signature_of(function)
    in_order = any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values())
    for each in signature.parameters.values():
        if each.name not in given:
            continue
        if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) or (
            in_order and each.kind is each.POSITIONAL_OR_KEYWORD
        ):
            args.append(given.pop(each.name))
        elif each.kind is each.VAR_KEYWORD:
            given["lr"] = given.pop(each.name)
    made = function(*args, **given)
    if isinstance(made, lamp.DataLoader):
        next(iter(made))
    elif isinstance(made, lamp.LRScheduler | lamp.ReduceLROnPlateau):
        for _ in range(3):
            made.step(*([1.0] if isinstance(made, lamp.ReduceLROnPlateau) else []))
    elif isinstance(made, lamp.Optimizer):
        made.step()
    elif isinstance(made, lamp.metrics.Metric):
        made.update(OUTPUT, Y)
    elif name.startswith("MLP"):
        made.set_params(**({} if junk == "max_iter" else {"max_iter": 1}), engine="eager" if junk != "engine" else "x")
        made.fit(X.numpy(), Y.numpy())


def wrongs(name, argument):
    """The junk for one argument."""
    for label, make in (JUNK if argument in COUNTS or argument in ("seeds", "members") else {**JUNK, **HUGE}).items():
        if label == "a torch module" and (name, argument) in FUNCTIONS:
            continue
        if label == "10**30" and name in ("fit", "fit_each", "sweep", "cross_validate"):
            continue
        yield label, make


def complaints(name, function, argument):
    """What is wrong with the answers to junk for this argument."""
    for label, make in wrongs(name, argument):
        given = {key: default() for key, default in needed(name).items()}
        given[argument] = make()
        told = f"{name}({argument}={label})"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(name, function, given, argument)
        except LampError as error:
            if any(each is None for each in (error.expected, error.got, error.fix)):
                yield f"{told}: no expected, got or fix: {error}"
            if error.__cause__ is not None:
                yield f"{told}: {type(error.__cause__).__name__} stands in front"
        except Exception as error:
            yield f"{told}: raw {type(error).__name__}: {error}"
        else:
            if label in NEVER and (name, argument) not in ANYTHING:
                yield f"{told}: silent"


@pytest.mark.parametrize("name", CALLABLES)
def test_junk_gets_an_error_of_lamps_or_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = CALLABLES[name]
    found = [
        complaint
        for argument in signature_of(function).parameters
        if (name, argument) not in SKLEARNS | INTERNAL
        for complaint in complaints(name, function, argument)
    ]
    assert not found, "\n".join(found)


SWITCHES = [
    (name, each.name)
    for name, function in CALLABLES.items()
    for each in signature_of(function).parameters.values()
    if isinstance(each.default, bool) and each.name not in ("verbose", "resume")  # a number or a path, too
]


@pytest.mark.parametrize(("name", "argument"), SWITCHES)
def test_a_switch_is_true_or_false(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in (0, 1, "False", None, 0.5, [], np.array([True, False]), torch.ones(2)):
        given = {**{key: default() for key, default in needed(name).items()}, argument: wrong}
        with pytest.raises(LampError):
            call(name, CALLABLES[name], given, argument)


def test_a_raw_error_and_silence_are_seen():
    def raw(size=1):
        return [1][size]

    def silent(size=1):
        return None

    assert any("raw" in each for each in complaints("raw", raw, "size"))
    assert f"silent(size={next(iter(NEVER))}): silent" in list(complaints("silent", silent, "size"))
