"""What a network computes in eval mode is measured in eval mode by the compiled engine too."""

from __future__ import annotations

import pytest
import torch

import lamp

pytestmark = pytest.mark.compiled

X = torch.randn(23, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(23, 2, generator=torch.Generator().manual_seed(1))


class Doubles(lamp.Module):
    """Doubles its input in training mode, and passes it on in eval mode."""

    def forward(self, x):
        self.remember(self.training)
        return x + x if self.training else x

    def backward(self, dy):
        return dy + dy if self.recall() else dy

    def trace(self, tracer, x):
        return tracer.add(self, x, x) if tracer.training else x


MODULES = {
    "a trace that asks for the mode": Doubles,
    "RReLU": lambda: lamp.RReLU(0.1, 0.6),
    "Dropout": lambda: lamp.Dropout(0.4),
    "AlphaDropout": lambda: lamp.AlphaDropout(0.4),
    "channels": lambda: lamp.Sequential(lamp.Unflatten(1, (2, 3)), lamp.Dropout1d(0.4), lamp.Flatten()),
    "BatchNorm1d": lambda: lamp.BatchNorm1d(6),
}


@pytest.mark.parametrize("seeds", [None, range(5)], ids=["one network", "a population"])
@pytest.mark.parametrize("name", MODULES)
def test_validation_is_that_of_eval_mode(name, seeds):
    found = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(1)
        # A bias before BatchNorm would have a gradient of 0 but for rounding, by whose size Adam divides.
        first = lamp.Linear(6, 6, bias=name != "BatchNorm1d")
        model = lamp.Sequential(first, MODULES[name](), lamp.Linear(6, 2)).double()
        if seeds:
            model = lamp.population(model, seeds)
        data, optimizer = (X.double(), Y.double()), lamp.Adam(model.parameters(), lr=0.02)
        history = lamp.fit(
            model, lamp.MSELoss(), optimizer, data, epochs=3, batch_size=5, seed=0, validation=data, engine=engine,
            progress=False,
        )  # fmt: skip
        measured = torch.as_tensor(history["validation_loss"])
        last = torch.as_tensor(lamp.evaluate(model, lamp.MSELoss(), data)["loss"])
        torch.testing.assert_close(measured[-1].double(), last.double(), rtol=1e-6, atol=0)
        found.append((torch.as_tensor(history["loss"]), measured))
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-9, atol=0)
