from __future__ import annotations

import threading

from tutelage.client.adaptive_limit import AdaptiveLimit


def test_requests_in_flight_together_cut_the_limit_once() -> None:
    limit = AdaptiveLimit(8)
    with limit as first, limit as second:
        limit.busy(first)
        limit.busy(second)
    assert limit.limit == 4
    with limit as third:
        limit.busy(third)
    assert limit.limit == 2
    for _ in range(100):
        limit.succeeded()
    assert limit.limit == 8


def test_it_never_falls_below_one_and_nobody_waits_for_ever() -> None:
    limit = AdaptiveLimit(2)
    for _ in range(5):
        with limit as epoch:
            limit.busy(epoch)
    assert limit.limit == 1
    held, most = [0], [0]

    def use() -> None:
        with limit:
            held[0] += 1
            most[0] = max(most[0], held[0])
            held[0] -= 1

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert most[0] == 1
