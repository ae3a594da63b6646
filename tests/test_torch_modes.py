"""torch's inference mode and its default device: what is made within them works, or says why it cannot."""

import copy

import pytest
import torch

import lamp

X, Y = torch.randn(40, 3), torch.randn(40, 2)


def network():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.PReLU(), lamp.BatchNorm1d(4), lamp.Linear(4, 2))


def trained(model, optimizer, engine):
    return lamp.fit(
        model, lamp.MSELoss(), optimizer, (X, Y), epochs=2, batch_size=8, seed=0, engine=engine, progress=False
    )["loss"]


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("what", ["the network", "a training", "a copy", "a population", "other weights"])
def test_what_is_made_in_inference_mode_trains_outside_of_it(what, engine):
    def made(within):
        torch.manual_seed(0)
        model = network() if what != "the network" else None
        with torch.inference_mode(within):
            model = network() if model is None else copy.deepcopy(model) if what == "a copy" else model
            model = lamp.population(model, range(3)) if what == "a population" else model
            if what == "other weights":
                model.load_state_dict({name: tensor * 2.0 for name, tensor in model.state_dict().items()})
            optimizer = lamp.Adam(model.parameters())
            if what == "a training":
                trained(model, optimizer, engine)
        return trained(model, optimizer, engine), model.state_dict()

    (loss, state), (usual, expected) = made(True), made(False)
    assert torch.equal(loss, usual)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_a_parameter_of_inference_mode_may_be_changed():
    with torch.inference_mode():
        parameter, buffer = lamp.Parameter(torch.ones(3)), lamp.Buffer(torch.ones(3))
        again = copy.deepcopy(parameter)
    for each in (parameter, again, buffer):
        each.data.add_(1.0)
        assert each.data.tolist() == [2.0, 2.0, 2.0]
    parameter.grad.add_(1.0)
    assert parameter.grad.tolist() == [1.0, 1.0, 1.0]


ACTS = {
    "fit": lambda model: trained(model, lamp.SGD(model.parameters()), "auto"),
    "evaluate": lambda model: lamp.evaluate(model, lamp.MSELoss(), (X, Y)),
    "predict": lambda model: lamp.predict(model, X),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_default_device_without_values_is_refused(act):
    model = network()
    model.parameters()
    with torch.device("meta"), pytest.raises(lamp.DeviceError, match="default device") as caught:
        act(model)
    assert caught.value.fix


@pytest.mark.parametrize("kind", ["sparse", "nested"])
def test_predict_takes_dense_tensors(kind):
    if kind == "nested":
        with pytest.warns(UserWarning, match="nested"):
            x = torch.nested.nested_tensor([X, X])
    else:
        x = X.to_sparse()
    with pytest.raises(lamp.DataError, match="are nested" if kind == "nested" else "are sparse"):
        lamp.predict(lamp.Linear(3, 2), x)


def test_the_compiled_engine_names_a_wrong_label_of_the_validation():
    model, labels = lamp.Linear(3, 2), torch.ones(40, dtype=torch.int64)
    wrong = labels.clone()
    wrong[33] = 2
    with pytest.raises(lamp.LabelError, match="label 2"):
        lamp.fit(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters()), (X, labels), validation=(X, wrong),
                 epochs=1, batch_size=8, engine="compiled", progress=False)  # fmt: skip
