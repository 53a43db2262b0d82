"""Union-find over very many items, vectorised. `labels`, int64[N], is a forest: each item points to a member of its
cluster with an index not above its own."""

from __future__ import annotations

import numpy as np

_FLATTENED_AT_ONCE = 1 << 16  # labels


def union(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Join the clusters of left[i] and right[i] for each i, in place."""
    while len(left):
        first, second = find(labels, left), find(labels, right)
        apart = first != second
        left, right = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        # If several are to become the parent of one root, the smallest wins; the others are retried.
        np.minimum.at(labels, right, left)


def find(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The first item of the cluster of each of `places`. Compresses paths in `labels`."""
    found = labels[places]
    while True:
        further = labels[found]
        if np.array_equal(further, found):
            labels[places] = found
            return found
        found = further


def flatten(labels: np.ndarray) -> np.ndarray:
    """Flatten the forest, chunk by chunk: each label becomes the first item of its cluster."""
    for start in range(0, len(labels), _FLATTENED_AT_ONCE):
        find(labels, np.arange(start, min(start + _FLATTENED_AT_ONCE, len(labels))))
    return labels
