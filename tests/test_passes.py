"""Backward goes through the forward that its gradient belongs to, whatever was called since; the oracle is autograd."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch

import lamp
from lamp.passes import pass_of

B, IN, OUT = 6, 2, 3
D = torch.float64


def network(*extra):
    return lamp.Sequential(lamp.Linear(IN, 8), lamp.Tanh(), lamp.Linear(8, OUT), *extra).double()


@pytest.fixture
def batches():
    return [(torch.randn(B, IN, dtype=D), torch.randint(OUT, (B,))) for _ in range(3)]


def right(model, x, y, function=torch.nn.functional.cross_entropy):
    """The parameters' gradients by autograd."""
    peer = lamp.to_torch(model)
    return torch.autograd.grad(function(peer(x), y), list(peer.parameters()))


def same(model, gradients):
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-11, atol=1e-12)


IN_BETWEEN = {
    "nothing": lambda model, loss, x, y: None,
    "a forward": lambda model, loss, x, y: model(x),
    "a forward of another size": lambda model, loss, x, y: model(x[:2]),
    "two forwards, kept": lambda model, loss, x, y: [model(x), model(x)],
    "in eval mode": lambda model, loss, x, y: (model.eval(), model(x), model.train()),
    "by predict": lambda model, loss, x, y: lamp.predict(model, x),
    "by evaluate": lambda model, loss, x, y: lamp.evaluate(model, lamp.CrossEntropyLoss(), (x, y)),
    "by evaluate, with the same loss": lambda model, loss, x, y: lamp.evaluate(model, loss, (x, y)),
    "within evaluating": lambda model, loss, x, y: _evaluated(model, loss, x, y),
    "a part": lambda model, loss, x, y: model[0](x),
    "a slice": lambda model, loss, x, y: model[:2](x),
    "a whole step of another network": lambda model, loss, x, y: _step(network(), lamp.CrossEntropyLoss(), x, y),
    "a whole step of this network": lambda model, loss, x, y: _step(model, lamp.CrossEntropyLoss(), x, y),
    "a copy": lambda model, loss, x, y: copy.deepcopy(model)(x),
}


def _evaluated(model, loss, x, y):
    with lamp.evaluating():
        return loss(model(x), y)


def _step(model, loss, x, y):
    loss(model(x), y)
    model.backward(loss.backward())
    model.zero_grad()


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("between", IN_BETWEEN)
def test_a_forward_in_between(batches, between, held):
    model, loss = network(), lamp.CrossEntropyLoss()
    (x, y), other, _ = batches
    expected = right(model, x, y)
    output = model(x)
    value = loss(output, y)
    if not held:
        del output, value
    kept = IN_BETWEEN[between](model, loss, *other)
    model.backward(loss.backward())
    same(model, expected)
    del kept
    with pytest.raises(lamp.BackwardError, match="backward twice"):
        loss.backward()


def test_backward_twice_is_told(batches):
    model, loss = network(), lamp.CrossEntropyLoss()
    (x, y), _, _ = batches
    loss(model(x), y)
    dy = loss.backward()
    model.backward(dy)
    for again in (dy, dy.clone()):
        with pytest.raises(lamp.BackwardError, match="backward twice"):
            model.backward(again)


def test_two_forwards_gone_back_through_in_any_order(batches):
    losses = [lamp.CrossEntropyLoss() for _ in batches]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        model = network()
        expected = [right(model, x, y) for x, y in batches]
        kept = [loss(model(x), y) for loss, (x, y) in zip(losses, batches, strict=True)]
        for k in order:
            model.zero_grad()
            model.backward(losses[k].backward())
            same(model, expected[k])
        del kept


def test_the_gradient_of_the_input_too(batches):
    """An encoder and a decoder are both called again before the first backward."""
    encoder, decoder = lamp.Sequential(lamp.Linear(IN, 4), lamp.SELU()).double(), network_of(4)
    loss, (x, y), (other, _), _ = lamp.CrossEntropyLoss(), *batches
    peers = lamp.to_torch(encoder), lamp.to_torch(decoder)
    given = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(peers[1](peers[0](given)), y).backward()
    loss(decoder(encoder(x)), y)
    decoder(encoder(other))
    dh = decoder.backward(loss.backward())
    encoder(other), decoder(encoder(other))
    dx = encoder.backward(dh)
    torch.testing.assert_close(dx, given.grad, rtol=1e-11, atol=1e-12)
    for model, peer in zip((encoder, decoder), peers, strict=True):
        same(model, [p.grad for p in peer.parameters()])


def network_of(width):
    return lamp.Sequential(lamp.Linear(width, 5), lamp.Tanh(), lamp.Linear(5, OUT)).double()


def test_parts_called_one_after_the_other(batches):
    model, loss, ((x, y), (other, _), _) = network(), lamp.CrossEntropyLoss(), batches
    expected = right(model, x, y)

    def by_hand(h):
        for part in model:
            h = part(h)
        return h

    loss(by_hand(x), y)
    by_hand(other)
    model.backward(loss.backward())
    same(model, expected)
    model.zero_grad()
    loss(by_hand(x), y)
    kept = by_hand(other)
    dy = loss.backward()
    for part in reversed(list(model)):
        dy = part.backward(dy)
    same(model, expected)
    model.zero_grad()
    loss(model(x), y)
    model(other)
    dy = loss.backward()
    for part in reversed(list(model)):
        dy = part.backward(dy)
    same(model, expected)
    del kept


def test_a_layer_used_twice_by_hand():
    layer = lamp.Linear(IN, IN).double()
    peer = lamp.to_torch(layer)
    x, other, t = (torch.randn(B, IN, dtype=D) for _ in range(3))
    loss = lamp.MSELoss()
    loss(layer(layer(x)), t)
    layer(layer(other))
    layer.backward(layer.backward(loss.backward()))
    torch.nn.functional.mse_loss(peer(peer(x)), t).backward()
    same(layer, [p.grad for p in peer.parameters()])


def test_a_network_that_ends_in_its_loss(batches):
    model, ((x, y), (other, y_other), _) = network(lamp.CrossEntropyLoss()), batches
    expected = right(model.body, x, y)
    model(x, y)
    model.backward()
    same(model, expected)
    model.zero_grad()
    model(x, y)
    lamp.predict(model, other), lamp.evaluate(model, None, (other, y_other))
    model.backward()
    same(model, expected)
    kept = model(x, y)
    for between in (lambda: model(other), lambda: model(other, y_other)):
        between()
        with pytest.raises(lamp.BackwardError, match=r"(?s)waiting for a backward.*lamp\.evaluating"):
            model.backward()
    del kept
    model(x, y)
    model(other)
    with pytest.raises(lamp.BackwardError):
        model.backward()


def test_a_loss_used_twice(batches):
    """It is ambiguous which loss of a criterion is meant, so no wrong gradient is given."""
    model, loss, ((x, y), other, _) = network(), lamp.CrossEntropyLoss(), batches
    value = loss(model(x), y)
    loss(model(other[0]), other[1])
    with pytest.raises(lamp.BackwardError, match=r"(?s)2 forwards of CrossEntropyLoss.*loss\.item\(\)"):
        loss.backward()
    del value
    loss(model(x), y)  # a value that nobody keeps is in nobody's way
    loss(model(x), y)
    model.backward(loss.backward())
    same(model, right(model, x, y))


def test_adversaries(batches):
    """The usual two steps of a GAN, against autograd."""
    generator, critic, loss = network_of(IN), lamp.Sequential(lamp.Linear(OUT, 1)).double(), lamp.BCEWithLogitsLoss()
    peers = lamp.to_torch(generator), lamp.to_torch(critic)
    z, real = batches[0][0], torch.randn(B, OUT, dtype=D)
    yes, no = torch.ones(B, 1, dtype=D), torch.zeros(B, 1, dtype=D)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    fake = generator(z)
    for given, answer in ((real, yes), (fake, no)):
        loss(critic(given), answer)
        critic.backward(loss.backward())
    of_critic = torch.autograd.grad(
        bce(peers[1](real), yes) + bce(peers[1](peers[0](z).detach()), no), peers[1].parameters()
    )
    same(critic, of_critic)
    loss(critic(fake), yes)
    generator.backward(critic.backward(loss.backward()))
    same(generator, torch.autograd.grad(bce(peers[1](peers[0](z)), yes), peers[0].parameters()))


class TestGradientsMadeByHand:
    def test_they_go_through_the_latest_forward(self):
        model, x, t = network(), torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D)
        expected = right(model, x, t, torch.nn.functional.mse_loss)
        model(torch.randn(B, IN, dtype=D))
        model.backward(2 * (model(x) - t) / t.numel())
        same(model, expected)

    @pytest.mark.parametrize("keep", [False, True])
    def test_not_where_an_earlier_output_may_be_meant(self, keep):
        model, x, t = network(), torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D)
        y = model(x)
        later = model(torch.randn(B, IN, dtype=D))
        if not keep:
            del later
        with pytest.raises(lamp.BackwardError, match=r"(?s)2 forwards.*waiting.*lamp\.evaluating") as caught:
            model.backward(2 * (y - t) / t.numel())
        assert caught.value.where == "Sequential"
        assert y.shape == t.shape

    def test_an_earlier_output_of_another_size_cannot_be_meant(self):
        model, x, t = network(), torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D)
        kept = model(torch.randn(B + 1, IN, dtype=D))
        model.backward(2 * (model(x) - t) / t.numel())
        same(model, right(model, x, t, torch.nn.functional.mse_loss))
        del kept

    def test_a_loss_of_an_output_that_was_changed(self):
        model, loss = network(), lamp.MSELoss()
        x, t = torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D)
        expected = right(model, x, t, lambda y, t: torch.nn.functional.mse_loss(3 * y, t))
        loss(3 * model(x), t)
        model.backward(3 * loss.backward())
        same(model, expected)
        loss(3 * model(x), t)
        model(torch.randn(B, IN, dtype=D))
        with pytest.raises(lamp.BackwardError, match="2 forwards"):
            model.backward(3 * loss.backward())
        loss(3 * model(x), t)
        model.zero_grad()
        model.backward(3 * loss.backward())
        same(model, expected)

    def test_eval_mode_in_between(self):
        model, x, t = network(), torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D)
        y = model(x)
        model.eval()(torch.randn(B, IN, dtype=D))
        with pytest.raises(lamp.BackwardError, match="eval mode"):
            model.backward(2 * (y - t) / t.numel())
        model.train()
        model.backward(2 * (y - t) / t.numel())
        same(model, right(model, x, t, torch.nn.functional.mse_loss))


class TestMistakes:
    def test_the_gradient_of_another_network(self, batches):
        one, other, loss = network(), network(), lamp.CrossEntropyLoss()
        one(batches[0][0])
        loss(other(batches[0][0]), batches[0][1])
        with pytest.raises(lamp.BackwardError, match="another network"):
            one.backward(loss.backward())

    def test_the_value_of_the_loss(self, batches):
        model, criterion = network(), lamp.CrossEntropyLoss()
        value = criterion(model(batches[0][0]), batches[0][1])
        with pytest.raises(lamp.BackwardError, match=r"model\.backward\(criterion\.backward\(\)\)"):
            model.backward(value)
        with pytest.raises(lamp.BackwardError, match=r"model\.backward\(criterion\.backward\(\)\)"):
            value.backward()
        with pytest.raises(lamp.BackwardError, match="gradient of the output"):
            model(batches[0][0]).backward(torch.ones(B, OUT))

    def test_gradients_of_two_forwards(self, batches):
        class Pair(lamp.Module):
            def forward(self, a, b):
                self.remember(None)
                return a * 1.0, b * 1.0

            def backward(self, da, db):
                self.recall()
                return da, db

        pair, loss, ((x, _), _, _) = Pair(), lamp.MSELoss(), batches
        a, b = pair(x, x)
        loss(a, x), (da := loss.backward()), loss(b, x), (db := loss.backward())
        assert all(torch.equal(found, d) for found, d in zip(pair.backward(da, db), (da, db), strict=True))
        loss(pair(x, x)[0], x), (da := loss.backward()), loss(pair(x, x)[1], x), (db := loss.backward())
        with pytest.raises(lamp.BackwardError, match="different forwards"):
            pair.backward(da, db)

    def test_what_evaluating_put_out(self, batches):
        model, loss, ((x, y), _, _) = network(), lamp.CrossEntropyLoss(), batches
        model(x)
        with lamp.evaluating():
            output = model(x)
        loss(output, y)
        with pytest.raises(lamp.BackwardError, match="eval mode"):
            model.backward(loss.backward())


class TestMemory:
    @pytest.mark.parametrize(
        "last", [lamp.Tanh, lambda: lamp.Softmax(-1), lamp.Identity, lamp.ReLU, lambda: lamp.Linear(OUT, OUT).double()]
    )
    def test_it_goes_with_the_output(self, last):
        model = network(last())
        gc.collect()
        gc.disable()
        try:
            passes = []
            for _ in range(3):
                y = model(torch.randn(B, IN, dtype=D))
                passes.append(weakref.ref(pass_of(y)))
            assert [p() is None for p in passes] == [True, True, False]
            kept = y
            model(torch.randn(B, IN, dtype=D))
            assert passes[2]() is not None
            del kept, y
            assert passes[2]() is None
        finally:
            gc.enable()

    def test_a_network_that_ends_in_its_loss(self):
        model = network(lamp.MSELoss())
        gc.collect()
        gc.disable()
        try:
            y, loss = model(torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D))
            held = weakref.ref(pass_of(y))
            assert pass_of(loss) is pass_of(y)
            del y, loss
            model(torch.randn(B, IN, dtype=D), torch.randn(B, OUT, dtype=D))
            assert held() is None
        finally:
            gc.enable()

    def test_an_epoch_of_losses_holds_no_batches(self, batches):
        model, loss, losses = network(), lamp.CrossEntropyLoss(), []
        outputs = []
        for x, y in batches:
            output = model(x)
            outputs.append(weakref.ref(output))
            losses.append(loss(output, y))
            model.backward_parameters(loss.backward())
        del output
        assert [each() is None for each in outputs] == [True] * 3
        assert all(not any(pass_of(each).memory.values()) for each in losses)

    def test_an_error_in_forward_leaves_nothing(self):
        model = network()
        with pytest.raises(lamp.ShapeError):
            lamp.Sequential(model, lamp.Linear(OUT + 1, 2).double())(torch.randn(B, IN, dtype=D))
        with pytest.raises(lamp.BackwardError, match="before forward"):
            model.backward(torch.randn(B, OUT, dtype=D))
        output = model(torch.randn(B, IN, dtype=D))
        with pytest.raises(lamp.ShapeError):
            model(torch.randn(B, IN + 1, dtype=D))
        assert model.backward(torch.randn_like(output)).shape == (B, IN)


def test_outputs_are_copied_and_saved_as_tensors(batches):
    model, loss, ((x, y), _, _) = network(), lamp.CrossEntropyLoss(), batches
    output = model(x)
    value = loss(output, y)
    twin = copy.deepcopy(output)
    assert pass_of(twin) is pass_of(output)
    for tensor in (output, value):
        again = pickle.loads(pickle.dumps(tensor))
        assert torch.equal(again, tensor)
        assert pass_of(again) is None
        stream = io.BytesIO()
        torch.save({"it": tensor}, stream)
        stream.seek(0)
        assert torch.equal(torch.load(stream, weights_only=True)["it"], tensor)


class TestFit:
    class Meddling(lamp.Callback):
        """A callback that calls model and loss at every opportunity, and keeps their outputs."""

        def __init__(self, x, y):
            self.x, self.y, self.kept = x, y, []

        def meddle(self, training):
            output = training.model(self.x)
            self.kept.append((output, training.criterion(output, self.y), training.criterion(output, self.y)))

        def on_batch(self, training, loss):
            self.meddle(training)

        def on_epoch(self, training):
            self.meddle(training)

        on_start = on_epoch

    @pytest.mark.parametrize("whole", [False, True])
    def test_callbacks_and_metrics_may_call_the_model(self, batches, whole):
        x, y = torch.randn(24, IN, dtype=D), torch.randint(OUT, (24,))
        runs = []
        start = network(*([lamp.CrossEntropyLoss()] if whole else []))
        for meddle in (False, True):
            model, loss = copy.deepcopy(start), None if whole else lamp.CrossEntropyLoss()
            kept = []

            def metric(output, target, model=model, kept=kept, meddle=meddle):
                if meddle:
                    kept.append(model(batches[0][0]))
                return output.mean()

            lamp.fit(
                model,
                loss,
                lamp.SGD(model.parameters(), lr=0.1),
                (x, y),
                epochs=3,
                batch_size=6,
                seed=0,
                engine="eager",
                metrics=[metric],
                callbacks=[self.Meddling(*batches[0])] if meddle else [],
                progress=False,
            )
            runs.append([p.data.clone() for p in model.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


# ---- an input that is written to ------------------------------------------------------------------------------------
@pytest.mark.parametrize("write", [torch.Tensor.zero_, lambda x: x[:2].add_(1.0), lambda x: x.copy_(x.clone())])
def test_an_input_that_is_written_to_before_the_backward_is_told(write):
    """As torch tells it: the weights' gradient would be that of other numbers."""
    model, criterion = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2)), lamp.MSELoss()
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    criterion(model(x), y)
    gradient = criterion.backward()
    write(x)
    with pytest.raises(lamp.BackwardError, match="changed in place") as caught:
        model.backward(gradient)
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    criterion(model(x), y)
    model.backward(criterion.backward())
    write(x)  # once it was gone back through, it may be written to
    criterion(model(x), y)
    model.backward(criterion.backward())


def test_an_input_of_inference_mode_is_taken_as_it_is():
    model = lamp.Linear(3, 2)
    with torch.inference_mode():
        x = torch.randn(5, 3)
        dy = torch.randn(5, 2)
    model(x)
    assert model.backward(dy).shape == (5, 3)


PRODUCTS = {
    "scaled": lambda gradient: gradient * 0.5,
    "divided": lambda gradient: gradient / 4,
    "cloned": lambda gradient: gradient.clone(),
    "clamped": lambda gradient: gradient.clamp(-1, 1),
    "chosen": lambda gradient: torch.where(gradient.isfinite(), gradient, 0.0),
}


@pytest.mark.parametrize("made", PRODUCTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_computed_from_an_earlier_gradient_is_not_the_later_outputs(made, when, batches):
    """Nobody keeps the outputs, as in the README's loop, so nothing but the loss knows of the first one."""
    model, loss, ((x, y), (other, _), _) = network(), lamp.CrossEntropyLoss(), batches
    loss(model(x), y)
    gradient = PRODUCTS[made](loss.backward()) if when == "before" else None
    lamp.accuracy(model(other), y)
    with pytest.raises(lamp.BackwardError, match=r"(?s)waiting for a backward.*earlier output.*lamp\.evaluating"):
        model.backward(PRODUCTS[made](loss.backward()) if gradient is None else gradient)
    assert all(not p.grad.any() for p in model.parameters())


def test_the_sum_of_two_outputs_gradients(batches):
    model, one, two, ((x, y), (other, _), _) = network(), lamp.CrossEntropyLoss(), lamp.CrossEntropyLoss(), batches
    one(model(x), y)
    two(model(other), y)
    with pytest.raises(lamp.BackwardError, match=r"(?s)waiting for a backward.*or from several"):
        model.backward(one.backward() + two.backward())


@pytest.mark.parametrize("made", PRODUCTS)
def test_what_is_computed_from_the_latest_gradient(made, batches):
    """A forward before, the same input again, a step that was left out, and the next step are in nobody's way."""
    model, loss, ((x, y), (other, y_other), _) = network(), lamp.CrossEntropyLoss(), batches

    def expected(x, y):
        peer = lamp.to_torch(model)
        output = peer(x)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(output, y), output, retain_graph=True)
        return torch.autograd.grad(output, list(peer.parameters()), PRODUCTS[made](gradient))

    lamp.accuracy(model(other), y)
    loss(model(x), y)
    lamp.accuracy(model(x), y)
    model.backward(PRODUCTS[made](loss.backward()))
    same(model, expected(x, y))
    for inputs, targets, left_out in ((other, y_other, True), (x, y, False), (other, y_other, False)):
        model.zero_grad()
        loss(model(inputs), targets)
        gradient = loss.backward()
        if not left_out:
            model.backward(PRODUCTS[made](gradient))
            same(model, expected(inputs, targets))


def test_two_scaled_losses_one_after_the_other(batches):
    """The second forward is there before the first backward, as for a critic; a factor is the loss's argument."""
    model, one, two, ((x, y), (other, _), _) = network(), lamp.CrossEntropyLoss(), lamp.CrossEntropyLoss(), batches
    expected = [0.5 * (a + b) for a, b in zip(right(model, x, y), right(model, other, y), strict=True)]
    one(model(x), y), two(model(other), y)
    with pytest.raises(lamp.BackwardError, match=r"criterion\.backward\(torch\.tensor"):
        model.backward(0.5 * one.backward())
    one(model(x), y), two(model(other), y)
    model.backward(one.backward(torch.tensor(0.5, dtype=D)))
    model.backward(two.backward(torch.tensor(0.5, dtype=D)))
    same(model, expected)
