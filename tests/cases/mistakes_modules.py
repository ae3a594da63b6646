"""Mistakes with modules, parameters, containers and names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import lamp
from tests.cases.mistakes import Mistake

X = torch.randn(5, 3)


def net() -> lamp.Sequential:
    return lamp.Sequential(lamp.Linear(3, 4), lamp.ReLU(), lamp.Linear(4, 2))


class NoBackward(lamp.Module):
    def forward(self, x: Any) -> Any:
        return x


class Silent(lamp.Module):
    """A module whose forward or backward returns nothing."""

    def __init__(self, forward: bool) -> None:
        self.forgets_forward = forward

    def forward(self, x: Any) -> Any:
        if not self.forgets_forward:
            return x
        return None

    def backward(self, dy: Any) -> Any:
        return None


class Summed(lamp.Module):
    def forward(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return dy.sum(1)


def backward(model: Any) -> Any:
    y = model(X)
    return model.backward(torch.ones_like(y))


def own_activation(remembers: str) -> Any:
    return type("Own", (lamp.Activation,), {"remembers": remembers, "sigma": lambda self, x: x})


def into_itself() -> None:
    model = net()
    model.append(model)


def set_to(thing: Any, name: str, value: Any) -> None:
    setattr(thing, name, value)


def built(name: str, kind: str, error: type[Exception] = lamp.ArgumentError, *words: str, **options: Any) -> Mistake:
    """A module that is built with wrong options; the message names the last one."""
    where = list(options)[-1]
    return Mistake(name, lambda: getattr(lamp, kind)(**options), error, where, words)


def absent(name: str, *words: str, package: str = "lamp") -> Mistake:
    """A use of a name that does not exist."""
    room = importlib.import_module(package)
    return Mistake(f"{package}.{name}", lambda: getattr(room, name), lamp.MissingNameError, name, words)


def run(name: str, module: lamp.Module, shape: tuple[int, ...], error: type[Exception], *words: str) -> Mistake:
    """A module in a network that is called on an input of a wrong shape."""
    network = lamp.Sequential(module)
    return Mistake(name, lambda: network(torch.randn(shape)), error, "Sequential.0", words)


def attended(name: str, error: type[Exception], *words: str, **masks: Any) -> Mistake:
    """Attention that is called with a wrong mask, for 3 queries, 5 keys and 2 samples."""
    query, key = torch.randn(3, 2, 4), torch.randn(5, 2, 4)
    return Mistake(
        name, lambda: lamp.MultiheadAttention(4, 2)(query, key, key, **masks), error, "MultiheadAttention", words
    )


SCORES = torch.randn(5, 2, 4).log_softmax(2)
A, D = lamp.ArgumentError, lamp.DTypeError
Call = Callable[[], Any]

MISTAKES = [
    # ---- constructors
    built("a float size", "Linear", A, "in_features=2", out_features=3, in_features=2.0),
    built("a size in a string", "Linear", A, in_features=3, out_features="4"),
    built("a size of zero", "Linear", A, in_features=3, out_features=0),
    built("no size", "Linear", A, in_features=3, out_features=None),
    built("an activation's name for bias", "Linear", A, "separate module", in_features=3, out_features=4, bias="relu"),
    built("an init by a name of Keras", "Linear", A, "kaiming_normal_", in_features=3, out_features=4, init="he"),
    built("an init that is no function", "Linear", A, in_features=3, out_features=4, init=0.1),
    built("an init without a generator", "Linear", A, "generator", in_features=3, out_features=4, init=lambda t: t),
    Mistake("a dtype by name", lambda: lamp.Linear(3, 4, dtype="float64"), D, "floating", ("torch.float32",)),
    Mistake("an integer dtype", lambda: lamp.Linear(3, 4, dtype=torch.int64), D, "floating"),
    Mistake("a device that is none", lambda: lamp.Linear(3, 4, device="gpu"), lamp.DeviceError, "gpu", ("cuda",)),
    built("a probability in a string", "Dropout", A, "float('.5')", p=".5"),
    built("a probability above one", "Dropout", A, p=1.5),
    built("a NaN probability", "Dropout", A, p=float("nan")),
    built("a percentage", "Dropout", A, p=50),
    built("no probability", "Dropout", A, p=None),
    built("a slope in a string", "LeakyReLU", A, negative_slope="0.1"),
    built("a NaN slope", "LeakyReLU", A, negative_slope=float("nan")),
    built("an alpha that is a list", "ELU", A, alpha=[1.0]),
    built("a negative alpha", "CELU", A, alpha=-1.0),
    built("a beta of zero", "Softplus", A, beta=0),
    built("a threshold that is None", "Softplus", A, threshold=None),
    built("a value that is a string", "Threshold", A, threshold=0.0, value="0"),
    Mistake("bounds the wrong way round", lambda: lamp.Hardtanh(1.0, -1.0), A, "Hardtanh", ("min_val < max_val",)),
    built("a bound that is NaN", "Hardtanh", A, max_val=float("nan")),
    built("a negative lambd", "Softshrink", A, lambd=-0.1),
    built("a lambd that is True", "Hardshrink", A, lambd=True),
    built("slopes that are a float", "PReLU", A, num_parameters=2.5),
    built("a slope's begin that is None", "PReLU", A, init=None),
    built("an unknown approximation", "GELU", A, "'tanh'", approximate="fast"),
    built("no axis for Softmax", "Softmax", A, dim=None),
    built("an axis that is a float", "LogSoftmax", A, dim=1.0),
    built("an axis that is a string", "Flatten", A, start_dim="1"),
    Mistake("sizes that are one number", lambda: lamp.Unflatten(1, 6), A, "Unflatten", ("tuple",)),
    # ---- containers
    Mistake(
        "a class for an instance", lambda: lamp.Sequential(lamp.Linear(3, 4), lamp.ReLU), A, "Sequential", ("ReLU(",)
    ),
    Mistake("a function", lambda: lamp.Sequential(torch.relu), A, "Sequential", ("lamp.ReLU()",)),
    Mistake("a module of torch", lambda: lamp.Sequential(torch.nn.Linear(3, 4)), A, "Sequential", ("lamp.from_torch",)),
    Mistake("a network in itself", into_itself, A, "Sequential", ("itself",)),
    Mistake("an index beyond the end", lambda: net()[7], lamp.MissingIndexError, "Sequential", ("-3 to 2",)),
    Mistake("an index that is a float", lambda: net()[1.0], lamp.MissingIndexError, "Sequential"),
    Mistake("pop of an empty network", lambda: lamp.Sequential().pop(), lamp.MissingIndexError, "Sequential"),
    Mistake("a network times a half", lambda: net() * 0.5, A, "Sequential", ("positive integer",)),
    # ---- calls
    Mistake("an array of numpy", lambda: net()(np.ones((5, 3), np.float32)), D, "Sequential.0", ("torch.as_tensor",)),
    Mistake("a list", lambda: net()([[1.0, 2.0, 3.0]]), D, "Sequential.0", ("torch.as_tensor",)),
    Mistake("wrong features", lambda: net()(torch.randn(5, 7)), lamp.ShapeError, "Sequential.0", ("(B..., 3)",)),
    Mistake(
        "integers", lambda: net()(torch.ones(5, 3, dtype=torch.int64)), D, "Sequential.0", ("x.to(torch.float32)",)
    ),
    Mistake("float64 into float32", lambda: net()(X.double()), D, "Sequential.0", ("torch.float32",)),
    Mistake("two inputs", lambda: net()[0](X, X), A, "Linear", ("2 positional",)),
    Mistake("Keras's training=", lambda: net()(X, training=False), A, "Sequential", ("model.eval()",)),
    Mistake("no input", lambda: net()[1](), A, "ReLU"),
    # ---- modules of one's own
    Mistake(
        "no backward",
        lambda: backward(lamp.Sequential(NoBackward())),
        lamp.UnwrittenError,
        "NoBackward",
        ("def backward",),
    ),
    Mistake("no forward", lambda: lamp.Module()(X), lamp.UnwrittenError, "Module", ("def forward",)),
    Mistake(
        "forward forgets to return",
        lambda: lamp.Sequential(Silent(True), lamp.Linear(3, 4))(X),
        lamp.BackwardError,
        "Sequential.0",
        ("return",),
    ),
    Mistake(
        "backward forgets to return",
        lambda: backward(lamp.Sequential(lamp.Linear(3, 4), Silent(False))),
        lamp.BackwardError,
        "Sequential.1",
        ("return",),
    ),
    Mistake(
        "backward of a wrong shape",
        lambda: backward(lamp.Sequential(lamp.Tanh(), Summed())),
        lamp.ShapeError,
        "Sequential.1",
        ("(5, 3)",),
    ),
    Mistake("remembers something else", lambda: own_activation("z"), A, "remembers", ("'xy'",)),
    Mistake("no dsigma", lambda: backward(own_activation("y")()), lamp.UnwrittenError, "Own", ("def dsigma",)),
    # ---- parameters
    Mistake("a parameter of integers", lambda: lamp.Parameter(torch.arange(3)), D, "parameter", ("float()",)),
    Mistake("a parameter of a list", lambda: lamp.Parameter([1.0]), D, "parameter", ("torch.as_tensor",)),
    Mistake("requires_grad in a string", lambda: set_to(net()[0].weight, "requires_grad", "no"), A, "requires_grad"),
    Mistake("freezing by a number", lambda: net().requires_grad_(0), A, "requires_grad", ("True or False",)),
    Mistake(
        "values of another shape", lambda: set_to(net()[0].weight, "data", torch.ones(2)), lamp.ShapeError, "parameter"
    ),
    Mistake("to a GPU that is none", lambda: net().to("gpu"), lamp.DeviceError, "gpu", ('"cuda"',)),
    Mistake("to a device that torch lacks", lambda: net().to("mps"), lamp.DeviceError, "'mps'", ("cpu",)),
    built(
        "a device that torch lacks", "Linear", lamp.DeviceError, "'xpu'", in_features=3, out_features=4, device="xpu"
    ),
    Mistake(
        "images into Linear",
        lambda: lamp.Linear(9, 2)(torch.ones(5, 1, 3, 3)),
        lamp.ShapeError,
        "Linear",
        ("(5, 1, 3, 3)", "lamp.Flatten() before it makes 9 features"),
    ),
    Mistake("to integers", lambda: net().to(torch.int32), D, "floating"),
    Mistake("a number as a buffer", lambda: net()[0].register_buffer("n", 3), D, "register_buffer"),
    Mistake(
        "a tensor as a parameter", lambda: net()[0].register_parameter("w", torch.ones(2)), D, "register_parameter"
    ),
    Mistake("a member with a dot", lambda: net()[0].add_module("a.b", lamp.ReLU()), A, "Linear"),
    Mistake(
        "a parameter that is not there", lambda: net().get_parameter("0.w"), lamp.MissingNameError, "0.w", ("0.weight",)
    ),
    # ---- convolutions, pools, normalisations
    run("too many axes", lamp.Conv2d(3, 4, 3), (2, 5, 5, 5, 5), lamp.ShapeError, "flatten(0, 1)"),
    run("an image without channels", lamp.Conv2d(3, 4, 3), (5, 5), lamp.ShapeError, "(B, 3, H, W)"),
    run("other channels", lamp.Conv2d(3, 4, 3), (2, 4, 5, 5), lamp.ShapeError, "3 channels"),
    run("a kernel larger than the input", lamp.Conv2d(3, 4, 7), (2, 3, 5, 5), lamp.ShapeError, "(7, 7)"),
    run("a border wider than the input", lamp.ReflectionPad2d(6), (2, 3, 5, 5), lamp.ShapeError, "at least 7"),
    built("a negative padding", "Conv2d", in_channels=3, out_channels=4, kernel_size=3, padding=-1),
    built("groups that do not divide", "Conv2d", out_channels=4, kernel_size=3, groups=2, in_channels=3),
    built(
        "the same size with a stride", "Conv2d", in_channels=3, out_channels=4, kernel_size=3, padding="same", stride=2
    ),
    run("a window larger than the input", lamp.MaxPool2d(7), (2, 3, 5, 5), lamp.ShapeError, "kernel_size"),
    run("a pool of vectors", lamp.AvgPool2d(2), (5,), lamp.ShapeError, "(B, C, H, W)"),
    run("one sample in training", lamp.BatchNorm1d(3), (1, 3), lamp.ShapeError, "eval()"),
    run("images for vectors", lamp.BatchNorm2d(3), (2, 3, 5), lamp.ShapeError, "(B, 3, H, W)"),
    run("other last axes", lamp.LayerNorm((3, 4)), (2, 4, 3), lamp.ShapeError, "(B..., 3, 4)"),
    built("channels that make no groups", "GroupNorm", A, "num_groups=2", num_channels=6, num_groups=4),
    # ---- sequences
    Mistake(
        "a token too many",
        lambda: lamp.Sequential(lamp.Embedding(5, 3))(torch.tensor([1, 5])),
        lamp.MissingIndexError,
        "Sequential.0",
        ("0 to 4", "num_embeddings=6"),
    ),
    Mistake(
        "a token of -100",
        lambda: lamp.Embedding(5, 3)(torch.tensor([-100, 1])),
        lamp.MissingIndexError,
        "Embedding",
        ("padding_idx",),
    ),
    Mistake("tokens as floats", lambda: lamp.Embedding(5, 3)(torch.ones(2)), D, "Embedding", ("input.long()",)),
    run("other features of a sequence", lamp.LSTM(3, 4), (5, 2, 7), lamp.ShapeError, "batch_first"),
    Mistake(
        "a Linear after a recurrent layer",
        lambda: lamp.Sequential(lamp.LSTM(4, 3), lamp.Linear(3, 2))(torch.randn(5, 2, 4)),
        D,
        "Sequential.1",
        ("got       tuple", "output and state"),
    ),
    Mistake(
        "h without c",
        lambda: lamp.LSTM(3, 4)(torch.randn(5, 2, 3), torch.randn(1, 2, 4)),
        lamp.ShapeError,
        "LSTM",
        ("h and c",),
    ),
    Mistake(
        "a state of too few layers",
        lambda: lamp.GRU(3, 4, 2)(torch.randn(5, 2, 3), torch.randn(1, 2, 4)),
        lamp.ShapeError,
        "GRU",
        ("(2, 2, 4)",),
    ),
    Mistake(
        "lengths that grow",
        lambda: lamp.nn.pack_padded_sequence(torch.randn(4, 2, 3), [2, 4]),
        A,
        "sorted",
        ("enforce_sorted=False",),
    ),
    Mistake(
        "a length of zero",
        lambda: lamp.nn.pack_padded_sequence(torch.randn(4, 2, 3), [4, 0]),
        A,
        "lengths",
        ("1 to 4",),
    ),
    attended("a mask of another shape", lamp.ShapeError, "(3, 5)", attn_mask=torch.zeros(3, 3)),
    attended(
        "a padding mask with the batch last", lamp.ShapeError, "(2, 5)", key_padding_mask=torch.zeros(5, 2).bool()
    ),
    attended("a mask of integers", D, "bool()", attn_mask=torch.zeros(3, 5).long()),
    attended("causal without a mask", A, "generate_square_subsequent_mask", is_causal=True),
    built("heads that do not divide", "MultiheadAttention", embed_dim=4, num_heads=3),
    run(
        "other features of a layer",
        lamp.TransformerEncoder(lamp.TransformerEncoderLayer(4, 2, 8), 2),
        (3, 2, 5),
        lamp.ShapeError,
        "layers.0",
    ),
    # ---- losses
    Mistake(
        "a target longer than its steps",
        lambda: lamp.CTCLoss()(SCORES[:2], torch.ones(2, 3).long(), [2, 2], [3, 3]),
        lamp.NonFiniteError,
        "CTCLoss",
        ("zero_infinity=True",),
    ),
    Mistake(
        "a label of no class",
        lambda: lamp.CTCLoss()(SCORES, torch.full((2, 3), 9), [5, 5], [3, 3]),
        lamp.LabelError,
        "CTCLoss",
        ("0 to 3",),
    ),
    Mistake(
        "an input longer than the steps",
        lambda: lamp.CTCLoss()(SCORES, torch.ones(2, 3).long(), [5, 6], [3, 3]),
        A,
        "CTCLoss",
        ("at most 5",),
    ),
    Mistake(
        "outputs of two shapes",
        lambda: lamp.MarginRankingLoss()(X[0], X[0, :2], X[0]),
        lamp.ShapeError,
        "MarginRankingLoss",
        ("(3,)",),
    ),
    Mistake("two of three", lambda: lamp.TripletMarginLoss()(X, X), A, "TripletMarginLoss", ("negative",)),
    Mistake("a negative variance", lambda: lamp.GaussianNLLLoss()(X, X, -X.abs()), A, "GaussianNLLLoss", ("Softplus",)),
    Mistake(
        "a distance without backward",
        lambda: lamp.TripletMarginWithDistanceLoss(distance_function=torch.cdist),
        A,
        "backward",
    ),
    # ---- names
    Mistake("Keras's model.fit", lambda: net().fit(X, X), lamp.MissingNameError, "fit", ("lamp.fit(",)),
    Mistake("Keras's model.predict", lambda: net().predict(X), lamp.MissingNameError, "predict", ("lamp.predict(",)),
    Mistake("a hook", lambda: net()[0].register_forward_hook(print), lamp.MissingNameError, "register_forward_hook"),
    Mistake("an attribute misspelt", lambda: net()[0].wieght, lamp.MissingNameError, "Linear", ("weight",)),
    absent("Conv2D", "lamp.Conv2d"),
    absent("Conv2DTranspose", "lamp.ConvTranspose2d"),
    absent("MaxPooling2D", "lamp.MaxPool2d"),
    absent("lstm", "lamp.LSTM"),
    absent("BatchNormalization", "normalise"),
    absent("relu", "lamp.ReLU()"),
    absent("Liner", "lamp.Linear"),
    absent("Dense", "lamp.Linear("),
    absent("functional", "module", package="lamp.nn"),
    absent("ParameterList", "list", package="lamp.nn"),
    absent("SyncBatchNorm", "lamp.BatchNorm1d", package="lamp.nn"),
    absent("weight_norm", "lamp.Module", package="lamp.nn"),
    absent("trunc_normal_", "torch.nn.init", package="lamp.init"),
    Mistake(
        "a list of modules called",
        lambda: lamp.ModuleList([lamp.ReLU()])(X),
        lamp.UnwrittenError,
        "ModuleList",
        ("lamp.Sequential",),
    ),
    Mistake("a function in a list", lambda: lamp.ModuleList([torch.relu]), A, "ModuleList", ("lamp.ReLU()",)),
    Mistake("a name with a dot", lambda: lamp.ModuleDict({"a.b": lamp.ReLU()}), A, "a.b"),
    Mistake(
        "a module of torch by name", lambda: lamp.ModuleDict({"a": torch.nn.ReLU()}), A, "ModuleDict", ("from_torch",)
    ),
    Mistake(
        "a name that is not there", lambda: lamp.ModuleDict({"a": lamp.ReLU()})["b"], lamp.MissingIndexError, "'b'"
    ),
    absent("Shampoo", "lamp.AdamW", package="lamp.optim"),
]
