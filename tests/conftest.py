"""What holds for every test: the same seed, one thread, no window, no cache of kernels; and the markers."""

import gc
import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("LAMP_CACHE_DIR", "off")  # kernels are compiled anew, unless a test is about the cache

from pathlib import Path

import hypothesis
import pytest
import torch

from tests.forked import Server

# Files whose tests take more than 0.03 s each, or more than 2.4 s together (their imports too) where others test the
# same. The fast tier, `pytest -m "not slow"`, leaves them out, and files that compile many kernels (test_compiled...).
# It takes less than a minute on two cores.
SLOW = [
    "activation_extremes",
    "argument_kinds",
    "attention_graphs",
    "backends",
    "benchmark_memory",
    "benchmark_rows",
    "benchmarks",
    "check_gradients",
    "checkpoint_files",
    "checkpoint_fingerprint",
    "checkpoint_own_state",
    "checkpoint_resume",
    "cli",
    "cli_reading",
    "cli_tables",
    "cli_terminal",
    "containers",
    "contributing",
    "convolution_shapes",
    "cross_validate",
    "data_mnist",
    "data_overrides",
    "derivations",
    "devices",
    "disk_cache",
    "epoch_means",
    "evaluating",
    "everything",
    "examples",
    "experiments",
    "fit_each",
    "found_by_use",
    "freezing",
    "fused",
    "graph",
    "interop_extremes",
    "interop_graphs",
    "interop_onnx",
    "interop_python",
    "interop_sequences",
    "interop_torch",
    "junk_arguments",
    "kept_kernels",
    "kept_memory",
    "lane_functions",
    "lanes",
    "loss_extremes",
    "loss_values",
    "metric_streaming",
    "metric_values",
    "mistakes",
    "model_state",
    "module_calls",
    "module_shapes",
    "optimizer_rule",
    "optimizer_state",
    "other_optimizers",
    "passes",
    "plots",
    "population_endings",
    "population_fit",
    "population_losses",
    "population_modules",
    "population_optimizers",
    "population_own_modules",
    "population_sizes",
    "population_widths",
    "precision",
    "processes",
    "random_mlps",
    "reading_delimited",
    "reading_sources",
    "readme",
    "run_folder",
    "sample_losses",
    "saving_failures",
    "saving_faults",
    "saving_hostile",
    "saving_locks",
    "schedule_long",
    "schedule_nesting",
    "several_inputs",
    "shown_on_terminals",
    "sklearn_benchmark",
    "sklearn_checks",
    "sklearn_estimators",
    "sklearn_same_numbers",
    "sklearn_tools",
    "sklearn_weights",
    "step_in_backward",
    "structure",
    "sweep",
    "sweep_halving",
    "sweep_table",
    "tables_advice",
    "tables_cells",
    "tables_dates",
    "tables_metrics",
    "tables_numbers",
    "tables_predict",
    "tables_search",
    "tables_values_hypothesis",
    "tensorboard",
    "torch_modules",
    "torch_modules_precision",
    "torch_optimizers",
    "torch_populations",
    "user_networks",
]
# Files about machine code: `pytest -m compiled` runs them alone.
COMPILED = ("backends", "compiled", "disk_cache", "fused", "kept_kernels", "lane")

# torch.manual_seed also seeds devices that are not there: it notes a stack trace for each of them, 1 ms in a test.
for device in (torch.cuda, torch.xpu, torch.mtia):
    if not device.is_available():
        device.manual_seed_all = lambda seed: None  # type: ignore[attr-defined]

hypothesis.settings.register_profile("lamp", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("lamp")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started this in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as tests of Ctrl-C need it


@pytest.fixture(autouse=True)
def _same_start():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """The beginning of a command line that starts a program as `sys.executable` does, but at once."""
    server = Server(str(tmp_path_factory.mktemp("forked") / "socket"))
    yield server.python
    server.close()


def _name(path):
    """The name of a test file, without `test_` and `.py`."""
    return Path(path).stem.removeprefix("test_")


def _is_slow(path):
    return _name(path) in SLOW or _name(path).startswith("compiled")


def pytest_ignore_collect(collection_path, config):
    """In the fast tier, do not even import the slow files: with what they import, that takes as long as many tests."""
    return True if config.option.markexpr == "not slow" and _is_slow(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Leave the tests themselves out of Python's search for garbage, which takes a tenth of the fast tier's time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    for item in items:
        name = _name(item.path)
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
        if name.startswith(COMPILED):
            item.add_marker(pytest.mark.compiled)
