"""`cross_validate` fits each fold's training samples; each sample is scored by the network that has not seen it."""

from __future__ import annotations

import math

import pytest
import torch

import lamp
from lamp.studies import cross_validate

TOLERANCE = 1e-10
N, FOLDS, SEED = 53, 4, 7  # folds of 14, 13, 13 and 13


def blobs(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    slopes = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return x, (x @ slopes + torch.randn(n, 3, generator=generator, dtype=torch.float64)).argmax(1)


def network(*last):
    layers = [lamp.Linear(5, 9), lamp.Tanh(), lamp.Dropout(0.2), lamp.Linear(9, 3)]
    return lamp.Sequential(*layers, *last).double()


def sgd(parameters):
    return lamp.SGD(parameters, lr=0.2, momentum=0.5)


def validated(model=None, data=None, **arguments):
    arguments = dict(optimizer=sgd, folds=FOLDS, epochs=3, batch_size=8, seed=SEED, progress=False) | arguments
    criterion = arguments.pop("criterion", None) or lamp.CrossEntropyLoss()
    return cross_validate(model or network(), blobs() if data is None else data, criterion=criterion, **arguments)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def squares(output, target):
    """A metric for one network that weights samples unequally."""
    return output.square().sum(0).max() + target.double().mean()


METRICS = {"accuracy": lamp.accuracy, "squares": squares}


class TestEqualsFit:
    @pytest.mark.parametrize("early", [False, True])
    def test_fold_by_fold(self, early):
        def callbacks():
            return [lamp.EarlyStopping(2)] if early else []

        def scheduler(optimizer):
            return lamp.StepLR(optimizer, 1, 0.8)

        epochs = 25 if early else 3
        options = dict(metrics=METRICS, clip_norm=0.4, epochs=epochs)
        found = validated(repeats=2, scheduler=scheduler, callbacks=callbacks(), **options)
        x, y = blobs()
        lengths = set()
        for k, held in enumerate(found.folds):
            model = network()
            model.reset_parameters(generator=torch.Generator().manual_seed(SEED + k))
            optimizer = sgd(model.parameters())
            few = held[: N // FOLDS]
            history = lamp.fit(
                model,
                lamp.CrossEntropyLoss(),
                optimizer,
                (x[found.training[k]], y[found.training[k]]),
                batch_size=8,
                validation=(x[few], y[few]),
                scheduler=scheduler(optimizer),
                callbacks=callbacks(),
                seed=SEED + k,
                progress=False,
                **options,
            )
            lengths.add(history.epochs)
            for name in history:
                close(found.history.of(k)[name], history[name])
            for own, other in zip(found.population[k].parameters(), model.parameters(), strict=True):
                close(own.data, other.data)
            close(found.outputs[k // FOLDS, held], lamp.predict(model, x[held]))
            alone = lamp.evaluate(model, lamp.CrossEntropyLoss(), (x[held], y[held]), metrics=METRICS)
            for name, value in alone.items():
                assert found.scores[name][k].item() == pytest.approx(value, rel=TOLERANCE)
        assert (len(lengths) > 1) == early

    def test_initial_weights_come_from_the_seeds(self):
        found = validated(optimizer=lambda parameters: lamp.SGD(parameters, lr=0.0), epochs=1)
        for own, other in zip(
            found.population.parameters(),
            lamp.population(network(), range(SEED, SEED + FOLDS)).parameters(),
            strict=True,
        ):
            assert torch.equal(own.data, other.data)

    def test_a_network_that_ends_in_its_loss(self):
        plain = validated()
        ending = cross_validate(
            network(lamp.CrossEntropyLoss()),
            blobs(),
            criterion=None,
            optimizer=sgd,
            folds=FOLDS,
            epochs=3,
            batch_size=8,
            seed=SEED,
            progress=False,
        )
        close(ending.scores["loss"], plain.scores["loss"])
        close(ending.outputs, plain.outputs)

    def test_numbers_of_their_own(self):
        """With hyperparameters (K,) of loss and optimizer, each fold is trained and scored with its own."""
        smoothings, lrs = [0.0, 0.1, 0.4, 0.2], [0.1, 0.2, 0.3, 0.4]
        found = validated(
            criterion=lamp.CrossEntropyLoss(label_smoothing=torch.tensor(smoothings, dtype=torch.float64)),
            optimizer=lambda parameters: lamp.SGD(parameters, lr=torch.tensor(lrs, dtype=torch.float64)),
        )
        _, y = blobs()
        for k, held in enumerate(found.folds):
            alone = validated(
                criterion=lamp.CrossEntropyLoss(label_smoothing=smoothings[k]),
                optimizer=lambda parameters, lr=lrs[k]: lamp.SGD(parameters, lr=lr),
            )
            close(found.scores["loss"][k], alone.scores["loss"][k])
            oracle = torch.nn.CrossEntropyLoss(label_smoothing=smoothings[k])(found.outputs[0, held], y[held])
            close(found.scores["loss"][k], oracle)

    def test_regression(self):
        x, _ = blobs(23)
        y = x[:, :2].sin()
        model = lamp.Sequential(lamp.Linear(5, 4), lamp.Tanh(), lamp.Linear(4, 2)).double()
        found = validated(model, (x, y), criterion=lamp.MSELoss(), folds=3, repeats=2)
        assert found.outputs.shape == (2, 23, 2)
        for k, held in enumerate(found.folds):
            close(found.outputs[k // 3, held], lamp.predict(found.population[k], x[held]))
            close(found.scores["loss"][k], (found.outputs[k // 3, held] - y[held]).square().mean())

    def test_arrays_data_sets_and_images(self):
        data = lamp.Dataset(torch.randn(17, 2, 3), torch.arange(17) % 2)
        model = lamp.Sequential(lamp.Flatten(), lamp.Linear(6, 2))
        from_set = validated(model, data, folds=3)
        from_arrays = validated(model, (data.inputs.numpy(), data.targets.numpy()), folds=3)
        close(from_set.scores["loss"], from_arrays.scores["loss"])


class TestFolds:
    @pytest.mark.parametrize(("n", "folds"), [(53, 4), (20, 5), (19, 19), (11, 2), (2, 2)])
    @pytest.mark.parametrize("stratify", [None, False])
    def test_every_sample_is_held_out_once_a_repeat(self, n, folds, stratify):
        found = validated(data=blobs(n), folds=folds, repeats=3, epochs=1, stratify=stratify)
        assert len(found.folds) == 3 * folds
        assert found.training.shape == (3 * folds, n - math.ceil(n / folds))
        for repeat in range(3):
            parts = found.folds[repeat * folds : (repeat + 1) * folds]
            assert torch.cat(parts).sort().values.tolist() == list(range(n))
            assert {len(part) for part in parts} <= {n // folds, math.ceil(n / folds)}
        for held, trained in zip(found.folds, found.training, strict=True):
            assert len(set(trained.tolist())) == len(trained)
            assert not set(held.tolist()) & set(trained.tolist())

    @pytest.mark.parametrize("stratify", [None, True])
    def test_classes_are_spread_evenly(self, stratify):
        y = torch.tensor([0] * 31 + [1] * 9 + [2] * 13)
        found = validated(data=(torch.randn(N, 5, dtype=torch.float64), y), repeats=3, epochs=1, stratify=stratify)
        counts = torch.stack([y[held].bincount(minlength=3) for held in found.folds])  # (K, 3)
        assert (counts.amax(0) - counts.amin(0) <= 1).all()

    def test_without_it_they_are_not(self):
        y = torch.tensor([0] * 31 + [1] * 9 + [2] * 13)
        found = validated(data=(torch.randn(N, 5, dtype=torch.float64), y), repeats=3, epochs=1, stratify=False)
        counts = torch.stack([y[held].bincount(minlength=3) for held in found.folds])
        assert (counts.amax(0) - counts.amin(0) > 1).any()

    def test_a_rare_class_is_spread_as_far_as_it_goes(self):
        y = torch.tensor([0] * 41 + [1] * 10 + [2] * 2)
        found = validated(data=(torch.randn(N, 5, dtype=torch.float64), y), epochs=1)
        assert sorted(int((y[held] == 2).sum()) for held in found.folds) == [0, 0, 1, 1]

    def test_one_seed_one_deal(self):
        first, again, other = validated(epochs=1), validated(epochs=1), validated(epochs=1, seed=SEED + 1)
        assert all(torch.equal(a, b) for a, b in zip(first.folds, again.folds, strict=True))
        assert torch.equal(first.outputs, again.outputs)
        assert not all(torch.equal(a, b) for a, b in zip(first.folds, other.folds, strict=False) if len(a) == len(b))

    def test_repeats_deal_anew(self):
        found = validated(epochs=1, repeats=2)
        assert not torch.equal(found.folds[0], found.folds[FOLDS])
        assert torch.equal(found.folds[0], validated(epochs=1).folds[0])  # the first as without them

    def test_it_is_not_always_the_same_sample_that_is_left_out(self):
        found = validated(epochs=1, folds=10)
        left = [
            set(range(N)) - set(held.tolist()) - set(trained.tolist())
            for held, trained in zip(found.folds, found.training, strict=True)
        ]
        assert [len(each) for each in left] == [0] * 3 + [1] * 7
        assert len(set.union(*left)) > 2  # the last one outside each fold would be one of two


class TestStatistics:
    def test_mean_std_interval(self):
        found = validated(metrics=[lamp.accuracy])
        values = found.scores["accuracy"]
        assert values.shape == (FOLDS,)
        assert found.mean("accuracy") == pytest.approx(values.mean().item())
        assert found.std("accuracy") == pytest.approx(values.std().item())
        t = 3.182446305284263  # Student's t of 3 degrees of freedom, 97.5 %
        margin = t * values.std().item() / math.sqrt(FOLDS)
        assert found.interval("accuracy") == pytest.approx(
            (values.mean().item() - margin, values.mean().item() + margin)
        )
        low, high = found.interval("accuracy", corrected=True)
        assert (high - low) / 2 == pytest.approx(t * values.std().item() * math.sqrt(1 / FOLDS + 1 / (FOLDS - 1)))
        assert found.interval("accuracy", 0.5)[1] < found.interval("accuracy")[1]

    def test_correction_with_repeats_counts_folds(self):
        found = validated(repeats=3)
        plain, corrected = found.interval(), found.interval(corrected=True)
        ratio = (corrected[1] - corrected[0]) / (plain[1] - plain[0])
        assert ratio == pytest.approx(math.sqrt((1 / 12 + 1 / 3) / (1 / 12)))

    def test_prints_fold_by_fold(self):
        text = str(validated(metrics=[lamp.accuracy]))
        assert "4 folds of 53 samples, 3 epochs" in text
        assert "mean ± std" in text
        rows = [line.split("│")[1:4] for line in text.splitlines() if line.count("│") == 5]
        assert [row[:2] for row in rows[:4]] == [[f"{k:>11} ", f"{14 if k == 1 else 13:>8} "] for k in range(1, 5)]
        found = validated(repeats=2, metrics=[lamp.accuracy])
        assert f"{found.mean('accuracy'):.4g} ± {found.std('accuracy'):.2g}" in str(found)
        assert "2.4" in str(found)
        assert f">{found._spread('accuracy')}</td>" in found._repr_html_()
        assert repr(found).startswith("CrossValidation(8 folds; loss ")

    def test_prints_few_rows_of_many(self):
        assert len(str(validated(data=blobs(19), folds=19, epochs=1)).splitlines()) < 20


class TestFailures:
    @pytest.fixture
    def found(self):
        x, _ = blobs()
        lrs = torch.tensor([0.1, 1e300, 0.1, 0.1], dtype=torch.float64)
        model = lamp.Sequential(lamp.Linear(5, 4), lamp.Tanh(), lamp.Linear(4, 2)).double()
        with pytest.warns(lamp.NonFiniteWarning, match="1 of 4 replicas .*: 1"):
            return validated(
                model,
                (x, x[:, :2].sin()),
                criterion=lamp.MSELoss(),
                optimizer=lambda parameters: lamp.SGD(parameters, lr=lrs),
                metrics={
                    "size": lambda output, target: output.abs().mean(),
                    "share": lambda output, target: (output > target).double().mean(),  # of NaN it is a number
                },
            )

    def test_it_is_nan_and_not_in_the_mean(self, found):
        for values in found.scores.values():
            assert values.isnan().tolist() == [False, True, False, False]
        kept = found.scores["size"][[0, 2, 3]]
        assert found.mean("size") == pytest.approx(kept.mean().item())
        assert found.std("size") == pytest.approx(kept.std().item())
        low, high = found.interval("size")
        assert (high - low) / 2 == pytest.approx(4.302652729911275 * kept.std().item() / math.sqrt(3))
        assert found.outputs[0].isnan().any(1).nonzero().flatten().tolist() == found.folds[1].tolist()

    def test_the_table_says_how_many_trainings_failed(self, found):
        assert "1 of 4 trainings failed" in str(found)
        assert str(found).count("failed") == 4  # the line above the table, and three scores

    def test_a_metric_that_is_nan_is_not_hidden(self):
        found = validated(metrics={"nothing": lambda output, target: math.nan})
        assert math.isnan(found.mean("nothing"))


X, Y = blobs(9)
BAD = {
    "one fold": (dict(folds=1), lamp.ArgumentError, "folds is too small"),
    "half a fold": (dict(folds=2.5), lamp.ArgumentError, "folds is not an integer"),
    "more folds than samples": (dict(folds=10), lamp.ArgumentError, "more folds than samples"),
    "no repeats": (dict(repeats=0), lamp.ArgumentError, "repeats is too small"),
    "no seed": (dict(seed=None), lamp.ArgumentError, "seed is not an integer"),
    "a negative seed": (dict(seed=-1), lamp.ArgumentError, "seed is too small"),
    "no samples": (dict(data=(X[:0], Y[:0])), lamp.DataError, "empty"),
    "other lengths": (dict(data=(X, Y[1:])), lamp.DataError, "differ in length"),
    "no targets": (dict(data=X), lamp.DataError, r"(?s)inputs and targets.*1 column\n"),
    "three columns": (dict(data=(X, X, Y)), lamp.DataError, "3 columns"),
    "batches": (dict(data=lamp.DataLoader((X, Y), 3)), lamp.DataError, "DataLoader"),
    "samples": (dict(data=[(X[0], Y[0])]), lamp.DataError, "inputs and targets"),
    "a rare class": (
        dict(data=(X, torch.tensor([0] * 7 + [5] * 2)), folds=3, stratify=True),
        lamp.LabelError,
        "(?s)class 5 .*at least 3.*2",
    ),
    "classes in floats": (dict(data=(X, X[:, 0]), stratify=True), lamp.LabelError, "(?s)integers.*float64"),
    "classes in rows": (dict(data=(X, Y.unsqueeze(1)), stratify=True), lamp.LabelError, r"\(9, 1\)"),
    "stratify by a tensor": (dict(stratify=Y), lamp.ArgumentError, "a switch"),
    "an optimizer": (dict(optimizer=sgd(network().parameters())), lamp.ArgumentError, "(?s)optimizer=.*lambda"),
    "no optimizer": (dict(optimizer=lambda parameters: None), lamp.ArgumentError, "optimizer="),
    "no schedule": (dict(scheduler=lambda optimizer: 3), lamp.ArgumentError, "(?s)scheduler=.*StepLR"),
    "a population": (dict(model=lamp.population(network(), range(2))), lamp.ArgumentError, "one network"),
    "no epochs": (dict(epochs=0), lamp.ArgumentError, "epochs"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, error, match = BAD[name]
    with pytest.raises(error, match=match):
        validated(**(dict(data=(X, Y), folds=2) | arguments))


def test_a_score_that_was_not_measured():
    with pytest.raises(lamp.ArgumentError, match="'accuracy' was not measured"):
        validated(epochs=1).mean("accuracy")
    with pytest.raises(lamp.ArgumentError, match="level"):
        validated(epochs=1).interval(level=95)


def test_no_loss():
    with pytest.raises(lamp.ArgumentError, match="no loss"):
        cross_validate(network(), (X, Y), criterion=None, epochs=1, folds=2, progress=False)
