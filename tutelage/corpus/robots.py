"""robots.txt after RFC 9309, by protego; and the opt-out signals from AI training that stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tutelage.extras import load
from tutelage.text.urls import percent_spelled

MAX_BYTES = 500 << 10  # RFC 9309: a crawler must parse at least this much, and may ignore the rest

# A user agent, a rule, or a signal. "d\w*l[ao]w" is "disallow" with the misspellings that protego knows. Other lines
# must not end a group (RFC 9309, section 2.2.4), but do so in protego; so only these are given to it.
_LINE = re.compile(r"\s*(?:(user[ -]?agent)|(allow|d\w*l[ao]w)|content-(?:signal|usage))\s*:\s*([^#]*)", re.IGNORECASE)
_DELAY = re.compile(r"\s*crawl-delay\s*:\s*(\d+(?:\.\d+)?)", re.IGNORECASE)
_NO_TRAINING = {"ai-train=no", "train-ai=n", "train-genai=n", "bots=n"}


@dataclass(frozen=True, slots=True)
class Robots:
    """A robots.txt.

    names:   the crawlers that have a group, in lower case.
    rules:   protego's parse of it.
    signals: protego's parse of the same groups, with "Disallow: /" for a signal against training.
    delay:   the longest Crawl-delay of any group, in seconds; 0 without one.
    """

    names: frozenset[str]
    rules: Any
    signals: Any
    delay: float = 0.0

    def allows(self, url: str, crawler: str) -> bool:
        """Whether a crawler may fetch a URL. The longest matching rule decides; on a tie, allow wins."""
        return self.rules.can_fetch(percent_spelled(url), self._group(crawler))

    def refuses_training(self, crawler: str) -> bool:
        """Whether the site opts out of training (Content-Signal: ai-train=no, Content-Usage: train-ai=n), for this
        crawler or for all."""
        return not self.signals.can_fetch("http://site/", self._group(crawler))

    def _group(self, crawler: str) -> str:
        # Names match as a whole. protego also takes the group of "google" for Google-Extended.
        return crawler if crawler.lower() in self.names else "*"


def parse_robots(text: str) -> Robots:
    """Parse a robots.txt. Lines that are not rules are ignored, so an HTML error page has no rules."""
    names, rules, signals = set(), [], []
    delay = 0.0
    for line in text[:MAX_BYTES].lstrip("\ufeff").splitlines():
        if not (match := _LINE.match(line)):
            if asked := _DELAY.match(line):
                delay = max(delay, float(asked[1]))
            continue
        value = match[3].strip()
        if match[1]:
            name = value.partition("/")[0].strip().lower()  # only the product name counts: "GPTBot/1.2" is GPTBot
            names.add(name)
            rules.append(f"user-agent: {name}")
            signals.append(f"user-agent: {name}")
        elif match[2]:
            value = percent_spelled(value)
            rules.append(f"{match[2]}: {value if not value or value[0] in '/*' else '/' + value}")
            signals.append("allow:")  # forbids nothing, and ends the list of user agents
        else:
            refused = _NO_TRAINING & {part.strip().lower().replace(" ", "") for part in re.split("[,;]", value)}
            rules.append("allow:")
            signals += [] if names else ["user-agent: *"]
            signals.append("disallow: /" if refused else "allow:")
    parse = load("protego").Protego.parse
    return Robots(frozenset(names), parse("\n".join(rules)), parse("\n".join(signals)), delay)


def refusals(robots: Robots, url: str, crawlers: Iterable[str]) -> list[str]:
    """The crawlers that may not fetch the URL, or may not train on it."""
    return [name for name in crawlers if not robots.allows(url, name) or robots.refuses_training(name)]
