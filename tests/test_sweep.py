"""A sweep gives the same networks as separate trainings of all settings and seeds, ranked."""

import copy
import functools
import math
import signal
import sys
import warnings

import pytest
import torch

import lamp
from lamp.studies import Sweep, grid, sweep
from lamp.studies.group import Group

SEEDS = [3, 0, 11]
TOLERANCE = 1e-10


def blobs(n=53, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    slopes = torch.randn(4, 3, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return x, (x @ slopes + noise).argmax(1)


def network(*last, hidden=9, activation=lamp.Tanh):
    return lamp.Sequential(lamp.Linear(4, hidden), activation(), lamp.Linear(hidden, 3), *last).double()


def dropping():
    return lamp.Sequential(
        lamp.Linear(4, 9), lamp.Dropout(0.2), lamp.Tanh(), lamp.Linear(9, 7), lamp.Dropout(0.4), lamp.Linear(7, 3)
    ).double()


def close(one, other, tolerance=TOLERANCE):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def swept(settings, model=None, **arguments):
    arguments = (
        dict(criterion=lamp.CrossEntropyLoss(), optimizer=lamp.SGD, epochs=4, batch_size=10, seeds=SEEDS)
        | dict(validation=blobs(31, 1), metrics=[lamp.accuracy], progress=False)
        | arguments
    )
    return sweep(model or network(), settings, blobs(), **arguments)


def alone(model, seed, optimizer, criterion=None, scheduler=None, **arguments):
    """The plain fit of one network from one seed."""
    model.reset_parameters(generator=torch.Generator().manual_seed(seed))
    made = optimizer(model.parameters())
    arguments = dict(epochs=4, batch_size=10, validation=blobs(31, 1), metrics=[lamp.accuracy]) | arguments
    history = lamp.fit(
        model,
        criterion,
        made,
        blobs(),
        seed=seed,
        scheduler=None if scheduler is None else scheduler(made),
        progress=False,
        **arguments,
    )
    return model, history


def check(result, of_setting, seeds=SEEDS):
    """Each network of the sweep against `of_setting(setting, seed)`: a network and its history."""
    for rank, row in enumerate(result.rows):
        networks, history = result.networks(rank), result.history(rank)
        for j, seed in enumerate(seeds):
            expected, of_one = of_setting(row.setting, seed)
            assert history.epochs == of_one.epochs
            for name in of_one:
                close(history[name][:, j], of_one[name])
            assert row.scores[j].item() == pytest.approx(of_one[result.score][-1].item(), abs=TOLERANCE)
            for own, other in zip(networks[j].parameters(), expected.parameters(), strict=True):
                close(own.data, other.data)


class TestIsPlainFit:
    def test_numbers_of_the_optimizer(self):
        result = swept({"lr": [0.3, 0.02], "momentum": [0.0, 0.9], "weight_decay": [0.0, 0.1]})
        assert len(result.rows) == 8
        check(
            result,
            lambda setting, seed: alone(network(), seed, lambda p: lamp.SGD(p, **setting), lamp.CrossEntropyLoss()),
        )

    def test_pairs(self):
        settings = [{"betas": (0.9, 0.99)}, {"betas": [0.5, 0.9]}, {"betas": (0.5, 0.99)}]
        result = swept(settings, optimizer=functools.partial(lamp.Adam, lr=0.05))
        check(
            result,
            lambda setting, seed: alone(
                network(), seed, lambda p: lamp.Adam(p, lr=0.05, betas=tuple(setting["betas"])), lamp.CrossEntropyLoss()
            ),
        )

    def test_loss_and_clipping(self):
        result = swept(
            {"label_smoothing": [0.0, 0.2], "clip_norm": [0.1, math.inf], "clip_value": [0.01, 5]},
            optimizer=functools.partial(lamp.SGD, lr=0.2, momentum=0.5),
            criterion=lamp.CrossEntropyLoss(label_smoothing=0.7),
        )

        def plain(setting, seed):
            limits = {name: setting[name] for name in ("clip_norm", "clip_value")}
            criterion = lamp.CrossEntropyLoss(label_smoothing=setting["label_smoothing"])
            return alone(network(), seed, lambda p: lamp.SGD(p, lr=0.2, momentum=0.5), criterion, **limits)

        check(result, plain)

    def test_arguments_of_the_model(self):
        result = swept({"hidden": [5, 7], "activation": [lamp.Tanh, lamp.ReLU], "lr": [0.1, 0.2]}, network)

        def plain(setting, seed):
            setting = dict(setting)
            lr = setting.pop("lr")
            return alone(network(**setting), seed, lambda p: lamp.SGD(p, lr=lr), lamp.CrossEntropyLoss())

        check(result, plain)
        assert result.rows[0].group.population.replicas == 4 * len(SEEDS)  # of both widths

    def test_a_network_that_ends_in_its_loss(self):
        result = swept(
            {"label_smoothing": [0.0, 0.2], "lr": [0.1, 0.3]}, network(lamp.CrossEntropyLoss()), criterion=None
        )

        def plain(setting, seed):
            loss = lamp.CrossEntropyLoss(label_smoothing=setting["label_smoothing"])
            return alone(network(loss), seed, lambda p: lamp.SGD(p, lr=setting["lr"]))

        check(result, plain)

    @pytest.mark.parametrize(
        ("scheduler", "per"),
        [
            (lambda optimizer: lamp.StepLR(optimizer, 2, 0.5), "epoch"),
            (lambda optimizer: lamp.OneCycleLR(optimizer, max_lr=0.3, total_steps=30), "batch"),
            (lambda optimizer: lamp.ReduceLROnPlateau(optimizer, factor=0.3, patience=0, threshold=0.05), "epoch"),
        ],
    )
    @pytest.mark.parametrize("halving", [None, 2])
    def test_schedules_and_dropout(self, scheduler, per, halving):
        result = swept({"lr": [0.2, 0.02]}, dropping(), scheduler=scheduler, schedule_per=per, halving=halving)
        if halving:
            result.rows.pop()
        check(
            result,
            lambda setting, seed: alone(
                dropping(),
                seed,
                lambda p: lamp.SGD(p, **setting),
                lamp.CrossEntropyLoss(),
                scheduler=scheduler,
                schedule_per=per,
            ),
        )

    def test_at_once_limits_the_replicas_of_a_population(self):
        settings = grid(lr=[0.01, 0.1, 0.3, 0.5, 0.8], momentum=[0.5])
        together, apart = swept(settings), swept(settings, at_once=8)  # two settings of three seeds
        assert [row.group.population.replicas for row in together.rows] == [15] * 5
        assert sorted(row.group.population.replicas for row in apart.rows) == [3, 6, 6, 6, 6]
        for rank, (one, other) in enumerate(zip(together.rows, apart.rows, strict=True)):
            assert one.setting == other.setting
            close(one.scores, other.scores)
            for own, of_other in zip(
                together.population(rank).parameters(), apart.population(rank).parameters(), strict=True
            ):
                close(own.data, of_other.data)

    def test_a_function_as_optimizer(self):
        result = swept(
            {"log_lr": [-1.0, -2.0], "momentum": [0.5]},
            optimizer=lambda parameters, log_lr, **others: lamp.SGD(parameters, lr=10**log_lr, **others),
        )
        check(
            result,
            lambda setting, seed: alone(
                network(),
                seed,
                lambda p: lamp.SGD(p, lr=10 ** setting["log_lr"], momentum=0.5),
                lamp.CrossEntropyLoss(),
            ),
        )

    def test_batches_come_to_all_alike(self):
        x, y = blobs()
        batches = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 53, 10)]
        for data in (batches, lamp.DataLoader((x, y), 10), lamp.DataLoader((x, y), 10, True)):
            torch.manual_seed(5)
            result = sweep(
                network(), {"lr": [0.1, 0.2]}, data, criterion=lamp.CrossEntropyLoss(), optimizer=lamp.SGD,
                epochs=2, seeds=[4, 1], at_once=2, progress=False,
            )  # fmt: skip
            seed = data.seed if isinstance(data, lamp.DataLoader) else None
            shuffle = seed is not None
            assert shuffle == (isinstance(data, lamp.DataLoader) and data.shuffle)
            for rank, row in enumerate(result.rows):
                for j, own in enumerate(result.networks(rank)):
                    model = network()
                    model.reset_parameters(generator=torch.Generator().manual_seed([4, 1][j]))
                    lamp.fit(
                        model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), **row.setting), (x, y), epochs=2,
                        batch_size=10, shuffle=shuffle, seed=seed, progress=False,
                    )  # fmt: skip
                    for one, other in zip(own.parameters(), model.parameters(), strict=True):
                        close(one.data, other.data)

    def test_early_stopping_of_each(self):
        stopping = functools.partial(lamp.EarlyStopping, 2)
        arguments = dict(epochs=25)
        result = swept({"lr": [0.9, 0.3]}, callbacks=[stopping()], **arguments)
        lengths = set()

        for rank, row in enumerate(result.rows):
            for j, seed in enumerate(SEEDS):
                _, of_one = alone(
                    network(), seed, lambda p, row=row: lamp.SGD(p, **row.setting), lamp.CrossEntropyLoss(),
                    callbacks=[stopping()], **arguments,
                )  # fmt: skip
                lengths.add(of_one.epochs)
                close(result.history(rank).of(j)["validation_loss"], of_one["validation_loss"])
                assert row.scores[j].item() == of_one["validation_accuracy"][-1].item()
            assert row.epochs == result.history(rank).epochs
        assert len(lengths) > 2

    def test_seeds_may_be_a_number(self):
        assert swept({"lr": [0.1]}, seeds=4).seeds == [0, 1, 2, 3]


class TestFailures:
    def swept(self, lrs, **arguments):
        """Regression on a few large targets: with a large learning rate it diverges."""
        x, y = blobs()
        targets = torch.eye(3, dtype=torch.float64)[y]
        return sweep(
            arguments.pop("model", network()), {"lr": lrs}, (x, targets), criterion=lamp.MSELoss(), optimizer=lamp.SGD,
            batch_size=10, seeds=SEEDS, progress=False, **{"epochs": 3} | arguments,
        )  # fmt: skip

    def test_they_are_counted_and_come_last(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = self.swept([1e200, 0.1, 0.2])
        clean = self.swept([0.1, 0.2])
        assert [row.setting for row in result.rows[:2]] == [row.setting for row in clean.rows]
        assert [row.failed for row in result.rows] == [0, 0, 3]
        for row, other in zip(result.rows, clean.rows, strict=False):
            close(row.scores, other.scores)
        last = result.rows[2]
        assert math.isnan(last.mean)
        assert "failed" in str(result)
        assert "loss was" in result.history(2).endings[0]
        with pytest.raises(lamp.ArgumentError, match="all failed"):
            result.networks(2)

    def test_one_seed_of_a_setting(self, monkeypatch):
        """It is not in the mean, nor among the networks, and a worse setting without failures ranks higher."""
        spoiled = spoil(monkeypatch, setting=1, seed=2, epoch=1)
        result = self.swept([0.01, 0.3])
        assert spoiled
        assert [row.setting["lr"] for row in result.rows] == [0.01, 0.3]
        worse, better = result.rows
        assert better.mean < worse.mean
        assert (better.failed, worse.failed) == (1, 0)
        assert better.scores.isnan().tolist() == [False, False, True]
        assert better.mean == pytest.approx(better.scores[:2].mean().item())
        assert better.std == pytest.approx(better.scores[:2].std().item())
        assert len(result.networks(1)) == 2
        assert result.history(1)["loss"].isnan().tolist() == [[False] * 3] * 2 + [[False, False, True]]
        assert result.history(1).failed == [2]

    def test_they_are_let_go_at_a_rung(self, monkeypatch):
        """A setting that lost a network goes on with the others, if it is among the best."""
        assert spoil(monkeypatch, setting=1, seed=0, epoch=0) is not None
        result = self.swept([1e200, 0.3], halving=2, epochs=4)
        clean = self.swept([0.3, 0.2], epochs=4)
        row = result.rows[0]
        assert (row.setting["lr"], row.failed, row.epochs) == (0.3, 1, 4)
        assert row.group.population.replicas == 2
        of_lr = next(each for each in clean.rows if each.setting["lr"] == 0.3)
        close(row.scores[1:], of_lr.scores[1:])
        assert row.scores[0].isnan()
        assert result.history()["loss"].isnan().tolist() == [[False] * 3] + [[True, False, False]] * 3

    def test_all_of_one_population(self):
        result = self.swept([1e200, 0.1], at_once=3)
        assert [row.failed for row in result.rows] == [0, 3]
        assert [row.epochs for row in result.rows] == [3, 0]

    def test_a_sweep_whose_trainings_all_fail(self):
        with pytest.raises(lamp.NonFiniteError, match=r"every network of the sweep[\s\S]*lr = 1e\+200"):
            self.swept([1e200, 2e200], at_once=3)

    def test_a_score_that_is_no_number_ranks_last(self):
        result = self.swept([0.1, 0.2], metrics={"r": lambda output, target: math.nan}, score="r")
        assert [row.failed for row in result.rows] == [0, 0]
        assert all(math.isnan(row.mean) for row in result.rows)


def spoil(monkeypatch, setting, seed, epoch):
    """Let one network's weights become infinite after an epoch; returns a list of what was spoiled."""
    train, spoiled = Group.train, []

    class Spoil(lamp.Callback):
        def __init__(self, group):
            self.group = group

        def on_epoch(self, training):
            if training.epoch == epoch and not spoiled:
                row = self.group.replicas.index((self.group.replicas[setting * len(SEEDS)][0], seed))
                training.model.parameters()[0].data[row] = math.inf
                spoiled.append(row)

    monkeypatch.setattr(
        Group, "train", lambda group, epochs, callbacks: train(group, epochs, [*callbacks, Spoil(group)])
    )
    return spoiled


class TestInterrupt:
    class Press(lamp.Callback):
        """Ctrl-C in an epoch of a training."""

        def __init__(self, at):
            self.at, self.epochs = at, 0

        def on_epoch(self, training):
            self.epochs += 1
            if self.epochs == self.at:
                signal.raise_signal(signal.SIGINT)

    @pytest.mark.filterwarnings("error")
    def test_what_is_there_is_returned(self):
        press = self.Press(6)
        result = swept({"lr": [0.1, 0.2, 0.3]}, at_once=3, callbacks=[press])  # in the second of three populations
        assert isinstance(result, Sweep)
        assert sorted(row.epochs for row in result.rows) == [0, 2, 4]
        assert "interrupted" in result.stopped
        assert "interrupted" in str(result)
        finished = next(rank for rank, row in enumerate(result.rows) if row.epochs == 4)
        assert len(result.networks(finished)) == 3
        assert result.rows[2].epochs == 0
        with pytest.raises(lamp.ArgumentError, match="not trained"):
            result.networks(2)
        with pytest.raises(lamp.ArgumentError, match="not trained"):
            result.history(2)

    def test_the_handler_is_put_back(self):
        before = signal.getsignal(signal.SIGINT)
        swept({"lr": [0.1]}, callbacks=[self.Press(1)])
        assert signal.getsignal(signal.SIGINT) is before


class TestProgress:
    def test_one_line_for_all(self, monkeypatch):
        told = []

        class Report:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def at(self, done, values):
                told.append((done, dict(values)))

        monkeypatch.setattr(sys.modules["lamp.studies.sweep"], "reporter", lambda show, total: Report())
        result = swept({"lr": [0.001 * 2**k for k in range(9)]}, halving=3, at_once=12, epochs=9)
        done = [each for each, _ in told]
        assert done == sorted(done)
        assert done[-1] == 9
        best = result.rows[0].scores.max().item()
        shown = [
            values["best validation_accuracy"].item() for _, values in told if "best validation_accuracy" in values
        ]
        assert shown == sorted(shown)  # the best so far never gets worse, though halving may let its networks go
        assert shown[-1] >= best - 1e-6

    def test_it_is_quiet(self, capsys):
        swept({"lr": [0.1]})
        assert capsys.readouterr() == ("", "")


class Product(lamp.Container):
    """The product of two Linear layers, of an input each."""

    def __init__(self):
        self.left, self.right = lamp.Linear(3, 2), lamp.Linear(4, 2)

    def forward(self, first, second):
        left, right = self.left(first), self.right(second)
        self.remember((left, right))
        return left * right

    def backward(self, grad_output):
        left, right = self.recall()
        return self.left.backward(grad_output * right), self.right.backward(grad_output * left)


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_share_held_out_for_validation(inputs):
    """Each network is the one that `fit` trains with the same seed."""
    generator = torch.Generator().manual_seed(1)
    x, z, y = (torch.randn(30, size, generator=generator) for size in (3, 4, 2))
    data, model = ((x, y), lamp.Linear(3, 2)) if inputs == 1 else (((x, z), y), Product())
    options = dict(epochs=3, batch_size=7, validation=0.3, progress=False)
    found = sweep(model, {"lr": [0.1, 0.01]}, data, criterion=lamp.MSELoss(), seeds=[5], optimizer=lamp.SGD, **options)
    for row in found.rows:
        alone = copy.deepcopy(model)
        alone.reset_parameters(generator=torch.Generator().manual_seed(5))
        optimizer = lamp.SGD(alone.parameters(), lr=row.setting["lr"])
        history = lamp.fit(alone, lamp.MSELoss(), optimizer, data, seed=5, **options)
        assert row.mean == pytest.approx(history["validation_loss"][-1].item(), rel=1e-6)
