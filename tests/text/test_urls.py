from __future__ import annotations

import pytest

from tutelage.text.urls import normalized_url, url_host


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("http://www.A.org/x/", "https://a.org/x#top", True),
        ("https://a.org/X", "https://a.org/x", False),
        ("https://WWW.a.org", "a.org//", True),
        ("https://a.org/x?y=1", "https://a.org/x?y=2", False),
    ],
)
def test_equal_urls(left: str, right: str, same: bool) -> None:
    assert (normalized_url(left) == normalized_url(right)) is same


def test_hosts() -> None:
    assert url_host(" HTTPS://www.A.org:80/x") == "a.org"
    assert url_host("http://[broken/") == ""
    assert url_host("") == ""


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("http://a.org/a?utm_source=x", "https://www.a.org/a", True),
        ("https://a.org/a?UTM_medium=x&fbclid=3&gclid=4", "https://a.org/a", True),
        ("https://a.org/a?id=1&utm_source=x", "https://a.org/a?id=1", True),
        ("https://a.org/a?id=1", "https://a.org/a?id=2", False),
        ("https://a.org/a?id=1", "https://a.org/a", False),
        ("https://a.org/a?source=x", "https://a.org/a", False),
        ("https://a.org:443/a", "https://a.org/a", True),
        ("http://a.org:80/a", "https://a.org/a", True),
        ("http://a.org:8080/a", "http://a.org/a", False),
        ("http://a.org:443/a", "http://a.org/a", False),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a", True),
        ("https://BÜCHER.example/a", "https://www.bücher.example/a/", True),
        ("https://例え.jp", "https://xn--r8jz45g.jp/", True),
        ("https://a.org/~sam", "https://a.org/%7esam", True),
        ("https://a.org/caf%c3%a9", "https://a.org/café", True),
        ("https://a.org/a%2Fb", "https://a.org/a/b", False),
        ("https://a.org/a;jsessionid=1F", "https://a.org/a", True),
        ("https://a.org/?", "https://a.org", True),
        ("a.org/x", "https://a.org/x", True),
    ],
)
def test_addresses_of_one_page(left: str, right: str, same: bool) -> None:
    assert (normalized_url(left) == normalized_url(right)) is same


@pytest.mark.parametrize("url", ["", "://", "http://", "?", "a?b=c&&", "http://[::1]:80/x", "%", "http://a.org/%zz"])
def test_addresses_that_are_none_are_no_error(url: str) -> None:
    assert normalized_url(normalized_url(url)) == normalized_url(url)
