"""What every test starts from: the same random numbers, one thread, no window."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("LAMP_CACHE_DIR", "off")  # kernels are compiled anew, unless a test is about the cache

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("lamp", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("lamp")


@pytest.fixture(autouse=True)
def _same_start():
    torch.set_num_threads(1)
    torch.manual_seed(0)
