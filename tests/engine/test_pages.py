"""The page pool by itself. Numbers in names are known bugs of other engines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.pages import PAGE, PagePool


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=30), st.integers(1, 6))
def test_s2_the_page_before_is_part_of_a_pages_key(uses: list[tuple[int, int]], total: int) -> None:
    """Two prefixes whose last page has the same tokens are two pages, whatever was evicted and used again."""
    pool = PagePool(total)
    for family, count in uses:
        ids = [family] * PAGE + [7] * (3 * PAGE) + [0]
        pages = pool.match("weights", ids[: count * PAGE + 1])
        for place, page in enumerate(pages):
            assert pool.key_of[page][1] == tuple(ids[place * PAGE : (place + 1) * PAGE])
        assert not pages or pool.key_of[pages[0]] == ("weights", tuple(ids[:PAGE]))
        own = pool.allocate(count - len(pages))
        if own is not None:
            for place in range(len(pages), count):
                parent = pages[place - 1] if place else "weights"
                pages.append(pool.publish(parent, ids[place * PAGE : (place + 1) * PAGE], own[place - count]))
        pool.check([pages])
        pool.release(pages)
        pool.check([])


def test_pages_of_other_weights_are_not_found() -> None:
    pool = PagePool(4)
    [page] = pool.allocate(1) or []
    pool.publish("weights", [1] * PAGE, page)
    assert pool.match("weights", [1] * 17) == [page]
    assert pool.match("other", [1] * 17) == []


def test_s2_tokens_with_equal_hashes_are_told_apart() -> None:
    """The worst hash there is: every key of the index has the same one, and only tokens and parent differ."""

    class Token(int):
        def __hash__(self) -> int:
            return 0

    pool = PagePool(4)
    first, second = [Token(1)] * PAGE, [Token(2)] * PAGE
    assert hash(tuple(first)) == hash(tuple(second))
    pages = pool.allocate(2) or []
    for tokens, page in zip((first, second), pages, strict=True):
        pool.publish("weights", tokens, page)
    assert pool.match("weights", [*first, Token(0)]) == pages[:1]
    assert pool.match("weights", [*second, Token(0)]) == pages[1:]
    assert pool.match("weights", [*[Token(3)] * PAGE, Token(0)]) == []


@given(st.data(), st.integers(1, 8))
def test_s6_no_order_of_calls_loses_a_page_or_frees_it_twice(data: st.DataObject, total: int) -> None:
    """Holders come, publish what they have, and leave in any order; after each call every page is counted once."""
    pool, held = PagePool(total), []  # type: ignore[var-annotated]
    for _ in range(data.draw(st.integers(0, 25))):
        action = data.draw(st.sampled_from(["take", "leave", "clear"]))
        if action == "take":
            family, count = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 4))
            ids = [family] * (count * PAGE) + [9]
            pages = pool.match("weights", ids)
            own = pool.allocate(count - len(pages))
            if own is None:
                pool.release(pages)
            else:
                for place, page in enumerate(own, len(pages)):
                    pages.append(page)
                    if (
                        data.draw(st.booleans())
                        and place == len(pages) - 1
                        and all(p in pool.key_of for p in pages[:-1])
                    ):
                        parent = pages[place - 1] if place else "weights"
                        pages[place] = pool.publish(parent, ids[place * PAGE : (place + 1) * PAGE], page)
                held.append(pages)
        elif action == "leave" and held:
            pool.release(held.pop(data.draw(st.integers(0, len(held) - 1))))
        elif action == "clear":
            pool.clear()
        pool.check(held)
        count = len({page for pages in held for page in pages})
        assert pool.available + count == total
    for pages in held:
        pool.release(pages)
    pool.clear()
    assert pool.available == total
