"""Steps within backward: the bits of the usual order without a buffer of gradients, and what is refused."""

from __future__ import annotations

import copy
import warnings
import weakref

import pytest
import torch

import lamp
import lamp.optim.blocks
from lamp.parameter import FlatBuffer
from tests.cases.optimizers import OPTIMIZERS

KINDS = [*dict.fromkeys((case.kind, tuple(case.options)) for case in OPTIMIZERS)]
CASES = [next(case for case in OPTIMIZERS if (case.kind, tuple(case.options)) == kind) for kind in KINDS]


class Scaled(lamp.Container):
    """y = w2 (w1 x) with a layer that is used three times; it has a weight of its own, and remembers nothing for it."""

    def __init__(self):
        self.layer, self.shift = lamp.Linear(5, 5), lamp.Parameter(torch.randn(5))

    def forward(self, input):
        for _ in range(3):
            input = self.layer(input)
        return input + self.shift.data

    def backward(self, grad_output):
        self.shift.grad += grad_output.flatten(0, -2).sum(0) if self.replicas is None else grad_output.sum(-2)
        for _ in range(3):
            grad_output = self.layer.backward(grad_output)
        return grad_output


def network(dtype=torch.float32):
    torch.manual_seed(0)
    tied = lamp.Linear(5, 5)
    tied.weight = (first := lamp.Linear(5, 5)).weight
    body = lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), first, lamp.Residual(Scaled(), lamp.ReLU()), tied)
    return lamp.Sequential(body, lamp.LayerNorm(5), lamp.Linear(5, 2)).to(dtype)


def batches(count=3, dtype=torch.float32):
    torch.manual_seed(1)
    return [(torch.randn(7, 3, dtype=dtype), torch.randn(7, 2, dtype=dtype)) for _ in range(count)]


def trained(model, optimizer, data, in_backward):
    criterion = lamp.MSELoss()
    for x, y in data:
        criterion(model(x), y)
        if in_backward:
            with optimizer.step_in_backward():
                model.backward(criterion.backward())
        else:
            optimizer.zero_grad()
            model.backward(criterion.backward())
            optimizer.step()
    return [parameter.data.clone() for parameter in model.parameters()]


def same(ours, theirs):
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def has_buffer(model):
    return any(parameter._buffer.has_gradients for parameter in model.parameters())


def matrices(model, kind):
    return [
        each for each in model.parameters() if kind != "Muon" or len(each.shape) - (model.replicas is not None) == 2
    ]


# ---- the same bits ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("block", "dtype"), [(3, torch.float32), (20, torch.float64), (65536, torch.float32)], ids=str)
@pytest.mark.parametrize("case", [*CASES, *(lamp.Muon, lamp.Lion)], ids=str)
def test_every_optimizer_makes_the_same_bits(case, dtype, block, monkeypatch):
    monkeypatch.setattr(lamp.optim.blocks, "BLOCK", block)
    found = []
    for in_backward in (False, True):
        model = network(dtype)
        kind = case if isinstance(case, type) else None
        chosen = matrices(model, kind and kind.__name__)
        optimizer = kind(chosen, lr=0.01) if kind else case.make(chosen)
        found.append(trained(model, optimizer, batches(4, dtype), in_backward))
    assert same(*found)
    assert not same(found[0], [each.data for each in network(dtype).parameters()]) or optimizer.lr == 0


@pytest.mark.parametrize("block", [4, 65536])
@pytest.mark.parametrize("kind", [lamp.Adam, lamp.SGD, lamp.Adafactor, lamp.Muon], ids=lambda kind: kind.__name__)
def test_a_population_makes_the_same_bits(kind, block, monkeypatch):
    monkeypatch.setattr(lamp.optim.blocks, "BLOCK", block)
    found = []
    for in_backward in (False, True):
        model = lamp.population(lamp.Sequential(lamp.Linear(3, 6), lamp.Tanh(), lamp.Linear(6, 2)), range(4))
        optimizer = kind(matrices(model, kind.__name__), lr=torch.linspace(0.01, 0.1, 4))
        data = [(lamp.per_replica(torch.stack([x] * 4)), y) for x, y in batches()]
        found.append(trained(model, optimizer, data, in_backward))
        assert in_backward is not has_buffer(model) or kind is lamp.Muon
    assert same(*found)


@pytest.mark.parametrize("by_callback", [False, True])
def test_fit_leaves_out_gradients_that_were_there(by_callback):
    class Switch(lamp.Callback):
        def on_start(self, training):
            training.step_in_backward = True

    found = []
    for in_backward in (False, True):
        model, criterion = network(torch.float64), lamp.MSELoss()
        optimizer = lamp.SGD(model.parameters(), lr=0.1, momentum=0.5)
        x, y = batches(1, torch.float64)[0]
        criterion(model(x), y)
        model.backward(criterion.backward())
        how = {"callbacks": [Switch()]} if by_callback and in_backward else {"step_in_backward": in_backward}
        lamp.fit(
            model, criterion, optimizer, x, y, epochs=2, batch_size=3, seed=0, progress=False, engine="eager", **how
        )
        found.append([each.data.clone() for each in model.parameters()])
    assert same(*found)


def test_gradients_that_were_there_count():
    """Gradients of earlier batches are added up as usual, and the last backward makes the step."""
    found = []
    for in_backward in (False, True):
        model, criterion = network(), lamp.MSELoss()
        optimizer = lamp.SGD(model.parameters(), lr=0.1, momentum=0.5)
        for _ in range(2):
            for x, y in batches(2):
                criterion(model(x), y)
                model.backward(criterion.backward())
            x, y = batches(3)[2]
            criterion(model(x), y)
            if in_backward:
                with optimizer.step_in_backward():
                    model.backward(criterion.backward())
                assert not any(bool(each.grad.any()) for each in model.parameters())
            else:
                model.backward(criterion.backward())
                optimizer.step()
                optimizer.zero_grad()
        found.append([each.data.clone() for each in model.parameters()])
    assert same(*found)


def test_the_order_may_change_from_step_to_step_and_a_state_dict_goes_on():
    (usual, optimizer), (mixed, other) = ((each, lamp.Adam(each.parameters())) for each in (network(), network()))
    data = batches(6)
    trained(usual, optimizer, data, False)
    trained(mixed, other, data[:2], True)
    trained(mixed, other, data[2:3], False)
    other.zero_grad()
    resumed = lamp.Adam(mixed.parameters())
    resumed.load_state_dict(other.state_dict())
    trained(mixed, resumed, data[3:], True)
    assert same([each.data for each in usual.parameters()], [each.data for each in mixed.parameters()])
    assert resumed.step_count == optimizer.step_count == (6,)


def test_frozen_parameters_stay_and_unused_ones_are_stepped_at_the_end():
    found = []
    for in_backward in (False, True):
        model = network()
        model[2].weight.requires_grad = False
        extra = lamp.Parameter(torch.ones(3))
        optimizer = lamp.AdamW([*model.parameters(), extra], lr=0.1, weight_decay=0.5)
        found.append([*trained(model, optimizer, batches(), in_backward), extra.data])
    assert same(*found)
    assert found[0][-1].max() < 1
    assert torch.equal(model[2].weight.data, network()[2].weight.data)


def test_parts_that_are_called_one_after_the_other_and_two_optimizers():
    found = []
    for in_backward in (False, True):
        model, criterion = network(), lamp.MSELoss()
        first, last = (
            lamp.Adam(model[0].parameters()),
            lamp.SGD([*model[1].parameters(), *model[2].parameters()], lr=0.1),
        )
        model.parameters()
        for x, y in batches():
            criterion(model[2](model[1](model[0](x))), y)
            if in_backward:
                with last.step_in_backward(), first.step_in_backward():
                    model[0].backward(model[1].backward(model[2].backward(criterion.backward())))
                assert not has_buffer(model)
            else:
                model.zero_grad()
                model[0].backward(model[1].backward(model[2].backward(criterion.backward())))
                first.step()
                last.step()
        found.append([each.data.clone() for each in model.parameters()])
    assert same(*found)


# ---- memory ----------------------------------------------------------------------------------------------------------
class Watching(lamp.Module):
    """The identity. Its backward notes which of the gradients that the optimizer has got so far are still there."""

    def __init__(self, seen):
        self.seen, self.alive = seen, []

    def forward(self, input):
        return input

    def backward(self, grad_output):
        self.alive.append([each() is not None for each in self.seen])
        return grad_output


def test_gradients_are_freed_while_backward_goes(monkeypatch):
    seen = []
    gradient_of = FlatBuffer.gradient_of

    def noted(buffer, parameter):
        gradient = gradient_of(buffer, parameter)
        seen.append(weakref.ref(gradient))
        return gradient

    monkeypatch.setattr(FlatBuffer, "gradient_of", noted)
    monkeypatch.setattr(lamp.optim.blocks, "BLOCK", 8)
    watching = Watching(seen)
    model = lamp.Sequential(lamp.Linear(3, 8), watching, lamp.Linear(8, 9), watching, lamp.Linear(9, 2))
    trained(model, lamp.Adam(model.parameters()), batches(1), True)
    assert len(seen) == 6
    assert watching.alive == [[False] * 2, [False] * 4]
    assert not has_buffer(model)


def test_nothing_allocates_the_buffer_of_gradients():
    model = network()
    optimizer = lamp.Adam(model.parameters())
    optimizer.zero_grad()
    model.zero_grad()
    trained(model, optimizer, batches(), True)
    optimizer.state_dict()
    assert not has_buffer(model)


# ---- what is refused -------------------------------------------------------------------------------------------------
def begun():
    model, criterion = network(), lamp.MSELoss()
    x, y = batches(1)[0]
    criterion(model(x), y)
    return model, criterion, lamp.SGD(model.parameters(), lr=0.1)


WITHIN = {
    "a step": lambda model, optimizer: optimizer.step(),
    "clipping by an optimizer": lambda model, optimizer: lamp.clip_grad_norm_(optimizer, 1.0),
    "clipping": lambda model, optimizer: lamp.clip_grad_norm_(model.parameters(), 1.0),
    "clipping values": lambda model, optimizer: lamp.clip_grad_value_(model.parameters(), 1.0),
    "gradients": lambda model, optimizer: optimizer.gradients(),
}


@pytest.mark.parametrize("had_buffer", [False, True])
@pytest.mark.parametrize("what", WITHIN.values(), ids=WITHIN)
def test_what_needs_all_gradients_is_refused(what, had_buffer):
    model, criterion, optimizer = begun()
    if had_buffer:
        optimizer.step()
        x, y = batches(1)[0]
        criterion(model(x), y)

    def step():
        with optimizer.step_in_backward():
            model.backward(criterion.backward())
            what(model, optimizer)

    with pytest.raises(lamp.BackwardError, match="within step_in_backward") as caught:
        step()
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    trained(model, optimizer, batches(2), True)
    trained(model, optimizer, batches(2), False)


def test_a_second_gradient_is_refused():
    model, losses = network(), [lamp.MSELoss(), lamp.MSELoss()]
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    outputs = [model(x) for x, _ in batches(2)]
    for loss, output, (_, y) in zip(losses, outputs, batches(2), strict=True):
        loss(output, y)

    def step():
        with optimizer.step_in_backward():
            for loss in losses:
                model.backward(loss.backward())

    with pytest.raises(lamp.BackwardError, match="gets another gradient"):
        step()


def test_a_backward_of_an_earlier_forward_sees_the_change():
    model, criterion, optimizer = begun()
    x, y = batches(1)[0]
    early = model(x)
    dy = torch.ones_like(early)
    dy.__dict__["backward"] = early.backward
    criterion(model(x), y)
    with optimizer.step_in_backward():
        model.backward(criterion.backward())
    with pytest.raises(lamp.BackwardError, match="parameters were changed in place"):
        model.backward(dy)


class OwnStep(lamp.SGD):
    def step(self, closure=None):
        return super().step(closure)


def test_optimizers_with_a_step_of_their_own_are_refused():
    model = network()
    patched = lamp.SGD(model.parameters(), lr=0.1)
    vars(patched)["step"] = lambda: None
    for optimizer in (lamp.LBFGS(model.parameters()), OwnStep(model.parameters(), lr=0.1), patched):
        with pytest.raises(lamp.ArgumentError, match="cannot step in backward"), optimizer.step_in_backward():
            pass


def test_a_context_within_itself_is_refused():
    model, _, optimizer = begun()
    with (
        pytest.raises(lamp.ArgumentError, match="cannot step in backward"),
        optimizer.step_in_backward(),
        optimizer.step_in_backward(),
    ):
        pass
    trained(model, optimizer, batches(), True)


class Failing(lamp.Module):
    def forward(self, input):
        return input

    def backward(self, grad_output):
        raise ValueError("no backward")


def test_after_an_error_training_goes_on():
    model = lamp.Sequential(lamp.Linear(3, 4), Failing(), lamp.Linear(4, 2))
    optimizer = lamp.Adam(model.parameters())
    with pytest.raises(ValueError, match="no backward"):
        trained(model, optimizer, batches(), True)
    model[1] = lamp.Tanh()
    trained(model, optimizer, batches(), True)
    assert not has_buffer(model)


def test_a_copy_without_its_model_is_told():
    model = network()
    optimizer = copy.deepcopy(lamp.Adam(model.parameters()))
    with pytest.warns(UserWarning, match="without its model"), optimizer.step_in_backward():
        pass
    together, own = copy.deepcopy((model, lamp.Adam(model.parameters())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(together, own, batches(), True)


# ---- fit -------------------------------------------------------------------------------------------------------------
def fitted(engine="eager", model=None, **options):
    model = network() if model is None else model
    x, y = (torch.cat(column) for column in zip(*batches(4), strict=True))
    optimizer = lamp.Adam(model.parameters(), lr=0.01)
    history = lamp.fit(
        model,
        lamp.MSELoss(),
        optimizer,
        (x, y),
        epochs=3,
        batch_size=5,
        seed=0,
        progress=False,
        engine=engine,
        **options,
    )
    return [*history["loss"]], [each.data.clone() for each in model.parameters()]


def test_fit_makes_the_same_bits():
    (losses, usual), (also, stepped) = fitted(), fitted(step_in_backward=True)
    assert losses == also
    assert same(usual, stepped)


def test_fit_of_a_population_makes_the_same_bits():
    def networks():
        return lamp.population(lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2)), range(3))

    assert same(fitted(model=networks())[1], fitted(model=networks(), step_in_backward=True)[1])


def test_the_compiled_engine_accepts_it():
    def plain():
        torch.manual_seed(0)
        return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))

    assert same(fitted("compiled", plain())[1], fitted("compiled", plain(), step_in_backward=True)[1])


@pytest.mark.parametrize("wrong", [{"clip_norm": 1.0}, {"clip_value": 1.0}, {"step_in_backward": 1}], ids=str)
def test_fit_refuses_what_needs_all_gradients(wrong):
    with pytest.raises(lamp.ArgumentError):
        fitted(**{"step_in_backward": True, **wrong})
    model = network()
    with pytest.raises(lamp.ArgumentError, match="LBFGS cannot step in backward"):
        lamp.fit(model, lamp.MSELoss(), lamp.LBFGS(model.parameters()), batches(), epochs=1, step_in_backward=True)
