from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.licences import (
    Licence,
    code_licence,
    folder_licence,
    is_about_licences,
    licence_fits,
    licence_text,
    page_licence,
)

CC = "https://creativecommons.org/licenses/"


@pytest.mark.parametrize(
    ("page", "licence"),
    [
        (f'<a class="x" rel="license noopener" href="{CC}by-sa/3.0/deed.de">CC</a>', Licence("CC-BY-SA-3.0", True)),
        (f"<link href='{CC}by-nc-nd/2.5/' rel=license>", Licence("CC-BY-NC-ND-2.5", True)),
        ('<a rel="license" href="//creativecommons.org/publicdomain/zero/1.0/">', Licence("CC0-1.0", True)),
        (
            '<script>{"license": "https:\\/\\/creativecommons.org\\/licenses\\/by\\/4.0\\/"}</script>',
            Licence("CC-BY-4.0", True),
        ),
        (f'<meta name="dcterms.license" content="{CC}by/4.0/">', Licence("CC-BY-4.0", True)),
        (f'<a href="{CC}by/4.0/">photo</a>', Licence("CC-BY-4.0", False)),
        (f'<a href="{CC}by/4.0/">photo</a> <a href="{CC}by-nc/2.0/">other</a>', None),
        (f'<a rel=license href="{CC}by/4.0/"> <a href="{CC}by-nc/2.0/">photo</a>', Licence("CC-BY-4.0", True)),
        (f'<a rel=license href="{CC}by/4.0/"> <a rel=license href="{CC}by-nc/4.0/">', Licence("CC-BY-NC-4.0", True)),
        (f'<a rel="license" href="{CC}">all of them</a>', None),
        ("All about Creative Commons", None),
    ],
)
def test_licences_of_pages(page: str, licence: Licence | None) -> None:
    assert page_licence(page) == licence


MARK = f'<a rel="license" href="{CC}by/4.0/">CC</a>'
DATA = f'"license": "{CC}by/4.0/"'


@pytest.mark.parametrize(
    ("page", "whole"),
    [
        (f"<figure><img><figcaption>Photo {MARK}</figcaption></figure><p>Text</p>", False),
        (f"<figure><figure></figure>{MARK}</figure>", False),
        (f"<figure><img></figure><p>{MARK}</p>", True),
        (f'<div class="wp-caption"><div>x</div><span>{MARK}</span></div>', False),
        (f'<ol id="comment-list"><li>{MARK}</li></ol>', False),
        (f'<div class="has-comments"><p>Text</p>{MARK}</div>', True),
        (f'<div class="comments"><p>Never closed {MARK}</p>', False),
        (f'<script type="application/ld+json">{{"@type": "ImageObject", {DATA}}}</script>', False),
        (f'<script type="application/ld+json">[{{"image": {{"@type": ["ImageObject"], {DATA}}}}}]</script>', False),
        (f'<script type="application/ld+json">{{"@type": "Article", {DATA}, "image": {{}}}}</script>', True),
        (f'<script type="application/ld+json">{{"@type": "Article", {DATA}, broken</script>', True),
        (f'<script type="application/ld+json">{{"@type": "Article", {DATA}', True),
    ],
)
def test_the_mark_of_a_part_is_not_that_of_the_page(page: str, whole: bool) -> None:
    assert page_licence(page) == Licence("CC-BY-4.0", True, whole)
    assert page_licence(f'<link rel="license" href="{CC}by-nc/4.0/">{page}') == (
        Licence("CC-BY-NC-4.0", True)  # of two for the page, the one with more conditions
    )


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("// SPDX-License-Identifier: Apache-2.0 OR MIT\nint a;", "Apache-2.0 OR MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0-only */", "GPL-2.0-only"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        ('# Licensed under the Apache License, Version 2.0 (the\n# "License");', "Apache-2.0"),
        (
            " * This program is free software under the terms of the GNU General\n * Public License, version 2",
            "GPL-2.0",
        ),
        ("# GNU Lesser General Public License, version 3", "LGPL-3.0"),
        ("Permission is hereby granted, free of charge, to any\nperson obtaining a copy of this", "MIT"),
        ("# Redistribution and use in source and binary forms, with\n# Neither the name", "BSD-3-Clause"),
        ("// Redistribution and use in source and binary forms, with", "BSD-2-Clause"),
        ("import licence  # MIT is a university", None),
        ("x" * 5000 + "SPDX-License-Identifier: MIT", None),
        ("# SPDX-License-Identifier:", None),
    ],
)
def test_licences_of_code(text: str, licence: str | None) -> None:
    assert code_licence(text) == licence


@given(st.text(max_size=200) | st.text("<alink rel=license creativecommons.org/licenses/by>\"'", max_size=300))
def test_whatever_stands_there_is_read(text: str) -> None:
    page_licence("creativecommons.org/" + text)
    code_licence(text)


def test_a_page_made_to_hang_does_not() -> None:
    for piece in (
        "<a rel=",
        "<meta license",
        '"license": "',
        "creativecommons.org/licenses/",
        "<a ",
        "<link rel=license ",
        "<script type=application/ld+json>",
        "<figure><div class='comments' id=",
        "<div class=comments>",
    ):
        page_licence("creativecommons.org/" + piece * 20_000)
    code_licence("SPDX-License-Identifier: " * 20_000)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("LICENSE", True), ("LICENCE.md", True), ("license-mit.txt", True), ("COPYING.LESSER", True),
        ("UNLICENSE", True),
        ("Cargo.toml", True), ("package.json", True), ("license.py", False), ("license_check.rs", False),
        ("licenses.json", False), ("copyings", False),
    ],
)  # fmt: skip
def test_files_about_licences_are_told_by_their_names(name: str, is_one: bool) -> None:
    assert is_about_licences(name) == is_one


MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy"
APACHE = "Apache License\nVersion 2.0, January 2004"
GPL = (
    "GNU GENERAL PUBLIC LICENSE\nVersion 3 ... GNU Affero General Public License ... GNU Lesser General Public License"
)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"LICENSE": MIT}, "MIT"),
        ({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}, "Apache-2.0 OR MIT"),
        ({"LICENSE": MIT, "COPYING": GPL}, "GPL-3.0 AND MIT"),
        ({"COPYING": GPL, "COPYING.LESSER": "GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3"}, "LGPL-3.0"),
        ({"LICENSE": "Sundays only"}, ""),
        ({}, None),
        ({"package.json": '{"license": "ISC"}', "LICENSE": MIT}, "ISC"),
        ({"package.json": '{"license": "SEE LICENSE IN file.txt"}', "LICENSE": MIT}, "MIT"),
        ({"package.json": '{"license": {"type": "MIT"}}'}, "MIT"),
        ({"package.json": '{"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}'}, "MIT OR Apache-2.0"),
        ({"package.json": "{broken", "LICENSE": MIT}, "MIT"),
        ({"package.json": "[1]"}, None),
        ({"composer.json": '{"license": ["MIT", "GPL-3.0"]}'}, "MIT OR GPL-3.0"),
        ({"pyproject.toml": '[project]\nlicense = "BSD-3-Clause"'}, "BSD-3-Clause"),
        ({"pyproject.toml": '[project]\nlicense = {text = "Apache 2.0"}'}, "Apache-2.0"),
        ({"pyproject.toml": '[project]\nlicense = {file = "LICENSE"}', "LICENSE": MIT}, "MIT"),
        ({"pyproject.toml": '[tool.poetry]\nlicense = "MIT"'}, "MIT"),
        ({"pyproject.toml": '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]'}, "MIT"),
        ({"Cargo.toml": '[package]\nlicense = "MIT/Apache-2.0"'}, "MIT OR Apache-2.0"),
        ({"Cargo.toml": "[workspace]"}, None),
    ],
)
def test_the_licence_of_a_folder(files: dict[str, str], licence: str | None) -> None:
    assert folder_licence(files) == licence


def test_the_licence_that_stands_first_in_a_text_is_its_own() -> None:
    assert licence_text(GPL) == "GPL-3.0"
    assert licence_text("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1 ... GNU General Public License") == "LGPL-2.1"
    assert licence_text("nothing of the kind") is None


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("MIT AND GPL-3.0", False), ("(MIT)", True),
        ("GPL-3.0 AND (MIT OR Apache-2.0)", False), ("(GPL-3.0 OR MIT) AND Apache-2.0", True),
        ("GPL-3.0 OR MIT AND Apache-2.0", True), ("Apache-2.0 WITH LLVM-exception", True), ("MIT or GPL-3.0", True),
        ("GPL-3.0 WITH Classpath-exception OR MIT", True), ("", False), ("MIT style", False), ("MIT AND", False),
    ],
)  # fmt: skip
def test_expressions_of_licences(expression: str, fits: bool) -> None:
    assert licence_fits(expression, lambda one: one in ("MIT", "Apache-2.0")) == fits


@given(st.text(max_size=300) | st.text("()ANDORWITH MIT", max_size=300))
def test_no_expression_is_too_much(expression: str) -> None:
    assert licence_fits(expression, lambda one: True) or expression


@pytest.mark.parametrize(
    "text",
    [
        "Business Source License 1.1\n\nChange License: Apache License, Version 2.0",
        "# Functional Source License, Version 1.1, Apache 2.0 Future License\n\nunder the Apache License, Version 2.0",
        '"Commons Clause" License Condition v1.0\n\nLicense: Apache 2.0\n\nApache License\nVersion 2.0, January 2004',
        f"{MIT} of this software, to use it for non-commercial research purposes only.",
        f"{MIT} of this software.\nThe Software shall be used for Good, not Evil.",
        f"{MIT} of this software." + " word" * 2000 + "\nCommons Clause",  # below the head
        f"Editor licence\n\n{'You may copy it unchanged. ' * 8}It is compatible with the GNU General Public License "
        "version 2.",
    ],
)
def test_source_available_a_licence_that_only_mentions_another_is_unknown(text: str) -> None:
    assert licence_text(text) is None
    assert folder_licence({"LICENSE": text}) == ""


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (f"{'A longer preface. ' * 20}Licensed under the Apache License, Version 2.0", "Apache-2.0"),
        (f"{'A longer preface. ' * 20}under the terms of the GNU General Public License, version 2", "GPL-2.0"),
        (f"{MIT} of the Font Software, to use, study, copy", "OFL-1.1"),
        (f"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991 {'word ' * 300} only for noncommercial copies", None),
        (f"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991 {'word ' * 900} only for noncommercial copies", "GPL-2.0"),
    ],
)
def test_source_available_a_notice_names_the_licence(text: str, licence: str | None) -> None:
    assert licence_text(text) == licence
