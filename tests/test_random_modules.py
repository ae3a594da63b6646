"""Dropout of channels, AlphaDropout and RReLU: what is random is right, repeatable, and each replica's own."""

import copy

import pytest
import torch

import lamp
from lamp.replicas import stack
from tests.cases.module_case import error

D = torch.float64
KINDS = [
    (lambda: lamp.Dropout1d(0.4), (6, 50, 3)),
    (lambda: lamp.Dropout1d(0.4), (50, 3)),
    (lambda: lamp.Dropout2d(0.4), (6, 50, 3, 2)),
    (lambda: lamp.Dropout3d(0.4), (6, 50, 3, 2, 1)),
    (lambda: lamp.AlphaDropout(0.3), (6, 50, 3)),
    (lambda: lamp.FeatureAlphaDropout(0.3), (6, 50, 3)),
    (lambda: lamp.RReLU(0.1, 0.4), (6, 50, 3)),
]
kinds = pytest.mark.parametrize(("make", "shape"), KINDS, ids=lambda each: repr(each()) if callable(each) else each)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


@kinds
class TestAll:
    def test_backward_is_the_slope_of_forward(self, make, shape):
        """All of them are linear in x where it keeps its sign, so a small step shows the gradient."""
        module = make()
        x, step, dy = drawn(*shape), 1e-6 * drawn(*shape, seed=1), drawn(*shape, seed=2)
        y = module(x)
        state = module.seed
        dx = module.backward(dy)
        other = make()
        other.seed = state
        assert float((dx * step).sum()) == pytest.approx(float(((other(x + step) - y) * dy).sum()), rel=1e-5)

    def test_another_mask_per_step_and_the_same_after_going_back(self, make, shape):
        module, x = make(), drawn(*shape)
        first, second = module(x), module(x)
        assert not torch.equal(first, second)
        module.step = 0
        assert torch.equal(module(x), first)

    def test_resumed(self, make, shape):
        module, x = make(), drawn(*shape)
        module(x)
        other = make()
        other.set_extra_state(module.get_extra_state())
        assert torch.equal(other(x), module(x))
        assert torch.equal(copy.deepcopy(other)(x), module(x))

    def test_each_replica_has_its_own_and_is_its_network(self, make, shape):
        singles = [make() for _ in range(3)]
        for k, single in enumerate(singles):
            single.seed = k + 5
        population, x = stack([lamp.Sequential(each) for each in singles]), drawn(3, *shape)
        y = population(population.per_replica(x))
        dx = population.backward(torch.ones_like(y))
        for k, single in enumerate(singles):
            assert torch.equal(single(x[k]), y[k])
            assert torch.equal(single.backward(torch.ones_like(y[k])), dx[k])

    def test_eval_mode(self, make, shape):
        module, x = make().eval(), drawn(*shape)
        twin = lamp.to_torch(module)
        assert error(module(x), twin(x)) < 1e-12
        assert module.seed is None

    def test_the_eager_engine_trains_it(self, make, shape):
        model = lamp.Sequential(make(), lamp.Flatten(), lamp.Linear(12, 8))
        x = torch.randn(9, 2, *{4: (3, 2), 5: (3, 2, 1)}.get(len(shape), (6,)))
        options = {"epochs": 2, "batch_size": 4, "progress": False}
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        history = lamp.fit(model, lamp.MSELoss(), optimizer, (x, torch.randn(9, 8)), **options)
        assert history.engine == "eager"


@pytest.mark.parametrize(("module", "shape", "channel"), [
    (lamp.Dropout1d(0.4), (7, 100, 5), 1), (lamp.Dropout1d(0.4), (600, 5), 0), (lamp.Dropout2d(0.4), (7, 100, 5, 2), 1),
    (lamp.Dropout2d(0.4), (7, 100, 5), 1), (lamp.Dropout3d(0.4), (7, 100, 3, 2, 1), 1),
    (lamp.Dropout3d(0.4), (600, 3, 2, 2), 0), (lamp.FeatureAlphaDropout(0.4), (7, 100, 5), 1),
], ids=str)  # fmt: skip
def test_whole_channels(module, shape, channel):
    module.seed = 1
    x = torch.ones(shape, dtype=D)
    per_channel = module(x).flatten(channel + 1)
    assert torch.equal(per_channel, per_channel[..., :1].expand_as(per_channel))
    low, high = per_channel.min(), per_channel.max()
    share = float((per_channel[..., 0] == low).double().mean())
    assert share == pytest.approx(0.4, abs=0.08)
    assert high > 1
    if not isinstance(module, lamp.FeatureAlphaDropout):
        assert low == 0
        assert float(high) == pytest.approx(1 / 0.6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(p):
    module = lamp.AlphaDropout(p)
    module.seed = 3
    y = module(drawn(200_000))
    assert float(y.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(y.var()) == pytest.approx(1.0, abs=0.02)


def test_alpha_dropout_has_torchs_values():
    x, p = drawn(1000), 0.3
    module, twin = lamp.AlphaDropout(p), torch.nn.AlphaDropout(p)
    ours, theirs = (torch.unique(each(torch.zeros_like(x))) for each in (module, twin))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_slopes_of_rrelu():
    module = lamp.RReLU(0.1, 0.4)
    module.seed = 3
    slopes = -module(torch.full((100_000,), -1.0, dtype=D))
    assert slopes.min() >= 0.1
    assert slopes.max() < 0.4
    assert float(slopes.mean()) == pytest.approx(0.25, abs=0.001)
    assert float(slopes.std()) == pytest.approx(0.3 / 12**0.5, abs=0.001)
    assert torch.equal(module(torch.full((5,), 2.0)), torch.full((5,), 2.0))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (lamp.Dropout1d(), (3,)),
        (lamp.Dropout2d(), (3, 4)),
        (lamp.Dropout3d(), (3, 4, 5)),
        (lamp.FeatureAlphaDropout(), (3,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_too_few_axes(module, shape, training):
    with pytest.raises(lamp.ShapeError):
        module.train(training)(torch.ones(shape))
