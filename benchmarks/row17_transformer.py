"""Row 17: a small causal transformer that predicts the next character at each place, alone and as 32 networks.

The texts are random characters: a step takes as long as on real ones. Some gradients are 0 but for rounding, such as
those of the keys' biases, and Adam divides by their size: a large eps limits that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lamp
from benchmarks import single_work as who
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import NamedTask, Rule
from benchmarks.single_jax import WithJax

LAYERS, HEADS, WIDTH, CONTEXT, CHARACTERS = 2, 2, 32, 32, 65
BATCH, BATCHES = 16, 5
NETWORKS, SAMPLE = 32, 4  # of the population, and of it in torch.nn
JOB = 5_000  # steps of a whole training
SEED = 0
TOLERANCE = 3e-5
EPS_OF_NORMS = 1e-5


class Transformer(lamp.Container):
    """(B, T) -> scores (B, characters, T)"""

    def __init__(self, characters: int, layers: int, heads: int, width: int, context: int) -> None:
        self.what, self.where = lamp.Embedding(characters, width), lamp.Embedding(context, width)
        layer = lamp.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = lamp.TransformerEncoder(layer, layers, lamp.LayerNorm(width))
        self.score = lamp.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        places = torch.arange(text.shape[-1])
        places = places if self.replicas is None else places.expand(self.replicas, -1)
        mask = lamp.Transformer.generate_square_subsequent_mask(text.shape[-1])
        scores: Tensor = self.score(self.layers(self.what(text) + self.where(places).unsqueeze(-3), mask, None, True))
        return scores.mT

    def backward(self, dy: Tensor) -> None:
        dx = self.layers.backward(self.score.backward(dy.mT))
        self.what.backward(dx)
        self.where.backward(dx.sum(-3))

    def trace(self, tracer: Any, text: Any) -> Any:
        (length,) = text.shape
        where = tracer(self.where, tracer.constant(self, torch.arange(length)))
        mask = lamp.Transformer.generate_square_subsequent_mask(length)
        x = tracer(self.layers, tracer.add(self, tracer(self.what, text), where), mask, None, True)
        return tracer.permute(self, tracer(self.score, x), (1, 0))


class TransformerInTorch(torch.nn.Module):
    """The same network in torch.nn."""

    def __init__(self, characters: int, layers: int, heads: int, width: int, context: int) -> None:
        super().__init__()
        nn = torch.nn
        self.what, self.where = nn.Embedding(characters, width), nn.Embedding(context, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.score = nn.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(text.shape[1])
        x = self.what(text) + self.where(torch.arange(text.shape[1]))
        scores: Tensor = self.score(self.layers(x, mask, is_causal=True))
        return scores.mT


@dataclass(frozen=True)
class Texts(NamedTask):
    """The characters (batches, B, T), the next ones as targets, and one network or several.

    sizes     as the networks take them: characters, layers, heads, width, context
    """

    sizes: tuple[int, ...] = ()

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        if nn is not lamp:
            return TransformerInTorch(*self.sizes)
        model = Transformer(*self.sizes)
        return model if self.networks is None else lamp.population(model, range(self.networks))


@lru_cache(maxsize=2)
def texts(
    networks: int | None = None,
    sizes: tuple[int, ...] = (CHARACTERS, LAYERS, HEADS, WIDTH, CONTEXT),
    batch: int = BATCH,
    batches: int = BATCHES,
) -> Texts:
    """The task to learn random texts."""
    drawn = np.random.default_rng(SEED).integers(sizes[0], size=(batches, batch, sizes[-1] + 1))
    inputs, targets = np.ascontiguousarray(drawn[..., :-1]), np.ascontiguousarray(drawn[..., 1:])
    torch.manual_seed(SEED)
    rule = Rule("Adam", 1e-3, eps=1e-2)
    task = Texts((), "GELU", "CrossEntropyLoss", inputs, targets, (), (), rule, 0, sizes=sizes, networks=networks)
    model = task.network(lamp, lamp.Residual)
    return replace(task, state=tuple((name, value.numpy().copy()) for name, value in model.state_dict().items()))


class InJax(WithJax):
    """The same networks in JAX; several by vmap of the whole training."""

    def __init__(self, task: Texts, threads: int) -> None:
        rows = replace(task, targets=task.targets.reshape(task.batches, -1))
        super().__init__(rows, threads)
        if task.networks is not None:
            import jax

            self.state = (*self.state[:-1], jax.numpy.zeros(task.networks))

    def of_all(self, train: Any) -> Any:
        import jax

        assert isinstance(self.task, Texts)
        return train if self.task.networks is None else jax.vmap(train, in_axes=(0, None, None))

    def outputs(self, values: Any, x: Any) -> Any:
        import jax

        assert isinstance(self.task, Texts)
        _, layers, heads, width, context = self.task.sizes
        named = dict(zip((name for name, _ in self.task.state), values, strict=True))
        mask = jax.numpy.triu(jax.numpy.full((context, context), -np.inf), 1)

        def affine(x: Any, name: str, kind: str = ".") -> Any:
            return x @ named[f"{name}{kind}weight"].T + named[f"{name}{kind}bias"]

        def norm(x: Any, name: str) -> Any:
            x = x - x.mean(-1, keepdims=True)
            scale = jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + EPS_OF_NORMS)
            return x * scale * named[f"{name}.weight"] + named[f"{name}.bias"]

        def attention(x: Any, name: str) -> Any:
            parts = affine(x, name, ".in_proj_").reshape(*x.shape[:2], 3, heads, width // heads)
            q, k, v = parts.transpose(2, 0, 3, 1, 4)  # (B, heads, T, width / heads) each
            scores = q @ k.swapaxes(-1, -2) / np.sqrt(width // heads) + mask
            y = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(x.shape)
            return affine(y, f"{name}.out_proj")

        x = named["what.weight"][x] + named["where.weight"]
        for k in range(layers):
            name = f"layers.layers.{k}"
            x = x + attention(norm(x, f"{name}.norm1"), f"{name}.self_attn")
            hidden = jax.nn.gelu(affine(norm(x, f"{name}.norm2"), f"{name}.linear1"), approximate=False)
            x = x + affine(hidden, f"{name}.linear2")
        return affine(norm(x, "layers.norm"), "score").reshape(-1, self.task.sizes[0])


def jax(task: Callable[[], Texts]) -> Contender:
    note = "compiled: jit over lax.scan, all steps in one call; of several networks vmap of that"
    return Contender(
        who.JAX, lambda threads: InJax(task(), threads), compiles=True, time_limit=who.COMPILED_WITHIN, note=note
    )


TITLE = f"causal transformer, {LAYERS} layers, {HEADS} heads, {WIDTH} wide, context {CONTEXT}, Adam, batch {BATCH}"


def alone(task: Callable[[], Texts], steps: int) -> Work:
    """Training one network."""
    return Work(
        TITLE,
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.torch_compile(task),
            jax(task),
        ),
        (Goal(who.COMPILED, who.FUSED, 5.0), Goal(who.COMPILED, who.JAX, 3.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


def many(task: Callable[[], Texts], networks: int, sample: int, steps: int) -> Work:
    """Training several networks."""
    peer = who.first_of_many(task, networks, sample)
    return Work(
        f"{networks} networks: {TITLE}",
        (who.compiled(task), peer, jax(task)),
        (Goal(who.COMPILED, peer.name, 5.0), Goal(who.COMPILED, who.JAX, 3.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
        networks=networks,
    )


ROW = Row(17, "a small transformer", (alone(texts, 50), many(partial(texts, NETWORKS), NETWORKS, SAMPLE, 25)))
