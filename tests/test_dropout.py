"""Dropout: what it computes, that its masks depend on (seed, step, position) alone, and that they look random."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

import lamp
import lamp.nn as L
from lamp import randomness
from lamp.errors import BackwardError
from lamp.nn import dropout as dropout_file
from lamp.randomness import below, bernoulli, bits, keys, scatter


def seeded(p=0.3, seed=7, step=0):
    dropout = L.Dropout(p)
    dropout.seed, dropout.step = seed, step
    return dropout


def mask_of(dropout, shape=(5, 3), dtype=torch.float32):
    """Which elements this forward keeps."""
    return dropout(torch.ones(shape, dtype=dtype)) != 0


class TestWhatItComputes:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_elements_are_dropped_or_scaled(self, p, dtype):
        x = torch.randn(50, 20, dtype=dtype)
        y = L.Dropout(p)(x)
        kept = y != 0
        assert 0 < kept.sum() < x.numel()
        torch.testing.assert_close(y[kept], x[kept] / (1 - p))

    @pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
    def test_backward_has_the_same_mask(self, p):
        dropout = L.Dropout(p)
        x, dy = torch.randn(50, 20, dtype=torch.float64), torch.randn(50, 20, dtype=torch.float64)
        y = dropout(x)
        torch.testing.assert_close(dropout.backward(dy), dy * (y / x), rtol=1e-12, atol=0)

    def test_p_0_changes_nothing_and_p_1_leaves_nothing(self):
        x = torch.randn(5, 3)
        assert torch.equal(L.Dropout(0.0)(x), x)
        assert torch.equal(L.Dropout(1.0)(x), torch.zeros(5, 3))
        assert torch.equal(L.Dropout(0)(x), x)
        assert torch.equal(L.Dropout(1)(x), torch.zeros(5, 3))

    def test_eval_is_the_identity_and_does_not_count(self):
        dropout = L.Dropout(0.5).eval()
        x = torch.randn(5, 3)
        state = torch.get_rng_state()
        assert dropout(x) is x
        assert (dropout.seed, dropout.step) == (None, 0)
        assert torch.equal(torch.get_rng_state(), state)
        with pytest.raises(BackwardError, match="eval mode"):
            dropout.backward(x)

    def test_each_use_in_a_network_has_its_own_mask_and_gradient(self):
        dropout = L.Dropout(0.5)
        model = L.Sequential(dropout, L.Linear(20, 20).double(), dropout)
        x, dy = torch.randn(9, 20, dtype=torch.float64), torch.randn(9, 20, dtype=torch.float64)
        model(x)
        first, second = seeded(0.5, dropout.seed, 0), seeded(0.5, dropout.seed, 1)
        masks = [2.0 * mask_of(each, (9, 20)) for each in (first, second)]
        assert not torch.equal(*masks)
        assert dropout.step == 2
        torch.testing.assert_close(model.backward(dy), (dy * masks[1]) @ model[1].weight.data * masks[0])

    @pytest.mark.parametrize("shape", [(), (4,), (0, 3), (2, 3, 4, 5)])
    def test_any_shape(self, shape):
        y = L.Dropout(0.5)(torch.ones(shape))
        assert y.shape == shape
        assert set(y.flatten().tolist()) <= {0.0, 2.0}

    def test_inputs_that_are_not_contiguous_have_the_same_mask(self):
        x = torch.randn(3, 5).T
        assert torch.equal(seeded()(x), seeded()(x.contiguous()))


class TestWhatMasksDependOn:
    def test_seed_and_step_and_nothing_else(self):
        one, other = seeded(), seeded()
        assert all(torch.equal(mask_of(one), mask_of(other)) for _ in range(20))
        assert not torch.equal(mask_of(seeded(), (50, 20)), mask_of(seeded(seed=8), (50, 20)))
        assert not torch.equal(mask_of(seeded(), (50, 20)), mask_of(seeded(step=1), (50, 20)))

    def test_the_next_seed_is_not_the_same_a_step_later(self):
        assert len({keys(seed, step) for seed in range(50) for step in range(50)}) == 2500

    def test_resuming_at_a_step(self):
        through = seeded()
        masks = [mask_of(through) for _ in range(10)]
        resumed = seeded(seed=through.seed, step=6)
        assert all(torch.equal(mask_of(resumed), mask) for mask in masks[6:])

    def test_going_back(self):
        dropout = seeded()
        masks = [mask_of(dropout) for _ in range(4)]
        dropout.step = 1
        assert torch.equal(mask_of(dropout), masks[1])
        dropout.seed = 8
        assert torch.equal(mask_of(dropout), mask_of(seeded(seed=8, step=2)))

    def test_a_changed_probability_counts(self):
        dropout = seeded(0.9)
        mask_of(dropout)
        dropout.p = 0.1
        torch.testing.assert_close(dropout(torch.ones(50, 20)).max(), torch.tensor(1 / 0.9))

    @pytest.mark.parametrize("ahead", [1, 5, 200])
    def test_how_many_are_drawn_at_once_does_not_matter(self, ahead, monkeypatch):
        expected = [mask_of(dropout) for dropout in [seeded()] for _ in range(12)]
        monkeypatch.setattr(dropout_file, "STEPS_AHEAD", ahead)
        dropout = seeded()
        assert all(torch.equal(mask_of(dropout), mask) for mask in expected)

    def test_shapes_may_change_from_step_to_step(self):
        dropout = seeded()
        shapes = [(5, 3), (5, 3), (2, 3), (5, 3), (15,), (5, 3)]
        for step, shape in enumerate(shapes):
            assert torch.equal(mask_of(dropout, shape), mask_of(seeded(step=step), shape))

    def test_position_counts_through_the_shape(self):
        assert torch.equal(mask_of(seeded(), (6, 4)).flatten(), mask_of(seeded(), (24,)))
        assert torch.equal(mask_of(seeded(), (6, 4))[:2], mask_of(seeded(), (2, 4)))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_dtypes_have_the_same_mask(self, dtype):
        assert torch.equal(mask_of(seeded(), (50, 20)), mask_of(seeded(), (50, 20), dtype))

    def test_threads_do_not_matter(self):
        alone = mask_of(seeded(), (700, 500))
        torch.set_num_threads(2)
        assert torch.equal(mask_of(seeded(), (700, 500)), alone)

    def test_positions_kept_and_not_kept(self, monkeypatch):
        expected = mask_of(seeded(), (50, 20))
        monkeypatch.setattr(randomness, "CACHED", 0)
        assert torch.equal(mask_of(seeded(), (50, 20)), expected)

    def test_these_bits_are_the_format(self):
        """Saved runs depend on these bits, so a change here changes every seeded result."""
        assert keys(7, 0) == (-1196113257, 2125188677)
        assert keys(-1, 3) == keys(2**64 - 1, 3)
        drawn = bits(scatter(torch.arange(5, dtype=torch.int32)), *keys(7, 0))
        assert drawn.tolist() == [-1063707151, 502462972, -1379878943, -1047809097, 845498707]

    def test_the_published_functions(self):
        assert randomness._splitmix(0) == 0xE220A8397B1DCDAF
        assert randomness._splitmix(1234567) == 6457827717110365317

        def lowbias32(x):
            x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
            x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
            return x ^ (x >> 16)

        positions = [0, 1, 2, 1000, 2**31 - 1, 2**31, 2**32 - 1]
        signed = torch.tensor(positions).to(torch.int32)  # wraps around
        assert [h % 2**32 for h in scatter(signed).tolist()] == [lowbias32(position) for position in positions]


class TestSeed:
    def test_building_draws_nothing_and_the_first_forward_one_seed(self):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        dropout = L.Dropout(0.5)
        assert torch.equal(torch.get_rng_state(), before)
        dropout(torch.ones(3))
        after = torch.get_rng_state()
        assert not torch.equal(after, before)
        for _ in range(3):
            dropout(torch.ones(3))
        assert torch.equal(torch.get_rng_state(), after)

    def test_torchs_seed_decides_it(self):
        def masks():
            model = L.Sequential(L.Dropout(0.5), L.Dropout(0.5))
            return [mask_of(model, (50, 20)) for _ in range(2)], [module.seed for module in model]

        torch.manual_seed(1)
        first, seeds = masks()
        torch.manual_seed(1)
        again, _ = masks()
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert len(set(seeds)) == 2, "each Dropout has a seed of its own"

    def test_reset_parameters_starts_anew_with_a_seed_from_the_generator(self):
        dropout = seeded(step=5)
        generator = torch.Generator().manual_seed(4)
        before = generator.get_state()
        default = torch.get_rng_state()
        dropout.reset_parameters(generator=generator)
        assert (dropout.seed, dropout.step) == (None, 0)
        assert torch.equal(generator.get_state(), before), "resetting draws what torch.nn does: nothing"
        mask = mask_of(dropout)
        assert torch.equal(torch.get_rng_state(), default)
        again = L.Dropout(0.3)
        again.reset_parameters(generator=torch.Generator().manual_seed(4))
        assert torch.equal(mask_of(again), mask)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
    @pytest.mark.parametrize("forwards", [0, 3])
    def test_a_copy_goes_on_as_the_original_does(self, forwards, duplicate):
        dropout = L.Dropout(0.5)
        dropout.reset_parameters(generator=torch.Generator().manual_seed(4))
        for _ in range(forwards):
            dropout(torch.ones(200, 100))
        other = duplicate(dropout)
        assert len(pickle.dumps(other)) < 20_000, "masks drawn ahead are not copied"
        assert all(torch.equal(mask_of(dropout), mask_of(other)) for _ in range(3))


class TestExtraState:
    def test_of_a_single_network(self):
        dropout, other = L.Dropout(0.5), L.Dropout(0.5)
        dropout(torch.ones(3))
        other.set_extra_state(dropout.get_extra_state())
        assert torch.equal(mask_of(other), mask_of(dropout))
        other.set_extra_state((None, 0, torch.Generator().manual_seed(4)))
        again = L.Dropout(0.5)
        again.reset_parameters(generator=torch.Generator().manual_seed(4))
        assert torch.equal(mask_of(other), mask_of(again))

    @pytest.mark.parametrize(
        "state",
        [
            (-1, 0, None),
            (2**63, 0, None),
            (1.0, 0, None),
            (True, 0, None),
            ("7", 0, None),
            (7, -1, None),
            (7, 2**63, None),
            (7, 0.5, None),
            (7, None, None),
            (None, None, None),
            (7, 0, 4),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("replicas", [None, 2])
    def test_what_is_none_changes_nothing(self, state, replicas):
        dropout = seeded(step=2)
        if replicas is not None:
            dropout = lamp.stack([lamp.Sequential(dropout)] * replicas).network[0]
            dropout.set_extra_state([(7, 2, None), (8, 1, None)])
        before = dropout.get_extra_state()
        with pytest.raises(lamp.ArgumentError, match="extra state of Dropout"):
            dropout.set_extra_state(state if replicas is None else [(9, 3, None), state])
        assert dropout.get_extra_state() == before


# ---- do the masks look random? ---------------------------------------------------------------------------------------
def drawn(seeds, steps, positions, p=0.5):
    """Kept or not, as numbers of mean 0 and variance 1: a row for each seed and step, a column for each position."""
    kept = bernoulli([keys(seed, step) for seed in seeds for step in steps], (positions,), 1.0 - p, dtype=torch.float64)
    return (kept - (1.0 - p)) / math.sqrt(p * (1.0 - p))


def check_chi_square(squares):
    """Check that squares of n standard normal numbers add up to n, within 4 standard deviations."""
    assert abs(float(squares.sum()) - squares.numel()) < 4 * math.sqrt(2 * squares.numel())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
class TestMasksLookRandom:
    def test_the_share_of_dropped_elements_is_p(self, p):
        z = drawn([3], range(1000), 1000, p)
        assert abs(float(z.mean())) * math.sqrt(z.numel()) < 4
        check_chi_square(z.mean(0) ** 2 * len(z))  # of each position
        check_chi_square(z.mean(1) ** 2 * z.shape[1])  # of each step

    def test_correlations(self, p):
        positions, seeds, steps = drawn([3], range(1000), 400, p).T, drawn(range(400), [5], 1000, p), None
        steps = drawn([3], range(400), 1000, p)
        for rows in (positions, steps, seeds):
            z = rows @ rows.T / math.sqrt(rows.shape[1])  # standard normal off the diagonal, if rows are independent
            off = z[tuple(torch.triu_indices(len(z), len(z), 1))]
            check_chi_square(off**2)
            assert off.abs().max() < 6.5

    def test_neighbouring_masks_are_not_correlated(self, p):
        for z in (drawn([3], range(1000), 1000, p), drawn([3], range(1000), 1000, p).T):
            for lag in (1, 2, 3, 8, 16, 25, 32, 64, 128, 256):
                assert abs(float((z[:, lag:] * z[:, :-lag]).mean())) * math.sqrt(z[:, lag:].numel()) < 4
            triples = z[:, 2:] * z[:, 1:-1] * z[:, :-2]
            assert abs(float(triples.mean())) * math.sqrt(triples.numel()) < 4


def test_patterns_of_eight_neighbours():
    kept = (drawn([3], range(500), 1024) > 0).long()
    for rows in (kept, kept.T):
        for lag in (1, 7):
            length = rows.shape[1] // (8 * lag) * 8 * lag
            patterns = sum(rows[:, :length].reshape(len(rows), -1, 8, lag)[:, :, k] << k for k in range(8))
            counts = torch.bincount(patterns.flatten(), minlength=256).double()
            expected = patterns.numel() / 256
            chi_square = float(((counts - expected) ** 2 / expected).sum())
            assert abs(chi_square - 255) < 4 * math.sqrt(2 * 255)


def test_one_bit_of_position_or_key_changes_half_of_the_bits():
    def flipped(x, bit):
        return x ^ (1 << bit if bit < 31 else -(2**31))

    position, first, second = (torch.randint(-(2**31), 2**31, (20_000,)).to(torch.int32) for _ in range(3))
    for bit in range(32):
        differ = scatter(position) ^ scatter(flipped(position, bit))
        rates = torch.stack([((differ >> k) & 1).double().mean() for k in range(32)])
        assert (rates - 0.5).abs().max() < 0.06
        for other in (bits(flipped(position, bit), first, second), bits(position, flipped(first, bit), second)):
            changed = ((bits(position, first, second) ^ other) < 0).double().mean()  # the highest bit
            assert abs(changed - 0.5) < 0.03


def test_scatter_gives_each_position_its_own_bits():
    assert len(scatter(torch.arange(200_000, dtype=torch.int32)).unique()) == 200_000


class TestThreshold:
    @pytest.mark.parametrize("threshold", [0, 1, 12345, 2**30, 2**31 - 1, 2**31])
    def test_below_compares_bits_with_a_threshold(self, threshold):
        high = torch.tensor([-(2**31), -(2**31) + 1, -5, -1, 0, 1, 2**30, 2**31 - 2, 2**31 - 1])
        expected = [-1 if (h >> 1) + 2**30 < threshold else 0 for h in high.tolist()]
        assert below(high.to(torch.int32), threshold).tolist() == expected


class Lane:
    """A signed 32-bit integer that wraps around: what a SIMD lane computes with."""

    def __init__(self, value):
        self.value = (int(value) + 2**31) % 2**32 - 2**31

    def __add__(self, other):
        return Lane(self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return Lane(self.value - getattr(other, "value", other))

    def __mul__(self, other):
        return Lane(self.value * getattr(other, "value", other))

    def __xor__(self, other):
        return Lane(self.value ^ getattr(other, "value", other))

    def __and__(self, other):
        return Lane(self.value & getattr(other, "value", other))

    def __rshift__(self, places):
        return Lane(self.value >> places)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 1), (2**62 + 5, 10**6)])
def test_other_integers_than_tensors_draw_the_same_bits(seed, step):
    positions = torch.cat([torch.arange(50), torch.tensor([2**20 + 1, 2**31 - 1])]).to(torch.int32)
    drawn = bits(scatter(positions), *keys(seed, step))
    lanes = [bits(scatter(Lane(position)), *map(Lane, keys(seed, step))) for position in positions.tolist()]
    assert [lane.value for lane in lanes] == drawn.tolist()
    threshold = round(0.7 * 2**31)
    assert [below(lane, threshold).value for lane in lanes] == below(drawn, threshold).tolist()


@pytest.mark.parametrize("way", ["stack", "copy_"])
def test_copies_in_a_population_draw_for_themselves(way):
    """A copy draws its seed from its own generator; the original's generator does not change."""
    network = lamp.Sequential(lamp.Dropout(0.5))
    network.reset_parameters(generator=torch.Generator().manual_seed(6))
    population = lamp.stack([network, network])
    if way == "copy_":
        population.copy_([1], lamp.stack([network]))
    x = torch.ones(1, 4096)
    masks = population(population.shared(x))
    assert torch.equal(masks[0], masks[1]), "copies of one network draw the same seed"
    assert torch.equal(network(x), masks[0]), "and the network itself draws it after them"
