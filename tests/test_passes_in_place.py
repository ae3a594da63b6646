"""What is written to between a forward and its backward is told, and so is a gradient of what is no output."""

import copy
import pickle

import pytest
import torch

import lamp

X, Y, LABELS = torch.randn(6, 3), torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])


def network(*last):
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2), *last)


def grads_of(module):
    return [parameter.grad.clone() for parameter in module.parameters()]


def told(match):
    return pytest.raises(lamp.BackwardError, match=match)


# ---- parameters -----------------------------------------------------------------------------------------------------
WRITES = {
    "an optimizer's step": lambda model, optimizer: optimizer.step(),
    "a weight scaled": lambda model, optimizer: model[2].weight.data.mul_(2),
    "a weight assigned": lambda model, optimizer: setattr(model[2].weight, "data", torch.ones(2, 4)),
    "a Parameter scaled": lambda model, optimizer: model[0].weight.__imul__(2),
    "one element": lambda model, optimizer: model[0].weight.data[0].fill_(1.0),
    "a state dict": lambda model, optimizer: model.load_state_dict(network().state_dict()),
    "an initialisation": lambda model, optimizer: lamp.init.zeros_(model[2].weight.data),
    "reset_parameters": lambda model, optimizer: model.reset_parameters(),
    "a step of a part's optimizer": lambda model, optimizer: lamp.SGD(model[2].parameters(), lr=0.1).step(),
    "a step while one is frozen": lambda model, optimizer: (model[0].bias.freeze(), optimizer.step()),
}


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "as made"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_parameter_that_is_written_to_before_the_backward_is_told(write, flat):
    model, criterion = network(), lamp.CrossEntropyLoss()
    if flat:
        model.parameters()
    criterion(model(X), LABELS)
    optimizer = lamp.SGD(model.parameters(), lr=0.1, momentum=0.9) if write is not WRITES["a weight scaled"] else None
    model[0].weight.grad.fill_(1.0)
    write(model, optimizer)
    with told("parameters were changed in place") as caught:
        model.backward(criterion.backward())
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    criterion(model(X), LABELS)
    model.backward(criterion.backward())


def test_a_population_is_watched_too():
    model, criterion = lamp.population(network(), range(3)), lamp.CrossEntropyLoss()
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        criterion(model(X), LABELS)
        if step == 2:
            optimizer.step()
            with told("parameters were changed"):
                model.backward(criterion.backward())
        else:
            model.backward(criterion.backward())
            optimizer.step()


HARMLESS = {
    "nothing": lambda model: None,
    "parameters that move into one buffer": lambda model: model.parameters(),
    "an optimizer that is made": lambda model: lamp.Adam(model.parameters()),
    "parameters that move into the buffer of more": lambda model: lamp.Sequential(model, network()).parameters(),
    "a layer that is appended": lambda model: model.append(lamp.Linear(2, 2)).parameters() and model.pop(),
    "a frozen parameter": lambda model: model[0].bias.freeze(),
    "a copy's step": lambda model: lamp.SGD(copy.deepcopy(model).parameters(), lr=0.1).step(),
    "gradients that are zeroed": lambda model: model.zero_grad(),
    "a forward": lambda model: lamp.predict(model, X),
    "another thread of numbers": lambda model: network().reset_parameters(),
}


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "as made"])
@pytest.mark.parametrize("do", HARMLESS.values(), ids=HARMLESS)
def test_what_changes_no_parameter_of_the_network_disturbs_nothing(do, flat):
    model, criterion = network(), lamp.MSELoss()
    if flat:
        model.parameters()
    alike = copy.deepcopy(model)
    for _ in range(2):
        criterion(model(X), Y)
        do(model)
        model.zero_grad()
        model.backward(criterion.backward())
    alike.zero_grad()
    criterion(alike(X), Y)
    alike.backward(criterion.backward())
    for mine, right in zip(grads_of(model), grads_of(alike), strict=True):
        assert torch.equal(mine, right) or not mine.any()  # zero: the frozen one


@pytest.mark.parametrize("before", [True, False])
def test_parts_that_share_a_buffer_are_stepped_one_by_one(before):
    first, second, criterion = lamp.Linear(3, 4), lamp.Linear(4, 2), lamp.MSELoss()
    if before:
        lamp.Sequential(first, second).parameters()
    optimizers = [lamp.SGD(part.parameters(), lr=0.1) for part in (first, second)]
    lamp.Sequential(first, second).parameters()
    for _ in range(3):
        criterion(second(first(X)), Y)
        gradient = second.backward(criterion.backward())
        optimizers[1].step()
        first.backward(gradient)
        optimizers[0].step()
    criterion(second(first(X)), Y)
    gradient = second.backward(criterion.backward())
    optimizers[0].step()
    with told("parameters were changed"):
        first.backward(gradient)


def test_a_compiled_step_between_is_told():
    model, criterion = network(), lamp.CrossEntropyLoss()
    compiled = lamp.compile(model, criterion, lamp.SGD(model.parameters(), lr=0.1), 6)
    criterion(model(X), LABELS)
    gradient = criterion.backward()
    compiled(X, LABELS)
    with told("parameters were changed"):
        model.backward(gradient)


def test_a_pickle_and_a_copy_of_a_watched_network_train():
    model, criterion = network(), lamp.MSELoss()
    optimizer = lamp.SGD(model[2].parameters(), lr=0.1)
    model.parameters()
    criterion(model(X), Y)
    model.backward(criterion.backward())
    optimizer.step()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        mine = lamp.SGD(other.parameters(), lr=0.1)
        criterion(other(X), Y)
        other.backward(criterion.backward())
        mine.step()
        criterion(other(X), Y)
        mine.step()
        with told("parameters were changed"):
            other.backward(criterion.backward())


# ---- inputs, targets and outputs ------------------------------------------------------------------------------------
@pytest.mark.parametrize("criterion", [lamp.MSELoss(), lamp.HuberLoss(), lamp.BCEWithLogitsLoss()], ids=repr)
def test_a_target_or_output_that_is_written_to_before_the_loss_goes_back(criterion):
    model, y = network(), torch.rand(6, 2)
    kept = criterion(model(X), y)
    y.zero_()
    with told("changed in place"):
        criterion.backward()
    del kept
    criterion = copy.deepcopy(criterion)
    output = model(X)
    criterion(output, torch.rand(6, 2))
    output.mul_(2)
    with told("changed in place"):
        criterion.backward()


def test_an_output_that_is_written_to_before_the_loss():
    model, criterion = network(), lamp.MSELoss()
    output = model(X)
    output *= 2  # the same tensor: it is still marked
    criterion(output, Y)
    with told("output of Sequential was changed in place"):
        criterion.backward()
    hidden, head = model(X), lamp.Linear(2, 2)
    hidden.relu_()
    criterion(head(hidden), Y)
    with told("output of Sequential was changed in place"):
        head.backward(criterion.backward())


def test_an_output_that_its_module_remembers():
    tanh = lamp.Tanh()
    output = tanh(X)
    output.zero_()
    with told(r"output of Tanh\(\) was changed in place"):
        tanh.backward(torch.ones(6, 3))
    linear = lamp.Linear(3, 2)
    output = linear(X)
    output -= Y  # Linear does not need its output: a loss by hand
    assert linear.backward(output).shape == X.shape


# ---- a gradient of something that is no output ----------------------------------------------------------------------
NO_OUTPUT = {
    "scaled": lambda output: output * 2,
    "a softmax": lambda output: output.softmax(1),
    "a sum with another": lambda output: output + Y,
    "other data": lambda output: torch.randn(6, 2),
    "reversed": lambda output: output.flip(0),
}
AN_OUTPUT = {
    "itself": lambda output: output,
    "a view": lambda output: output.view(6, 2),
    "a slice of all": lambda output: output[:],
}


@pytest.mark.parametrize("held", [True, False], ids=["held", "dropped"])
@pytest.mark.parametrize("change", NO_OUTPUT.values(), ids=NO_OUTPUT)
def test_the_gradient_of_what_is_no_output_is_told(change, held):
    model, criterion = network(), lamp.MSELoss()
    output = model(X)
    criterion(change(output), Y)
    if not held:
        del output
    with told("MSELoss was called on something else than the output of Sequential") as caught:
        model.backward(criterion.backward())
    assert "gradient.clone()" in str(caught.value)
    criterion(change(model(X)), Y)
    with told("something else"):
        model.backward_parameters(criterion.backward())
    before, head = network(), lamp.Linear(2, 2)
    criterion(head(change(before(X))), Y)
    gradient = head.backward(criterion.backward())
    with told("Linear was called on something else"):
        before.backward(gradient)


@pytest.mark.parametrize("change", AN_OUTPUT.values(), ids=AN_OUTPUT)
def test_the_output_itself_in_another_tensor_is_the_output(change):
    model, criterion = network(), lamp.MSELoss()
    criterion(model(X), Y)
    model.backward(criterion.backward())
    expected = grads_of(model)
    model.zero_grad()
    criterion(change(model(X)), Y)
    model.backward(criterion.backward())
    assert all(map(torch.equal, grads_of(model), expected))


@pytest.mark.parametrize("change", [torch.clone, torch.detach, lambda output: output * 1])
def test_a_copy_of_an_output_that_is_held(change):
    model, criterion = network(), lamp.MSELoss()
    output = model(X)
    criterion(change(output), Y)
    model.backward(criterion.backward())
    assert model[0].weight.grad.any()


def test_a_gradient_that_the_user_made_is_taken_as_it_is():
    model, criterion = network(), lamp.MSELoss()
    criterion(model(X) * 2, Y)
    model.backward(criterion.backward() * 2)
    peer = lamp.to_torch(model)
    torch.nn.functional.mse_loss(peer(X) * 2, Y).backward()
    torch.testing.assert_close(model[0].weight.grad, peer[0].weight.grad)
    criterion(model(X) + Y, Y)
    model.backward(criterion.backward().clone())


def test_of_several_forwards_the_one_that_the_loss_saw():
    """The gradient of a view of an output goes back through that output's pass, whatever was called since."""
    model, criterion = network(), lamp.MSELoss()
    criterion(model(X), Y)
    model.backward(criterion.backward())
    expected = grads_of(model)
    model.zero_grad()
    output = model(X)
    criterion(output.detach(), Y)
    later = model(X + 1)
    model.backward(criterion.backward())
    assert all(map(torch.equal, grads_of(model), expected))
    del later


def test_the_gradient_of_data_answers_torchs_call(tmp_path):
    criterion = lamp.MSELoss()
    criterion(X, X + 1)
    gradient = criterion.backward()
    with told("gradient that MSELoss"):
        gradient.backward()
    torch.save(gradient, tmp_path / "gradient.pt")
    assert torch.equal(copy.deepcopy(gradient), gradient)


def test_outputs_of_a_tensor_subclass_are_used_as_they_are():
    class Named(torch.Tensor):
        """A tensor that its operations return again."""

    torch.manual_seed(0)
    model, x = lamp.Linear(3, 2), torch.randn(4, 3)
    criterion = lamp.MSELoss()
    criterion(model(x.as_subclass(Named)), torch.zeros(4, 2))
    model.backward(criterion.backward())
    found = model.weight.grad.clone()
    model.zero_grad()
    criterion(model(x), torch.zeros(4, 2))
    model.backward(criterion.backward())
    assert torch.equal(found, model.weight.grad)


# ---- within a container ---------------------------------------------------------------------------------------------
class Doubled(lamp.Container):
    """The output of a module, doubled in place, and a Linear after it."""

    def __init__(self, module):
        self.module, self.last = module, lamp.Linear(4, 2)

    def forward(self, x):
        y = self.module(x)
        y *= 2
        return self.last(y)

    def backward(self, dy):
        return self.module.backward(self.last.backward(dy) * 2)


class Summed(lamp.Container):
    """x + f(x), added in place to what f remembers."""

    def __init__(self):
        self.first, self.second = lamp.Linear(4, 4), lamp.Linear(4, 4)

    def forward(self, x):
        h = self.first(x)
        h += self.second(h)
        return h

    def backward(self, dy):
        return self.first.backward(dy + self.second.backward(dy))


NEEDS_ITS_OUTPUT = {
    "Sigmoid": lamp.Sigmoid(),
    "Tanh": lamp.Tanh(),
    "Softmax": lamp.Softmax(-1),
    "LogSoftmax": lamp.LogSoftmax(-1),
    "a Sequential": lamp.Sequential(lamp.Linear(4, 4), lamp.Sigmoid()),
}


@pytest.mark.parametrize("module", NEEDS_ITS_OUTPUT.values(), ids=NEEDS_ITS_OUTPUT)
def test_an_output_that_a_container_writes_to_is_told(module):
    model = Doubled(module)
    model(torch.randn(3, 4))
    with told("remembered of its forward was changed in place") as caught:
        model.backward(torch.ones(3, 2))
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    assert "module" in str(caught.value.where)


def test_an_input_that_a_container_writes_to_is_told():
    model = Summed()
    model(torch.randn(3, 4))
    with told("what Linear remembered") as caught:
        model.backward(torch.ones(3, 4))
    assert "second" in str(caught.value.where)


class Halve(lamp.Module):
    """x / 2, written to the input."""

    def forward(self, x):
        return x.div_(2)

    def backward(self, dy):
        return dy / 2


def halve(x):
    return x.div_(2)


@pytest.mark.parametrize("of_instance", [False, True], ids=["a class", "an instance"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_module_in_a_row_that_writes_to_its_input_is_told(nested, of_instance):
    last = lamp.Identity() if of_instance else Halve()
    if of_instance:
        last.forward, last.backward = halve, halve
    row = lamp.Sequential(lamp.Linear(3, 4), lamp.Sigmoid(), last)
    model = lamp.Sequential(row, lamp.Linear(4, 2)) if nested else row
    y = model(X)
    with told("what Sigmoid remembered"):
        model.backward(torch.ones_like(y))


def test_an_output_that_its_module_does_not_need_may_be_written_to():
    model, x, dy = Doubled(lamp.Linear(4, 4)), torch.randn(3, 4), torch.randn(3, 2)
    model(x)
    model.backward(dy)
    expected = (dy @ model.last.weight.data * 2).T @ x
    assert torch.allclose(model.module.weight.grad, expected, atol=1e-6)


RECURRENT = {
    "RNN": lamp.RNN(4, 3),
    "LSTM": lamp.LSTM(4, 3),
    "GRU": lamp.GRU(4, 3),
    "RNNCell": lamp.RNNCell(4, 3),
    "LSTMCell": lamp.LSTMCell(4, 3),
}


@pytest.mark.parametrize("module", RECURRENT.values(), ids=RECURRENT)
def test_the_outputs_of_recurrent_modules_are_watched(module):
    x = torch.randn(2, 4) if "Cell" in type(module).__name__ else torch.randn(5, 2, 4)
    output = module(x)
    first = output if isinstance(output, torch.Tensor) else output[0]
    first.mul_(2)
    with told("changed in place"):
        module.backward(torch.ones_like(first), *(None for _ in output[1:] if isinstance(output, tuple)))


# ---- which forward --------------------------------------------------------------------------------------------------
def test_a_look_in_eval_mode_at_the_same_batch_changes_nothing():
    model = network()
    y = model(X)
    dy = 2 * (y - Y)
    model.backward(dy)
    expected = grads_of(model)
    model.zero_grad()
    y = model(X)
    dy = 2 * (y - Y)
    model.eval()
    seen = model(X)
    model.train()
    model.backward(dy)
    assert all(map(torch.equal, grads_of(model), expected))
    assert torch.equal(seen, y)


def test_two_forwards_whose_shapes_tell_which_one_a_gradient_belongs_to():
    layer = lamp.Linear(3, 2)
    first, second = torch.randn(2, 3), torch.randn(4, 3)
    outputs = layer(first), layer(second)
    layer.backward(torch.ones(4, 2))
    layer.backward(torch.ones(2, 2))
    expected = torch.ones(2, 6) @ torch.cat([first, second])
    assert torch.allclose(layer.weight.grad, expected, atol=1e-6)
    with told("backward twice"):
        layer.backward(torch.ones(2, 2))
    del outputs


def test_a_container_goes_forward_and_back_in_inference_mode():
    """Torch counts no changes there."""
    model, x, dy = Doubled(lamp.Linear(4, 4)), torch.randn(3, 4), torch.randn(3, 2)
    model(x)
    expected = model.backward(dy)
    with torch.inference_mode():
        model(x)
        found = model.backward(dy)
    assert torch.equal(found, expected)
