from __future__ import annotations

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.dedup.near import MinhashSettings, near_clusters


def test_clusters_join_over_buckets_and_shards_and_empty_texts_stay_alone() -> None:
    buckets = [
        [np.array([1, 2, 0], np.uint64), np.array([2, 0], np.uint64)],
        [np.array([5, 6, 0], np.uint64), np.array([7, 0], np.uint64)],
        [np.array([8, 9, 0], np.uint64), np.array([8, 0], np.uint64)],
    ]
    assert near_clusters(buckets, 1 << 20).tolist() == [0, 0, 2, 0, 4]


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="each be at least 1"):
        MinhashSettings(rows=0)
