"""Nothing ends or hangs the whole process: forks, threads when the program ends, memory that a callback frees."""

import subprocess

import pytest

BEGIN = """
import multiprocessing, sys, threading, time
import torch, lamp
torch.set_num_threads(2)
x = torch.randn(1000, 2); y = (x.sum(1) > 0).long()
def train(count=40, epochs=4, engine="compiled", **more):
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(2, 8), lamp.SELU(), lamp.Linear(8, 2))
    model = model if count is None else lamp.population(model, range(count))
    optimizer = lamp.SGD(model.parameters(), 0.1)
    return lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (x, y), epochs=epochs, engine=engine, seed=1,
                    batch_size=10, progress=False, **more)
def loss(seed=0):
    return float(train()["loss"][-1].mean())
"""


@pytest.fixture
def run(python):
    """Runs a program, which must end by itself with exit code 0, and returns what it printed."""

    def run(program, seconds=120):
        command = [*python, "-c", BEGIN + program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there are no forks here")
def test_a_forked_child_trains_too(run):
    told = run(
        """
before = loss()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(all(each == before for each in pool.map_async(loss, range(3)).get(timeout=60)))
"""
    )
    assert told.split() == ["True"]


@pytest.mark.parametrize("count", [None, 40])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("wait", [0.3, 1.5])
def test_a_program_may_end_while_a_daemon_thread_trains(run, engine, count, wait):
    told = run(
        f"""
train({count}, 1, "{engine}")
threading.Thread(target=train, args=({count}, 10**6, "{engine}"), daemon=True).start()
time.sleep({wait})
print("end")
"""
    )
    assert told.split() == ["end"]


def test_a_program_may_end_while_a_daemon_thread_prepares_a_training(run):
    told = run(
        """
started = threading.Event()
class Slow(torch.utils.data.Dataset):
    def __len__(self):
        started.set()
        for _ in range(100):
            torch.randn(400, 400) @ torch.randn(400, 400)
        return 20
    def __getitem__(self, k):
        return x[k], y[k]
def prepare():
    model = lamp.Sequential(lamp.Linear(2, 2))
    optimizer = lamp.SGD(model.parameters(), 0.1)
    lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, Slow(), batch_size=2, epochs=10**6, progress=False)
threading.Thread(target=prepare, daemon=True).start()
started.wait(60)
print("end")
"""
    )
    assert told.split() == ["end"]


def test_a_program_waits_for_tasks_that_no_worker_has_begun(run):
    """A worker that takes its next task is between two tasks; the program must not end then."""
    told = run(
        """
import lamp.workers
class Slow(lamp.workers.SimpleQueue):
    def get(self):
        given = super().get()
        time.sleep(0.05)
        return given
lamp.workers.SimpleQueue = Slow
pool = lamp.workers.Workers(1, "slow")
for task in range(3):
    pool.submit(lambda task=task: print(task, flush=True))
"""
    )
    assert told.split() == ["0", "1", "2"]


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_program_waits_for_a_thread_that_trains(run, engine):
    """Its last line is reached after the main thread has ended."""
    epochs = 150 if engine == "compiled" else 30
    told = run(
        f"""
def long():
    history = train(40, {epochs}, "{engine}", validation=(x, y), metrics=[lamp.accuracy])
    print(history.epochs)
threading.Thread(target=long).start()
"""
    )
    assert told.split() == [str(epochs)]


CHANGES = ["x.untyped_storage().resize_(0)", "x.data = torch.zeros(5, 2)", "x.resize_(10**7)"]


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("looks", [True, False])
def test_memory_of_the_data_that_a_callback_frees(run, engine, looks):
    told = run(
        f"""
class Free(lamp.Callback):
    needs_model = {looks}
    def on_epoch(self, training):
        if training.epoch == 20:
            exec(change)
for change in {CHANGES}:
    x = torch.randn(1000, 2)
    try:
        train(None, {300 if engine == "compiled" else 40}, "{engine}", callbacks=[Free()])
        print("done")
    except lamp.LampError as error:
        print("told")
"""
    )
    assert len(told.split()) == len(CHANGES)
    assert set(told.split()) <= {"done", "told"}


def test_a_metric_that_frees_memory(run):
    told = run(
        """
calls = []
def free(output, target):
    calls.append(1)
    if len(calls) == 20:
        y.untyped_storage().resize_(0)
        x.untyped_storage().resize_(0)
    return 0.0
try:
    train(None, 300, metrics=[free])
except lamp.LampError as error:
    print("told")
"""
    )
    assert told.split() == ["told"]


@pytest.mark.parametrize("looks", [True, False])
def test_memory_of_the_parameters_that_a_callback_frees(run, looks):
    told = run(
        f"""
class Free(lamp.Callback):
    changes_model = needs_model = {looks}
    def on_epoch(self, training):
        if training.epoch == 20:
            training.model[0].weight.data.untyped_storage().resize_(0)
try:
    train(None, 300, "compiled", callbacks=[Free()])
except lamp.LampError as error:
    print("told")
"""
    )
    assert told.split() == ["told"]


@pytest.mark.parametrize("what", ["x", "y", "model[0].weight.data"])
@pytest.mark.parametrize("call", ["compiled(x, y)", "compiled.gradients(x, y)"])
def test_memory_that_is_freed_between_compiled_calls(run, what, call):
    told = run(
        f"""
model = lamp.Sequential(lamp.Linear(2, 8), lamp.SELU(), lamp.Linear(8, 2))
compiled = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), batch_size=10)
x = torch.randn(100, 2)
y = (x.sum(1) > 0).long()
{call}
{what}.untyped_storage().resize_(0)
try:
    {call}
except lamp.DataError as error:
    print("freed" in str(error))
"""
    )
    assert told.split() == ["True"]
