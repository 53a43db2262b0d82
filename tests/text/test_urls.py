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
