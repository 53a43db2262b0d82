"""How many requests may be in flight: fewer while the endpoint is busy, more with every answer."""

from __future__ import annotations

import threading


class AdaptiveLimit:
    """Additive increase, multiplicative decrease (Chiu and Jain 1989), for requests of many threads. A `with` block
    holds one place; its value says which cut of the limit the request has seen, so that requests that were in flight
    together cut it once."""

    def __init__(self, most: int) -> None:
        self.most, self.limit = most, float(most)
        self._cuts = self._in_flight = 0
        self._changed = threading.Condition()

    def __enter__(self) -> int:
        with self._changed:
            while self._in_flight >= int(self.limit):
                self._changed.wait()
            self._in_flight += 1
            return self._cuts

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify()

    def succeeded(self) -> None:
        """An answer arrived: in about `limit` answers the limit grows by one."""
        with self._changed:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
            self._changed.notify()

    def busy(self, epoch: int) -> None:
        """The endpoint refused or timed out: halve the limit, if the request has seen the last cut."""
        with self._changed:
            if epoch == self._cuts:
                self._cuts += 1
                self.limit = max(1.0, self.limit / 2)
