"""Tables and formulas of a page as plain text: rows with bars, TeX between dollar signs.

Node lists are iterated as `.values()`: iterating the list itself queries the tree at every step.
"""

from __future__ import annotations

import re
from typing import Any

# Formulas come in wrappers that hold a visual and a machine-readable form. The whole wrapper is replaced.
_WRAPPED = ".mwe-math-element, .katex-display, .katex, .MathJax_Display, .MathJax_Preview, .MathJax, mjx-container"
_FORMULAS = f"{_WRAPPED}, math, script[type^='math/tex'], img.latex, img.tex"
_MARKED = "table, math, script[type^='math/tex'], img.tex, img.latex"
_STYLE = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_MAX_CELL = 300  # characters; a table with longer cells is page layout
_MAX_CELLS = 5000


def mark(tree: Any) -> bool:
    """Change the tree of a page in place: formulas become TeX, data tables become lines of cells. Returns False if
    there is neither."""
    kinds = {element.tag for element in tree.body.query_selector_all(_MARKED).values()}
    if kinds - {"table"}:
        _mark_formulas(tree)
    if "table" in kinds:
        for table in reversed(tree.body.query_selector_all("table").values()):  # inner tables come after outer ones
            if lines := table_lines(table):
                block = tree.create_element("pre")
                block.text = "\n".join(lines)
                table.parent.replace_child(block, table)
    return bool(kinds)


def _mark_formulas(tree: Any) -> None:
    done: list[Any] = []
    for element in tree.body.query_selector_all(_FORMULAS).values():
        if any(outer.contains(element) for outer in done[-3:]):
            continue
        tex, display = _tex(element)
        done.append(element)
        sign = "$$" if display else "$"
        if element.parent is not None:
            text = tree.create_text_node(f" {sign}{tex}{sign} " if tex else " ")
            element.parent.replace_child(text, element)


def _tex(element: Any) -> tuple[str, bool]:
    """The TeX of a formula, and whether it is a display formula; no TeX for a preview."""
    name = (element.class_name or "") + (element.getattr("type") or "")
    display = ("isplay" in name and "math-element" not in name) or element.getattr("display") == "block"
    if element.tag == "script":
        return " ".join((element.text or "").split()), "mode=display" in name
    if "MathJax" in name:
        return "", False  # its source is in a script element beside it
    noted = element.query_selector("annotation[encoding='application/x-tex']")
    maths = element if element.tag == "math" else element.query_selector("math")
    if noted is not None:
        found = noted.text
    elif maths is not None:
        found = maths.getattr("alttext") or _linear(maths)
        display = display or maths.getattr("display") == "block"
    else:
        found = element.getattr("alt") or ""
    found = " ".join(found.split())
    styled = _STYLE.match(found)
    return (styled[1].strip() if styled else found), display


def _linear(node: Any, depth: int = 0) -> str:
    """MathML without TeX source, linearised in TeX-like form."""
    if depth > 50:
        return ""
    if node.tag == "#text":
        return (node.value or "").strip()
    parts = [
        _linear(child, depth + 1) for child in node.child_nodes.values() if child.tag and not child.tag.startswith("#c")
    ]
    parts = [part for part in parts if part]
    kind = node.tag.rpartition(":")[2]
    if kind in ("msup", "mover") and len(parts) == 2:
        return f"{parts[0]}^{{{parts[1]}}}"
    if kind in ("msub", "munder") and len(parts) == 2:
        return f"{parts[0]}_{{{parts[1]}}}"
    if kind in ("msubsup", "munderover") and len(parts) == 3:
        return f"{parts[0]}_{{{parts[1]}}}^{{{parts[2]}}}"
    if kind == "mfrac" and len(parts) == 2:
        return f"\\frac{{{parts[0]}}}{{{parts[1]}}}"
    if kind == "msqrt":
        return f"\\sqrt{{{' '.join(parts)}}}"
    return " ".join(parts)


def table_lines(table: Any) -> list[str] | None:
    """The rows of a data table, cells between bars; None for a layout table."""
    if table.query_selector("table, form, h1, h2, pre, article") is not None:
        return None
    rows: list[list[str]] = []
    count = 0
    for row in table.query_selector_all("tr").values():
        cells = [" ".join((cell.text or "").split()) for cell in row.child_nodes.values() if cell.tag in ("td", "th")]
        count += len(cells)
        if count > _MAX_CELLS or any(len(cell) > _MAX_CELL for cell in cells):
            return None
        if any(cells):
            rows.append(cells)
    wide = sum(len(row) > 1 for row in rows)
    if wide < 2 or 2 * wide < len(rows):
        return None
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
