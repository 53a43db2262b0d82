"""A page in one file, with its style, scripts and table of contents; it loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from tutelage.html.markup import Html, escape, tag
from tutelage.html.palette import both_modes

_SECTION = re.compile(r'<section id="([^"]*)"><h2>(.*?)<a class="anchor" href="[^"]*"', re.DOTALL)


@cache
def resource(name: str) -> str:
    """A style sheet or script in the folder of this file."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def section(title: str, *body: Html | str, note: Html | str = "") -> Html:
    """A part of a page with a heading that is listed in the table of contents.

    The anchor is derived from the title: "Held-out loss" is #held-out-loss. `note` is small print under the heading.
    """
    anchor = re.sub(r"\W+", "-", title.lower()).strip("-") or "section"
    mark = tag("a", "#", attributes={"class": "anchor", "href": f"#{anchor}", "aria-label": "link to this section"})
    small = tag("p", note, attributes={"class": "note"}) if note else None
    return tag("section", tag("h2", title, mark), small, *body, attributes={"id": anchor})


def page(
    title: str,
    body: Sequence[Html],
    lead: Html | str = "",
    style: str = "",
    script: str = "",
    asks_server: bool = False,
) -> str:
    """A self-contained HTML document with a table of contents of its sections.

    It follows the reader's choice of light or dark mode, fits narrow screens, and its content security policy forbids
    every request, but those to its own server with `asks_server`; only the kit's own script and `script` run. `style`
    is added to the kit's style sheet.
    """
    assert "</" not in style and "</script" not in script.lower(), "a style or script cannot contain its own end tag"
    contents, main = _contents("".join(map(escape, body)))
    scripts = [resource("script.js"), *([script] if script else [])]
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(map(_hash, scripts))}"
    )
    if asks_server:
        policy += "; connect-src 'self'"
    styles = "\n".join([both_modes(), resource("style.css"), resource("plot.css"), style])
    head = (
        tag("meta", attributes={"charset": "utf-8"}),
        tag("meta", attributes={"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("title", title),
        tag("style", Html(styles)),
        *(tag("script", Html(source)) for source in scripts),
    )
    intro = tag("p", lead, attributes={"class": "lead"}) if lead else None
    header = tag("header", tag("h1", title), intro)
    frame = tag(
        "div", contents, tag("main", header, main), attributes={"class": "frame" if contents else "frame alone"}
    )
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', frame), attributes={'lang': 'en'})}\n"


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _contents(body: str) -> tuple[Html | None, Html]:
    """The table of contents (None with fewer than two sections), and the body with unique anchors."""
    seen: dict[str, int] = {}
    links: list[Html] = []

    def unique(match: re.Match[str]) -> str:
        anchor = match[1]
        seen[anchor] = seen.get(anchor, 0) + 1
        new = anchor if seen[anchor] == 1 else f"{anchor}-{seen[anchor]}"
        links.append(tag("li", tag("a", Html(match[2]), attributes={"href": f"#{new}"})))
        return match[0].replace(f'id="{anchor}"', f'id="{new}"').replace(f'href="#{anchor}"', f'href="#{new}"')

    body = _SECTION.sub(unique, body)
    if len(links) < 2:
        return None, Html(body)
    return tag("nav", tag("ol", *links), attributes={"class": "contents", "aria-label": "contents"}), Html(body)
