"""A whole page in one file: style, scripts and contents inside, nothing fetched from anywhere."""

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
    """A style sheet or script that stands beside this file."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def section(title: str, *body: Html | str, note: Html | str = "") -> Html:
    """A part of a page under its own heading, listed in the table of contents.

    Its anchor is made from the title: "Held-out loss" is #held-out-loss. `note` is small print under the heading.
    """
    anchor = re.sub(r"\W+", "-", title.lower()).strip("-") or "section"
    mark = tag("a", "#", attributes={"class": "anchor", "href": f"#{anchor}", "aria-label": "link to this section"})
    small = tag("p", note, attributes={"class": "note"}) if note else None
    return tag("section", tag("h2", title, mark), small, *body, attributes={"id": anchor})


def page(title: str, body: Sequence[Html], lead: Html | str = "", style: str = "", script: str = "") -> str:
    """A self-contained HTML document with a table of contents of its sections.

    It follows the reader's choice of light or dark, fits a telephone, and forbids every request to the outside; no
    script runs in it but the kit's own and `script`. `style` is added to the kit's own style sheet.
    """
    assert "</" not in style and "</script" not in script.lower(), "a style or script cannot hold its own end"
    contents, main = _contents("".join(map(escape, body)))
    scripts = [resource("script.js"), *([script] if script else [])]
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(map(_hash, scripts))}"
    )
    styles = "\n".join([both_modes(), resource("style.css"), resource("plot.css"), style])
    head = (
        tag("meta", attributes={"charset": "utf-8"}),
        tag("meta", attributes={"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("title", title),
        tag("style", Html(styles)),
        *(tag("script", Html(one)) for one in scripts),
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
    """The table of contents, None for a page of fewer than two sections, and the body with every anchor unique."""
    seen: dict[str, int] = {}
    links: list[Html] = []

    def unique(found: re.Match[str]) -> str:
        anchor = found[1]
        seen[anchor] = seen.get(anchor, 0) + 1
        own = anchor if seen[anchor] == 1 else f"{anchor}-{seen[anchor]}"
        links.append(tag("li", tag("a", Html(found[2]), attributes={"href": f"#{own}"})))
        return found[0].replace(f'id="{anchor}"', f'id="{own}"').replace(f'href="#{anchor}"', f'href="#{own}"')

    body = _SECTION.sub(unique, body)
    if len(links) < 2:
        return None, Html(body)
    return tag("nav", tag("ol", *links), attributes={"class": "contents", "aria-label": "contents"}), Html(body)
