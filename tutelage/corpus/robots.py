"""robots.txt as RFC 9309 has it: groups of rules, the longest path wins; read the way real files are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

MAX_BYTES = 500 << 10  # what a crawler must read, and where it may stop

_AGENT, _ALLOW, _DISALLOW = "user-agent", "allow", "disallow"
# Seen in real files, and read so by large crawlers.
_SPELLINGS = {
    "useragent": _AGENT, "user agent": _AGENT, "dissallow": _DISALLOW, "dissalow": _DISALLOW, "disalow": _DISALLOW,
    "diasllow": _DISALLOW, "disallaw": _DISALLOW,
}  # fmt: skip


@dataclass(slots=True)
class Group:
    """What holds for some crawlers: path patterns, and whether they allow; what the site says of use for AI."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    no_training: bool = False


@dataclass(frozen=True, slots=True)
class Robots:
    """The groups of a robots.txt by the name of the crawler, in lower case; "*" is all others."""

    groups: dict[str, Group]

    def allows(self, url: str, crawler: str) -> bool:
        """Whether a crawler may fetch an address. Of the rules that fit it the longest decides, and of two as long the
        one that allows."""
        group = self._group(crawler)
        parts = urlsplit(url)
        path = _spelled(parts.path or "/") + (f"?{_spelled(parts.query)}" if parts.query else "")
        if group is None or path == "/robots.txt":
            return True
        fitting = [(len(pattern), allow) for pattern, allow in group.rules if _fits(pattern, path)]
        return max(fitting)[1] if fitting else True

    def refuses_training(self, crawler: str) -> bool:
        """Whether the site says that its pages are not to be trained on (Content-Signal: ai-train=no,
        Content-Usage: train-ai=n), to this crawler or to all."""
        group = self._group(crawler)
        return group is not None and group.no_training

    def _group(self, crawler: str) -> Group | None:
        return self.groups.get(crawler.lower(), self.groups.get("*"))


def parse_robots(text: str) -> Robots:
    """Reads a robots.txt. What is no rule is passed over: a page of HTML sent in its place has none."""
    groups: dict[str, Group] = {}
    named: list[str] = []
    begun = False  # whether the group in hand has rules, so that another user agent begins a new one
    for line in text[:MAX_BYTES].lstrip("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        key = _SPELLINGS.get(key, key)
        if not colon:
            continue
        if key == _AGENT:
            if begun:
                named, begun = [], False
            # Only the product counts: "GPTBot/1.2" is GPTBot.
            named.append(value.partition("/")[0].strip().lower())
            groups.setdefault(named[-1], Group())
        elif key in (_ALLOW, _DISALLOW):
            begun = True
            if value:  # an empty one forbids nothing
                pattern = _spelled(value if value[0] in "/*" else "/" + value)
                for name in named:
                    groups[name].rules.append((pattern, key == _ALLOW))
        elif key in ("content-signal", "content-usage"):
            begun = True
            said = {part.strip().lower().replace(" ", "") for part in value.replace(";", ",").split(",")}
            if said & {"ai-train=no", "train-ai=n", "train-genai=n", "bots=n"}:
                for name in named or ["*"]:
                    groups.setdefault(name, Group()).no_training = True
    return Robots(groups)


def refusals(robots: Robots, url: str, crawlers: Iterable[str]) -> list[str]:
    """Those of the crawlers that may not fetch the address, or may not train on it."""
    return [name for name in crawlers if not robots.allows(url, name) or robots.refuses_training(name)]


def _spelled(path: str) -> str:
    """A path in the one spelling that paths are compared in: percent signs for what is not ASCII."""
    return quote(path, safe="%/:?#[]@!$&'()*+,;=-._~ ").replace(" ", "%20")


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern fits the beginning of a path: "*" stands for anything, "$" at its end for the path's end.

    Piece by piece from the left, which takes no longer than the path is long for each piece: patterns come from
    strangers, and a regular expression made of one can run for ever.
    """
    whole = pattern.endswith("$")
    first, *rest = (pattern[:-1] if whole else pattern).split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not whole or path == first
    at = len(first)
    for piece in rest[:-1]:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    if whole:
        return len(path) - len(rest[-1]) >= at and path.endswith(rest[-1])
    return path.find(rest[-1], at) >= 0
