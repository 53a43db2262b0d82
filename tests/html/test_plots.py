from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.html import Html, Interval, Series, interval_plot, line_plot, svg

NAN = math.nan


def drawings(plot: Html) -> list[ElementTree.Element]:
    """The wide and the narrow drawing; fails on markup that is not well-formed."""
    figure = ElementTree.fromstring(plot)
    assert [element.get("class") for element in figure.findall("svg")] == ["wide", "narrow"]
    return figure.findall("svg")


def texts(drawing: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in drawing.findall("text")]


def paths(drawing: ElementTree.Element, kind: str) -> list[str]:
    return [element.get("d", "") for element in drawing.findall("path") if kind in element.get("class", "").split()]


def line(series: Series, **settings: bool) -> Html:
    return line_plot([series], x_label="step", y_label="loss", **settings)


@given(
    st.lists(st.tuples(st.floats(width=32) | st.integers(0, 9), st.floats()), max_size=40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_series_is_drawn(points: list[tuple[float, float]], log_x: bool, log_y: bool, percent: bool) -> None:
    x, y = [x for x, _ in points], [y for _, y in points]
    plot = line(Series("a", x, y, y, y), log_x=log_x, log_y=log_y, percent=percent)
    for drawing in drawings(plot):
        width, height = map(float, drawing.get("viewBox", "").split()[2:])
        for commands in paths(drawing, "curve") + paths(drawing, "band"):
            for place_x, place_y in re.findall(r"[ML](\S+?) ([-\d.]+)", commands):
                assert 0 <= float(place_x) <= width
                assert 0 <= float(place_y) <= height
    json.loads(ElementTree.fromstring(plot).get("data-plot", ""))


def test_gaps_are_gaps_and_are_counted() -> None:
    plot = line(Series("a", [0, 1, 2, 3, 4, 5], [1, 2, NAN, 3, 4, math.inf]))
    (commands,) = paths(drawings(plot)[0], "curve")
    assert commands.count("M") == 2
    assert "2 values are not finite, and not drawn." in plot
    assert "not drawn" not in line(Series("a", [0, 1], [1, 2]))
    assert "1 value is not finite, or not positive" in line(Series("a", [1, 2, 3], [1, 0, 2]), log_y=True)


def test_a_point_between_gaps_is_marked() -> None:
    many = np.arange(100.0)
    lonely = np.where(many == 50, 1.0, NAN)
    lonely[:30] = 0.5
    (marks,) = paths(drawings(line(Series("a", many, lonely)))[0], "mark")
    assert marks.count("M") == 1


def test_thousands_of_points_are_thinned_and_no_peak_is_lost() -> None:
    y = np.zeros(100_000)
    y[54_321] = 7.5
    plot = line(Series("a", np.arange(100_000), y))
    wide, narrow = drawings(plot)
    assert len(plot) < 60_000
    (series,) = json.loads(ElementTree.fromstring(plot).get("data-plot", ""))["series"]
    assert series["x"][series["y"].index(7.5)] == 54_321
    for drawing in (wide, narrow):
        heights = [float(height) for _, height in re.findall(r"[ML](\S+?) ([-\d.]+)", paths(drawing, "curve")[0])]
        assert max(heights) - min(heights) > 150


def test_empty_plots_say_so() -> None:
    for plot in (
        line_plot([], x_label="step", y_label="loss"),
        line(Series("a", [], [])),
        line(Series("a", [1], [NAN])),
    ):
        assert all("nothing to draw" in texts(drawing) for drawing in drawings(plot))
    assert "nothing to draw" in interval_plot([], x_label="rate")


def test_a_plot_names_its_axes_and_more_than_one_series() -> None:
    two = line_plot(
        [Series("train", [1, 2], [3, 4]), Series("held-out", [1, 2], [2, 1], dashed=True)],
        x_label="step",
        y_label="loss",
        title="A title that is so long that it is broken into several lines where the page is narrow",
    )
    wide, narrow = drawings(two)
    for drawing in (wide, narrow):
        assert {"train", "held-out", "step", "loss"} <= set(texts(drawing))
        assert drawing.findtext("title") == (
            "A title that is so long that it is broken into several lines where the page is narrow over step: "
            "train, held-out"
        )
    assert texts(narrow)[0] != texts(wide)[0]
    assert len(paths(wide, "dashed")) == 2  # in the legend and in the plot
    assert "train" not in texts(drawings(line(Series("train", [1, 2], [3, 4])))[0])


def test_shares_are_written_in_percent_and_stay_inside() -> None:
    plot = line(Series("a", [1, 2], [0, 1], [0, 0.9], [0.1, 1]), percent=True)
    assert {"0%", "100%"} <= set(texts(drawings(plot)[0]))


@pytest.mark.parametrize(
    ("series", "problem"),
    [
        (Series("a", [1, 2], [1]), "make them equally long"),
        (Series("a", [1, 2], [1, 2], [1, 2], [1]), "make them equally long"),
        (Series("a", [1, 2], [1, 2], low=[1, 2]), "only one edge of its band"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(series: Series, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        line(series)


ROWS = [
    Interval("trained people", 0.9, 0.85, 0.94, "base"),
    Interval("trained people", 0.95, 0.9, 0.97, "chat"),
    Interval("held-out people", NAN, NAN, NAN, "base"),
]


def test_intervals_are_drawn_and_written() -> None:
    for drawing in drawings(interval_plot(ROWS, x_label="answered", title="Knowledge")):
        shown = texts(drawing)
        assert {"Knowledge", "answered", "base", "chat", "90.0% (85.0 to 94.0)", "no value"} <= set(shown)
        assert shown.count("trained people") == 1  # neighbours of one label share it
        assert len(paths(drawing, "whisker")) == 2
        assert len(paths(drawing, "mark")) == 2 + 2  # in the plot and in the legend
    plain = interval_plot([Interval("loss", -1.5, -2, -1)], x_label="nats", percent=False)
    assert "−1.5 (−2 to −1)" in texts(drawings(plain)[0])


def test_a_value_outside_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="'a': 0.5 lies outside its interval, 0.6 to 0.7"):
        interval_plot([Interval("a", 0.5, 0.6, 0.7)], x_label="rate")


def test_groups_differ_in_more_than_colour() -> None:
    wide = drawings(interval_plot(ROWS, x_label="answered"))[0]
    shapes = {re.sub(r"M\S+ [-\d.]+?(?=m)", "", commands) for commands in paths(wide, "mark")}
    assert len(shapes) == 2


@given(st.text(max_size=30))
def test_labels_cannot_inject_markup(text: str) -> None:
    plot = line_plot([Series(text, [1], [2]), Series("b", [1], [2])], x_label=text, y_label=text, title=text)
    tags = {element.tag for element in ElementTree.fromstring(plot).iter()}
    assert tags <= {"figure", "svg", "title", "text", "line", "path", "figcaption"}
    ElementTree.fromstring(svg(interval_plot([Interval(text, 1, 1, 1, text)], x_label=text)))


def test_a_plot_can_stand_alone() -> None:
    picture = svg(line(Series("a", [1, 2], [3, 4])))
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in picture
    assert "prefers-color-scheme:dark" in picture
    with pytest.raises(ValueError, match="no plot"):
        svg(Html("<p></p>"))
