"""A training that saves at every step and is killed at random moments, again and again.

    python -m tests.cases.killed FOLDER ROUNDS ENGINE SEED

One process loads everything. In each round it forks a training and kills it with SIGKILL after some milliseconds. Then
the newest checkpoint must load, and must not be older than in the round before. In the end the training goes on for
some epochs, and must have the same bits as a training that was never stopped. The results are printed as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import lamp
from lamp.training.checkpoints import read_checkpoint

LONGEST = {"eager": 0.12, "compiled": 0.5}  # seconds that a round lives
STEPS = 4  # an epoch


def training(engine, epochs, **more):
    torch.manual_seed(4)
    x = torch.randn(14, 3)
    model = lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Dropout(0.2), lamp.Linear(5, 2))
    optimizer = lamp.Adam(model.parameters(), lr=0.001)
    data = (x, (x.sum(1) > 0).long())
    options = dict(epochs=epochs, batch_size=4, engine=engine, progress=False, metrics=[lamp.accuracy])
    stopping = lamp.EarlyStopping(10**6, "loss")
    history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, callbacks=[stopping], **options, **more)
    return history["loss"], torch.cat([parameter.data.flatten() for parameter in model.parameters()])


def main(folder, rounds, engine, seed):
    torch.set_num_threads(1)
    random.seed(seed)
    training(engine, 2)  # compiled once, before the forks
    checkpoint = lamp.Checkpoint(folder, every_steps=1, every_epochs=1, keep=2)
    at, without, left_behind = (0, 0), 0, 0
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            try:
                training(engine, 10**6, checkpoint=checkpoint, resume=True)
            finally:
                os._exit(1)
        time.sleep(random.uniform(0.0, LONGEST[engine]))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the training ended by itself"
        if not checkpoint.saved():
            without += 1
            assert at == (0, 0), "a checkpoint was there, and none is now"
            continue
        state = read_checkpoint(Path(folder)).state
        assert (state["epoch"], state["step"]) >= at, "the newest checkpoint is older than one that was there"
        at = (state["epoch"], state["step"])
        lamp.History.from_lines(Path(folder) / "history.jsonl")
        left_behind += any(path.name.startswith(".") for path in (Path(folder) / "checkpoints").iterdir())
    epochs = at[0] + 2
    resumed = training(engine, epochs, checkpoint=checkpoint, resume=True)
    whole = training(engine, epochs)
    same = all(torch.equal(*pair) for pair in zip(resumed, whole, strict=True))
    lines = lamp.History.from_lines(Path(folder) / "history.jsonl")
    clean = not [path for path in (Path(folder) / "checkpoints").iterdir() if path.name.startswith(".")]
    found = {"rounds": rounds, "step": at[1], "rounds before the first checkpoint": without, "same bits": same}
    found |= {"killed while writing": left_behind, "swept in the end": clean, "lines": lines.epochs == epochs}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
