"""The examples of CONTRIBUTING.md run, in order, with both engines and in populations."""

import re
from pathlib import Path

import pytest
import torch

import lamp

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
K = 3


@pytest.fixture(scope="module")
def examples():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    torch.manual_seed(0)
    names = {}
    exec("\n".join(blocks), names)
    return names


def test_the_examples_learn(examples):
    history = examples["history"]
    assert history["loss"][-1] < history["loss"][0] / 2


def test_the_loss_and_its_derivative(examples):
    output = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(7, 3, dtype=torch.float64) * 30
    loss = examples["LogCoshLoss"]()
    expected = (output - target).cosh().log().mean()
    assert torch.allclose(loss(output.detach(), target), expected)
    expected.backward()
    assert torch.allclose(loss.backward(), output.grad)


def test_the_optimizer_follows_its_paper(examples):
    values, gradients = torch.randn(4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    parameter = lamp.Parameter(values.clone())
    optimizer = examples["Signum"]([parameter], lr=0.1, beta=0.7, weight_decay=0.3)
    mean = torch.zeros(4, dtype=torch.float64)
    for gradient in gradients:
        parameter.grad.copy_(gradient)
        optimizer.step()
        mean = 0.7 * mean + 0.3 * gradient
        values = values - 0.1 * (mean.sign() + 0.3 * values)
    assert torch.allclose(parameter.data, values)


def test_they_compile_and_fit_populations(examples):
    """Both engines agree, and replica k trains as it would alone."""

    def trained(engine, seeds):
        build = lambda: lamp.Sequential(lamp.Linear(2, 5), examples["Squareplus"](), lamp.Linear(5, 1)).double()  # noqa: E731
        torch.manual_seed(3)
        model = lamp.population(build(), seeds=seeds) if seeds else build()
        optimizer = examples["Signum"](model.parameters(), lr=1e-3)
        x = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        y = x.prod(1, keepdim=True)
        lamp.fit(
            model,
            examples["LogCoshLoss"](),
            optimizer,
            (x, y),
            epochs=3,
            batch_size=10,
            seed=1,
            progress=False,
            engine=engine,
        )
        return torch.cat([parameter.data.flatten() for parameter in model.parameters()])

    for seeds in (None, range(K)):
        assert torch.allclose(trained("eager", seeds), trained("compiled", seeds), rtol=1e-9, atol=1e-12)


def test_a_module_that_minds_no_replicas_is_refused(examples):
    networks = lamp.population(lamp.Sequential(examples["Scale"](3), lamp.Linear(3, 2)), seeds=range(K))
    with pytest.raises(lamp.LampError, match="Scale"):
        networks(torch.randn(7, 3))
