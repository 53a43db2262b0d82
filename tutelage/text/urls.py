"""URLs in a form that can be compared."""

from __future__ import annotations

import re
import string
import unicodedata
from urllib.parse import quote, urlsplit

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_USUAL_PORTS = {"http": ":80", "https": ":443", "ftp": ":21"}
# Parameters that follow the visitor (campaigns, clicks, sessions) and do not change the page.
_FOLLOWS = re.compile(
    r"(?:utm|mtm|pk|piwik|matomo|hsa)_\w+|_?_?hs(?:enc|mi|tc|sc|fp)|hsctatracking|(?:fb|g|dc|ms|y|ys|tw|tt|wbra|gbra|rb_)clid"
    r"|gclsrc|gbraid|wbraid|gad_source|gad_campaignid|igshid|igsh|mc_[ce]id|_ga|_gl|_ke|mkt_tok|oly_(?:enc|anon)_id|vero_id"
    r"|wickedid|li_fat_id|scid|sc_cid|s_cid|s_kwcid|ef_id|srsltid|epik|ref_src|ref_url|cmpid|spm|fb_(?:action_ids|source|ref)"
    r"|action_(?:object|type|ref)_map|trk|trkcampaign|phpsessid|jsessionid|aspsessionid\w*|sessionid|cfid|cftoken",
    re.IGNORECASE,
)
_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[^/?#;]*", re.IGNORECASE)
_ESCAPE = re.compile("%([0-9a-fA-F]{2})")
_UNRESERVED = string.ascii_letters + string.digits + "-._~"


def normalized_url(url: str) -> str:
    """A URL as a page is known by: without the scheme, its usual port, "www.", the fragment, trailing slashes and
    parameters that only follow the visitor; its host in lower case and, where international, in ASCII (punycode); its
    percent signs as `percent_spelled`."""
    url = url.strip()
    scheme = _SCHEME.match(url)
    bare = url[scheme.end() if scheme else 0 :].partition("#")[0]
    start = next((at for at, character in enumerate(bare) if character in "/?"), len(bare))
    host, rest = bare[:start], bare[start:]
    host = host.lower().removesuffix(_USUAL_PORTS.get(scheme[1].lower() if scheme else "", "")).removeprefix("www.")
    path, _, query = rest.partition("?")
    kept = [part for part in query.split("&") if part and not _FOLLOWS.fullmatch(part.partition("=")[0])]
    path = _SESSION.sub("", path).rstrip("/")
    return _ascii_host(host) + percent_spelled(f"{path}?{'&'.join(kept)}" if kept else path)


def _ascii_host(host: str) -> str:
    """A host with its international labels in punycode (RFC 5891, without its checks)."""
    if host.isascii():
        return host
    labels = unicodedata.normalize("NFKC", host).replace("。", ".").lower().split(".")
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def percent_spelled(path: str) -> str:
    """A path in the one spelling in which URLs are compared (RFC 3986, section 6.2.2; RFC 9309, 2.2.2): unreserved
    octets without a percent sign, all that is not ASCII with one, hexadecimal digits in upper case."""
    if path.isascii() and "%" not in path and " " not in path:
        return path

    def octet(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if character in _UNRESERVED else escape[0].upper()

    return quote(_ESCAPE.sub(octet, path), safe=string.punctuation, errors="replace")


def url_host(url: str) -> str:
    """The host of a URL in lower case, without "www."; "" if it has none."""
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""
    return host.lower().removeprefix("www.").rstrip(".")
