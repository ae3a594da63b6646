"""Every engine trains on the samples that a user's data set makes."""

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import ArgumentError, DataError

X, Y = torch.randn(20, 3), torch.arange(20) % 2


class PlusOne(lamp.Dataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 1.0, y


class Half(lamp.Dataset):
    def __len__(self):
        return super().__len__() // 2


class Together(lamp.Dataset):
    """Gives samples to torch's loader all at once."""

    def __getitems__(self, indices):
        return [(self.inputs[k] * 3.0, self.targets[k]) for k in indices]


class Shifted(lamp.Dataset):
    @property
    def tensors(self):
        return self.inputs - 5.0, self.targets


def joined(batches):
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def same(found, expected):
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_a_data_sets_own_samples_are_given():
    same(joined(lamp.DataLoader(PlusOne(X, Y), 7)), (X + 1.0, Y))
    same(joined(lamp.DataLoader(Half(X, Y), 7)), (X[:10], Y[:10]))
    same(joined(lamp.DataLoader(Shifted(X, Y), 7)), (X - 5.0, Y))
    same(joined(lamp.DataLoader(Together(X, Y), 7)), joined(torch.utils.data.DataLoader(Together(X, Y), 7)))


@pytest.mark.parametrize(("samples", "got"), [([(X[0], 0)], "1 elements"), (X, "torch.Tensor")])
def test_samples_that_are_not_a_list_of_as_many_are_told(samples, got):
    class Wrong(lamp.Dataset):
        def __getitems__(self, indices):
            return samples

    with pytest.raises(DataError, match=r"Wrong\.__getitems__") as error:
        next(iter(lamp.DataLoader(Wrong(X, Y), 7)))
    assert got in str(error.value)


def test_methods_put_into_dataset_hold(monkeypatch):
    original = lamp.Dataset.__getitem__
    monkeypatch.setattr(lamp.Dataset, "__getitem__", lambda self, k: (original(self, k)[0] * 2.0, original(self, k)[1]))
    same(joined(lamp.DataLoader(lamp.Dataset(X, Y), 7)), (X * 2.0, Y))


@pytest.mark.parametrize("kind", [PlusOne, Half, Shifted, Together])
def test_training_takes_them(kind, monkeypatch):
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    weights = []
    for data in (kind(X, Y), joined(lamp.DataLoader(kind(X, Y), 7))):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))
        optimizer = lamp.SGD(model.parameters(), 0.1)
        history = lamp.fit(
            model, lamp.CrossEntropyLoss(), optimizer, data, epochs=3, batch_size=7, seed=1, progress=False
        )
        weights.append(torch.cat([parameter.data.flatten() for parameter in model.parameters()]))
        assert history.engine == ("eager" if isinstance(data, PlusOne | Half | Together) else "compiled")
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


def test_parts_of_such_a_data_set_make_their_samples_too():
    first, second = PlusOne(X, Y).split(0.5)
    assert isinstance(first, PlusOne)
    assert len(first) == len(second) == 10
    x, _ = joined(lamp.DataLoader(first, 4))
    torch.testing.assert_close(x, first.inputs + 1.0)


# ---- indices are the loader's own ----------------------------------------------------------------------------------
def test_indices_are_copied():
    indices = torch.tensor([3, 1, 2])
    loader = lamp.DataLoader((X, Y), 2, indices=indices)
    indices.fill_(10**9)
    same(joined(loader), (X[[3, 1, 2]], Y[[3, 1, 2]]))


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("wrong", [10**9, -7])
@pytest.mark.parametrize("replicas", [None, 2])
def test_indices_that_are_written_to_later_are_looked_at_again(engine, wrong, replicas):
    rows = torch.arange(20) if replicas is None else torch.stack([torch.arange(20)] * replicas)
    loader = lamp.DataLoader((X, Y), 5, True, seed=0, indices=rows)
    model = lamp.Linear(3, 2) if replicas is None else lamp.population(lamp.Linear(3, 2), range(replicas))
    model = lamp.Sequential(lamp.Linear(3, 2))
    model = model if replicas is None else lamp.population(model, range(replicas))

    class Spoil(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 2:
                loader.indices.fill_(wrong)

    optimizer = lamp.SGD(model.parameters(), 0.1)
    with pytest.raises(ArgumentError, match="index is out of range"):
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            optimizer,
            loader,
            epochs=9,
            callbacks=[Spoil()],
            engine=engine,
            progress=False,
        )


# ---- memory that is let go of --------------------------------------------------------------------------------------
@pytest.mark.parametrize("which", [0, 1])
def test_memory_that_was_freed_is_told(which):
    data = X.clone(), Y.clone()
    loader = lamp.DataLoader(data, 5, True, seed=0)
    data[which].untyped_storage().resize_(0)
    with pytest.raises(DataError, match="memory of the data was freed"):
        next(iter(loader))


def test_numpy_data_of_any_strides_pass():
    array = np.arange(60.0).reshape(20, 3)[::2, ::-1]
    assert len(list(lamp.DataLoader((array, np.arange(10)), 4))) == 3
    assert len(list(lamp.DataLoader(torch.zeros(1).expand(9), 4))) == 3


class Elsewhere(lamp.DataLoader):
    """Gives its inputs by a property in the place of an attribute of lamp's class."""

    @property
    def tensors(self):
        return (X - 5.0, Y)

    @tensors.setter
    def tensors(self, given):
        pass


def test_a_property_in_the_place_of_an_attribute_holds(monkeypatch):
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))
    options = {"epochs": 3, "progress": False}
    optimizer = lamp.SGD(model.parameters(), 0.1)
    history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, Elsewhere((X, Y), 7), **options)
    assert history.engine == "eager"
    assert "its own tensors, which its class defines" in history.why
    with pytest.raises(ArgumentError, match="compiled engine cannot run this"):
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, Elsewhere((X, Y), 7), engine="compiled", **options)


class Doubled(lamp.LeakyReLU):
    """Doubles its slope by a property in the place of an attribute of lamp's class."""

    @property
    def negative_slope(self):
        return 2 * self.__dict__["given"]

    @negative_slope.setter
    def negative_slope(self, given):
        self.__dict__["given"] = given


def test_a_property_in_the_place_of_a_modules_number_holds():
    losses = []
    for activation in (Doubled(0.1), lamp.LeakyReLU(0.2)):
        torch.manual_seed(0)
        model = lamp.Sequential(lamp.Linear(3, 4), activation, lamp.Linear(4, 2))
        optimizer = lamp.SGD(model.parameters(), 0.1)
        history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (X, Y), epochs=3, seed=1, progress=False)
        losses.append(float(history["loss"][-1]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
