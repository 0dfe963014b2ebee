"""Value and gradient of each loss against a plain PyTorch writing of it, in float64 and by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.distill.losses.building import gradient, value
from tests.passes.distill.losses.cases import (
    ANGLE,
    CASES,
    DISTANCE,
    MARGIN,
    SHARES,
    TEMPERATURE,
)

torch = pytest.importorskip("torch", reason="torch is not installed")
F: Any = torch.nn.functional
TOLERANCE = 1e-5  # relative to the value, and to the largest element of the gradient


def soft_targets(s: Any, t: Any) -> Any:
    log = F.log_softmax(s / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(log, F.softmax(t / TEMPERATURE, dim=1), reduction="batchmean")


def boundary(s: Any, t: Any) -> Any:
    return torch.where(t > 0, F.relu(MARGIN - s), F.relu(MARGIN + s)).square().mean()


def hints(s: Any, t: Any) -> Any:
    return F.mse_loss(s, t) / 2


def attention(s: Any, t: Any) -> Any:
    own, other = (F.normalize(x.square().sum(1).flatten(1), dim=1) for x in (s, t))
    return (own - other).square().sum(1).mean() / 2


def relations(s: Any, t: Any) -> Any:
    pairs = ~torch.eye(len(s), dtype=torch.bool)
    triplets = pairs[:, :, None] & pairs[:, None, :] & pairs[None, :, :]

    def measures(x: Any) -> tuple[Any, Any]:
        x = x.flatten(1)
        difference = x[None, :, :] - x[:, None, :]
        lengths = difference[pairs].norm(dim=1)
        directions = F.normalize(difference, dim=2)
        return lengths / lengths.mean(), torch.einsum("jid,jkd->jik", directions, directions)[triplets]

    own, other = measures(s), measures(t)
    return DISTANCE * F.huber_loss(own[0], other[0]) + ANGLE * F.huber_loss(own[1], other[1])


def decoupled(s: Any, t: Any, target: Any) -> Any:
    hot = F.one_hot(target, s.shape[1]).bool()
    own, other = s / SHARES["temperature"], t / SHARES["temperature"]

    def binary(x: Any) -> Any:
        p = F.softmax(x, dim=1)[hot]
        return torch.stack([p, 1 - p], dim=1)

    def others(x: Any) -> Any:
        return F.log_softmax(x[~hot].reshape(len(x), -1), dim=1)

    first = F.kl_div(binary(own).log(), binary(other), reduction="batchmean")
    second = F.kl_div(others(own), others(other), reduction="batchmean", log_target=True)
    total = SHARES["target_weight"] * first + SHARES["others_weight"] * second
    return SHARES["temperature"] ** 2 * total


WRITINGS = {f.__name__: f for f in (soft_targets, boundary, hints, attention, relations, decoupled)}


@pytest.mark.parametrize("images", [3, 5])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str, images: int) -> None:
    case = CASES[name]
    arrays = case.arrays(0, images)
    tensors = [torch.from_numpy(a) for a in arrays]
    tensors = [x.double() if x.is_floating_point() else x for x in tensors]
    own = tensors[0].requires_grad_()
    expected = WRITINGS[name](*tensors)
    expected.backward()
    assert value(case.build, 17, *arrays) == pytest.approx(expected.item(), rel=TOLERANCE)
    exact = own.grad.numpy()
    error = np.abs(gradient(case.build, 17, *arrays) - exact).max()
    assert error <= TOLERANCE * np.abs(exact).max()
