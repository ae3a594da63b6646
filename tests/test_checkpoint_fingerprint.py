"""A training resumes only if its data and all plain attributes of its objects are the same."""

from __future__ import annotations

import inspect
import shutil
import warnings

import numpy as np
import pytest
import torch

import lamp
from lamp import attributes
from lamp.attributes import as_json, attributes_of, digest_of_tensor
from lamp.errors import CheckpointError, CheckpointWarning
from lamp.nn import Activation
from lamp.saving.seal import DamagedError
from lamp.training.checkpoints import read_checkpoint
from lamp.training.own_code import digests_of, tell_of_changes
from tests.cases.resumes import build

N, FEATURES, CLASSES = 500, 3, 4


def data():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, FEATURES, generator=generator), torch.randint(0, CLASSES, (N,), generator=generator)


def training(epochs=1, between=(), **more):
    """The keyword arguments of a training, the same at each call."""
    torch.manual_seed(1)
    model = lamp.Sequential(lamp.Linear(FEATURES, 5), *between, lamp.Linear(5, CLASSES))
    arguments = {"model": model, "criterion": lamp.CrossEntropyLoss(), "data": data(), "batch_size": 100, "seed": 2}
    arguments |= {"engine": "eager", "progress": False, "epochs": epochs}
    arguments |= {name: value(model) if inspect.isfunction(value) else value for name, value in more.items()}
    arguments.setdefault("optimizer", lamp.SGD(arguments["model"].parameters(), lr=0.1))
    if "scheduler" in arguments and inspect.isfunction(arguments["scheduler"]):
        arguments["scheduler"] = arguments["scheduler"](arguments["optimizer"])
    return arguments


def resumed(folder, one, other):
    """Train an epoch with the first arguments, then resume with the others."""
    lamp.fit(**training(**one), checkpoint=folder)
    return lamp.fit(**training(**{"epochs": 2, **other}), checkpoint=folder, resume=True)


class Scale(lamp.Module):
    """A user's own module."""

    def __init__(self, factor, mode="plain", offsets=None, calls=True):
        self.factor, self.mode, self.offsets = factor, mode, offsets
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.last = x  # a cache that the first call makes
        return x * self.factor

    def backward(self, dy):
        return dy * self.factor


class Power(lamp.MSELoss):
    """A user's own loss."""

    def __init__(self, power=2.0):
        super().__init__()
        self.power = power


class TopK:
    """A metric with a number."""

    def __init__(self, k):
        self.k = k

    def __call__(self, output, target):
        return float((output.topk(self.k).indices == target.unsqueeze(1)).any(1).double().mean())


class Remembers(lamp.Callback):
    """A callback that has a state."""

    def __init__(self, every, path=""):
        self.every, self.path, self.seen = every, path, 0

    def on_epoch(self, training):
        self.seen += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Logs(lamp.Callback):
    """A callback that has none."""

    def __init__(self, path):
        self.path = path


class Plain(lamp.SGD):
    """A user's own optimizer."""

    def __init__(self, params, lr, power=1):
        super().__init__(params, lr)
        self.power = power


class Samples(torch.utils.data.Dataset):
    """A data set that is asked sample by sample."""

    def __init__(self, x, y, noise=0.0, root=""):
        self.x, self.y, self.noise, self.root = x, y, noise, root

    def __len__(self):
        return len(self.x)

    def __getitem__(self, k):
        return self.x[k], self.y[k]


def frozen(model):
    """The network with its first layer frozen."""
    model[0].requires_grad_(False)
    return model


def shifted(row=77, column=1):
    x, y = data()
    x[row, column] = torch.nextafter(x[row, column], torch.tensor(9.0))
    return x, y


def relabelled():
    x, y = data()
    y[N - 2] = (y[N - 2] + 1) % CLASSES
    return x, y


def negated():
    x, y = data()
    x[78:80] *= -1
    return x, y


def swapped():
    x, y = data()
    return x[[1, 0, *range(2, N)]], y


def in_batches(pair):
    return {"data": list(zip(*(column.split(100) for column in pair), strict=True)), "batch_size": None, "seed": None}


def by_torch(pair, **more):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*pair), 100, **more)
    return {"data": loader, "batch_size": None, "seed": None}


def by_sample(pair, **more):
    return {"data": lamp.DataLoader(Samples(*pair, **more), 100), "batch_size": None, "seed": None}


def weighted(last):
    return lamp.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, last]))


def adam(**options):
    return {"optimizer": lambda model: lamp.Adam(model.parameters(), **options)}


CE, OTHER_LABELS = lamp.CrossEntropyLoss, {"data": (data()[0], torch.randn(N, CLASSES).softmax(1)[:, :CLASSES])}
Z = torch.zeros(N, CLASSES)
OTHERS = {  # name: two sets of arguments that differ, and what the error names
    "label_smoothing": ({}, {"criterion": CE(label_smoothing=0.5)}, "loss.label_smoothing"),
    "ignore_index": ({}, {"criterion": CE(ignore_index=3)}, "loss.ignore_index"),
    "reduction": ({}, {"criterion": CE(reduction="sum")}, "loss.reduction"),
    "class weights": ({"criterion": weighted(4.0)}, {"criterion": weighted(4.5)}, "loss.weight"),
    "class weights or none": ({}, {"criterion": weighted(1.0)}, "loss"),
    "delta": (
        {"criterion": lamp.HuberLoss(delta=1.0), "data": (data()[0], Z)},
        {"criterion": lamp.HuberLoss(delta=1.5), "data": (data()[0], Z)},
        "loss.delta",
    ),
    "beta": (
        {"criterion": lamp.SmoothL1Loss(beta=1.0), "data": (data()[0], Z)},
        {"criterion": lamp.SmoothL1Loss(beta=0.5), "data": (data()[0], Z)},
        "loss.beta",
    ),
    "log_target": (
        {"criterion": lamp.KLDivLoss(reduction="sum", log_target=True), "data": (data()[0], Z)},
        {"criterion": lamp.KLDivLoss(reduction="sum"), "data": (data()[0], Z)},
        "loss.log_target",
    ),
    "an own loss": (
        {"criterion": Power(), "data": (data()[0], Z)},
        {"criterion": Power(3.0), "data": (data()[0], Z)},
        "loss.power",
    ),
    "p": ({"between": [lamp.Dropout(0.2)]}, {"between": [lamp.Dropout(0.3)]}, "network"),
    "factor": ({"between": [Scale(2.0)]}, {"between": [Scale(2.5)]}, "network.1.factor"),
    "mode": ({"between": [Scale(2.0)]}, {"between": [Scale(2.0, "odd")]}, "network.1.mode"),
    "a tensor": (
        {"between": [Scale(2.0, offsets=torch.arange(9.0))]},
        {"between": [Scale(2.0, offsets=torch.arange(9.0) + 1)]},
        "network.1.offsets",
    ),
    "a list": (
        {"between": [Scale(2.0, offsets=[1, (2, {"a": 3.5})])]},
        {"between": [Scale(2.0, offsets=[1, (2, {"a": 3.25})])]},
        "network.1.offsets",
    ),
    "a function": (
        {"between": [Scale(2.0, offsets=torch.sin)]},
        {"between": [Scale(2.0, offsets=torch.cos)]},
        "offsets",
    ),
    "a dtype": (
        {"between": [Scale(2.0, offsets=torch.half)]},
        {"between": [Scale(2.0, offsets=torch.double)]},
        "offsets",
    ),
    "betas": (adam(betas=(0.9, 0.99)), adam(betas=(0.8, 0.99)), "hyperparameters"),
    "eps": (adam(), adam(eps=1e-7), "hyperparameters"),
    "amsgrad": (adam(), adam(amsgrad=True), "hyperparameters"),
    "momentum": ({}, {"optimizer": lambda m: lamp.SGD(m.parameters(), lr=0.1, momentum=0.5)}, "hyperparameters"),
    "an own optimizer": (
        {"optimizer": lambda m: Plain(m.parameters(), 0.1)},
        {"optimizer": lambda m: Plain(m.parameters(), 0.1, 2)},
        "optimizer.power",
    ),
    "clip_norm": ({"clip_norm": 1.0}, {"clip_norm": 2.0}, "clipping"),
    "clip_value": ({}, {"clip_value": 2.0}, "clipping"),
    "metrics": ({"metrics": [lamp.accuracy]}, {"metrics": []}, "metrics"),
    "a metric's number": ({"metrics": {"top": TopK(1)}}, {"metrics": {"top": TopK(2)}}, "metric top.k"),
    "another metric": ({"metrics": {"m": TopK(1)}}, {"metrics": {"m": lamp.accuracy}}, "metrics"),
    "patience": (
        {"callbacks": [lamp.EarlyStopping(3, "loss")]},
        {"callbacks": [lamp.EarlyStopping(5, "loss")]},
        "EarlyStopping.patience",
    ),
    "a callback's number": ({"callbacks": [Remembers(1)]}, {"callbacks": [Remembers(2)]}, "Remembers.every"),
    "the second of a kind": (
        {"callbacks": [Remembers(1), Logs("a"), Remembers(1)]},
        {"callbacks": [Remembers(1), Remembers(2)]},
        "Remembers 2.every",
    ),
    "a frozen layer": ({}, {"model": frozen}, "network.0.weight.requires_grad"),
    "a layer that is frozen no more": ({"model": frozen}, {}, "network.0.weight.requires_grad"),
    "batch_size": ({}, {"batch_size": 125}, "data"),
    "shuffle": ({}, {"shuffle": False}, "data"),
    "one number": ({}, {"data": shifted()}, "data"),
    "one label": ({}, {"data": relabelled()}, "data"),
    "two signs": ({}, {"data": negated()}, "data"),
    "two rows": ({}, {"data": swapped()}, "data"),
    "validation": ({"validation": data()}, {"validation": shifted()}, "validation data"),
    "a batch in a list": (in_batches(data()), in_batches(shifted()), "data"),
    "torch's loader": (by_torch(data()), by_torch(shifted()), "data.tensors"),
    "torch's sampler": (by_torch(data()), by_torch(data(), shuffle=True), "data"),
    "asked by sample": (by_sample(data()), by_sample(shifted()), "data.x"),
    "a number of a data set": (by_sample(data()), by_sample(data(), noise=0.5), "data.noise"),
}


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.mark.filterwarnings("ignore::lamp.TrainingWarning")  # losses of all kinds after the same network
@pytest.mark.parametrize("name", OTHERS)
def test_what_must_be_as_it_was(name, tmp_path):
    one, other, named = OTHERS[name]
    with pytest.raises(CheckpointError, match="another training, as shown by its") as error:
        resumed(tmp_path, one, other)
    assert named in str(error.value).split("by its ")[1].splitlines()[0]
    for part in ("expected", "got", "fix"):
        assert getattr(error.value, part) is not None
    assert error.value.expected != error.value.got
    again = resumed(tmp_path / "again", one, one)
    assert again.epochs == 2


def numbers_of_activations():
    """All numeric options of lamp's activations."""
    for name in sorted(dir(lamp)):
        kind = getattr(lamp, name)
        if inspect.isclass(kind) and issubclass(kind, Activation) and not inspect.isabstract(kind):
            for parameter in inspect.signature(kind).parameters.values():
                if isinstance(parameter.default, float):
                    yield pytest.param(kind, parameter.name, parameter.default, id=f"{name} {parameter.name}")


@pytest.mark.parametrize(("kind", "argument", "default"), list(numbers_of_activations()))
def test_every_number_of_every_activation(kind, argument, default, tmp_path):
    with pytest.raises(CheckpointError, match="belongs to another training, as shown by its network"):
        resumed(tmp_path, {"between": [kind()]}, {"between": [kind(**{argument: default + 1e-9})]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda o: lamp.StepLR(o, 3, 0.5), lambda o: lamp.StepLR(o, 3, 0.25)),
        (lambda o: lamp.StepLR(o, 3, 0.5), lambda o: lamp.StepLR(o, 2, 0.5)),
        (lambda o: lamp.CosineAnnealingLR(o, 7), lambda o: lamp.CosineAnnealingLR(o, 7, eta_min=0.01)),
        (lambda o: lamp.ReduceLROnPlateau(o, patience=3), lambda o: lamp.ReduceLROnPlateau(o, patience=4)),
        (lambda o: lamp.ExponentialLR(o, 0.9), lambda o: lamp.StepLR(o, 1, 0.9)),
        (lambda o: lamp.LambdaLR(o, lambda t: 0.9**t), lambda o: lamp.LambdaLR(o, lambda t: 0.8**t)),
    ],
)
def test_schedules(one, other, tmp_path):
    def arguments(schedule, epochs):
        made = training(epochs)
        return made | {"scheduler": schedule(made["optimizer"])}

    lamp.fit(**arguments(one, 1), checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"by its (kind of )?schedule"):
        lamp.fit(**arguments(other, 2), checkpoint=tmp_path, resume=True)
    assert lamp.fit(**arguments(one, 2), checkpoint=tmp_path, resume=True).epochs == 2


# ---- what may change -------------------------------------------------------------------------------------------------
def test_what_changes_while_it_runs_is_no_sign_of_another_training(tmp_path):
    """Counters, caches and the memory of callbacks may change, with used objects as with new ones."""
    whole = training(4, between=[Scale(1.5)], callbacks=[Remembers(1), lamp.EarlyStopping(9, "loss")])
    lamp.fit(**whole)
    make = lambda epochs: training(  # noqa: E731
        epochs, between=[Scale(1.5)], callbacks=[Remembers(1), lamp.EarlyStopping(9, "loss")]
    )
    used = make(2)
    lamp.fit(**used, checkpoint=tmp_path)
    lamp.fit(**used | {"epochs": 3}, checkpoint=tmp_path, resume=True)
    fresh = make(4)
    lamp.fit(**fresh, checkpoint=tmp_path, resume=True)
    assert fresh["model"][1].calls == whole["model"][1].calls  # set to the saved value
    assert fresh["callbacks"][0].seen == 4
    for one, other in zip(whole["model"].parameters(), fresh["model"].parameters(), strict=True):
        assert torch.equal(one.data, other.data)


def test_what_a_callback_has_changed_goes_on_changed(tmp_path):
    """A dropout rate that falls and a smoothing that rises continue with their values after resuming."""

    class Anneals(lamp.Callback):
        def on_epoch(self, training):
            training.model[1].p = 0.5 / (training.epoch + 2)
            training.criterion.label_smoothing = 0.01 * training.epoch

    make = lambda epochs: training(epochs, between=[lamp.Dropout(0.5)], callbacks=[Anneals()])  # noqa: E731
    whole = make(5)
    lamp.fit(**whole)
    lamp.fit(**make(3), checkpoint=tmp_path)
    fresh = make(5)
    lamp.fit(**fresh, checkpoint=tmp_path, resume=True)
    assert fresh["model"][1].p == whole["model"][1].p
    for one, other in zip(whole["model"].parameters(), fresh["model"].parameters(), strict=True):
        assert torch.equal(one.data, other.data)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_what_a_callback_has_unfrozen_goes_on_unfrozen(engine, tmp_path):
    class Unfreezes(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 2:
                training.model.requires_grad_(True)

    make = lambda epochs: training(epochs, model=frozen, callbacks=[Unfreezes()], engine=engine)  # noqa: E731
    whole = make(5)
    lamp.fit(**whole)
    lamp.fit(**make(3), checkpoint=tmp_path)
    fresh = make(5)
    lamp.fit(**fresh, checkpoint=tmp_path, resume=True)
    for one, other in zip(whole["model"].parameters(), fresh["model"].parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert torch.equal(one.data, other.data)


class Mean(lamp.Module):
    """Keeps a running mean in a plain tensor, or in a Buffer."""

    def __init__(self, mean):
        self.mean = mean

    def forward(self, x):
        self.last = x
        if self.training:
            mean = self.mean.data if isinstance(self.mean, lamp.Buffer) else self.mean
            mean += 0.1 * (x.mean(0) - mean)
        return x

    def backward(self, dy):
        return dy


def test_plain_tensors_that_the_training_changed_are_told(tmp_path):
    arguments = [{"between": (Mean(torch.zeros(5)),)} for _ in range(2)]
    with pytest.warns(CheckpointWarning, match=r"^network\.1\.mean had changed .* lamp\.Buffer\(tensor\)") as told:
        resumed(tmp_path / "tensor", *arguments)
    assert len(told) == 1
    resumed(tmp_path / "buffer", *({"between": (Mean(lamp.Buffer(torch.zeros(5))),)} for _ in range(2)))


HALF = 0.5


def _made(source, name):
    """What a module of this source defines under this name; `HALF` is 0.5 in it, unless it says otherwise."""
    defined = {"__name__": "mine", "lamp": lamp, "HALF": HALF}
    exec(compile(source, "mine.py", "exec"), defined)
    return defined[name]


LOSS = """
class Mine(lamp.Loss):
    def value(self, output, target):
        return (output - target).square()

    def derivative(self, output, target):
        return 2.0 * (output - target)
"""
MODULE = """
class Mine(lamp.Module):
    takes_replicas = True

    def forward(self, x):
        return x * HALF

    def backward(self, dy):
        return dy * HALF
"""
METRIC = """
def mine(output, target, factor=1.0):
    "How large the outputs are."
    return output.abs().mean() * factor
"""
CALLBACK = """
class Mine(lamp.Callback):
    needs_model = False

    def on_epoch(self, training):
        self._last = training.epoch
"""
FACTOR = """
def mine(epoch):
    return 1.0 / (1 + epoch * epoch)
"""
CODE = {  # the source, how it is used, a change of the source, and what is named
    "a loss": (LOSS, lambda made: {"criterion": made()}, ("square()", "square() * 1.0"), "Mine.value"),
    "its derivative": (LOSS, lambda made: {"criterion": made()}, ("2.0", "2.5"), "Mine.derivative"),
    "a module": (MODULE, lambda made: {"between": (made(),)}, ("return x", "return 1.0 * x"), "Mine.forward"),
    "a constant": (MODULE, lambda made: {"between": (made(),)}, ("\nclass", "\nHALF = 0.25\n\nclass"), "Mine.forward"),
    "a metric": (METRIC, lambda made: {"metrics": [made]}, (".abs()", ".square()"), "mine"),
    "a default": (METRIC, lambda made: {"metrics": [made]}, ("factor=1.0", "factor=2.0"), "mine"),
    "a callback": (CALLBACK, lambda made: {"callbacks": [made()]}, (".epoch", ".step"), "Mine.on_epoch"),
    "a schedule's function": (
        FACTOR, lambda made: {"scheduler": lambda _: lambda optimizer: lamp.MultiplicativeLR(optimizer, made)},
        ("epoch * epoch", "epoch ** 2"), "mine",
    ),
}  # fmt: skip
UNCHANGED = {"a comment": ("    return", "    # why\n    return"), "a docstring": ("How large", "How very large")}


def _of_code(name, source):
    made = _made(source, "Mine" if "Mine" in source else "mine")
    arguments = CODE[name][1](made)
    if "criterion" in arguments:
        arguments["data"] = (data()[0], torch.zeros(N, CLASSES))
    return arguments


@pytest.mark.parametrize("name", CODE)
def test_code_of_ones_own_that_has_changed_is_told(name, tmp_path):
    source, _, (before, after), named = CODE[name]
    assert before in source
    with pytest.warns(CheckpointWarning, match=rf"^the code of {named}\b.* has changed since .*epoch-0*1-") as told:
        resumed(tmp_path / "changed", _of_code(name, source), _of_code(name, source.replace(before, after)))
    assert len(told) == 1
    assert told[0].filename == __file__
    resumed(tmp_path / "same", _of_code(name, source), _of_code(name, source))  # without a warning


@pytest.mark.parametrize("change", UNCHANGED)
def test_comments_and_docstrings_may_change(change, tmp_path):
    resumed(tmp_path, _of_code("a metric", METRIC), _of_code("a metric", METRIC.replace(*UNCHANGED[change])))


def test_code_of_another_version_of_python_is_not_compared():
    of_one, of_other = (digests_of([_made(METRIC.replace("1.0", factor), "mine")]) for factor in ("1.0", "2.0"))
    with pytest.warns(CheckpointWarning, match="the code of mine has changed"):
        tell_of_changes(of_one, of_other, "here")
    tell_of_changes({**of_one, "python": "2.7"}, of_other, "here")


def test_what_has_no_part_in_the_training_may_differ(tmp_path):
    """Where a log is written, where the data lie, a callback that is new, one that remembers nothing and is gone."""
    lamp.fit(**training(1, **by_sample(data(), root="here"), callbacks=[Logs("a"), Logs("b")]), checkpoint=tmp_path)
    more = training(2, **by_sample(data(), root="there"), callbacks=[Remembers(1), Logs("c")])
    assert lamp.fit(**more, checkpoint=tmp_path, resume=True).epochs == 2


# ---- digests ---------------------------------------------------------------------------------------------------------
def test_digests_see_every_number_and_no_layout():
    base = torch.randn(300, 7, 5)
    digest = digest_of_tensor(base)
    assert digest == digest_of_tensor(base.clone())
    assert digest == digest_of_tensor(base.transpose(0, 2).contiguous().transpose(0, 2))
    assert digest == digest_of_tensor(base.repeat_interleave(2, 0)[::2])
    for other in (base.transpose(0, 1), base.flip(0), base.double(), base.view(7, 300, 5), -base):
        assert digest != digest_of_tensor(other)
    for k in range(0, base.numel(), 997):
        changed = base.clone()
        changed.view(-1)[k] += 1e-3
        assert digest != digest_of_tensor(changed)
    for odd in (
        torch.empty(0, 3),
        torch.tensor(1.0),
        torch.tensor([True]),
        torch.tensor([1 + 2j]),
        torch.ones(2).half(),
    ):
        assert digest_of_tensor(odd) == digest_of_tensor(odd.clone())
    assert "sparse" in digest_of_tensor(torch.ones(2).to_sparse())
    assert "meta" not in digest_of_tensor(torch.ones(2, device="meta"))


def test_values_are_told_apart():
    values = [None, True, False, 0, 1, 2**70, 0.5, "x", "1", b"x", (), (1,), [1], {1}, {1: 2}, {"1": 3}, float("inf")]
    values += [torch.sin, torch.cos, lamp.ReLU, torch.float32, torch.ones(2), torch.zeros(2), np.ones(2), np.zeros(2)]
    values += ["y" * 1000, "y" * 999 + "z", list(range(1000)), [*range(999), 0], torch.device("cpu"), np.float32(0.25)]
    found = [as_json(value) for value in values]
    assert len({f"{type(each).__name__} {each}" for each in found}) == len(found)
    deep = []
    deep.append(deep)
    as_json(deep)
    assert attributes_of(3, "x.") == {}


def test_digests_of_much_data_copy_nothing():
    table = torch.zeros(1000, 4)
    (piece,) = attributes._pieces(table)
    table += 1
    assert bytes(piece) == bytes(table.numpy())


# ---- a newest checkpoint that is damaged -----------------------------------------------------------------------------
@pytest.fixture
def run(tmp_path):
    """A run's folder with three checkpoints, and the weights that it ends with after 12 epochs."""
    whole = build("adam_with_everything, eager")
    lamp.fit(**whole)
    lamp.fit(
        **build("adam_with_everything, eager") | {"epochs": 6}, checkpoint=lamp.Checkpoint(tmp_path, every_epochs=2)
    )
    assert len(lamp.Checkpoint(tmp_path).saved()) == 3
    return tmp_path, whole["model"]


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


def future(path):
    (path.parent / "epoch-000009-step-000000045").mkdir()


def cut(path):
    data = (path / "state.json").read_bytes()
    (path / "state.json").write_bytes(data[:-9])


def flipped(path):
    data = bytearray((path / "state.safetensors").read_bytes())
    data[-3] ^= 1
    (path / "state.safetensors").write_bytes(data)


def without_weights(path):
    (path / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [empty, future, cut, flipped, without_weights])
def test_a_damaged_newest_checkpoint_is_passed_over(damage, run):
    """A warning names it. Training from the checkpoint before gives the same bits, and the damaged one is removed."""
    folder, expected = run
    newest = lamp.Checkpoint(folder).saved()[-1]
    damage(newest)
    resumed = build("adam_with_everything, eager")
    with pytest.warns(CheckpointWarning, match=r"continues from epoch-00000[46]") as caught:
        lamp.fit(**resumed, checkpoint=lamp.Checkpoint(folder, every_epochs=2), resume=True)
    assert str(lamp.Checkpoint(folder).saved()[-1].parent) in str(caught[0].message)
    for one, other in zip(expected.parameters(), resumed["model"].parameters(), strict=True):
        assert torch.equal(one.data, other.data)
    assert [path.name[:12] for path in lamp.Checkpoint(folder).saved()] == [
        f"epoch-0000{k}" for k in ("08", "10", "12")
    ]


def test_where_all_are_damaged_the_newest_is_named(run):
    folder, _ = run
    for path in lamp.Checkpoint(folder).saved():
        cut(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DamagedError, match="epoch-000006"):
            lamp.fit(**build("adam_with_everything, eager"), checkpoint=folder, resume=True)
        with pytest.raises(DamagedError, match="epoch-000002"):  # a damaged checkpoint that is named is an error
            lamp.fit(**build("adam_with_everything, eager"), resume=lamp.Checkpoint(folder).saved()[0])


def test_a_checkpoint_that_cannot_be_read_now_is_not_passed_over(run, monkeypatch):
    """A disk that fails for a moment must not cost a checkpoint."""
    folder, _ = run
    before = sorted(path.name for path in folder.rglob("*"))

    def refused(path, *arguments, **options):
        if str(path).endswith("state.json"):
            raise OSError(5, "Input/output error")
        return opened(path, *arguments, **options)

    import builtins

    opened = builtins.open
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refused)
        with pytest.raises(CheckpointError, match="cannot be read: Input/output error"):
            lamp.fit(**build("adam_with_everything, eager"), checkpoint=folder, resume=True)
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert read_checkpoint(folder).state["epoch"] == 6
