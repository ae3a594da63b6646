"""The same seed gives the same bits, whatever the number of threads and however busy the machine is."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("sklearn", reason="the models for comparison need scikit-learn")

# A category of many values gives the networks so many inputs that predictions would use several threads
TRAIN = """
import hashlib, json, sys, threading
from pathlib import Path
import numpy as np, polars as pl, torch
from lamp.tables.planning import Request, plan_training
from lamp.tables.train import train

folder, busy = Path(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(0)
x = random.standard_normal((300, 2))
y = x[:, 0] * x[:, 1] + 0.3 * random.standard_normal(300)
city = [f"c{k}" for k in random.integers(150, size=300)]
targets = {"numbers": y, "classes": np.where(y > 0, "yes", "no")}

ends = threading.Event()
def work():
    square = torch.randn(200, 200)
    while not ends.is_set():
        square = (square @ square).tanh()
beside = [threading.Thread(target=work) for _ in range(busy)]
for each in beside:
    each.start()
def trained(target):
    pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "city": city, "target": target}).write_csv(folder / "table.csv")
    return train(plan_training(Request(folder / "table.csv", "target", seed=3, seconds=1.0)), progress=False)
outcomes = {kind: trained(target) for kind, target in targets.items()}
ends.set()

def bits(*tensors):
    return hashlib.sha256(b"".join(each.contiguous().numpy().tobytes() for each in tensors)).hexdigest()[:12]
def found(outcome):
    networks = [group.networks for group in outcome.model.groups]
    return {
        "weights": bits(*(parameter.data for each in networks for parameter in each.parameters())),
        "predictions": bits(outcome.prediction.mean, outcome.prediction.spread),
        "table": bits(*(torch.from_numpy(c.to_numpy().copy()) for c in outcome.model.table_of(outcome.prediction)
                        if c.dtype == pl.Float64)),
        "temperature": outcome.model.temperature,
        "importance": [[each.column, each.mean, each.std] for each in outcome.importances],
        "metrics": {k: each.to_dict() for k, each in outcome.estimates.items()},
        "peers": {peer.name: {k: each.to_dict() for k, each in peer.estimates.items()} for peer in outcome.peers},
        "sweep": [row.setting for row in outcome.found.sweep.rows],
    }
print(json.dumps({kind: found(outcome) for kind, outcome in outcomes.items()}))
"""


def test_threads_and_load_do_not_change_the_result(tmp_path):
    """Of classes and of numbers. One program trains both, since its imports take as long as a training."""
    found = []
    for threads, busy in (("1", "0"), ("2", "2")):
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", TRAIN, str(tmp_path), busy]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    alone, beside_others = found
    for kind in ("classes", "numbers"):
        assert beside_others[kind] == alone[kind]
