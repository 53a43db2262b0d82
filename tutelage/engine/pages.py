"""The page pool: which request holds which pages of keys and values, and which pages can be reused by prefix.

A page stands for PAGE consecutive tokens. It is *free*, *held* by one or more requests, or *cached*: held by none, but
in the prefix index, until somebody needs the room. free + held + cached = total, after every call.

The prefix index is a chain: a full page is found by (page before it, its tokens), the first one by (root, its tokens),
where the root names weights and adapter. Tokens are compared, not only hashes of them, so two prefixes are never taken
for one another.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

PAGE = 16

Parent = int | str  # a page, or the root of a chain
Key = tuple[Parent, tuple[int, ...]]


class PagePool:
    """Reference counts and prefix index of `total` pages. It holds no keys or values."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.fresh = 0  # pages from here on were never used
        self.free: list[int] = []
        self.references: dict[int, int] = {}
        self.index: dict[Key, int] = {}
        self.key_of: dict[int, Key] = {}
        # Pages in the index that nobody holds, least recently used first; a page stands before the one it follows.
        self.cached: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Pages that can be allocated now."""
        return self.total - self.fresh + len(self.free) + len(self.cached)

    def allocate(self, count: int) -> list[int] | None:
        """Take `count` pages, evicting cached ones where needed; None, and nothing changes, if there are too few."""
        if count > self.available:
            return None
        pages = []
        for _ in range(count):
            if not self.free and self.fresh == self.total:
                self._evict()
            if self.free:
                page = self.free.pop()
            else:
                page, self.fresh = self.fresh, self.fresh + 1
            self.references[page] = 1
            pages.append(page)
        return pages

    def match(self, root: str, ids: Sequence[int]) -> list[int]:
        """The longest chain of pages that holds the beginning of `ids`; the caller holds them from now on. At least
        one token is left out, since the logits after the last one must be computed."""
        pages: list[int] = []
        parent: Parent = root
        for start in range(0, (len(ids) - 1) // PAGE * PAGE, PAGE):
            page = self.index.get((parent, tuple(ids[start : start + PAGE])))
            if page is None:
                break
            self._hold(page)
            pages.append(page)
            parent = page
        return pages

    def publish(self, parent: Parent, tokens: Sequence[int], page: int) -> int:
        """Put a full, computed page into the index. If another page with this prefix is there, the caller holds that
        one instead, and its own is freed. Returns the page that the caller holds."""
        assert len(tokens) == PAGE
        key = (parent, tuple(tokens))
        known = self.index.get(key)
        if known is None:
            self.index[key], self.key_of[page] = page, key
            return page
        if known != page:
            self._hold(known)
            self.release([page])
        return known

    def release(self, pages: Sequence[int]) -> None:
        """Give up pages of one chain, in order. The last ones are evicted first."""
        for page in reversed(pages):
            self.references[page] -= 1
            if not self.references[page]:
                del self.references[page]
                if page in self.key_of:
                    self.cached[page] = None
                else:
                    self.free.append(page)

    def clear(self) -> None:
        """Evict every cached page."""
        while self.cached:
            self._evict()

    def check(self, held: Iterable[Sequence[int]]) -> None:
        """Compare with the pages that requests hold; every count must be explained.

        Raises:
            AssertionError: a page is lost, counted twice, or writable by two requests.
        """
        counted = Counter(page for pages in held for page in pages)
        assert counted == Counter(self.references), "reference counts differ from the pages that requests hold"
        used = [*self.free, *self.references, *self.cached]
        assert sorted(used) == list(range(self.fresh)), "a page is lost or in two places"
        assert all(page in self.key_of for page, count in counted.items() if count > 1), "a writable page is shared"
        assert {key: page for page, key in self.key_of.items()} == self.index, "the index and its inverse differ"
        assert self.cached.keys() <= self.key_of.keys(), "a page without a prefix is cached"
        for page, (parent, _) in self.key_of.items():
            assert isinstance(parent, str) or parent in self.key_of, f"page {page} follows a page that is gone"

    def _hold(self, page: int) -> None:
        self.references[page] = self.references.get(page, 0) + 1
        self.cached.pop(page, None)

    def _evict(self) -> None:
        """Free the least recently used cached page. Whoever holds a page holds those before it, and they are released
        in reverse, so no page that is still in the index follows the evicted one."""
        page, _ = self.cached.popitem(last=False)
        del self.index[self.key_of.pop(page)]
        self.free.append(page)
