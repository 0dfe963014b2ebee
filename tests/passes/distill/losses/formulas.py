"""The papers' formulas in float64 as they stand there: sums over images, neurons, pairs, triplets."""

from __future__ import annotations

import itertools
import math

import numpy as np


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(1, keepdims=True)))


def soft_targets(s: np.ndarray, t: np.ndarray, temperature: float) -> np.float64:
    """Hinton et al. 2015: cross-entropy with the softened teacher, less the teacher's entropy, times T^2."""
    own, other = log_softmax(s / temperature), log_softmax(t / temperature)
    cross = -(np.exp(other) * own).sum(1)
    entropy = -(np.exp(other) * other).sum(1)
    return np.float64(temperature**2 * (cross - entropy).mean())


def boundary(s: np.ndarray, t: np.ndarray, margin: float) -> np.float64:
    """Heo et al. 2019, eq. 5, neuron by neuron; over the number of neurons and images."""
    total = 0.0
    for own, other in zip(s.reshape(-1), t.reshape(-1), strict=True):
        rho = 1.0 if other > 0 else 0.0
        total += (rho * max(0.0, margin - own) + (1 - rho) * max(0.0, margin + own)) ** 2
    return np.float64(total / s.size)


def hints(s: np.ndarray, t: np.ndarray) -> np.float64:
    """Romero et al. 2015, eq. 3; over the number of elements."""
    return np.float64(0.5 * np.linalg.norm((t - s).reshape(-1)) ** 2 / s.size)


def attention(s: np.ndarray, t: np.ndarray) -> np.float64:
    """Zagoruyko & Komodakis 2017, eq. 2 with the norm squared, mean over images."""
    total = 0.0
    for own, other in zip(s, t, strict=True):
        maps = [(x**2).sum(0).reshape(-1) for x in (own, other)]
        unit = [q / np.linalg.norm(q) for q in maps]
        total += 0.5 * float(np.linalg.norm(unit[0] - unit[1])) ** 2
    return np.float64(total / len(s))


def huber(x: float, y: float) -> float:
    """Park et al. 2019, eq. 6."""
    return 0.5 * (x - y) ** 2 if abs(x - y) <= 1 else abs(x - y) - 0.5


def relations(s: np.ndarray, t: np.ndarray, distance: float, angle: float) -> np.float64:
    """Park et al. 2019, eq. 4 to 9; sums over pairs and triplets, over their number."""
    s, t = s.reshape(len(s), -1), t.reshape(len(t), -1)
    pairs = list(itertools.permutations(range(len(s)), 2))
    triplets = list(itertools.permutations(range(len(s)), 3))

    def lengths(x: np.ndarray) -> dict[tuple[int, ...], float]:
        mu = sum(np.linalg.norm(x[i] - x[j]) for i, j in pairs) / len(pairs)
        return {(i, j): float(np.linalg.norm(x[i] - x[j]) / mu) for i, j in pairs}

    def cosines(x: np.ndarray) -> dict[tuple[int, ...], float]:
        def unit(i: int, j: int) -> np.ndarray:
            return np.asarray((x[i] - x[j]) / np.linalg.norm(x[i] - x[j]))

        return {(i, j, k): float(unit(i, j) @ unit(k, j)) for i, j, k in triplets}

    total = 0.0
    for weight, measure in ((distance, lengths), (angle, cosines)):
        own, other = measure(s), measure(t)
        total += weight * sum(huber(other[key], own[key]) for key in own) / max(len(own), 1)
    return np.float64(total)


def decoupled(
    s: np.ndarray,
    t: np.ndarray,
    target: np.ndarray,
    *,
    temperature: float,
    target_weight: float,
    others_weight: float,
) -> np.float64:
    """Zhao et al. 2022, eq. 3 to 7, image by image, times T^2."""
    total = 0.0
    for own, other, label in zip(s / temperature, t / temperature, target, strict=True):
        p = [np.exp(log_softmax(x[None])[0]) for x in (own, other)]
        rest = [[x[i] for i in range(len(x)) if i != label] for x in p]
        hit = [float(x[label]) for x in p]
        miss = [sum(x) for x in rest]
        binary = hit[1] * math.log(hit[1] / hit[0]) + miss[1] * math.log(miss[1] / miss[0])
        shares = [np.array(x) / sum(x) for x in rest]
        among = float((shares[1] * np.log(shares[1] / shares[0])).sum())
        total += target_weight * binary + others_weight * among
    return np.float64(temperature**2 * total / len(s))
