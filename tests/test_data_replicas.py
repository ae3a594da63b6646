"""A loader for a population gives row k of each batch what a loader for replica k alone gives."""

from itertools import product

import pytest
import torch

import lamp

K, N = 3, 11
SEEDS = [4, 0, 17]


def columns(*lead):
    x = torch.arange(N * 2.0).view(N, 2)
    y = torch.arange(N)
    if not lead:
        return x, y
    return torch.stack([x + 100 * k for k in range(K)]), torch.stack([y + 100 * k for k in range(K)])


def of_one(data, k, own, indices, **options):
    x, y = (data[0][k], data[1][k]) if own else data
    return lamp.DataLoader((x, y), indices=None if indices is None else indices[k], **options)


INDICES = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(k))[:7] for k in range(K)])


CASES = [
    (own, indices, shuffle, seeds)
    for own, indices, shuffle, seeds in product((False, True), (None, INDICES), (False, True), (SEEDS, 5))
    if own or indices is not None or (shuffle and seeds is SEEDS)  # other batches are shared
]


@pytest.mark.parametrize(("own", "indices", "shuffle", "seeds"), CASES)
@pytest.mark.parametrize(("batch_size", "drop_last"), [(4, False), (4, True), (1, False), (20, False)])
def test_each_row_is_that_of_a_loader_alone(own, indices, shuffle, seeds, batch_size, drop_last):
    data = columns(K) if own else columns()
    options = dict(batch_size=batch_size, shuffle=shuffle, drop_last=drop_last)
    together = lamp.DataLoader(data, seed=seeds, indices=indices, replicas=K if own else None, **options)
    assert together.replicas == K
    singles = [of_one(data, k, own, indices, seed=seeds[k] if seeds is SEEDS else 5, **options) for k in range(K)]
    for _ in range(2):
        batches = list(together)
        each = [list(single) for single in singles]
        assert len(batches) == len(together) == len(each[0])
        for number, batch in enumerate(batches):
            for k in range(K):
                for part, alone in zip(batch, each[k][number], strict=True):
                    assert part.replicas == K
                    assert torch.equal(part[k], alone)


@pytest.mark.parametrize("own", [False, True])
def test_some_replicas_alone(own):
    data = columns(K) if own else columns()
    loader = lamp.DataLoader(data, 4, True, seed=SEEDS, indices=INDICES, replicas=K if own else None)
    next(iter(loader))
    rows = torch.tensor([2, 0])
    fewer = loader.of_replicas(rows)
    assert fewer.epoch == loader.epoch == 1
    for batch, chosen in zip(loader, fewer, strict=True):
        assert all(torch.equal(part[rows], other) for part, other in zip(batch, chosen, strict=True))


def test_gathered_in_pieces(monkeypatch):
    monkeypatch.setattr("lamp.data.loader.GATHERED_BYTES", 200)
    loader = lamp.DataLoader(columns(), 2, True, seed=SEEDS)
    epochs = [torch.cat([y for _, y in loader], 1) for _ in range(2)]
    assert all(torch.equal(epoch.sort(1).values, torch.arange(N).expand(K, N)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_one_tensor():
    batches = list(lamp.DataLoader(columns()[0], 4, True, seed=SEEDS))
    assert batches[0].shape == (K, 4, 2)


def test_without_shuffling_data_of_their_own_are_views():
    x, y = columns(K)
    first, _ = next(iter(lamp.DataLoader((x, y), 4, replicas=K)))
    assert first.data_ptr() == x.data_ptr()


def test_indices_for_one_network():
    x, y = columns()
    loader = lamp.DataLoader((x, y), 3, indices=[5, 2, 2, 9])
    assert torch.cat([target for _, target in loader]).tolist() == [5, 2, 2, 9]
    assert loader.replicas is None
    shuffled = lamp.DataLoader((x, y), 3, True, seed=1, indices=[5, 2, 2, 9])
    assert sorted(torch.cat([target for _, target in shuffled]).tolist()) == [2, 2, 5, 9]


BAD = {
    "another K": (dict(seed=SEEDS, shuffle=True, indices=INDICES[:2]), "different numbers of replicas"),
    "rows": (dict(replicas=4), "4 replicas"),
    "index": (dict(indices=[0, 11]), "from 0 to 10"),
    "negative index": (dict(indices=[-1]), "from 0 to 10"),
    "floats": (dict(indices=[0.5]), "integers"),
    "mask": (dict(indices=torch.ones(N, dtype=torch.bool)), "integers"),
    "no indices": (dict(indices=torch.zeros(0, dtype=torch.int64)), "integers"),
    "seeds": (dict(shuffle=True, seed=[1, 2.5]), "seed is not an integer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    options, message = BAD[name]
    with pytest.raises(lamp.LampError, match=message):
        lamp.DataLoader(columns(), 4, **options)


def test_no_tensors_to_share_out():
    class Squares:
        def __len__(self):
            return N

        def __getitem__(self, index):
            return float(index), float(index**2)

    for options in (dict(seed=SEEDS, shuffle=True), dict(indices=[1, 2])):
        with pytest.raises(lamp.ArgumentError, match="samples by index"):
            lamp.DataLoader(Squares(), 4, **options)
