"""Tensor operations without torch's autograd layer: nothing here needs it, and it costs a sixth of a small step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

# Skips the dispatch to autograd, so operations are recorded nowhere; no_grad still goes through it.
quick: Callable[[], AbstractContextManager[Any]] = getattr(torch._C, "_AutoDispatchBelowAutograd", torch.no_grad)
