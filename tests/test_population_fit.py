"""A population in `fit` gives the K networks of K calls of `fit`, each with its own seed, data and options."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import lamp

K = 3
SEEDS = [3, 0, 11]
LRS = [0.02, 0.3, 0.08]
TOLERANCE = 1e-10


def blobs(n=53, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    slopes = torch.randn(4, 3, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return x, (x @ slopes + noise).argmax(1)


def network(*extra):
    return lamp.Sequential(lamp.Linear(4, 9), lamp.Tanh(), *extra, lamp.Linear(9, 3)).double()


def built(seed, *extra):
    model = network(*extra)
    model.reset_parameters(generator=torch.Generator().manual_seed(seed))
    return model


def close(one, other):
    torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def together_and_alone(
    *, make=lamp.SGD, options=None, extra=(), data=None, singles=None, criterion=None, scheduler=None, **arguments
):
    """Fit a population and each network alone; returns (population, its history, networks, their histories)."""
    options = options or [dict(lr=lr) for lr in LRS]
    criterion = criterion or (lambda k: lamp.CrossEntropyLoss())
    arguments = dict(epochs=4, batch_size=10, progress=False) | arguments
    population = lamp.population(network(*extra), SEEDS)
    stacked = {name: torch.tensor([each[name] for each in options], dtype=torch.float64) for name in options[0]}
    optimizer = make(population.parameters(), **stacked)
    numbers = [i for i in arguments if isinstance(arguments[i], list) and i.startswith("clip")]
    of_all = arguments | {i: torch.tensor(arguments[i], dtype=torch.float64) for i in numbers}
    schedule = None if scheduler is None else scheduler(optimizer)
    callbacks = of_all.pop("callbacks", lambda: [])
    history = lamp.fit(
        population,
        criterion(None),
        optimizer,
        data or blobs(),
        scheduler=schedule,
        callbacks=callbacks(),
        **of_all,
    )
    networks, histories = [], []
    for k in range(K):
        model = built(SEEDS[k], *extra)
        own = make(model.parameters(), **options[k])
        of_one = arguments | {i: arguments[i][k] for i in numbers}
        of_one.pop("callbacks", None)
        schedule = None if scheduler is None else scheduler(own)
        given = (singles or (lambda k: blobs()))(k)
        histories.append(
            lamp.fit(
                model,
                criterion(k),
                own,
                given,
                scheduler=schedule,
                callbacks=callbacks(),
                seed=None if isinstance(given, lamp.DataLoader) else SEEDS[k],
                **{i: v for i, v in of_one.items() if not (isinstance(given, lamp.DataLoader) and i == "batch_size")},
            )
        )
        networks.append(model)
    return population, history, networks, histories


def check(population, history, networks, histories):
    for k, (model, of_one) in enumerate(zip(networks, histories, strict=True)):
        for name in of_one:
            close(history.of(k)[name], of_one[name])
        for own, other in zip(population[k].parameters(), model.parameters(), strict=True):
            close(own.data, other.data)


OPTIMIZERS = {
    "SGD": (
        lamp.SGD,
        [dict(lr=lr, momentum=m, weight_decay=w) for lr, m, w in zip(LRS, [0, 0.9, 0.5], [0, 0.1, 0.01], strict=True)],
    ),
    "Adam": (lamp.Adam, [dict(lr=lr, weight_decay=w) for lr, w in zip(LRS, [0, 0.1, 0.01], strict=True)]),
    "AdamW": (lamp.AdamW, [dict(lr=lr) for lr in LRS]),
    "RMSprop": (lamp.RMSprop, [dict(lr=lr, alpha=a) for lr, a in zip(LRS, [0.9, 0.8, 0.99], strict=True)]),
    "Adagrad": (lamp.Adagrad, [dict(lr=lr) for lr in LRS]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_with_its_own_numbers(name):
    make, options = OPTIMIZERS[name]
    check(*together_and_alone(make=make, options=options, metrics=[lamp.accuracy], validation=blobs(31, 1)))


def test_dropout():
    check(*together_and_alone(extra=(lamp.Dropout(0.3),)))


SCHEDULES = {
    "StepLR": lambda optimizer: lamp.StepLR(optimizer, 2, 0.5),
    "OneCycleLR": lambda optimizer: lamp.OneCycleLR(optimizer, max_lr=0.3, total_steps=30),
    "ReduceLROnPlateau": lambda optimizer: lamp.ReduceLROnPlateau(optimizer, factor=0.3, patience=0, threshold=0.05),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    per = "batch" if name == "OneCycleLR" else "epoch"
    check(*together_and_alone(scheduler=SCHEDULES[name], schedule_per=per, validation=blobs(31, 1)))


@pytest.mark.parametrize("limits", [dict(clip_norm=[0.05, 0.5, 1e9]), dict(clip_value=[0.01, 0.1, 1e9])])
def test_clipping(limits):
    check(*together_and_alone(**limits))


def test_label_smoothing():
    smoothings = [0.0, 0.1, 0.4]
    check(
        *together_and_alone(
            criterion=lambda k: lamp.CrossEntropyLoss(
                label_smoothing=torch.tensor(smoothings, dtype=torch.float64) if k is None else smoothings[k]
            )
        )
    )


def test_data_of_their_own():
    own = [blobs(53, k) for k in range(K)]
    columns = tuple(torch.stack(each) for each in zip(*own, strict=True))
    data = lamp.DataLoader(columns, 10, True, seed=SEEDS, replicas=K)
    found = together_and_alone(
        data=data, batch_size=None, singles=lambda k: lamp.DataLoader(own[k], 10, True, seed=SEEDS[k])
    )
    check(*found)


def test_folds():
    order = torch.randperm(53)
    indices = torch.stack([order[k * 5 : k * 5 + 40] for k in range(K)])
    held_out = torch.stack([order[k : k + 7] for k in range(K)])
    x, y = blobs()
    population = lamp.population(network(), SEEDS)
    history = lamp.fit(
        population,
        lamp.CrossEntropyLoss(),
        lamp.SGD(population.parameters(), lr=0.1),
        lamp.DataLoader((x, y), 8, True, seed=SEEDS, indices=indices),
        validation=lamp.DataLoader((x, y), 5, indices=held_out),
        metrics={"accuracy": lamp.accuracy, "mean": lambda output, target: output.mean() + target.double().mean()},
        epochs=3,
        progress=False,
    )
    for k in range(K):
        model = built(SEEDS[k])
        of_one = lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            lamp.SGD(model.parameters(), lr=0.1),
            (x[indices[k]], y[indices[k]]),
            validation=(x[held_out[k]], y[held_out[k]]),
            metrics={"accuracy": lamp.accuracy, "mean": lambda output, target: output.mean() + target.double().mean()},
            epochs=3,
            batch_size=8,
            seed=SEEDS[k],
            progress=False,
        )
        for name in of_one:
            close(history.of(k)[name], of_one[name])


def test_one_seed_is_one_order():
    population = lamp.population(network(), SEEDS)
    seen = []

    class Look(lamp.Callback):
        def on_batch(self, training, loss):
            seen.append(loss.shape)

    lamp.fit(
        population,
        lamp.CrossEntropyLoss(),
        lamp.SGD(population.parameters(), lr=0.1),
        blobs(),
        epochs=2,
        batch_size=10,
        seed=5,
        callbacks=[Look()],
        progress=False,
    )
    assert set(seen) == {(K,)}
    for k in range(K):
        model = built(SEEDS[k])
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            lamp.SGD(model.parameters(), lr=0.1),
            blobs(),
            epochs=2,
            batch_size=10,
            seed=5,
            progress=False,
        )
        for own, other in zip(population[k].parameters(), model.parameters(), strict=True):
            close(own.data, other.data)


class TestEarlyStopping:
    def fit(self, **arguments):
        return together_and_alone(
            make=lamp.Adam,
            epochs=40,
            validation=blobs(31, 1),
            callbacks=lambda: [lamp.EarlyStopping(3)],
            extra=(lamp.Dropout(0.1),),
            **arguments,
        )

    def test_each_stops_for_itself_with_its_best_weights(self):
        found = self.fit()
        _, history, _, histories = found
        lengths = [of_one.epochs for of_one in histories]
        assert len(set(lengths)) == K
        assert max(lengths) == history.epochs
        check(*found)
        assert [history.of(k).epochs for k in range(K)] == lengths
        stopped = {k: of_one.stopped for k, of_one in enumerate(histories) if of_one.epochs < 40}
        assert history.endings == stopped

    def test_with_a_schedule(self):
        check(*self.fit(scheduler=lambda optimizer: lamp.CosineAnnealingLR(optimizer, 40)))

    @pytest.mark.parametrize("shared", [True, False])
    def test_in_batches_that_come_for_all(self, shared):
        x, y = blobs()
        batches = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 53, 10)]
        stacked = (
            batches
            if shared
            else [tuple(map(lamp.per_replica, (a.expand(K, -1, -1), b.expand(K, -1)))) for a, b in batches]
        )
        found = together_and_alone(
            make=lamp.Adam,
            data=stacked,
            singles=lambda k: lamp.DataLoader((x, y), 10),
            batch_size=None,
            epochs=40,
            validation=blobs(31, 1),
            callbacks=lambda: [lamp.EarlyStopping(3)],
        )
        assert len({of_one.epochs for of_one in found[3]}) > 1
        check(*found)

    def test_a_stopped_replica_costs_nothing_more(self):
        widths = []

        class Look(lamp.Callback):
            def on_batch(self, training, loss):
                widths.append(len(loss))

        class Drop(lamp.Callback):
            def on_epoch(self, training):
                training.stop("enough", [[2], [0], [1]][training.epoch])

        population = lamp.population(network(), SEEDS)
        history = lamp.fit(
            population,
            lamp.CrossEntropyLoss(),
            lamp.Adam(population.parameters()),
            blobs(),
            epochs=9,
            batch_size=53,
            callbacks=[Drop(), Look()],
            progress=False,
        )
        assert widths == [3, 2, 1]
        assert history.stopped == "all replicas have ended"
        assert [history.of(k).epochs for k in range(K)] == [2, 3, 1]

    def test_going_on_afterwards(self):
        """The optimizer of the whole population has every replica's state as it left."""
        population, singles = lamp.population(network(), SEEDS), [built(seed) for seed in SEEDS]
        optimizer = lamp.Adam(population.parameters(), lr=torch.tensor(LRS))

        class Drop(lamp.Callback):
            def on_epoch(self, training):
                if training.epoch == 1:
                    training.stop("enough", [1])

        arguments = dict(batch_size=10, progress=False)
        lamp.fit(population, lamp.CrossEntropyLoss(), optimizer, blobs(), epochs=4, callbacks=[Drop()], **arguments)
        for k in (0, 2):
            own = lamp.Adam(singles[k].parameters(), lr=optimizer.param_groups[0]["lr"][k].item())
            lamp.fit(singles[k], lamp.CrossEntropyLoss(), own, blobs(), epochs=4, seed=SEEDS[k], **arguments)
            states = zip(own.state_dict()["state"].values(), optimizer.state_dict()["state"].values(), strict=True)
            for alone, of_all in states:
                close(alone["exp_avg"], of_all["exp_avg"][k])


class TestFailures:
    @pytest.mark.filterwarnings("ignore::lamp.NonFiniteWarning")
    def test_one_diverges_and_the_others_do_not_notice(self):
        x, y = blobs(200)
        targets = torch.eye(3, dtype=torch.float64)[y]
        runs = []
        for lrs in ([0.01, 0.02, 0.03], [0.01, 1e20, 0.03]):
            population = lamp.population(network(), SEEDS)
            optimizer = lamp.SGD(population.parameters(), lr=torch.tensor(lrs, dtype=torch.float64))
            history = lamp.fit(
                population,
                lamp.MSELoss(),
                optimizer,
                (x, targets),
                epochs=5,
                batch_size=7,
                metrics={"size": lambda output, target: output.abs().mean()},
                progress=False,
            )
            runs.append((population, history))
        (clean, of_clean), (poisoned, of_poisoned) = runs
        assert of_poisoned.failed == [1]
        assert "epoch 1, step" in of_poisoned.endings[1]
        assert of_poisoned["loss"][:, 1].isnan().all()
        assert of_poisoned["size"][:, 1].isnan().all()
        assert poisoned.state_dict()["0.weight"].isfinite().all()
        for k in (0, 2):
            close(of_clean.of(k)["loss"], of_poisoned.of(k)["loss"])
            for own, other in zip(clean[k].parameters(), poisoned[k].parameters(), strict=True):
                close(own.data, other.data)

    def test_it_is_told(self):
        population = lamp.population(network(), SEEDS)
        optimizer = lamp.SGD(population.parameters(), lr=torch.tensor([0.1, 0.1, 1e300], dtype=torch.float64))
        with pytest.warns(lamp.NonFiniteWarning, match="1 of 3 replicas .*: 2"):
            lamp.fit(
                population,
                lamp.MSELoss(),
                optimizer,
                (blobs()[0], torch.randn(53, 3, dtype=torch.float64)),
                epochs=2,
                progress=False,
            )

    def test_weights_of_a_failed_replica_are_its_last_finite_ones(self):
        population = lamp.population(network(), SEEDS)
        before = population[1].state_dict()
        x = blobs()[0]
        data = torch.randn(K, 53, 3, dtype=torch.float64)
        data[1, 5, 1] = 1e200  # a loss beyond what a float holds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lamp.NonFiniteWarning)
            lamp.fit(
                population,
                lamp.MSELoss(),
                lamp.SGD(population.parameters(), lr=0.1),
                lamp.DataLoader((x.expand(K, -1, -1), data), 53, replicas=K),
                epochs=3,
                progress=False,
            )
        for name, tensor in population[1].state_dict().items():
            assert torch.equal(tensor, before[name])
        assert not torch.equal(
            population.state_dict()["0.weight"][0], lamp.population(network(), SEEDS)[0][0].weight.data
        )

    def test_all_fail(self):
        population = lamp.population(network(), SEEDS)
        with pytest.raises(lamp.NonFiniteError, match="K = 3") as caught:
            lamp.fit(
                population,
                lamp.MSELoss(),
                lamp.SGD(population.parameters(), lr=1e300),
                (blobs()[0], torch.randn(53, 3, dtype=torch.float64)),
                epochs=2,
                progress=False,
            )
        assert caught.value.history.failed == [0, 1, 2]


class TestHistory:
    @pytest.fixture
    def history(self):
        return together_and_alone(metrics=[lamp.accuracy], validation=blobs(31, 1))[1]

    def test_shapes_and_statistics(self, history):
        loss = history["loss"]
        assert loss.shape == (4, K)
        close(history.mean("loss"), loss.mean(1))
        close(history.std("loss"), loss.std(1))
        low, high = history.interval("loss")
        t = 4.302652729911275  # Student's t of 2 degrees of freedom, 97.5 %
        close(high - low, 2 * t * loss.std(1) / math.sqrt(K))
        close((high + low) / 2, loss.mean(1))

    def test_best_replica(self, history):
        assert history.best_replica() == int(history["validation_loss"].amin(0).argmin())
        assert history.best_replica("accuracy") == int(history["accuracy"].amax(0).argmax())

    def test_prints_means(self, history):
        text = str(history)
        assert "4 epochs of 3 replicas (mean ± std)" in text
        assert f"{history.mean('loss')[-1].item():.4g} ± {history.std('loss')[-1].item():.2g}" in text

    def test_json_there_and_back(self, history):
        history.endings, history.failed = {2: "enough"}, [2]
        history._epochs[-1]["loss"] = torch.tensor([0.5, math.nan, 0.25], dtype=torch.float64)
        back = lamp.History.from_json(history.to_json())
        assert back.to_dict() == history.to_dict()
        close(back["loss"], history["loss"])
        assert (back.replicas, back.endings, back.failed) == (K, {2: "enough"}, [2])

    def test_plots_a_line_each_and_the_mean(self, history):
        assert len(history.plot("loss").lines) == K + 1

    def test_errors(self, history):
        with pytest.raises(IndexError, match="replica 3"):
            history.of(3)
        with pytest.raises(lamp.ArgumentError, match="one network"):
            history.of(1).std("loss")


class TestUse:
    def test_evaluate_and_predict(self):
        population = lamp.population(network(), SEEDS)
        x, y = blobs()
        measured = lamp.evaluate(population, lamp.CrossEntropyLoss(), (x, y), metrics=[lamp.accuracy], batch_size=20)
        outputs = lamp.predict(population, x, batch_size=20)
        assert outputs.shape == (K, 53, 3)
        own = lamp.predict(population, population.per_replica(torch.stack([x, x + 1, x * 2])), batch_size=20)
        for k, (model, given) in enumerate(zip(population, [x, x + 1, x * 2], strict=True)):
            alone = lamp.evaluate(model, lamp.CrossEntropyLoss(), (x, y), metrics=[lamp.accuracy], batch_size=20)
            assert measured["loss"][k].item() == pytest.approx(alone["loss"], rel=1e-12)
            assert measured["accuracy"][k].item() == pytest.approx(alone["accuracy"], rel=1e-12)
            close(outputs[k], lamp.predict(model, x))
            close(own[k], lamp.predict(model, given))

    def test_images_that_all_share(self):
        x, y = torch.randn(20, 2, 2, dtype=torch.float64), torch.randint(0, 3, (20,))
        model = lamp.Sequential(lamp.Flatten(), *network())
        population = lamp.population(model, SEEDS)
        history = lamp.fit(
            population,
            lamp.CrossEntropyLoss(),
            lamp.SGD(population.parameters(), lr=0.1),
            (x, y),
            epochs=2,
            seed=1,
            progress=False,
        )
        assert history["loss"].shape == (2, K)
        assert lamp.predict(population, x).shape == (K, 20, 3)

    def test_a_network_that_ends_in_its_loss(self):
        population = lamp.population(lamp.Sequential(*network(), lamp.CrossEntropyLoss()), SEEDS)
        history = lamp.fit(
            population, None, lamp.SGD(population.parameters(), lr=0.1), blobs(), epochs=2, progress=False
        )
        other = lamp.population(network(), SEEDS)
        expected = lamp.fit(
            other, lamp.CrossEntropyLoss(), lamp.SGD(other.parameters(), lr=0.1), blobs(), epochs=2, progress=False
        )
        close(history["loss"], expected["loss"])


BAD = {
    "loader of another K": (lambda p: dict(data=lamp.DataLoader(blobs(), 5, True, seed=[1, 2])), "K = 3"),
    "validation of another K": (
        lambda p: dict(validation=lamp.DataLoader(blobs(), 5, indices=[[1, 2], [3, 4]])),
        "validation_data",
    ),
    "lr of another K": (lambda p: dict(optimizer=lamp.SGD(p.parameters(), lr=torch.tensor([0.1, 0.2]))), r"\(3,\)"),
    "clip_norm of another K": (lambda p: dict(clip_norm=torch.tensor([0.1, 0.2])), "K = 3"),
    "clip_value of another K": (lambda p: dict(clip_value=torch.tensor([0.1, 0.2])), "K = 3"),
    "smoothing of another K": (
        lambda p: dict(criterion=lamp.CrossEntropyLoss(label_smoothing=torch.tensor([0.1, 0.2]))),
        "K = 3",
    ),
    "batches of another K": (
        lambda p: dict(data=[(lamp.per_replica(torch.zeros(2, 5, 4).double()), torch.zeros(5).long())]),
        "of 3",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    change, message = BAD[name]
    population = lamp.population(network(), SEEDS)
    with pytest.raises(lamp.LampError, match=message):
        lamp.fit(
            **{
                **dict(model=population, criterion=lamp.CrossEntropyLoss(), data=blobs(), epochs=1, progress=False),
                "optimizer": lamp.SGD(population.parameters(), lr=0.1),
                **change(population),
            }
        )


def test_data_for_a_population_and_one_network():
    model = network()
    with pytest.raises(lamp.ArgumentError, match="batches for 2 replicas"):
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            lamp.SGD(model.parameters(), lr=0.1),
            lamp.DataLoader(blobs(), 5, True, seed=[1, 2]),
            epochs=1,
            progress=False,
        )
