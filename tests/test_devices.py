"""Every module, loss and optimizer on every available device, and on a pretended GPU."""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import lamp
from lamp.axes import marked
from lamp.nn.dropout import RandomMask
from lamp.replicas.selecting import replicate
from lamp.state import ModelState
from lamp.training.last_good import LastGood
from lamp.trees import leaves, mapped
from tests import pretend
from tests.cases import torch_tables
from tests.cases.losses import LOSSES
from tests.cases.module_case import gradients, like, stacked
from tests.cases.modules import MODULES
from tests.cases.optimizers import OPTIMIZERS

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU]),
]
# Losses that check their labels or probabilities first, since a wrong one must be reported.
LOOKING = ("BCELoss", "BCEWithLogitsLoss", "NLLLoss", "CrossEntropyLoss")
CHECKING = ("LinearCrossEntropyLoss", "MultiMarginLoss", "GaussianNLLLoss")
NOT_PRETENDED = {"CTCLoss", "MultiLabelMarginLoss"}  # they need operations that a torch without CUDA lacks
cases = pytest.mark.parametrize("case", MODULES, ids=str)
# Metrics that accumulate a batch without waiting for the device, and whether they take labels.
METRICS = [
    (lamp.Accuracy(), True),
    (lamp.Accuracy(top_k=2), True),
    (lamp.metrics.AUC(), True),
    (lamp.metrics.F1(threshold=0.0), False),
    (lamp.metrics.ConfusionMatrix(threshold=0.0), False),
    (lamp.metrics.MeanAbsoluteError(), False),
    (lamp.metrics.MeanSquaredError(), False),
    (lamp.metrics.R2(), False),
]


def prepared(module):
    """The module with the seeds of Dropout drawn, which cannot be done on the pretended GPU."""
    for each in module.modules():
        if isinstance(each, RandomMask):
            each.seeds()
    return module


def detached(x):
    """A tensor without its history, for the pretended GPU does not know it; other things as they are."""
    return x.detach().clone() if isinstance(x, torch.Tensor) else x


class TestPretended:
    def test_what_mixes_devices_is_seen(self):
        with pretend.gpu():
            x = torch.ones(3, device="cuda")
            for mixed in (
                lambda: x * torch.ones(3),
                lambda: x * torch.tensor(2.0),
                lambda: x.lerp(x, torch.tensor(0.5)),
                lambda: x.uniform_(generator=torch.Generator()),
                lambda: x.item() if x.dim() == 0 else x[0].item(),
                lambda: bool(x.sum() > 0),
                lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
            ):
                with pytest.raises(pretend.WrongDevice):
                    mixed()
            assert (x * 2 + x.cpu().to("cuda"))[torch.tensor([0, 1])].device.type == "cuda"

    @pytest.mark.parametrize("count", [None, 2])
    @pytest.mark.parametrize(("metric", "of_labels"), METRICS, ids=lambda each: str(each))
    def test_metrics(self, metric, of_labels, count):
        lead = () if count is None else (count,)
        with pretend.gpu():
            output = torch.empty(*lead, 6, 3, dtype=torch.float64, device="cuda")
            target = torch.zeros(*lead, 6, dtype=torch.int64, device="cuda") if of_labels else torch.empty_like(output)
            for _ in range(2):
                metric.update(output if count is None else marked(output, count), target)
            metric.reset()

    @cases
    def test_forward_and_backward(self, case):
        module = prepared(case.make().double())
        with pretend.gpu():
            x = torch.empty(case.shape, dtype=case.dtype, device="cuda")
            module.to("cuda").zero_grad()
            y = module(x)
            dx = module.backward(mapped(y, torch.empty_like))
            assert {each.device.type for _, each in [*leaves(y), *leaves(dx)]} == {"cuda"}
            assert dx is None if case.indices is not None else dx.shape == x.shape
            assert all(p.grad.device.type == "cuda" for p in module.parameters())

    @cases
    def test_parameters_are_initialised_on_the_device(self, case):
        module = prepared(case.make())
        with pretend.gpu():
            module.to("cuda").reset_parameters(generator=torch.Generator())
            assert {p.device.type for p in module.parameters()} <= {"cuda"}

    @pytest.mark.parametrize("case", [case for case in MODULES if case.shape], ids=str)
    def test_a_population(self, case):
        networks = lamp.population(case.make().double(), range(3))
        for module in networks.modules():
            if isinstance(module, RandomMask):
                module.seeds()
        with pretend.gpu():
            x = networks.per_replica(torch.empty(3, *case.shape, dtype=case.dtype, device="cuda"))
            y = networks.to("cuda")(x)
            dx = networks.backward(mapped(y, torch.empty_like))
            assert {each.device.type for _, each in [*leaves(y), *leaves(dx)]} == {"cuda"}

    def test_making_a_population_there(self):
        with pretend.gpu():
            model = lamp.Sequential(
                lamp.Linear(3, 4, device="cuda"),
                lamp.PReLU(4, device="cuda"),
                lamp.Linear(4, 2, init=lamp.init.orthogonal_, device="cuda"),
            )
            networks = lamp.population(model, range(3))
            assert {p.device.type for p in networks.parameters()} == {"cuda"}
            networks.reset_parameters()
            assert networks.select([2, 0])[1](torch.empty(5, 3, device="cuda")).device.type == "cuda"
            networks.copy_([0], [1])
            lamp.stack([model, model])

    @pytest.mark.parametrize("name", sorted(set(torch_tables.MODULES) - NOT_PRETENDED))
    def test_every_module_of_torchs_table(self, name):
        """Modules of several inputs and losses, too; their second call copies nothing from the CPU."""
        for _, sample in list(torch_tables.samples(name, True))[:2]:
            module = prepared(torch_tables.own(name, sample))
            runs = module if isinstance(module, lamp.Loss) else torch_tables.Within(module)
            given = tree_map(detached, (sample.forward_input.args, sample.forward_input.kwargs))
            with pretend.gpu(waits=name in (*LOOKING, *CHECKING)) as watch:
                module.to("cuda")
                args, named = tree_map(lambda x: x.to("cuda") if isinstance(x, torch.Tensor) else x, given)
                for _ in range(2):
                    watch.copied.clear()
                    y = runs(*args, **named)
                    dy = tree_map(lambda x: torch.empty_like(x) if x.is_floating_point() else None, y)
                    dx = runs.backward(*dy) if isinstance(dy, tuple) else runs.backward(dy)
                    found = [each for each in tree_leaves((y, dx)) if isinstance(each, torch.Tensor)]
                    assert {each.device.type for each in found} <= {"cuda"}
                assert not watch.copied

    @pytest.mark.parametrize("replicas", [None, 3])
    def test_a_state_that_is_kept_there(self, replicas):
        """Running statistics and weights are copied, selected and restored without waiting for the GPU."""
        with pretend.gpu():
            model = lamp.Sequential(lamp.Linear(4, 5, device="cuda"), lamp.BatchNorm1d(5, device="cuda"))
            chosen = torch.tensor(True, device="cuda")
            if replicas is not None:
                model = lamp.population(model, range(replicas))
                chosen = torch.tensor([True] * replicas)
            good, (loss, other) = LastGood(), [torch.empty(chosen.shape, device="cuda") for _ in range(2)]
            good.begin(model)
            for step, each in ((0, loss), (64, other)):
                model(torch.empty(7, 4, device="cuda"))
                good.note(model, each, step)
            kept = ModelState.of(model).clone().where(chosen, ModelState.of(model))
            ModelState.of(model).restore(kept)
            if replicas is None:
                good.put_back(model)
            else:
                good.put_back(model, torch.tensor([1]))
                good.of(torch.tensor([0, 2]))
                good.put_back(model.select([2, 0]))
            assert {each.device.type for each in ModelState.of(model).tensors} == {"cuda"}

    @pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
    @pytest.mark.parametrize("replicas", [None, 3])
    def test_a_step(self, case, replicas):
        with pretend.gpu():
            parameters = [
                lamp.Parameter(torch.empty(shape, device="cuda")) for shape in ((4, 3), (4,), (2, 4), (2,), (5,), (1,))
            ]
            if replicas is not None:
                replicate(parameters, replicas)
            optimizer = case.make(parameters)
            for _ in range(2):
                optimizer.zero_grad()
                lamp.clip_grad_norm_(optimizer, 1.0)
                lamp.clip_grad_value_(parameters, 1.0)
                optimizer.step()
            state = optimizer.state_dict()["state"]
            assert {t.device.type for each in state.values() for n, t in each.items() if n != "step"} <= {"cuda"}

    @pytest.mark.parametrize("case", LOSSES, ids=str)
    @pytest.mark.parametrize("replicas", [None, 3])
    def test_a_loss(self, case, replicas):
        criterion, (output, target) = case.make(), case.pair()
        with pretend.gpu(waits=case.kind in LOOKING):
            output, target = output.to("cuda"), target.to("cuda")
            if replicas is not None:
                output = marked(output.expand(replicas, *output.shape).clone(), replicas)
                target = target.expand(replicas, *target.shape).clone()
            loss = criterion.to("cuda")(output, target)
            assert loss.device.type == "cuda"
            upstream = [torch.empty_like(loss)] if case.reduction == "none" else []
            doutput = criterion.backward(*upstream)
            assert doutput.device.type == "cuda"
            assert doutput.shape == output.shape

    def test_hyperparameters_of_each_replica_and_replicas_that_leave(self):
        networks = lamp.population(
            lamp.Sequential(lamp.Linear(3, 5), lamp.PReLU(), lamp.Dropout(), lamp.Linear(5, 4)), range(3)
        )
        networks.network[2].seeds()
        numbers = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        for criterion, target in [
            (lamp.CrossEntropyLoss(label_smoothing=numbers), torch.zeros(7, dtype=torch.int64)),
            (lamp.HuberLoss(delta=numbers), torch.zeros(7, 4)),
            (lamp.SmoothL1Loss(beta=numbers), torch.zeros(3, 7, 4)),
        ]:
            with pretend.gpu(waits=True):
                model, rows = networks.select([0, 1, 2]).to("cuda"), torch.tensor([2, 0])
                optimizer = lamp.AdamW(model.parameters(), lr=numbers, weight_decay=numbers)

                def step(model, criterion, optimizer, target):
                    x = torch.empty(7, 3, device="cuda")
                    optimizer.zero_grad()
                    criterion(model(x), target)
                    model.backward_parameters(criterion.backward())
                    lamp.clip_grad_norm_(optimizer, optimizer.param_groups[0]["lr"])
                    optimizer.step()

                step(model, criterion, optimizer, target.to("cuda"))
                fewer = model.select(rows)
                pairs = dict(zip(model.parameters(), fewer.parameters(), strict=True))
                of_fewer = optimizer.of_replicas(rows, pairs)
                own = target[rows] if target.dim() == 3 else target
                step(fewer, criterion.of_replicas(rows), of_fewer, own.to("cuda"))
                optimizer.take_back(of_fewer, rows, pairs)
                model.copy_(rows.tolist(), fewer)
                step(model, criterion, optimizer, target.to("cuda"))


class TestEveryDevice:
    @cases
    @pytest.mark.parametrize("device", DEVICES)
    def test_a_module_computes_what_it_does_on_the_cpu(self, case, device):
        module, twin = case.pair()
        x = case.input()
        y, expected = module.to(device)(x.to(device)), twin(x)
        for (_, one), (_, other) in zip(leaves(y), leaves(expected), strict=True):
            torch.testing.assert_close(one.cpu(), other.detach(), rtol=1e-9, atol=1e-9)
        dy = like(expected)
        dx = module.backward(mapped(dy, lambda each: each.to(device)))
        found = [dx, *(parameter.grad for parameter in module.parameters())]
        for one, other in zip(found, gradients(twin, x, dy=stacked([dy])), strict=True):
            if one is not None:
                want = torch.zeros_like(one).cpu() if other is None else other
                torch.testing.assert_close(one.cpu(), want, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize(
        "name", ["uniform_", "normal_", "xavier_normal_", "kaiming_uniform_", "lecun_uniform_", "orthogonal_"]
    )
    def test_a_seed_gives_the_same_weights(self, name, device):
        init = getattr(lamp.init, name)
        on_cpu = init(torch.empty(4, 6), generator=torch.Generator().manual_seed(3))
        there = init(torch.empty(4, 6, device=device), generator=torch.Generator().manual_seed(3))
        assert torch.equal(there.cpu(), on_cpu)

    @pytest.mark.parametrize("device", DEVICES)
    def test_training(self, device):
        x = torch.randn(64, 3)
        y = (x.sum(1) > 0).long()
        losses = []
        for place in ("cpu", device):
            torch.manual_seed(0)
            model = lamp.Sequential(lamp.Linear(3, 8), lamp.Tanh(), lamp.Linear(8, 2)).to(place)
            for each in (model, lamp.population(model, range(3))):
                history = lamp.fit(
                    each,
                    lamp.CrossEntropyLoss(),
                    lamp.Adam(each.parameters(), lr=0.01),
                    (x.to(place), y.to(place)),
                    epochs=3,
                    batch_size=16,
                    seed=0,
                    metrics=[lamp.accuracy],
                    progress=False,
                )
                losses.append(history["loss"])
        torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(losses[1], losses[3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("callbacks", [[], [lamp.Callback()]])
def test_a_loss_that_nobody_looked_at_is_found_at_the_end_of_the_epoch(callbacks):
    """On a GPU, no step waits for its own loss."""

    class Late(lamp.MSELoss):
        steps = 0

        def forward(self, output, target):
            loss = super().forward(output, target)
            Late.steps += 1
            return loss * float("nan") if Late.steps == 7 else loss

    model = lamp.Sequential(lamp.Linear(2, 1))
    before = model.state_dict()["0.weight"].clone()
    data = torch.randn(8, 2), torch.randn(8, 1)
    with pytest.raises(lamp.NonFiniteError, match="epoch 2, step 7") as raised:
        lamp.fit(model, Late(), lamp.SGD(model.parameters(), 0.1), data, epochs=3, batch_size=2, progress=False,
                 callbacks=callbacks)  # fmt: skip
    assert raised.value.history.epochs == 1
    assert torch.equal(model[0].weight.data, before)  # what the last copy held: that of step 0


def test_a_network_of_a_population_has_its_dtype():
    networks = lamp.population(lamp.Sequential(lamp.Linear(2, 3), lamp.PReLU()), range(3)).double()
    networks.network[0].weight.data += 1e-12
    for one in (networks[1], networks.select([1])[0]):
        assert {each.dtype for each in one.state_dict().values()} == {torch.float64}
        assert torch.equal(one[0].weight.data, networks.state_dict()["0.weight"][1])
