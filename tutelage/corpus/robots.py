"""Parser of robots.txt after RFC 9309 (groups of rules, longest match wins), tolerant of real-world files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

MAX_BYTES = 500 << 10  # RFC 9309: a crawler must parse at least this much, and may ignore the rest

_AGENT, _ALLOW, _DISALLOW = "user-agent", "allow", "disallow"
# Common misspellings that large crawlers accept.
_SPELLINGS = {
    "useragent": _AGENT, "user agent": _AGENT, "dissallow": _DISALLOW, "dissalow": _DISALLOW, "disalow": _DISALLOW,
    "diasllow": _DISALLOW, "disallaw": _DISALLOW,
}  # fmt: skip


@dataclass(slots=True)
class Group:
    """The rules for some crawlers: (path pattern, allow) pairs, and whether the site opts out of AI training."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    no_training: bool = False


@dataclass(frozen=True, slots=True)
class Robots:
    """The groups of a robots.txt, by crawler name in lower case; "*" is the default."""

    groups: dict[str, Group]

    def allows(self, url: str, crawler: str) -> bool:
        """Whether a crawler may fetch a URL. The longest matching rule decides; on a tie, allow wins."""
        group = self._group(crawler)
        parts = urlsplit(url)
        path = _spelled(parts.path or "/") + (f"?{_spelled(parts.query)}" if parts.query else "")
        if group is None or path == "/robots.txt":
            return True
        fitting = [(len(pattern), allow) for pattern, allow in group.rules if _fits(pattern, path)]
        return max(fitting)[1] if fitting else True

    def refuses_training(self, crawler: str) -> bool:
        """Whether the site opts out of training (Content-Signal: ai-train=no, Content-Usage: train-ai=n), for this
        crawler or for all."""
        group = self._group(crawler)
        return group is not None and group.no_training

    def _group(self, crawler: str) -> Group | None:
        return self.groups.get(crawler.lower(), self.groups.get("*"))


def parse_robots(text: str) -> Robots:
    """Parse a robots.txt. Lines that are not rules are ignored, so an HTML error page has no rules."""
    groups: dict[str, Group] = {}
    named: list[str] = []
    begun = False  # whether the current group has rules, so that the next user agent begins a new group
    for line in text[:MAX_BYTES].lstrip("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        key = _SPELLINGS.get(key, key)
        if not colon:
            continue
        if key == _AGENT:
            if begun:
                named, begun = [], False
            # Only the product name counts: "GPTBot/1.2" is GPTBot.
            named.append(value.partition("/")[0].strip().lower())
            groups.setdefault(named[-1], Group())
        elif key in (_ALLOW, _DISALLOW):
            begun = True
            if value:  # an empty value forbids nothing
                pattern = _spelled(value if value[0] in "/*" else "/" + value)
                for name in named:
                    groups[name].rules.append((pattern, key == _ALLOW))
        elif key in ("content-signal", "content-usage"):
            begun = True
            signals = {part.strip().lower().replace(" ", "") for part in value.replace(";", ",").split(",")}
            if signals & {"ai-train=no", "train-ai=n", "train-genai=n", "bots=n"}:
                for name in named or ["*"]:
                    groups.setdefault(name, Group()).no_training = True
    return Robots(groups)


def refusals(robots: Robots, url: str, crawlers: Iterable[str]) -> list[str]:
    """The crawlers that may not fetch the URL, or may not train on it."""
    return [name for name in crawlers if not robots.allows(url, name) or robots.refuses_training(name)]


def _spelled(path: str) -> str:
    """A path in canonical spelling: non-ASCII characters are percent-encoded."""
    return quote(path, safe="%/:?#[]@!$&'()*+,;=-._~ ").replace(" ", "%20")


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern matches a prefix of a path: "*" matches anything, a final "$" the end of the path.

    Matches part by part from the left, in time linear in the path per part. Patterns are untrusted, and a regular
    expression made from one could take exponential time.
    """
    whole = pattern.endswith("$")
    first, *rest = (pattern[:-1] if whole else pattern).split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not whole or path == first
    at = len(first)
    for part in rest[:-1]:
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    if whole:
        return len(path) - len(rest[-1]) >= at and path.endswith(rest[-1])
    return path.find(rest[-1], at) >= 0
