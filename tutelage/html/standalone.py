"""A plot as an SVG file, for use in Markdown."""

from __future__ import annotations

import re

from tutelage.html.document import resource
from tutelage.html.drawing import WIDE
from tutelage.html.markup import Html
from tutelage.html.palette import resolved

_FIRST = re.compile(r"<svg (.*?)>(.*?)</svg>", re.DOTALL)


def svg(plot: Html) -> str:
    """The wide drawing of a plot as an SVG file, with colours for light and dark mode.

    Raises:
        ValueError: there is no plot in the markup.
    """
    match = _FIRST.search(plot)
    if not match:
        raise ValueError("no plot in the markup; give the result of line_plot or interval_plot")
    size = re.search(r'viewBox="0 0 \d+ ([\d.]+)"', match[1])
    assert size, "every drawing has a viewBox"
    style = resource("plot.css")
    dark = f"@media (prefers-color-scheme:dark){{{resolved(style, 'dark')}}}"
    # A margin, as an image has no page around it.
    width, height = WIDE + 32, float(size[1]) + 24
    box = f"-16 -12 {width} {height:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}" viewBox="{box}" '
        'class="plot" role="img">'
        f"<style>{resolved(style, 'light')}{dark}</style>"
        f'<rect class="paper" x="-16" y="-12" width="100%" height="100%"/>{match[2]}</svg>\n'
    )
