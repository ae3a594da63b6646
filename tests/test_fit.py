"""lamp.fit makes the same steps as a written loop, and everything around them works."""

import contextlib
import io
import signal
import sys

import numpy as np
import pytest
import torch

import lamp
from lamp.training import progress


def blobs(n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    return centres[targets] + 0.4 * torch.randn(n, 2, generator=generator), targets


def network(*last):
    torch.manual_seed(3)
    return lamp.Sequential(lamp.Linear(2, 7), lamp.Tanh(), lamp.Linear(7, 3), *last)


def adam(model):
    return lamp.Adam(model.parameters(), lr=0.02)


class TestTheLoop:
    def test_is_the_loop_written_out(self):
        x, y = blobs()
        fitted = network()
        lamp.fit(fitted, lamp.CrossEntropyLoss(), adam(fitted), (x, y), epochs=4, batch_size=7, seed=5, progress=False)
        model, criterion = network(), lamp.CrossEntropyLoss()
        optimizer = adam(model)
        loader = lamp.DataLoader((x, y), batch_size=7, shuffle=True, seed=5)
        for _ in range(4):
            for xb, yb in loader:
                criterion(model(xb), yb)
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()
        for ours, theirs in zip(fitted.parameters(), model.parameters(), strict=True):
            assert torch.equal(ours.data, theirs.data)

    def test_agrees_with_torch(self):
        x, y = (t.double() if t.is_floating_point() else t for t in blobs())
        model = network().double()
        twin = torch.nn.Sequential(torch.nn.Linear(2, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).double()
        twin.load_state_dict(model.state_dict())
        batches = list(zip(x.split(8), y.split(8), strict=True))
        history = lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), batches, epochs=3, progress=False)
        optimizer = torch.optim.Adam(twin.parameters(), lr=0.02)
        means = []
        for _ in range(3):
            total = 0.0
            for xb, yb in batches:
                loss = torch.nn.functional.cross_entropy(twin(xb), yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(xb)
            means.append(total / len(x))
        torch.testing.assert_close(history["loss"], torch.tensor(means, dtype=torch.float64), rtol=1e-10, atol=0)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours.data, theirs.detach(), rtol=1e-9, atol=1e-12)

    def test_network_that_ends_in_its_loss(self):
        x, y = blobs()
        plain, ended = network(), network(lamp.CrossEntropyLoss())
        for model, criterion in ((plain, lamp.CrossEntropyLoss()), (ended, None)):
            lamp.fit(model, criterion, adam(model), (x, y), epochs=2, seed=1, progress=False)
        assert torch.equal(plain(x), ended(x))

    def test_takes_arrays_data_sets_and_torch_loaders(self):
        x, y = blobs()
        torch_loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
        losses = []
        for data in ((x.numpy(), y.numpy()), lamp.Dataset(x, y), torch_loader, lamp.DataLoader((x, y), 32)):
            model = network()
            shuffle = None if data is torch_loader or isinstance(data, lamp.DataLoader) else False
            history = lamp.fit(
                model, lamp.CrossEntropyLoss(), adam(model), data, epochs=2, shuffle=shuffle, progress=False
            )
            losses.append(history["loss"])
        for other in losses[1:]:
            torch.testing.assert_close(losses[0], other, rtol=0, atol=0)

    def test_sum_reduction_reports_the_sum(self):
        x, y = blobs()
        model = network()
        optimizer = lamp.SGD(model.parameters(), lr=0.0)
        history = lamp.fit(
            model, lamp.CrossEntropyLoss(reduction="sum"), optimizer, (x, y), epochs=1, batch_size=7, progress=False
        )
        expected = torch.nn.functional.cross_entropy(model(x), y, reduction="sum").double()
        torch.testing.assert_close(history["loss"][0], expected, rtol=1e-5, atol=0)

    def test_clipping_and_schedules(self):
        x, y = blobs()
        model = network()
        before = [parameter.data.clone() for parameter in model.parameters()]
        optimizer = lamp.SGD(model.parameters(), lr=1.0)
        schedule = lamp.optim.StepLR(optimizer, step_size=1, gamma=0.5)
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            optimizer,
            (x, y),
            epochs=2,
            batch_size=60,
            scheduler=schedule,
            clip_norm=1e-3,
            progress=False,
        )
        moved = torch.cat([(a.data - b).flatten() for a, b in zip(model.parameters(), before, strict=True)]).norm()
        assert 0.5e-3 < moved <= 1.5e-3 + 1e-6  # two clipped steps, the second at half the rate
        assert optimizer.param_groups[0]["lr"] == 0.25

    def test_schedule_per_batch(self):
        x, y = blobs()
        model = network()
        optimizer = adam(model)
        schedule = lamp.optim.ExponentialLR(optimizer, gamma=0.9)
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            optimizer,
            (x, y),
            epochs=2,
            batch_size=20,
            scheduler=schedule,
            schedule_per="batch",
            progress=False,
        )
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.9**6)

    def test_plateau_is_told_the_validation_loss(self):
        model = network()
        optimizer = lamp.SGD(model.parameters(), lr=0.0)
        schedule = lamp.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        optimizer.param_groups[0]["lr"] = 0.0  # nothing is learned, so every epoch after the first is a bad one
        history = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            optimizer,
            blobs(),
            epochs=4,
            validation=blobs(seed=1),
            scheduler=schedule,
            progress=False,
        )
        assert schedule.best == history["validation_loss"][0].item()
        assert schedule.num_bad_epochs > 0


class TestWhatIsMeasured:
    def test_validation_and_metrics(self):
        x, y = blobs()
        model = network(lamp.Dropout(0.5))
        criterion = lamp.CrossEntropyLoss()
        xv, yv = blobs(seed=1)
        history = lamp.fit(
            model,
            criterion,
            adam(model),
            (x, y),
            epochs=3,
            validation=(xv, yv),
            metrics=[lamp.accuracy],
            progress=False,
        )
        assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
        assert all(history[name].shape == (3,) and history[name].dtype == torch.float64 for name in history)
        model.eval()
        assert history["validation_loss"][-1].item() == pytest.approx(criterion(model(xv), yv).item(), rel=1e-6)
        measured = lamp.evaluate(model, criterion, (xv, yv), metrics={"share": lamp.accuracy}, batch_size=9)
        assert measured["share"] == pytest.approx((model(xv).argmax(1) == yv).float().mean().item())
        assert measured["loss"] == pytest.approx(history["validation_loss"][-1].item(), rel=1e-6)

    def test_evaluate_and_predict_put_the_mode_back(self):
        x, y = blobs()
        model = network(lamp.Dropout(0.5)).train()
        model[1].training = False
        lamp.evaluate(model, lamp.CrossEntropyLoss(), (x, y))
        outputs = lamp.predict(model, x, batch_size=7)
        assert [module.training for module in model] == [True, False, True, True]
        torch.testing.assert_close(outputs, model.eval()(x))

    def test_accuracy(self):
        output = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
        assert lamp.accuracy(output, torch.tensor([0, 1, 1])).item() == pytest.approx(2 / 3)
        assert lamp.accuracy(output, torch.eye(2)[[0, 0, 0]]).item() == pytest.approx(2 / 3)
        column = torch.tensor([[0.9], [0.2], [0.6]])
        assert lamp.Accuracy(0.5)(column, torch.tensor([[1.0], [0.0], [0.0]])).item() == pytest.approx(2 / 3)
        with pytest.raises(lamp.ShapeError, match=r"lamp.Accuracy\(threshold\)"):
            lamp.accuracy(column, torch.tensor([1, 0, 0]))
        with pytest.raises(lamp.ShapeError):
            lamp.accuracy(output, torch.tensor([0, 1]))


class TestCallbacks:
    def test_they_are_called_at_the_start_and_after_batches_and_epochs(self):
        x, y = blobs()
        seen = []

        class Note(lamp.Callback):
            def on_start(self, training):
                seen.append("start")

            def on_batch(self, training, loss):
                seen.append(f"batch {training.step}")

            def on_epoch(self, training):
                seen.append(f"epoch {training.epoch}")
                if training.epoch == 1:
                    training.stop("enough")

            def on_end(self, training):
                seen.append("end")

        model = network()
        history = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            adam(model),
            (x, y),
            epochs=9,
            batch_size=30,
            callbacks=[Note()],
            progress=False,
        )
        assert seen == ["start", "batch 1", "batch 2", "epoch 0", "batch 3", "batch 4", "epoch 1", "end"]
        assert history.epochs == 2
        assert history.stopped == "enough"

    def test_early_stopping_restores_the_best_weights(self):
        x, y = blobs(30)
        xv, yv = blobs(200, seed=1)
        model = network()
        wrong = (yv + 1) % 3  # so that the validation loss rises during training
        history = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            adam(model),
            (x, y),
            epochs=50,
            validation=(xv, wrong),
            callbacks=[lamp.EarlyStopping(patience=4)],
            progress=False,
        )
        best = history.best_epoch("validation_loss")
        assert history.epochs == best + 1 + 4 < 50
        assert "validation_loss" in history.stopped
        assert lamp.evaluate(model, lamp.CrossEntropyLoss(), (xv, wrong))["loss"] == pytest.approx(
            history["validation_loss"][best].item(), rel=1e-6
        )

    def test_early_stopping_on_accuracy_goes_up(self):
        x, y = blobs()
        model = network()
        stopper = lamp.EarlyStopping(patience=3, monitor="accuracy")
        history = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            adam(model),
            (x, y),
            epochs=60,
            metrics=[lamp.accuracy],
            callbacks=[stopper],
            progress=False,
        )
        assert stopper.mode == "max"
        assert stopper.best == history["accuracy"].max().item()
        assert history.epochs < 60

    @pytest.mark.filterwarnings("ignore:the validation loss:lamp.NonFiniteWarning")
    @pytest.mark.parametrize("engine", ["eager", "compiled"])
    @pytest.mark.parametrize("patience", [2, 50])
    def test_a_replica_whose_value_is_never_a_number_keeps_its_last_weights(self, engine, patience):
        """As it does alone; others of its population have their best."""
        x, xv = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.full((4, 3), 300.0)
        found, options = [], {"epochs": 6, "batch_size": 5, "shuffle": False, "progress": False, "engine": engine}
        for together in (True, False):
            alone = [lamp.Linear(3, 1) for _ in range(2)]
            for model, weight in zip(alone, (-0.1, 0.5), strict=True):  # exp(450) is infinite
                model.weight.data.fill_(weight)
                model.bias.data.zero_()
            for model in [lamp.stack(alone)] if together else alone:
                optimizer, stopper = lamp.SGD(model.parameters(), lr=1e-3), lamp.EarlyStopping(patience=patience)
                data, held_out = (x, torch.ones(20, 1)), (xv, torch.ones(4, 1))
                lamp.fit(
                    model, lamp.PoissonNLLLoss(), optimizer, data, validation=held_out, callbacks=[stopper], **options
                )
                found.append(model.parameters()[0].data.reshape(-1))
        torch.testing.assert_close(found[0], torch.cat(found[1:]), rtol=1e-5, atol=1e-6)

    def test_early_stopping_on_what_is_not_measured(self):
        model = network()
        with pytest.raises(lamp.ArgumentError, match="validation="):
            lamp.fit(
                model,
                lamp.CrossEntropyLoss(),
                adam(model),
                blobs(),
                epochs=2,
                callbacks=[lamp.EarlyStopping()],
                progress=False,
            )


class TestNonFinite:
    class Burst(lamp.Module):
        """A module whose output is finite until it has been called `after` times in training."""

        def __init__(self, after):
            self.after, self.calls = after, 0

        def forward(self, x):
            self.calls += 1
            self.remember(x)
            return x if self.calls <= self.after else x / torch.zeros_like(x)

        def backward(self, dy):
            self.recall()
            return dy

    def test_names_the_module_and_keeps_finite_weights(self):
        x, y = blobs()
        model = lamp.Sequential(lamp.Linear(2, 7), self.Burst(5), lamp.Tanhshrink(), lamp.Linear(7, 3))
        with pytest.raises(lamp.NonFiniteError) as caught:
            lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), (x, y), epochs=9, batch_size=20, progress=False)
        assert "Sequential.1: Burst" in str(caught.value)
        assert caught.value.history.epochs == 1
        assert all(parameter.data.isfinite().all() for parameter in model.parameters())

    def test_divergence_puts_the_last_kept_weights_back(self):
        x, y = blobs()
        targets = torch.eye(3)[y]
        model = network()
        with pytest.raises(lamp.NonFiniteError, match="learning rate"):
            lamp.fit(
                model,
                lamp.MSELoss(),
                lamp.SGD(model.parameters(), lr=1e12),
                (x, targets),
                epochs=50,
                batch_size=60,
                progress=False,
            )
        assert all(parameter.data.isfinite().all() for parameter in model.parameters())
        assert lamp.evaluate(model, lamp.MSELoss(), (x, targets))["loss"] < float("inf")

    def test_nan_input_is_found_before_the_first_step(self):
        x, y = blobs()
        x[17, 1] = float("nan")
        model = network()
        before = model.state_dict()["0.weight"].clone()
        with pytest.raises(lamp.NonFiniteError, match="row 17, column 1"):
            lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), (x, y), epochs=1, progress=False)
        assert torch.equal(before, model.state_dict()["0.weight"])

    def test_nan_input_in_ready_batches(self):
        x, y = blobs()
        x[17, 1] = float("nan")
        model = network()
        with pytest.raises(lamp.NonFiniteError, match="input 0 of the network holds"):
            lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), [(x, y)], epochs=1, progress=False)

    def test_first_non_finite(self):
        x, _ = blobs()
        model = network()
        assert lamp.first_non_finite(model, x) is None
        model[2].weight.data[1, 2] = float("inf")
        assert "2.weight" in lamp.first_non_finite(model, x)
        assert "forward" not in vars(model[0])


class TestEnding:
    def test_ctrl_c_keeps_what_was_learned(self):
        x, y = blobs()
        model = network()

        class Press(lamp.Callback):
            def on_batch(self, training, loss):
                if training.step == 5:
                    signal.raise_signal(signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        history = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            adam(model),
            (x, y),
            epochs=99,
            batch_size=30,
            callbacks=[Press()],
            progress=False,
        )
        assert history.epochs == 2
        assert "interrupted in epoch 3" in history.stopped
        assert "5 steps" in history.stopped
        assert signal.getsignal(signal.SIGINT) is before

    def test_small_steps_use_one_thread_and_give_it_back(self):
        torch.set_num_threads(2)
        seen = []

        class Look(lamp.Callback):
            def on_batch(self, training, loss):
                seen.append(torch.get_num_threads())

        model = network()
        lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), blobs(), epochs=1, callbacks=[Look()], progress=False)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2


BAD = {
    "engine": (dict(engine="warp"), "unknown engine 'warp'"),
    "epochs": (dict(epochs=0), "at least 1"),
    "epochs as float": (dict(epochs=1.5), "at least 1"),
    "clip": (dict(clip_norm=-1.0), "positive"),
    "clip value": (dict(clip_value=0.0), "positive"),
    "schedule_per": (dict(schedule_per="year"), "'epoch' or 'batch'"),
    "metric": (dict(metrics=[3]), "cannot be called"),
    "metric named loss": (dict(metrics={"loss": lamp.accuracy}), "named 'loss'"),
    "batch size": (dict(batch_size=0), "batch_size"),
    "no loss": (dict(criterion=None), "no loss to train with"),
    "criterion class": (dict(criterion=lamp.Linear(2, 3)), "criterion is not a loss"),
    "criterion function": (dict(criterion=torch.nn.functional.cross_entropy), "not a lamp module"),
    "reduction": (dict(criterion=lamp.CrossEntropyLoss(reduction="none")), "reduction"),
    "model": (dict(model=torch.nn.Linear(2, 3)), "not a lamp module"),
    "lengths": (dict(data=(torch.zeros(5, 2), torch.zeros(4).long())), "length"),
    "one tensor": (dict(data=[(torch.zeros(5, 2),)]), "inputs and a target"),
    "generator": (dict(data=(batch for batch in [blobs()])), "once"),
    "empty": (dict(data=[]), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    change, message = BAD[name]
    model = network()
    arguments = dict(
        model=model, criterion=lamp.CrossEntropyLoss(), optimizer=adam(model), data=blobs(), epochs=2, progress=False
    )
    with pytest.raises(lamp.LampError) as caught:
        lamp.fit(**{**arguments, **change})
    assert message in str(caught.value)


class TestProgress:
    def fit(self, monkeypatch, stream):
        monkeypatch.setattr(sys, "stderr", stream)
        model = network()
        lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), blobs(), epochs=30, progress=True)
        return stream.getvalue()

    def test_plain_lines_when_piped(self, monkeypatch):
        monkeypatch.setattr(progress, "PLAIN", 3600.0)
        lines = self.fit(monkeypatch, io.StringIO()).splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("epoch 30/30  loss ")

    def test_live_line_on_a_terminal(self, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        text = self.fit(monkeypatch, Terminal())
        assert "epoch 30/30" in text
        assert text.count("\n") <= 2

    def test_nothing_with_progress_false(self, capfd):
        model = network()
        lamp.fit(model, lamp.CrossEntropyLoss(), adam(model), blobs(), epochs=2, progress=False)
        assert capfd.readouterr() == ("", "")


class TestHistory:
    @pytest.fixture
    def history(self):
        model = network()
        return lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            adam(model),
            blobs(),
            epochs=20,
            validation=blobs(seed=1),
            metrics=[lamp.accuracy],
            progress=False,
        )

    def test_prints_as_a_table(self, history):
        text = str(history)
        assert "20 epochs" in text.splitlines()[0]
        assert "validation accuracy" in text
        assert f"{history['loss'][-1].item():.4g}" in text
        assert len(text.splitlines()) < 20

    def test_shows_in_a_notebook(self, history):
        html = history._repr_html_()
        assert html.startswith("<p>20 epochs in ")
        assert ">validation accuracy</th>" in html
        assert html.count("<tr>") == 13
        assert f">{history['loss'][-1].item():.4g}</td>" in html

    def test_json_there_and_back(self, history, tmp_path):
        path = tmp_path / "history.json"
        history.to_json(path)
        back = lamp.History.from_json(path)
        assert back.to_dict() == history.to_dict()
        assert torch.equal(back["validation_loss"], history["validation_loss"])
        with pytest.raises(lamp.DataError, match="no history"):
            lamp.History.from_json("{}")

    @pytest.mark.parametrize("replicas", [None, 3])
    def test_what_is_no_number_or_infinite_goes_into_json_and_back(self, replicas, tmp_path):
        history = lamp.History("eager", "", replicas)
        odd = [0.5, float("inf"), float("-inf"), float("nan")]
        for k, number in enumerate(odd):
            value = number if replicas is None else torch.tensor([number, 1.0, odd[k - 1]], dtype=torch.float64)
            history.record({"loss": value}, 0.5)
        lines = tmp_path / "history.jsonl"
        lines.write_text("".join(history.line(k) + "\n" for k in range(4)))
        for text in (history.to_json(), lines.read_text()):
            assert "Infinity" not in text  # which is no JSON
            assert "NaN" not in text
        for back in (lamp.History.from_json(history.to_json()), lamp.History.from_lines(lines)):
            torch.testing.assert_close(back["loss"], history["loss"], equal_nan=True, rtol=0, atol=0)

    def test_plots_itself(self, history):
        ax = history.plot()
        assert len(ax.get_legend().get_texts()) == 2
        assert np.allclose(ax.lines[0].get_ydata(), history["loss"].numpy())

    def test_unknown_name_lists_the_known(self, history):
        with pytest.raises(lamp.ArgumentError, match="validation_loss"):
            history["lose"]

    def test_engine_and_seconds(self, history):
        assert history.engine == "eager"
        assert history.why
        assert history.stopped == "all epochs done"
        assert (history.seconds > 0).all()


class TestDenormals:
    """Numbers below 1e-38 count as 0 during a training. Afterwards the setting is as before, however it ended."""

    TINY = 1e-40

    def product(self):
        return float(torch.tensor(self.TINY) * 1.0)

    @pytest.mark.parametrize("fails", [False, True])
    def test_they_are_flushed_for_the_time(self, fails):
        seen = []

        class Look(lamp.Callback):
            def on_epoch(inner, training):
                seen.append(self.product())
                if fails:
                    raise KeyError("a callback's own mistake")

        model = lamp.Sequential(lamp.Linear(2, 1))
        data = torch.randn(8, 2), torch.randn(8, 1)
        before = self.product()
        assert before > 0
        arguments = (model, lamp.MSELoss(), lamp.SGD(model.parameters()), data)
        with pytest.raises(KeyError) if fails else contextlib.nullcontext():
            lamp.fit(*arguments, epochs=1, callbacks=[Look()], progress=False)
        assert seen == [0.0]
        assert self.product() == before

    def test_who_flushes_them_already_goes_on_to(self):
        model = lamp.Sequential(lamp.Linear(2, 1))
        data = torch.randn(8, 2), torch.randn(8, 1)
        torch.set_flush_denormal(True)
        try:
            lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters()), data, epochs=1, progress=False)
            assert self.product() == 0
        finally:
            torch.set_flush_denormal(False)
