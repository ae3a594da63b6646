"""AdaptiveLogSoftmaxWithLoss beside torch's: likelihoods, the loss, gradients, all classes; populations; errors."""

import pytest
import torch

import lamp
from tests.cases.module_case import error

B, IN, CLASSES, CUTOFFS = 11, 6, 20, [3, 8]
LABELS = {
    "all clusters": torch.arange(B) * 7 % CLASSES,
    "frequent classes": torch.arange(B) % 3,
    "one cluster": torch.arange(B) % 5 + 3,
}


def pair(**options):
    module = lamp.AdaptiveLogSoftmaxWithLoss(IN, CLASSES, CUTOFFS, 2.0, dtype=torch.float64, **options)
    return module, lamp.to_torch(module)


def gradients(twin, x, labels, doutput, dloss):
    x = x.clone().requires_grad_()
    output, loss = twin(x, labels)
    wanted = [x, *twin.parameters()]
    return torch.autograd.grad([output, loss], wanted, [doutput, dloss], allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_it_is_torchs(labels, head_bias):
    module, twin = pair(head_bias=head_bias)
    x, doutput, dloss = torch.randn(B, IN).double(), torch.randn(B).double(), torch.randn(()).double()
    found, expected = module(x, labels), twin(x, labels)
    assert error(found.output, expected.output.detach()) < 1e-13
    assert error(found.loss, expected.loss.detach()) < 1e-13
    dx = module.backward(doutput, dloss)
    for one, other in zip(
        [dx, *(each.grad for each in module.parameters())], gradients(twin, x, labels, doutput, dloss), strict=True
    ):
        assert error(one, other) < 1e-12
    module.zero_grad()
    module(x, labels)
    dx = module.backward()
    assert error(dx, gradients(twin, x, labels, torch.zeros(B).double(), torch.ones(()).double())[0]) < 1e-12


def test_one_sample_without_an_axis():
    module, twin = pair()
    for label in (1, 5, 19):
        x, target = torch.randn(IN).double(), torch.tensor(label)
        output, loss = module(x, target)
        assert output.shape == loss.shape == ()
        assert error(output, twin(x, target).output.detach()) < 1e-13
        doutput = torch.randn(()).double()
        dx = module.backward(doutput)
        assert dx.shape == x.shape
        assert error(dx, gradients(twin, x, target, doutput, torch.zeros(()).double())[0]) < 1e-12


def test_all_classes():
    module, twin = pair()
    module.eval()
    x = torch.randn(50, IN).double() * 3.0
    assert error(module.log_prob(x), twin.log_prob(x).detach()) < 1e-13
    assert error(module.log_prob(x).exp().sum(-1), torch.ones(50).double()) < 1e-13
    assert torch.equal(module.predict(x), twin.predict(x))
    assert len(module.predict(x).unique()) > 3


@pytest.mark.parametrize("own", [False, True], ids=["shared samples", "samples of their own"])
def test_a_population(own):
    networks = lamp.population(pair()[0], range(3))
    x, labels = torch.randn(3, B, IN).double(), torch.randint(CLASSES, (3, B))
    labels[0] = labels[0] % 3  # a replica without rare classes
    given = (lamp.per_replica(x), lamp.per_replica(labels)) if own else (x[1], labels[1])
    output, loss = networks(*given)
    doutput, dloss = torch.randn(3, B).double(), torch.randn(3).double()
    dx, *_ = as_tuple(networks.backward(doutput, dloss))
    for k in range(3):
        single, row = networks[k], k if own else 1
        alone = single(x[row], labels[row])
        assert error(output[k], alone.output) < 1e-13
        assert error(loss[k], alone.loss) < 1e-13
        assert error(dx[k], single.backward(doutput[k], dloss[k])) < 1e-12
        for one, other in zip(networks.network.parameters(), single.parameters(), strict=True):
            assert error(one.grad[k], other.grad) < 1e-12


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def test_a_network_learns_with_it():
    torch.manual_seed(0)
    x = torch.randn(200, 4)
    labels = (x @ torch.randn(4, CLASSES)).argmax(1)
    body, head = lamp.Sequential(lamp.Linear(4, 16), lamp.Tanh()), lamp.AdaptiveLogSoftmaxWithLoss(16, CLASSES, [5], 2)
    optimizer = lamp.Adam([*body.parameters(), *head.parameters()], lr=0.02)
    for _ in range(150):
        _, loss = head(body(x), labels)
        optimizer.zero_grad()
        body.backward_parameters(head.backward())
        optimizer.step()
    assert loss < 0.6
    assert (head.predict(lamp.predict(body, x)) == labels).float().mean() > 0.85


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [3, 3], [8, 3], [3, CLASSES], [2.0], [True], 3, "38", None], ids=str)
def test_cutoffs_that_are_none(cutoffs):
    with pytest.raises(lamp.ArgumentError, match="cutoffs are the first classes"):
        lamp.AdaptiveLogSoftmaxWithLoss(IN, CLASSES, cutoffs)


def test_inputs_and_labels_that_do_not_fit():
    module, x, labels = pair()[0], torch.randn(B, IN).double(), LABELS["all clusters"]
    for wrong, kind in (
        (lambda: module(x, labels[1:]), lamp.ShapeError),
        (lambda: module(x[:, 1:], labels), lamp.ShapeError),
        (lambda: module(x[None], labels[None]), lamp.ShapeError),
        (lambda: module(x.float(), labels), lamp.DTypeError),
        (lambda: module(x, labels.double()), lamp.LabelError),
        (lambda: module(x, labels + 9), lamp.LabelError),
        (lambda: module(x, labels - 1), lamp.LabelError),
        (lambda: lamp.AdaptiveLogSoftmaxWithLoss(3, CLASSES, CUTOFFS), lamp.ArgumentError),
    ):
        with pytest.raises(kind) as caught:
            wrong()
        assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    module(x, labels)
    with pytest.raises(lamp.ShapeError):
        module.backward(torch.zeros(B + 1).double())
