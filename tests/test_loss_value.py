"""What is computed from a loss: it answers backward(), and a loss that it replaced is told of at the backward."""

import copy
import pickle
import warnings

import pytest
import torch

import lamp

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2


@pytest.fixture
def model():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def squares(model):
    return sum((each.data**2).sum() for each in model.parameters())


FURTHER = {
    "loss / 4": lambda loss, model: loss / 4,
    "loss * 0.25": lambda loss, model: loss * 0.25,
    "0.25 * loss": lambda loss, model: 0.25 * loss,
    "-loss": lambda loss, model: -loss,
    "loss ** 2": lambda loss, model: loss**2,
    "1 - loss": lambda loss, model: 1 - loss,
    "loss + penalty": lambda loss, model: loss + 0.1 * squares(model),
    "penalty + loss": lambda loss, model: 0.1 * squares(model) + loss,
    "loss.mul(0.25)": lambda loss, model: loss.mul(0.25),
    "sum([loss]) / 1": lambda loss, model: sum([loss]) / 1,
    "(loss / 2 + 1) / 2": lambda loss, model: (loss / 2 + 1) / 2,
}
further = pytest.mark.parametrize("compute", FURTHER.values(), ids=FURTHER.keys())


@further
def test_it_answers_backward(model, compute):
    criterion = lamp.CrossEntropyLoss()
    with pytest.raises(lamp.BackwardError, match=r"computed from the value of a loss") as caught:
        compute(criterion(model(X), Y), model).backward()
    assert "model.backward(criterion.backward() * c)" in caught.value.fix


@pytest.mark.parametrize("reduced", ["mean", "sum"])
def test_the_mean_over_replicas_answers_backward(model, reduced):
    networks, criterion = lamp.population(model, range(3)), lamp.CrossEntropyLoss()
    losses = criterion(networks(X), Y)
    with pytest.raises(lamp.BackwardError, match=r"computed from the value of a loss"):
        getattr(losses, reduced)().backward()
    networks.backward(criterion.backward())  # without a warning: a mean is for looking at


@further
def test_a_loss_that_it_replaced_is_told_of(model, compute):
    criterion = lamp.CrossEntropyLoss()
    loss = criterion(model(X), Y)
    loss = compute(loss, model)
    with pytest.warns(lamp.TrainingWarning, match="a loss was computed further"):
        model.backward(criterion.backward())


def test_a_loss_that_was_changed_in_place_is_told_of(model):
    criterion = lamp.CrossEntropyLoss()
    loss = criterion(model(X), Y)
    loss /= 4
    with pytest.warns(lamp.TrainingWarning, match="a loss was computed further"):
        model.backward_parameters(criterion.backward())


def test_one_of_two_losses_that_were_added_is_told_of(model):
    first, second, output = lamp.CrossEntropyLoss(), lamp.CrossEntropyLoss(label_smoothing=0.5), model(X)
    loss = first(output, Y) + 0.5 * second(output, Y)
    with pytest.warns(lamp.TrainingWarning, match="a loss was computed further"):
        model.backward(first.backward())
    assert loss.dim() == 0


def scaled_in_both_places(model, criterion):
    loss = criterion(model(X), Y) / 4
    model.backward(criterion.backward() / 4)
    return loss


def given_as_an_argument(model, criterion):
    loss = criterion(model(X), Y) * 0.25
    model.backward(criterion.backward(torch.tensor(0.25)))
    return loss


def weighted_by_sample(model, criterion):
    criterion.reduction, weights = "none", torch.arange(12) / 66
    loss = (criterion(model(X), Y) * weights).sum()
    model.backward(criterion.backward(weights))
    return loss


def kept_beside_it(model, criterion):
    loss, total = criterion(model(X), Y), 0.0
    total += loss * len(X)
    model.backward(criterion.backward())
    return loss, total


def shown(model, criterion):
    text = f"{criterion(model(X), Y) * 100:.1f} %"
    model.backward(criterion.backward())
    return text


def afterwards(model, criterion):
    loss = criterion(model(X), Y)
    model.backward(criterion.backward())
    return loss / 4


@pytest.mark.parametrize(
    "use", [scaled_in_both_places, given_as_an_argument, weighted_by_sample, kept_beside_it, shown, afterwards]
)
def test_what_is_right_is_not_told_of(model, use):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use(model, lamp.CrossEntropyLoss()) is not None


def test_it_is_a_tensor_like_any_other(model):
    loss = lamp.CrossEntropyLoss()(model(X), Y)
    number = loss.item()
    assert isinstance(loss, torch.Tensor)
    assert repr(loss) == repr(torch.tensor(number))
    assert f"{loss:.3f}" == f"{number:.3f}"
    assert float(loss) == number == loss.numpy() == (loss * 1).item()
    for other in (copy.deepcopy(loss), copy.deepcopy(loss * 1), pickle.loads(pickle.dumps(loss / 1)), loss.detach()):
        assert type(other) is torch.Tensor
        assert other.item() == number
    assert pickle.loads(pickle.dumps(loss)).divisor == getattr(loss, "divisor", None) == 12
    assert type(torch.stack([loss, loss])) is torch.Tensor
