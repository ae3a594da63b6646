"""The state of modules: keys, copies, dtypes, buffers of parameters, and repr."""

import copy
import pickle

import pytest
import torch

import lamp
from lamp.errors import ArgumentError, StateDictError
from lamp.trees import leaves, mapped
from tests.cases.module_case import detached, equal, error, like
from tests.cases.modules import LAYERS, MODULES, NETWORKS, NORMALIZATIONS

WITH_PARAMETERS = [
    case for case in [*LAYERS, *NORMALIZATIONS, *NETWORKS] if any(True for _ in case.make().named_parameters())
]


@pytest.mark.parametrize("case", MODULES, ids=str)
class TestEveryModule:
    def test_keys_shapes_and_dtypes_are_those_of_torch(self, case):
        own, other = case.make().state_dict(), case.make_torch().state_dict()
        assert [(key, value.shape, value.dtype) for key, value in own.items()] == [
            (key, value.shape, value.dtype) for key, value in other.items()
        ]

    def test_named_parameters_are_those_of_torch(self, case):
        names = [name for name, _ in case.make_torch().named_parameters()]
        assert [name for name, _ in case.make().named_parameters()] == names

    def test_named_modules_are_those_of_torch(self, case):
        own = [(name, type(module).__name__) for name, module in case.make().named_modules()]
        assert own == [(name, type(module).__name__) for name, module in case.make_torch().named_modules()]

    def test_repr_is_that_of_torch(self, case):
        assert repr(case.make()) == repr(case.make_torch()).replace(", inplace=False", "")  # lamp offers no inplace

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
    def test_a_copy_remembers_nothing_and_gives_the_same(self, case, duplicate):
        module, _ = case.pair()
        x = case.input()
        y = module(x)
        other = duplicate(module)
        assert "_through" not in vars(other)
        assert equal(other(x), y)
        dy = like(y)
        assert equal(other.backward(dy), module.backward(dy))

    def test_to_float64_and_back(self, case):
        module = case.make()
        x = case.input(torch.float32)
        before = mapped(module(x), torch.clone)
        wide = x.double() if x.is_floating_point() else x
        y = module.double()(wide)
        dx = module.backward(mapped(y, torch.ones_like))
        assert {each.dtype for _, each in [*leaves(y), *leaves(dx)]} == {torch.float64}
        again = module.float()(x)
        assert equal(again, before) or ("max_norm" in case.name and error(again, before) < 1e-6)  # which rounds again


@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=str)
class TestParameters:
    def test_from_torch(self, case):
        module, twin = case.make().double(), case.make_torch().double()
        x = case.input()
        assert module.load_state_dict(twin.state_dict(), strict=True) == ([], [])
        assert error(module(x), detached(twin(x))) < case.tolerance

    def test_to_torch(self, case):
        module, twin = case.make().double(), case.make_torch().double()
        x = case.input()
        twin.load_state_dict(module.state_dict(), strict=True)
        assert error(module(x), detached(twin(x))) < case.tolerance

    def test_a_copy_is_independent(self, case):
        module, _ = case.pair()
        module.backward(like(module(case.input())))
        other = copy.deepcopy(module)
        values, gradients = ([getattr(p, name).clone() for p in module.parameters()] for name in ("data", "grad"))
        for own, copied in zip(module.parameters(), other.parameters(), strict=True):
            assert torch.equal(own.data, copied.data)
            assert torch.equal(own.grad, copied.grad)
            assert own.data.untyped_storage().data_ptr() != copied.data.untyped_storage().data_ptr()
            copied.data.add_(1.0)
            copied.grad.add_(1.0)
        assert all(torch.equal(p.data, value) for p, value in zip(module.parameters(), values, strict=True))
        assert all(torch.equal(p.grad, value) for p, value in zip(module.parameters(), gradients, strict=True))

    def test_one_storage_for_values_and_one_for_gradients(self, case):
        parameters = case.make().parameters()
        for name in ("data", "grad"):
            tensors = [getattr(parameter, name) for parameter in parameters]
            assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
            elements = sum(tensor.numel() for tensor in tensors)
            assert tensors[0].untyped_storage().nbytes() == elements * tensors[0].element_size()
            starts = [tensor.storage_offset() for tensor in tensors]
            assert starts == [sum(t.numel() for t in tensors[:k]) for k in range(len(tensors))]

    def test_one_storage_after_copies_and_moves(self, case):
        module = copy.deepcopy(case.make()).double()
        module.load_state_dict(case.make_torch().state_dict())
        assert len({parameter.data.untyped_storage().data_ptr() for parameter in module.parameters()}) == 1

    def test_gradients_survive_a_move(self, case):
        module, _ = case.pair()
        module.backward(like(module(case.input())))
        before = [parameter.grad.clone() for parameter in module.parameters()]
        module.float()
        assert all(p.grad.dtype == torch.float32 for p in module.parameters())
        assert all(torch.equal(p.grad, g.float()) for p, g in zip(module.parameters(), before, strict=True))

    def test_loading_checks_before_it_copies(self, case):
        module = case.make()
        before = {key: value.clone() for key, value in module.state_dict().items()}
        wrong = {key: torch.zeros(*value.shape, 2) for key, value in before.items()}
        for state, said in ((wrong, "shape"), ({}, "missing"), ({**before, "more": torch.zeros(1)}, "more")):
            with pytest.raises(StateDictError, match=said):
                module.load_state_dict(state)
        assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())

    def test_same_seed_same_parameters_as_torch(self, case):
        torch.manual_seed(5)
        own = case.make().state_dict()
        state = torch.get_rng_state()
        torch.manual_seed(5)
        other = case.make_torch().state_dict()
        assert all(torch.equal(own[key], other[key]) for key in other)
        assert torch.equal(torch.get_rng_state(), state), "building drew other random numbers than torch.nn"

    def test_reset_parameters_draws_what_building_drew(self, case):
        torch.manual_seed(5)
        built = {key: value.clone() for key, value in case.make().state_dict().items()}
        module = case.make()
        module.reset_parameters(generator=torch.Generator().manual_seed(5))
        assert all(torch.equal(module.state_dict()[key], value) for key, value in built.items())


# ---- what an error about a state dict says ---------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 8, 9, 20])
def test_of_many_keys_the_first_eight_are_named(count):
    model = lamp.Linear(3, 2)
    more = {f"more{k:02}": torch.zeros(1) for k in range(count)}
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(model.state_dict() | more)
    said = str(caught.value)
    assert "expected 2 keys, missing none" in " ".join(said.split())
    assert f"{count + 2} keys" in said
    named = list(more)[:8]
    assert all(repr(name) in said for name in named)
    assert "more08" not in said
    assert (f", and {count - 8} more]" in said) is (count > 8)


def test_numbers_of_one_network_and_of_a_population_are_told_apart():
    model = lamp.Linear(3, 2)
    population = lamp.population(model, range(5))
    other = lamp.Linear(4, 2)
    for into, state, advice in (
        (
            population,
            {f"network.{key}": each for key, each in model.state_dict().items()},
            "give each of the 5 networks its own",
        ),
        (model, {key: torch.zeros(5, *each.shape) for key, each in model.state_dict().items()}, "seeds=range(5)"),
        (other, model.state_dict(), "with the sizes it was saved with"),
    ):
        keys = list(into.state_dict())
        with pytest.raises(StateDictError) as caught:
            into.load_state_dict(dict(zip(keys, state.values(), strict=True)))
        assert advice in str(caught.value)


# ---- a module inside itself ------------------------------------------------------------------------------------------
class Knowing(lamp.Module):
    """A Linear that may refer to the module that contains it, or to itself."""

    def __init__(self):
        self.layer = lamp.Linear(3, 3)
        self.others = []

    def forward(self, x):
        return self.layer(x)

    def backward(self, dy):
        return self.layer.backward(dy)


def as_attribute():
    module = Knowing()
    module.me = module  # type: ignore[attr-defined]
    return module, "me"


def in_a_list():
    module, below = Knowing(), Knowing()
    module.others.append(below)
    below.others.append(module)
    return module, "others.0.others.0"


def above_a_child():
    network = lamp.Sequential(Knowing(), lamp.Tanh())
    network[0].above = {"network": network}
    return network, "0.above.network"


USES = {
    "parameters": lambda module: module.parameters(),
    "state_dict": lambda module: module.state_dict(),
    "train": lambda module: module.train(),
    "double": lambda module: module.double(),
    "zero_grad": lambda module: module.zero_grad(),
    "apply": lambda module: module.apply(lambda each: None),
    "population": lambda module: lamp.population(module, range(2)),
    "trace": lambda module: lamp.trace(module, (4, 3)),
    "save": lambda module: lamp.save(module, "never-written.safetensors"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("make", [as_attribute, in_a_list, above_a_child])
def test_a_module_that_stands_inside_itself_is_told(make, use):
    module, path = make()
    assert "..." in repr(module)
    with pytest.raises(ArgumentError, match="contains itself") as caught:
        use(module)
    assert repr(path) in str(caught.value)


def test_a_module_in_several_places_is_not_inside_itself():
    shared = Knowing()
    module = lamp.Sequential(shared, lamp.Sequential(shared, lamp.Tanh()))
    assert len(module.parameters()) == 2
    assert len(module.state_dict()) == 4
    order = []
    module.apply(lambda each: order.append(type(each).__name__))
    assert order == ["Linear", "Knowing", "Linear", "Knowing", "Tanh", "Sequential", "Sequential"]
