"""`diagnose` describes how a wrong gradient differs from the right one, to hint at the mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from lamp.checks.differences import Point, dot
from lamp.trees import floating

COMPARED = 64  # at most this many elements of a wrong gradient are compared one by one
LOOSE = 10.0  # factor on the tolerance: differences along single elements are less exact than along a random direction


def diagnose(point: Point, k: int, eps: float, tolerance: float) -> str:
    """A short description of what is wrong with the gradient of tensor k."""
    gradient: Tensor = point.gradients[k]
    order = torch.randperm(gradient.numel(), generator=torch.Generator().manual_seed(point.seed))
    places = order[:COMPARED].sort().values

    def elements(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1).cpu()[places]

    def by_differences(upstream: list[Tensor]) -> Tensor:
        slopes = []
        for place in places.tolist():
            v = torch.zeros(gradient.numel(), dtype=gradient.dtype)
            v[place] = 1.0
            slopes.append(point.compare(k, v.view(gradient.shape).to(gradient.device), eps, upstream).numeric)
        return torch.tensor(slopes, dtype=gradient.dtype)

    def alike(given: Tensor, right: Tensor) -> bool:
        return bool((given - right).norm() <= LOOSE * tolerance * right.norm())

    given, right = elements(gradient), by_differences(point.upstream)
    if not given.any():
        return "zero: backward does not compute it"
    if right.norm() <= LOOSE * tolerance * given.norm():
        return "should be zero: the output does not depend on it"
    batch = max((output.shape[0] for output in floating(point.centre) if output.dim()), default=1)
    factor = dot(given, right) / dot(right, right)
    if alike(given / factor if factor else given, right):
        return _scaled(factor, batch, tolerance)
    if gradient.dim() == 2 and gradient.shape[0] == gradient.shape[1] and alike(elements(gradient.t()), right):
        return "transposed"
    for sample in (0, batch - 1) if batch > 1 else ():
        alone = [r.clone() for r in point.upstream]
        for r in alone:
            if r.dim() and r.shape[0] == batch:
                r[:sample], r[sample + 1 :] = 0.0, 0.0
        if alike(given, by_differences(alone)):
            return f"of sample {sample} alone: the sum over the batch is missing"
    off = (given - right).abs()
    wrong = int((off > LOOSE * tolerance * right.abs().max()).sum())
    worst = int(off.argmax())
    at = tuple(int(i) for i in torch.unravel_index(places[worst], gradient.shape))
    return f"{wrong} of {len(places)} elements off, most at {at}: {given[worst]:.6g}, not {right[worst]:.6g}"


def _scaled(factor: float, batch: int, tolerance: float) -> str:
    """The description of a gradient that is the right one times a factor."""
    if abs(factor + 1.0) < LOOSE * tolerance:
        return "the sign is wrong"
    if batch > 1 and abs(factor * batch - 1.0) < LOOSE * tolerance:
        return f"off by factor 1/{batch}: a mean over the batch in place of a sum"
    return f"off by factor {factor:.6g}"
