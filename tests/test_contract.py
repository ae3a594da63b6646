"""What holds for every network: flat buffers, passes, paths in errors, and state."""

import copy
import threading
import weakref

import pytest
import torch

import lamp
from lamp.module import Module
from lamp.parameter import Buffer, Parameter, flatten, move, spans
from lamp.passes import running
from lamp.replicas.selecting import replicate

B, IN, HIDDEN, OUT = 7, 3, 5, 2  # pairwise distinct


def network(**options):
    return lamp.Sequential(
        lamp.Linear(IN, HIDDEN, **options), lamp.Tanh(), lamp.Linear(HIDDEN, HIDDEN, **options), lamp.SELU(),
        lamp.Linear(HIDDEN, OUT, **options),
    )  # fmt: skip


def storages(parameters):
    return {parameter.data.untyped_storage().data_ptr() for parameter in parameters}


def lies_in(view, buffer):
    first, last = buffer.data_ptr(), buffer.data_ptr() + buffer.numel() * buffer.element_size()
    return first <= view.data_ptr() < last or view.numel() == 0


def train_once(model, x, dy):
    model(x)
    return model.backward(dy)


# ---- flat buffers ---------------------------------------------------------------------------------------------------
class TestFlatBuffers:
    def test_all_parameters_lie_in_one_buffer_in_order(self):
        model = network()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        parameters = model.parameters()
        (span,) = spans(parameters)
        assert span.data.shape == span.grad.shape == (sum(p.numel() for p in parameters),)
        assert len(storages(parameters)) == 1
        assert torch.equal(span.data, torch.cat([p.data.reshape(-1) for p in parameters]))
        assert all(lies_in(p.data, span.data) and lies_in(p.grad, span.grad) for p in parameters)
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())

    def test_a_change_of_the_buffer_is_a_change_of_the_network_and_back(self):
        model = network()
        (span,) = spans(model.parameters())
        span.data.zero_()
        assert not model(torch.randn(B, IN)).any()
        model[4].bias.data[1] = 3.0
        assert span.data[-1] == 3.0

    def test_asking_again_moves_nothing(self):
        model = network()
        places = [p.data.data_ptr() for p in model.parameters()]
        model.state_dict(), model.zero_grad(), list(model.named_parameters())
        assert [p.data.data_ptr() for p in model.parameters()] == places
        assert all(span.is_current for span in spans(model.parameters()))

    def test_gradients_are_allocated_when_first_asked_for_and_zero(self):
        model = network()
        (span,) = spans(model.parameters())
        assert not span.grad.any()
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        assert torch.equal(span.grad, torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
        assert span.grad.any()

    def test_zero_grad_is_one_operation(self):
        from torch.utils._python_dispatch import TorchDispatchMode

        class Operations(TorchDispatchMode):
            def __init__(self):
                super().__init__()
                self.names = []

            def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
                self.names.append(str(operation))
                return operation(*args, **(kwargs or {}))

        model = network()
        model.parameters()
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        with Operations() as operations:
            model.zero_grad()
        assert [name for name in operations.names if "_." in name] == ["aten.zero_.default"]  # all others are views
        assert not any(p.grad.any() for p in model.parameters())

    def test_zero_grad_of_a_part_spares_the_rest(self):
        model = network()
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        model[2].zero_grad()
        assert [bool(layer.weight.grad.any()) for layer in (model[0], model[2], model[4])] == [True, False, True]

    def test_runs_are_the_fewest_pieces(self):
        model = network()
        parameters = model.parameters()
        assert [span.parameters for span in spans([parameters[1], parameters[0], *parameters[3:5]])] == [
            parameters[:2],
            parameters[3:5],
        ]
        assert len(spans([*parameters, *parameters])) == 1
        other = network().parameters()
        assert [len(span.parameters) for span in spans([*parameters, *other])] == [6, 6]

    def test_layers_that_come_later_are_taken_in_with_their_gradients(self):
        model = network()
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        (old,) = spans(model.parameters())
        values, gradients = old.data.clone(), old.grad.clone()
        late = lamp.Linear(OUT, IN)
        late.weight.grad = torch.ones(IN, OUT)
        model.append(late)
        (span,) = spans(model.parameters())
        assert not old.is_current
        assert span.is_current
        assert torch.equal(span.data[: len(values)], values)
        assert torch.equal(span.grad, torch.cat([gradients, torch.ones(IN * OUT), torch.zeros(IN)]))
        train_once(model, torch.randn(B, IN), torch.randn(B, IN))
        assert span.grad[: len(values)].ne(gradients).any()

    def test_a_layer_that_is_replaced_leaves_the_buffer(self):
        model = network()
        old = model[2]
        model.parameters()
        model[2] = lamp.Linear(HIDDEN, HIDDEN)
        (span,) = spans(model.parameters())
        assert not lies_in(old.weight.data, span.data)
        assert lies_in(model[2].weight.data, span.data)
        assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]

    def test_an_optimizer_follows_its_parameters_to_their_new_buffer(self):
        torch.manual_seed(1)
        model = network()
        still = copy.deepcopy(model)
        optimizers = [lamp.Adam(each.parameters(), lr=0.1) for each in (model, still)]
        x, dy = torch.randn(B, IN), torch.randn(B, OUT)
        for step in range(4):
            for each, optimizer in zip((model, still), optimizers, strict=True):
                optimizer.zero_grad()
                train_once(each, x, dy)
                optimizer.step()
            if step == 1:
                lamp.Sequential(*model, lamp.Linear(OUT, IN)).parameters()  # they move in with another layer
        assert all(torch.equal(p.data, q.data) for p, q in zip(model.parameters(), still.parameters(), strict=True))

    def test_a_shared_parameter_is_there_once(self):
        tied = lamp.Sequential(lamp.Linear(IN, IN), lamp.Tanh(), lamp.Linear(IN, IN))
        tied[2].weight = tied[0].weight
        assert [name for name, _ in tied.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
        (span,) = spans(tied.parameters())
        assert span.data.shape == (IN * IN + IN + IN,)
        assert list(tied.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]

    def test_tied_weights_get_the_sum_of_their_gradients(self):
        tied = lamp.Sequential(lamp.Linear(IN, IN), lamp.Tanh(), lamp.Linear(IN, IN)).double()
        tied[2].weight.data = tied[0].weight.data
        apart = copy.deepcopy(tied)
        tied[2].weight = tied[0].weight
        x, dy = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, IN, dtype=torch.float64)
        assert torch.equal(train_once(tied, x, dy), train_once(apart, x, dy))
        torch.testing.assert_close(tied[0].weight.grad, apart[0].weight.grad + apart[2].weight.grad)
        lamp.check_gradients(tied, x)

    def test_two_networks_may_share_a_layer(self):
        shared = lamp.Linear(IN, IN)
        one, other = lamp.Sequential(shared, lamp.Linear(IN, OUT)), lamp.Sequential(shared, lamp.Linear(IN, HIDDEN))
        for model in (one, other, one):
            value = shared.weight.data.clone()
            assert len(spans(model.parameters())) == 1
            assert torch.equal(shared.weight.data, value)
            model.zero_grad()
            train_once(model, torch.randn(B, IN), torch.randn(B, model[1].out_features))
            assert shared.weight.grad.any()

    def test_whoever_holds_the_buffer_hears_of_replicas(self):
        model = network()
        (old,) = spans(model.parameters())
        replicate(model.parameters(), 4)
        assert not old.is_current
        (span,) = spans(model.parameters())
        assert span.data.shape == (4, old.data.numel())
        assert torch.equal(span.data[3], old.data)

    def test_dtypes_have_a_buffer_each(self):
        model = network()
        model[2].double()
        assert sorted(str(span.data.dtype) for span in spans(model.parameters())) == ["torch.float32", "torch.float64"]
        model.zero_grad()
        model.float()
        assert len(spans(model.parameters())) == 1

    def test_a_parameter_alone_has_a_buffer_of_its_own(self):
        values = torch.randn(2, 3)
        parameter = Parameter(values)
        (span,) = spans([parameter])
        assert span.data.data_ptr() == values.data_ptr()
        parameter.grad += 1.0
        assert torch.equal(span.grad, torch.ones(6))
        flatten([parameter])
        assert span.is_current

    def test_a_parameter_may_be_a_single_number_or_empty(self):
        number, nothing, table = Parameter(torch.tensor(2.0)), Parameter(torch.empty(0, 3)), Parameter(torch.ones(2, 3))
        flatten([number, nothing, table])
        (span,) = spans([number, nothing, table])
        assert span.data.tolist() == [2.0] + [1.0] * 6
        assert number.data.shape == ()
        assert nothing.grad.shape == (0, 3)


# ---- values and gradients are copied in -----------------------------------------------------------------------------
class TestAssignment:
    def test_assigning_copies(self):
        model = network()
        (span,) = spans(model.parameters())
        values = torch.randn(HIDDEN, IN)
        model[0].weight.data, model[0].weight.grad = values, 2 * values
        values.zero_()
        assert span.data[: IN * HIDDEN].all()
        torch.testing.assert_close(span.grad[: IN * HIDDEN], 2 * span.data[: IN * HIDDEN])

    def test_assigning_from_itself(self):
        parameter = Parameter(torch.arange(6.0).view(2, 3))
        parameter.data = parameter.data.flip(0)
        parameter.data *= 2.0
        assert parameter.data.tolist() == [[6.0, 8.0, 10.0], [0.0, 2.0, 4.0]]

    @pytest.mark.parametrize("name", ["data", "grad"])
    @pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 2), (6,), (2, 3, 1), ()])
    def test_another_shape_is_refused(self, name, shape):
        parameter = Parameter(torch.ones(2, 3))
        with pytest.raises(lamp.ShapeError, match="nothing is broadcast"):
            setattr(parameter, name, torch.zeros(shape))
        assert parameter.data.all()

    def test_no_gradient_is_a_gradient_of_zero(self):
        parameter = Parameter(torch.ones(2, 3))
        parameter.grad.fill_(3.0)
        parameter.grad = None
        assert torch.equal(parameter.grad, torch.zeros(2, 3))

    @pytest.mark.parametrize("value", [1.0, [[1.0, 2.0, 3.0]] * 2, "x"])
    def test_what_is_no_tensor_is_refused(self, value):
        parameter = Parameter(torch.ones(2, 3))
        for name in ("data", "grad"):
            with pytest.raises(lamp.DTypeError, match=r"torch.Tensor"):
                setattr(parameter, name, value)

    @pytest.mark.parametrize("value", [torch.ones(3, dtype=torch.int64), torch.ones(2, dtype=torch.bool), [1.0], 1.0])
    def test_a_parameter_holds_floating_point_numbers(self, value):
        with pytest.raises(lamp.DTypeError, match="floating-point"):
            Parameter(value)

    def test_a_parameter_of_a_tensor_that_autograd_watches_or_that_is_strided(self):
        watched = torch.ones(2, 3, requires_grad=True)
        assert not Parameter(watched).data.requires_grad
        strided = torch.arange(6.0).view(2, 3).t()
        assert torch.equal(Parameter(strided).data, strided)


# ---- moving ---------------------------------------------------------------------------------------------------------
class Scaler(Module):
    """y = a (x - mean) with a buffer for the mean and another that counts."""

    def __init__(self):
        self.a = Parameter(torch.ones(IN))
        self.mean, self.count = Buffer(torch.zeros(IN)), Buffer(torch.tensor(3))

    def forward(self, x):
        self.remember(x - self.mean.data)
        return self.a.data * (x - self.mean.data)

    def backward(self, dy):
        self.a.grad.add_((dy * self.recall()).sum(0))
        return dy * self.a.data


class TestMoving:
    def test_values_gradients_and_buffers_move_together(self):
        model = lamp.Sequential(Scaler(), lamp.Linear(IN, OUT))
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        (old,) = spans(model.parameters())
        assert model.to(torch.float64) is model
        (span,) = spans(model.parameters())
        assert not old.is_current
        assert torch.equal(span.data, old.data.double())
        assert torch.equal(span.grad, old.grad.double())
        assert model[0].mean.data.dtype == torch.float64
        assert model[0].count.data.dtype == torch.int64
        train_once(model, torch.randn(B, IN, dtype=torch.float64), torch.randn(B, OUT, dtype=torch.float64))

    def test_moving_to_where_it_is_moves_nothing(self):
        model = network()
        (span,) = spans(model.parameters())
        model.to("cpu").to(torch.float32).to(device="cpu", dtype=torch.float32).float()
        assert span.is_current

    def test_to_another_device(self):
        model = lamp.Sequential(Scaler(), lamp.Linear(IN, OUT)).to("meta", torch.float64)
        assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.float64)}
        assert model[0].mean.data.device.type == "meta"
        assert model(torch.ones(B, IN, device="meta", dtype=torch.float64)).shape == (B, OUT)

    def test_a_part_that_moves_leaves_the_rest_where_it_was(self):
        model = network()
        (span,) = spans(model.parameters())
        move(model[2].parameters(), torch.float64, None)
        assert not span.is_current
        assert model[0].weight.dtype == torch.float32
        assert model[2].bias.dtype == torch.float64
        assert lies_in(model[4].weight.data, span.data)

    @pytest.mark.parametrize("arguments", [(torch.int64,), (torch.bool,), (None,), (2.0,)])
    def test_to_what_no_network_can_be_moved_to(self, arguments):
        with pytest.raises(lamp.DTypeError):
            network().to(*arguments)


# ---- what a pass remembers ------------------------------------------------------------------------------------------
class TestPasses:
    def test_backward_step_by_step(self):
        model = network().double()
        x, dy = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, OUT, dtype=torch.float64)
        whole = copy.deepcopy(model)
        dx = train_once(whole, x, dy)
        model(x)
        for module in reversed(list(model)):
            dy = module.backward(dy)
        assert torch.equal(dy, dx)
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), whole.parameters(), strict=True))

    def test_forward_step_by_step(self):
        model = network().double()
        x, dy = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, OUT, dtype=torch.float64)
        dx = train_once(copy.deepcopy(model), x, dy)
        for module in model:
            x = module(x)
        assert torch.equal(model.backward(dy), dx)

    def test_forward_by_its_name_is_the_call(self):
        model = network().double()
        first, x = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, IN, dtype=torch.float64)
        dy = torch.randn(B, OUT, dtype=torch.float64)
        dx = train_once(copy.deepcopy(model), x, dy)
        model(first)  # its remembered values must not be taken for those of the next forward
        model.forward(x)
        assert torch.equal(model.backward(dy), dx)
        with pytest.raises(lamp.BackwardError):
            model.backward(dy)

    def test_forward_by_its_name_of_a_network_that_uses_a_layer_twice(self):
        layer = lamp.Linear(IN, IN)
        model = lamp.Sequential(layer, lamp.Tanh(), layer).double()
        x, dy = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, IN, dtype=torch.float64)
        dx = train_once(copy.deepcopy(model), x, dy)
        model.forward(x)
        assert torch.equal(model.backward(dy), dx)

    def test_a_layer_used_three_times_in_one_network(self):
        layer = lamp.Linear(IN, IN)
        model = lamp.Sequential(layer, lamp.Tanh(), layer, lamp.SELU(), layer).double()
        twin = torch.nn.Linear(IN, IN).double()
        twin.load_state_dict(layer.state_dict())
        x, dy = torch.randn(B, IN, dtype=torch.float64, requires_grad=True), torch.randn(B, IN, dtype=torch.float64)
        y = twin(torch.selu(twin(torch.tanh(twin(x)))))
        expected = torch.autograd.grad(y, (x, twin.weight, twin.bias), dy)
        for found, right in zip(
            (train_once(model, x.detach(), dy), layer.weight.grad, layer.bias.grad), expected, strict=True
        ):
            torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-11)

    def test_what_the_last_pass_left_is_gone_before_the_next_begins(self):
        class Peeking(Module):
            def forward(self, x):
                found.append(first())
                return x

        model, found = lamp.Sequential(lamp.Linear(IN, IN), Peeking(), lamp.Tanh()), []
        first = type(None)
        model(torch.randn(B, IN))
        first = weakref.ref(model._through)
        assert sum(map(len, first().memory.values())) == 2
        model(torch.randn(B, IN))
        assert found == [None, None]

    def test_forward_of_the_base_is_part_of_the_call(self):
        class Louder(lamp.Linear):
            def forward(self, x):
                return 2.0 * super().forward(x)

            def backward(self, dy):
                return super().backward(2.0 * dy)

        lamp.check_gradients(Louder(IN, OUT), torch.randn(B, IN))
        lamp.check_gradients(lamp.Sequential(Louder(IN, OUT), Louder(OUT, IN)), torch.randn(B, IN))

    def test_a_forward_of_ones_own_may_stand_in(self):
        model = network()
        forward, seen = model[2].forward, []

        def watched(x):
            seen.append(x.shape)
            return forward(x)

        model[2].forward = watched
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        assert seen == [(B, HIDDEN)]

    def test_two_passes_at_once(self):
        """An actor calls a critic: a call within a forward is part of that forward's pass."""
        critic = lamp.Sequential(lamp.Linear(IN, HIDDEN), lamp.Tanh(), lamp.Linear(HIDDEN, 1))

        class Actor(Module):
            def __init__(self):
                self.layer = lamp.Linear(IN, IN)

            def forward(self, x):
                action = self.layer(x)
                critic(action)
                return action

            def backward(self, dy):
                return self.layer.backward(dy + critic.backward(torch.ones(B, 1, dtype=dy.dtype)))

        actor = Actor()
        x, dy = torch.randn(B, IN), torch.randn(B, IN)
        dx = train_once(actor, x, dy)
        weight = actor.layer.weight.data
        action = x @ weight.t() + actor.layer.bias.data
        critic(action)
        torch.testing.assert_close(dx, (dy + critic.backward(torch.ones(B, 1))) @ weight)

    def test_a_network_called_between_forward_and_backward_of_another(self):
        one, other = network().double(), network().double()
        x, dy = torch.randn(B, IN, dtype=torch.float64), torch.randn(B, OUT, dtype=torch.float64)
        alone = [train_once(copy.deepcopy(each), x, dy) for each in (one, other)]
        one(x), other(x)
        assert torch.equal(one.backward(dy), alone[0])
        assert torch.equal(other.backward(dy), alone[1])

    def test_forwards_without_a_backward_do_not_pile_up(self):
        model = network()
        x, dy = torch.randn(B, IN), torch.randn(B, OUT)
        for _ in range(3):
            model(x)  # never gone back through
        assert sum(map(len, model._through.memory.values())) == 5
        model.backward(dy)
        assert sum(map(len, model._through.memory.values())) == 0
        model.eval()
        model(x)
        assert not model._through.memory

    def test_remembering_and_recalling_outside_any_network(self):
        layer = lamp.Linear(IN, OUT)
        layer.forward(torch.randn(B, IN))
        layer.backward(torch.randn(B, OUT))
        with pytest.raises(lamp.BackwardError, match="backward twice"):
            layer.backward(torch.randn(B, OUT))
        module = Module()
        module.remember("this")
        assert module.recall() == "this"
        with pytest.raises(lamp.BackwardError):
            module.recall()

    @pytest.mark.parametrize("training", [True, False])
    def test_no_pass_is_left_running_after_an_error(self, training):
        model = network().train(training)
        for wrong in (torch.randn(B, IN + 1), "no tensor", torch.randn(B, IN, dtype=torch.float64)):
            with pytest.raises(lamp.LampError):
                model(wrong)
            assert running.through is None
        with pytest.raises(lamp.BackwardError):
            model.backward(torch.randn(B, OUT))
        assert running.through is None
        model.train()
        with pytest.raises((RuntimeError, ValueError)):
            train_once(model, torch.randn(B, IN), torch.randn(B, OUT + 1))
        assert running.through is None
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))

    def test_an_interruption_leaves_no_pass_running(self):
        class Interrupted(Module):
            def forward(self, x):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            lamp.Sequential(lamp.Tanh(), Interrupted())(torch.randn(B, IN))
        assert running.through is None

    def test_an_error_within_may_be_caught_within(self):
        class Patient(Module):
            def __init__(self):
                self.layer = lamp.Linear(IN, OUT)

            def forward(self, x):
                try:
                    return self.layer(x)
                except lamp.ShapeError:
                    return self.layer(x[:, :IN])

            def backward(self, dy):
                return self.layer.backward(dy)

        assert train_once(Patient(), torch.randn(B, IN + 4), torch.randn(B, OUT)).shape == (B, IN)

    def test_a_copy_remembers_nothing(self):
        model = network()
        model(torch.randn(B, IN))
        twin = copy.deepcopy(model)
        with pytest.raises(lamp.BackwardError, match="before forward"):
            twin.backward(torch.randn(B, OUT))
        model.backward(torch.randn(B, OUT))

    def test_threads_train_networks_of_their_own(self):
        def train(seed, losses):
            generator = torch.Generator().manual_seed(seed)
            model = network()
            model.reset_parameters(generator=generator)
            optimizer, criterion = lamp.Adam(model.parameters(), lr=0.05), lamp.MSELoss()
            x, y = torch.randn(B, IN, generator=generator), torch.randn(B, OUT, generator=generator)
            for _ in range(30):
                losses.append(criterion(model(x), y).item())
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()

        alone = [[] for _ in range(2)]
        for seed, losses in enumerate(alone):
            train(seed, losses)
        together = [[] for _ in range(2)]
        threads = [threading.Thread(target=train, args=each) for each in enumerate(together)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone
        assert alone[0] != alone[1]
        assert alone[0][-1] < alone[0][0]


# ---- errors say where -----------------------------------------------------------------------------------------------
class Fragile(Module):
    """Fails in the way it is told to."""

    def __init__(self, error):
        self.error = error

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x

    def backward(self, dy):
        raise ZeroDivisionError("in backward")


class TestErrors:
    def test_an_error_of_lamps_names_the_module_by_its_path(self):
        model = lamp.Sequential(lamp.Linear(IN, HIDDEN), lamp.Sequential(lamp.Tanh(), lamp.Linear(IN, OUT)))
        with pytest.raises(lamp.ShapeError) as caught:
            model(torch.randn(B, IN))
        assert caught.value.where.startswith("Sequential.1.1: Linear(in_features=3")
        assert str(caught.value).startswith(caught.value.where)
        assert "expected" in str(caught.value)
        assert "got" in str(caught.value)
        assert "fix" in str(caught.value)

    def test_a_module_alone_is_named_without_a_path(self):
        with pytest.raises(lamp.ShapeError) as caught:
            lamp.Linear(IN, OUT)(torch.randn(B, OUT))
        assert caught.value.where.startswith("Linear(")

    def test_errors_of_ones_own_modules_get_a_note(self):
        model = lamp.Sequential(lamp.Tanh(), Fragile(OSError("disk on fire")))
        with pytest.raises(OSError, match="disk on fire") as caught:
            model(torch.randn(B, IN))
        assert caught.value.__notes__ == ["in Sequential.1: Fragile()"]

    def test_errors_in_backward_get_a_note(self):
        model = lamp.Sequential(lamp.Sequential(Fragile(None)), lamp.Tanh())
        model(torch.randn(B, IN))
        with pytest.raises(ZeroDivisionError) as caught:
            model.backward(torch.randn(B, IN))
        assert caught.value.__notes__ == ["in Sequential.0.0: Fragile()"]

    def test_one_note_where_nothing_was_called_before(self):
        model = lamp.Sequential(lamp.Sequential(Fragile(None)), lamp.Tanh())
        with pytest.raises(lamp.BackwardError) as caught:
            model.backward(torch.randn(B, IN))
        assert caught.value.where == "Sequential.1: Tanh()"
        with pytest.raises(ZeroDivisionError) as caught:
            model[0].backward(torch.randn(B, IN))
        assert len(caught.value.__notes__) == 1

    def test_lamps_errors_raised_in_ones_own_modules_get_a_path(self):
        model = lamp.Sequential(lamp.Tanh(), Fragile(lamp.ArgumentError("too late", fix="come earlier")))
        with pytest.raises(lamp.ArgumentError) as caught:
            model(torch.randn(B, IN))
        assert str(caught.value) == "Sequential.1: Fragile(): too late\n  fix       come earlier"

    def test_an_error_raised_again_by_another_network_names_that_one(self):
        error = ValueError("the same object each time")
        for model in (lamp.Sequential(Fragile(error)), lamp.Sequential(lamp.Tanh(), lamp.Tanh(), Fragile(error))):
            with pytest.raises(ValueError, match="the same object") as caught:
                model(torch.randn(B, IN))
        assert caught.value.__notes__[-1] == "in Sequential.2: Fragile()"

    @pytest.mark.parametrize(
        ("kind", "builtin"),
        [
            (lamp.ShapeError, ValueError),
            (lamp.DTypeError, TypeError),
            (lamp.DeviceError, ValueError),
            (lamp.LabelError, ValueError),
            (lamp.ArgumentError, ValueError),
            (lamp.BackwardError, RuntimeError),
            (lamp.StateDictError, KeyError),
            (lamp.NonFiniteError, ArithmeticError),
            (lamp.DataError, ValueError),
            (lamp.GradientError, AssertionError),
        ],
    )
    def test_every_error_is_lamps_and_the_builtin_one(self, kind, builtin):
        error = kind("what", expected="this", got="that", fix="do", where="Sequential.0")
        assert isinstance(error, lamp.LampError)
        assert isinstance(error, builtin)
        assert str(error) == "Sequential.0: what\n  expected  this\n  got       that\n  fix       do"
        assert str(kind("what")) == "what"

    def test_an_error_survives_a_copy(self):
        error = copy.copy(lamp.ShapeError("what", expected=(2, 3), got=(3, 2), fix="turn it", where="here"))
        assert str(error) == "here: what\n  expected  (2, 3)\n  got       (3, 2)\n  fix       turn it"

    def test_a_module_without_methods_says_so(self):
        with pytest.raises(NotImplementedError, match="Bare defines no forward"):
            type("Bare", (Module,), {})()(torch.ones(1))
        with pytest.raises(NotImplementedError, match="Bare defines no backward"):
            type("Bare", (Module,), {})().backward(torch.ones(1))


# ---- state ----------------------------------------------------------------------------------------------------------
class TestState:
    def test_a_state_dict_shows_later_changes(self):
        model = network()
        state = model.state_dict()
        model[0].weight.data = torch.zeros(HIDDEN, IN)
        assert not state["0.weight"].any()

    def test_loading_copies(self):
        model, other = network(), network()
        (span,) = spans(model.parameters())
        model.load_state_dict(other.state_dict())
        assert span.is_current
        other[0].weight.data.zero_()
        assert model[0].weight.data.any()

    def test_loading_converts_the_dtype(self):
        model, other = network(), network().double()
        model.load_state_dict(other.state_dict())
        assert model[0].weight.dtype == torch.float32
        assert torch.equal(model[4].bias.data, other[4].bias.data.float())

    def wrong_states(self):
        good = {name: tensor.clone() + 1.0 for name, tensor in network().state_dict().items()}
        yield {name: tensor for name, tensor in good.items() if name != "4.bias"}, "missing"
        yield {**good, "5.weight": torch.ones(2)}, "unexpected"
        yield {**good, "4.bias": torch.ones(OUT + 1)}, "wrong shape"
        yield {**good, "4.bias": torch.ones(1)}, "wrong shape"  # a wrong implementation would broadcast it
        yield {**good, "4.bias": [1.0] * OUT}, "not a tensor of real numbers"
        yield {**good, "4.bias": good["4.bias"].numpy()}, "not a tensor of real numbers"
        yield {**good, "4.bias": good["4.bias"] * 1j}, "not a tensor of real numbers"

    @pytest.mark.parametrize("k", range(7))
    def test_nothing_has_changed_on_an_error(self, k):
        state, complaint = list(self.wrong_states())[k]
        model = network()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(lamp.StateDictError, match=complaint):
            model.load_state_dict(state)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    def test_not_strict_loads_the_keys_that_fit(self):
        model, longer = network(), lamp.Sequential(*network(), lamp.Linear(OUT, OUT))
        keys = longer.load_state_dict(model.state_dict(), strict=False)
        assert keys.missing_keys == ["5.weight", "5.bias"]
        assert keys.unexpected_keys == []
        assert torch.equal(longer[0].weight.data, model[0].weight.data)
        assert model.load_state_dict(longer.state_dict(), strict=False).unexpected_keys == ["5.weight", "5.bias"]

    def test_a_state_of_its_own_changes_nothing(self):
        model = network()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(model.state_dict())
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    def test_torch_nn_loads_it_and_back(self):
        twin = torch.nn.Sequential(
            torch.nn.Linear(IN, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.SELU(),
            torch.nn.Linear(HIDDEN, OUT),
        )  # fmt: skip
        model = network()
        twin.load_state_dict(model.state_dict())
        x = torch.randn(B, IN)
        torch.testing.assert_close(model(x), twin(x).detach())
        network().load_state_dict(twin.state_dict())


class TestCopies:
    def test_a_deep_copy_has_buffers_of_its_own(self):
        model = lamp.Sequential(Scaler(), lamp.Linear(IN, OUT))
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        twin = copy.deepcopy(model)
        (span,), (copied,) = spans(model.parameters()), spans(twin.parameters())
        assert torch.equal(span.data, copied.data)
        assert torch.equal(span.grad, copied.grad)
        assert copied.grad.any()
        copied.data.zero_()
        copied.grad.zero_()
        twin[0].mean.data.add_(1.0)
        assert span.data.any()
        assert span.grad.any()
        assert not model[0].mean.data.any()
        assert not any(p.data.any() for p in twin.parameters())

    def test_a_deep_copy_trains_as_the_original(self):
        model = network()
        twin = copy.deepcopy(model)
        x, dy = torch.randn(B, IN), torch.randn(B, OUT)
        for each in (model, twin):
            optimizer = lamp.SGD(each.parameters(), lr=0.1, momentum=0.9)
            for _ in range(3):
                optimizer.zero_grad()
                train_once(each, x, dy)
                optimizer.step()
        assert all(torch.equal(p.data, q.data) for p, q in zip(model.parameters(), twin.parameters(), strict=True))

    def test_tied_weights_stay_tied_in_a_copy(self):
        tied = lamp.Sequential(lamp.Linear(IN, IN), lamp.Linear(IN, IN))
        tied[1].weight = tied[0].weight
        twin = copy.deepcopy(tied)
        assert twin[1].weight is twin[0].weight
        assert twin[1].weight is not tied[0].weight

    def test_an_optimizer_and_its_network_are_copied_together(self):
        model = network()
        optimizer = lamp.Adam(model.parameters(), lr=0.1)
        train_once(model, torch.randn(B, IN), torch.randn(B, OUT))
        optimizer.step()
        twin, its_optimizer = copy.deepcopy((model, optimizer))
        before = [p.data.clone() for p in model.parameters()]
        its_optimizer.step()
        assert all(torch.equal(p.data, old) for p, old in zip(model.parameters(), before, strict=True))
        optimizer.step()
        assert all(torch.equal(p.data, q.data) for p, q in zip(model.parameters(), twin.parameters(), strict=True))

    def test_mode_is_copied(self):
        model = network().eval()
        assert not copy.deepcopy(model).training
