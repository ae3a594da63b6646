"""Random MLPs that nobody tuned for: does `engine="auto"` choose well, and is lamp ahead of torch.nn and JAX?

Each network is drawn from a seed: depth, widths, activation, optimizer, batch, and how long its training takes. Two
things are measured of each.

1. Its step, beside torch.nn with its fused optimizer (one thread or all, whichever is faster) and JAX (jit over scan),
   under the protocol of `benchmarks.harness`: checked equal, then timed in turn.
2. Its whole training by `lamp.fit`, in processes of their own: with engine="auto" where no kernel is on the disk yet,
   then in a second process where it may be; and by each engine.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks import single_work as who
from benchmarks.harness import NotEqual, Say, Work, measure
from benchmarks.single import ADAM, ADAMW, SGD, Rule, Task, initial

ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid", "SiLU", "GELU")
# No network may diverge, or its training would end before its time; and all must move far enough in a few steps to tell
# that contenders compute the same.
RULES = {rule.name: rule for rule in (replace(SGD, lr=0.03), replace(ADAM, lr=3e-3), replace(ADAMW, lr=3e-3))}
OUTPUTS = (1, 2, 3, 10)  # 1: a regression
WIDEST, DEEPEST, LARGEST_BATCH = 1000, 6, 1000
SECONDS = (0.05, 20.0)  # that the training takes by the eager engine
BATCHES = 4  # different ones, so that the data stay small
ROUND = 0.15  # seconds of a round of the harness
LEAST_STEPS = 5 * BATCHES  # of a round: the harness lets thread counts race over a fifth of it
REPETITIONS = 5
# 1e-4 as in row 9: Adam's steps of gradients that are 0 but for rounding. SGD has none of these, and its steps are so
# short in some networks that a larger tolerance would tell nothing.
TOLERANCE = {"SGD": 1e-5, "Adam": 1e-4, "AdamW": 1e-4}
SHORT = 1.0  # seconds: a shorter training of a second process is made twice, and the shorter time counts
PLENTY = 1.3  # times as long as the better engine: what `auto` may take
LATE = 0.4  # seconds behind the better engine that `auto` may be in a first process


@dataclass(frozen=True)
class Drawn:
    """A network and its training; `seconds` is how long the eager engine is to take."""

    widths: tuple[int, ...]
    activation: str
    rule: str
    batch: int
    seconds: float
    seed: int

    @property
    def title(self) -> str:
        return f"{'-'.join(map(str, self.widths))} {self.activation}, {self.rule}, batch {self.batch}"

    def task(self) -> Task:
        """Random inputs and targets: what is in them makes no step longer."""
        random = np.random.default_rng(self.seed)
        inputs = random.standard_normal((BATCHES, self.batch, self.widths[0]), dtype=np.float32)
        classes = self.widths[-1]
        regression = classes == 1
        targets: Any = random.integers(max(classes, 2), size=(BATCHES, self.batch))
        if regression:
            targets = random.standard_normal((BATCHES, self.batch, 1), dtype=np.float32)
        loss = "MSELoss" if regression else "CrossEntropyLoss"
        rule: Rule = RULES[self.rule]
        return Task(self.widths, self.activation, loss, inputs, targets, *initial(random, self.widths), rule)


@dataclass
class Found:
    """What was measured of one network.

    step       microseconds a step, by contender; absent ones are left out
    training   seconds of the whole training: "eager", "compiled" (second process), "auto, first", "auto"
    engine     which one `auto` chose
    """

    drawn: Drawn
    steps: int = 0
    step: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    engine: str = ""
    wrong: str = ""  # where contenders did not compute the same

    @property
    def ours(self) -> float:
        """Microseconds a step by the engine that `auto` chose."""
        return self.step[who.FIT if self.engine == "eager" else who.FIT_COMPILED]

    def ratio(self, peer: str) -> float:
        """How many times as long as lamp the peer takes for a step; NaN where it is absent.

        A peer that compiles is compared with the compiled engine, since its step leaves out that it compiles. The eager
        engine is chosen for trainings that end before anything is compiled.
        """
        if peer not in self.step:
            return math.nan
        return self.step[peer] / (self.step[who.FIT_COMPILED] if peer == who.JAX else self.ours)

    @property
    def beside_the_better(self) -> float:
        """How many times as long as the better engine `auto` takes in a second process."""
        return self.training["auto"] / min(self.training["eager"], self.training["compiled"])

    @property
    def behind(self) -> float:
        """Seconds that `auto` is behind the better engine in a first process."""
        return self.training["auto, first"] - min(self.training["eager"], self.training["compiled"])


def _drawn(saved: dict[str, Any]) -> Drawn:
    return Drawn(**{**saved, "widths": tuple(saved["widths"])})


def draw(seed: int, count: int) -> list[Drawn]:
    """So many networks; the same ones for the same seed, whatever the count."""
    random = np.random.default_rng(seed)
    found = []
    for k in range(count):
        depth = int(random.integers(1, DEEPEST + 1))
        widths = (*(round(_between(random, 1, WIDEST)) for _ in range(depth + 1)), int(random.choice(OUTPUTS)))
        activation, rule = str(random.choice(ACTIVATIONS)), str(random.choice(list(RULES)))
        batch, seconds = round(_between(random, 1, LARGEST_BATCH)), _between(random, *SECONDS)
        found.append(Drawn(widths, activation, rule, batch, seconds, seed + k))
    return found


def _between(random: np.random.Generator, low: float, high: float) -> float:
    """A number between these, whose logarithm is uniform."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def run(drawn: Drawn, say: Say = lambda text: None, child: Callable[..., dict[str, Any]] | None = None) -> Found:
    """Measure one network.

    Those who compile make more steps in a round than the others: as many as take ROUND, or as the training has. Before
    the first step, their call takes a millisecond or more, which is as long as hundreds of steps of 5 us.
    """
    found, task = Found(drawn), drawn.task()
    step = _seconds_of_a_step(task)
    found.steps = BATCHES * max(1, round(drawn.seconds / step / BATCHES))
    timed = LEAST_STEPS * max(1, round(ROUND / step / LEAST_STEPS))
    quicker = step / _seconds_of_a_compiled_step(task, timed)
    longer = max(1, math.floor(min(quicker, found.steps / timed)))
    contenders = (
        *[each for each in who.eager(drawn.task) if each.name == who.FIT],
        replace(who.fit_compiled(drawn.task), longer=longer),
        *[each for each in who.torch_nn(drawn.task) if each.name == who.FUSED],
        replace(who.jax(drawn.task), longer=longer),
    )
    work = Work(drawn.title, contenders, steps=timed, job_steps=found.steps, tolerance=TOLERANCE[drawn.rule])
    try:
        outcome = measure(work, REPETITIONS, say=say)
    except NotEqual as error:
        found.wrong = str(error)
    else:
        found.step = {entry.name: entry.median for entry in outcome.entries if entry.absent is None}
    child = child or _in_a_process
    with tempfile.TemporaryDirectory() as folder:
        epochs = found.steps // BATCHES
        for name, engine in (
            ("auto, first", "auto"),
            ("auto", "auto"),
            ("eager", "eager"),
            ("compiled, first", "compiled"),
            ("compiled", "compiled"),
        ):
            say(f"{drawn.title}: {name}")
            told = child(drawn, engine, epochs, folder)
            if not name.endswith("first") and told["seconds"] < SHORT:
                told = min(told, child(drawn, engine, epochs, folder), key=lambda each: each["seconds"])
            found.training[name] = told["seconds"]
            if name == "auto":
                found.engine = told["engine"]
    return found


def _seconds_of_a_step(task: Task) -> float:
    """About how long an eager step takes."""
    from benchmarks.single_lamp import WithFitsStep

    training = WithFitsStep(task)
    training.run(2 * BATCHES)
    begun = time.perf_counter()
    training.run(5 * BATCHES)
    return (time.perf_counter() - begun) / (5 * BATCHES)


def _seconds_of_a_compiled_step(task: Task, steps: int) -> float:
    """About how long a step takes in so many of the compiled engine."""
    from benchmarks.single_lamp import WithFitCompiled

    training = WithFitCompiled(task)
    training.run(steps)
    begun = time.perf_counter()
    training.run(steps)
    return (time.perf_counter() - begun - training.compiling) / steps


def _in_a_process(drawn: Drawn, engine: str, epochs: int, folder: str) -> dict[str, Any]:
    """Train in a process of its own, with kernels kept in this folder."""
    asked = json.dumps({"drawn": asdict(drawn), "engine": engine, "epochs": epochs})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.random_mlps", asked],
        env={**os.environ, "LAMP_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """The training of a child process: how long `lamp.fit` took, and by which engine."""
    import lamp
    from benchmarks.single_lamp import WithFitCompiled

    drawn = _drawn(asked["drawn"])
    training = WithFitCompiled(drawn.task())
    begun = time.perf_counter()
    history = lamp.fit(
        training.model,
        training.criterion,
        training.optimizer,
        (training.inputs, training.targets),
        epochs=asked["epochs"],
        batch_size=drawn.batch,
        shuffle=False,
        progress=False,
        engine=asked["engine"],
    )
    return {"seconds": time.perf_counter() - begun, "engine": history.engine, "why": history.why}


# ---- what is shown --------------------------------------------------------------------------------------------------
HEAD = ("network", "engine", "us/step", who.FUSED, who.JAX, "auto / better", "first, behind")


def lines(found: Sequence[Found]) -> list[list[str]]:
    """The rows of the table: ratios to lamp's step, and how well `auto` chose."""
    shown = []
    for each in found:
        cells = [each.drawn.title, each.engine]
        if each.wrong:
            cells += ["not equal", "", ""]
        else:
            cells += [f"{each.ours:.3g}", *(f"{each.ratio(peer):.2f}x" for peer in (who.FUSED, who.JAX))]
        shown.append([*cells, f"{each.beside_the_better:.2f}x", f"{each.behind:+.2f} s"])
    return shown


def remarks(found: Sequence[Found]) -> list[str]:
    """How many of the goals are met."""
    told = []
    for peer in (who.FUSED, who.JAX):
        ratios = [each.ratio(peer) for each in found if not each.wrong and peer in each.step]
        if ratios:
            ahead = sum(ratio > 1 for ratio in ratios)
            told.append(f"ahead of {peer} in {ahead} of {len(ratios)}, least ratio {min(ratios):.2f}")
        else:
            told.append(f"{peer} is absent")
    well = sum(each.beside_the_better <= PLENTY for each in found)
    told.append(f"auto within {PLENTY} times the better engine in {well} of {len(found)}, in a second process")
    told.append(f"auto at most {max(each.behind for each in found):.2f} s behind in the first one (goal {LATE} s)")
    if wrong := [each.drawn.title for each in found if each.wrong]:
        told.append(f"not equal, so not timed: {'; '.join(wrong)}")
    return told


def to_json(found: Sequence[Found], seed: int, machine: dict[str, Any]) -> str:
    """What was measured, as it is saved."""
    return json.dumps({"seed": seed, "machine": machine, "found": [asdict(each) for each in found]}, indent=1) + "\n"


def from_json(text: str) -> tuple[list[Found], int, dict[str, Any]]:
    """What `to_json` saved."""
    saved = json.loads(text)
    found = [Found(**{**each, "drawn": _drawn(each["drawn"])}) for each in saved["found"]]
    return found, saved["seed"], saved["machine"]


if __name__ == "__main__":
    print(json.dumps(train(json.loads(sys.argv[1]))))
