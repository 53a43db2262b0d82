"""Tables, formulas and superscripts of a page as plain text: rows with bars, TeX between dollar signs, 10^6.

Node lists are iterated as `.values()`: iterating the list itself queries the tree at every step.
"""

from __future__ import annotations

import re
from typing import Any

from tutelage.corpus.raised import lowered, raised

# Formulas come in wrappers that hold a visual and a machine-readable form. The whole wrapper is replaced.
_WRAPPED = ".mwe-math-element, .katex-display, .katex, .MathJax_Display, .MathJax_Preview, .MathJax, mjx-container"
_FORMULAS = f"{_WRAPPED}, math, script[type^='math/tex'], img.latex, img.tex"
_MARKED = "table, sup, sub, math, script[type^='math/tex'], img.tex, img.latex"
_STYLE = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_MAX_CELL = 300  # characters; a table with longer cells is page layout
_MAX_CELLS = 5000
_LEANING = frozenset("a abbr b em font i mark s small span strong sub sup u var".split())  # part of the text around
_BASE = 12  # characters before a superscript that are looked at


def mark(tree: Any) -> bool:
    """Change the tree of a page in place: formulas become TeX, powers "^2", data tables become lines of cells. Returns
    False if there is none of them."""
    kinds = {element.tag for element in tree.body.query_selector_all(_MARKED).values()}
    if kinds - {"table", "sup", "sub"}:
        _mark_formulas(tree)
    raised_any = bool(kinds & {"sup", "sub"}) and _mark_raised(tree)
    if "table" in kinds:
        for table in reversed(tree.body.query_selector_all("table").values()):  # inner tables come after outer ones
            if lines := table_lines(table):
                block = tree.create_element("pre")
                block.text = "\n".join(lines)
                table.parent.replace_child(block, table)
    return raised_any or bool(kinds - {"sup", "sub"})


def _mark_raised(tree: Any) -> bool:
    changed = False
    for element in tree.body.query_selector_all("sup, sub").values():
        text = element.text or ""
        if element.parent is None or element.query_selector("img, sup, sub") is not None:
            continue
        before, after = _beside(element)
        if element.query_selector("a") is not None:  # a footnote: its number must not lengthen another
            new = f"[{text.strip()}]" if text.strip().isdigit() and before[-1:].isdigit() else text
        else:
            new = raised(before, text, after) if element.tag == "sup" else lowered(before, text)
        if new.split() != text.split() or new[:1] == " ":
            element.parent.replace_child(tree.create_text_node(new), element)
            changed = True
    return changed


def _beside(element: Any) -> tuple[str, str]:
    """The last characters right before an element, and the text node after it."""
    node, before = element, ""
    while len(before) < _BASE:
        while node is not None and node.prev is None and node.tag in _LEANING:
            node = node.parent
        node = node.prev if node is not None else None
        if node is None or (node.tag != "#text" and node.tag not in _LEANING):
            break
        text = (node.value if node.tag == "#text" else node.text) or ""
        before = text[-_BASE:] + before
        if text != text.rstrip():
            break
    following = element.next
    return before, (following.value or "") if following is not None and following.tag == "#text" else ""


def unwrap_layout(tree: Any) -> bool:
    """Replace layout tables, after `mark`, by a block per cell. Returns whether there was one."""
    tables = tree.body.query_selector_all("table").values()
    for table in reversed(tables):
        box = tree.create_element("div")
        for cell in table.query_selector_all("td, th, caption").values():
            block = tree.create_element("div")
            for child in list(cell.child_nodes.values()):
                block.append_child(child)
            box.append_child(block)
        table.parent.replace_child(box, table)
    return bool(tables)


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
