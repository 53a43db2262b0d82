"""URLs in a form that can be compared."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def normalized_url(url: str) -> str:
    """A URL without the scheme, "www.", fragment and trailing slashes, its host in lower case."""
    bare = re.sub(r"^[a-z]+://", "", url.strip(), flags=re.IGNORECASE).partition("#")[0]
    host, slash, path = bare.partition("/")
    return (host.lower().removeprefix("www.") + slash + path).rstrip("/")


def url_host(url: str) -> str:
    """The host of a URL in lower case, without "www."; "" if it has none."""
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""
    return host.lower().removeprefix("www.").rstrip(".")
