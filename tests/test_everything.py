"""What lamp does with networks, for an example of every module and loss: it works, or is refused in so many words."""

import copy
import pickle

import pytest
import torch

import lamp
from lamp.trees import leaves, mapped
from tests.cases.examples import BASES, LOSS_BASES, LOSSES, MODULES
from tests.cases.module_case import error

ALL = {**MODULES, **LOSSES}
NETWORKS = {name: example for name, example in MODULES.items() if not name.endswith("Loss")}
every = pytest.mark.parametrize("name", ALL)
each_network = pytest.mark.parametrize("name", NETWORKS)

NO_GRAPH = {  # a part of a name: what is told
    "FractionalMaxPool": "random places",
    "Loss": "a loss is no part of a network's graph",
}
NOT_IN_FILES = {"FractionalMaxPool": "random places"}


def made(name, dtype=torch.float32):
    """A module in eval mode that has run once, so that a lazy one has parameters, and its inputs."""
    torch.manual_seed(0)
    example = ALL[name]
    module = example.make()
    module(*example.draw())
    return module.to(dtype).eval(), example.draw(dtype)


def told(table, name):
    """What is told of the refusal; None if there is none."""
    return next((words for part, words in table.items() if part in name), None)


def same(found, expected, tolerance=0.0):
    pairs = list(zip(leaves(found), leaves(expected), strict=True))
    assert pairs
    for (_, one), (_, other) in pairs:
        assert error(one.detach(), other.detach()) <= tolerance


def test_every_class_has_an_example():
    """A module or a loss that is added to lamp gets one here, and so everything below."""
    assert set(lamp.nn.__all__) == {*MODULES, *BASES}
    assert set(lamp.losses.__all__) == {*LOSSES, *LOSS_BASES}
    for name, example in ALL.items():
        assert type(example.make()).__name__ == name
    for table in (NO_GRAPH, NOT_IN_FILES):
        assert all(any(part in name for name in ALL) for part in table)


@every
def test_graph_and_summary(name):
    module, inputs = made(name)
    found, words = lamp.summary(module, *inputs), told(NO_GRAPH, name)
    assert str(found).startswith(f"{type(module).__name__}: ")
    if words is not None:
        with pytest.raises(lamp.NotTraceable, match=words) as raised:
            lamp.trace(module, *inputs, training=False)
        assert raised.value.where.startswith(type(module).__name__)
        assert words in found.reason
        return
    graph = lamp.trace(module, *inputs, training=False)
    outputs = [y for _, y in leaves(module(*inputs))]
    assert [value.layout(len(inputs[0])) for value in graph.outputs] == [tuple(y.shape) for y in outputs]
    assert [value.dtype for value in graph.outputs] == [y.dtype for y in outputs]
    assert set(graph.parameters) == set(module.parameters())
    assert str(graph).endswith(", ".join(map(str, graph.outputs)))
    assert not any("?" in cell for row in found.table().rows for cell in row)


@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
@each_network
def test_files(name, export, tmp_path):
    """The exporters run the file, and compare it with the network, before they leave it on the disk."""
    module, inputs = made(name)
    shapes, path = [tuple(x.shape[1:]) for x in inputs], tmp_path / "network.py"
    words = told(NOT_IN_FILES, name)
    if words is None:
        assert export(module, path, input_shape=shapes if len(shapes) > 1 else shapes[0]) == path
        return
    with pytest.raises(lamp.ArgumentError, match=words) as raised:
        export(module, path, input_shape=shapes if len(shapes) > 1 else shapes[0])
    assert raised.value.where.startswith(type(module).__name__)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@every
def test_torch_and_back(name):
    module, inputs = made(name, torch.float64)
    twin = lamp.to_torch(module)
    back = lamp.from_torch(twin)
    assert type(back) is type(module)
    assert list(back.state_dict()) == list(twin.state_dict()) == list(module.state_dict())
    if "FractionalMaxPool" not in name:  # it draws where its windows are
        same(twin(*inputs), module(*inputs), 1e-6 if name in ("Hardsigmoid", "LinearCrossEntropyLoss") else 1e-11)
        same(back(*inputs), module(*inputs))


@every
def test_copies_and_files_of_weights(name, tmp_path):
    module, inputs = made(name)
    copies = [pickle.loads(pickle.dumps(module)), copy.deepcopy(module)]
    if module.state_dict():
        fresh = made(name)[0]
        for parameter in fresh.parameters():
            parameter.data.fill_(0.5)
        lamp.save(module, tmp_path / "weights.safetensors")
        lamp.load(fresh, tmp_path / "weights.safetensors")
        copies.append(fresh)
    for other in copies:
        assert list(other.state_dict()) == list(module.state_dict())
        if "FractionalMaxPool" not in name:
            same(other(*inputs), module(*inputs))


@each_network
def test_populations(name):
    module, inputs = made(name, torch.float64)
    if any(True for _ in module.parameters()):
        networks = lamp.population(module, seeds=range(3)).eval()
        singles = [networks[k].eval() for k in range(3)]
    else:
        singles = [module] * 3
        networks = lamp.stack([copy.deepcopy(module) for _ in range(3)]).eval()
    if "FractionalMaxPool" in name:
        return
    outputs = networks(*inputs)
    for k, single in enumerate(singles):
        same(mapped(outputs, lambda y, k=k: y[k]), single(*inputs), 1e-12)


class Scored(lamp.Container):
    """The mean of a module's first output, times a weight: a network of any module, which can be trained."""

    def __init__(self, module):
        self.module, self.weight = module, lamp.Parameter(torch.ones(1))

    def forward(self, *inputs):
        outputs = self.module(*inputs)
        _, first = next(leaves(outputs))
        mean = first.reshape(len(first), -1).mean(1, keepdim=True)
        self.remember((mapped(outputs, lambda each: None), first.shape, mean))
        return mean * self.weight.data

    def backward(self, dy):
        nothing, shape, mean = self.recall()
        self.weight.grad += (dy * mean).sum(0)
        share = dy * self.weight.data / (shape[1:].numel() or 1)
        first = share.view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()
        return self.module.backward(*((first, *nothing[1:]) if isinstance(nothing, tuple) else (first,)))


@each_network
def test_it_trains_and_resumes_with_the_same_bits(name, tmp_path):
    """Random masks and running statistics go on where they were."""
    _, inputs = made(name)
    data = (*inputs, torch.linspace(-1.0, 1.0, len(inputs[0])).unsqueeze(1))

    def trained(epochs, **options):
        torch.manual_seed(1)
        module = ALL[name].make()
        module(*inputs)
        model = Scored(module)
        optimizer = lamp.Adam(model.parameters(), lr=0.01)
        history = lamp.fit(
            model, lamp.MSELoss(), optimizer, data, epochs=epochs, batch_size=2, seed=3, progress=False, **options
        )
        return model, history

    expected, history = trained(3)
    assert history.engine == "eager"
    assert "Scored" in history.why
    trained(1, checkpoint=tmp_path, resume=True)
    resumed, _ = trained(3, checkpoint=tmp_path, resume=True)
    for one, other in zip(resumed.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(one, other)
