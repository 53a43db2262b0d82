"""Drafts by n-gram lookup: what followed the last tokens of a request when they occurred before, in its prompt or its
answer (Saxena 2023, "prompt lookup decoding"). It costs nothing, and pays where answers copy."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.engine.requests import Draft, Request

# Longest first: what followed more equal tokens is the better guess.
SIZES = (4, 3, 2)


class NgramIndex:
    """Where each n-gram of a growing list of ids occurred last, with a token after it."""

    def __init__(self) -> None:
        self.next_of: dict[tuple[int, ...], int] = {}  # n-gram -> place of the token after it
        self.read = 0

    def lookup(self, ids: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that followed the last ones before; [] if they did not occur before."""
        for place in range(max(self.read, 1), len(ids)):
            for size in SIZES:
                if size <= place:
                    self.next_of[tuple(ids[place - size : place])] = place
        self.read = max(self.read, len(ids))
        for size in SIZES:
            found = self.next_of.get(tuple(ids[-size:])) if size <= len(ids) else None
            if found is not None:
                return list(ids[found : found + most])
        return []


class NgramDrafter:
    """Drafts for requests of an engine."""

    def __init__(self) -> None:
        self.indexes: dict[Request, NgramIndex] = {}

    def draft(self, wanted: Sequence[tuple[Request, int]]) -> None:
        """Set a draft of up to so many tokens for each request that has one."""
        for request, most in wanted:
            tokens = self.indexes.setdefault(request, NgramIndex()).lookup(request.ids, most)
            if tokens:
                request.draft = Draft(tokens)

    def forget(self, request: Request) -> None:
        """The request has ended."""
        self.indexes.pop(request, None)
