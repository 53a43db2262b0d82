from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.licences import Licence, code_licence, page_licence

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
    ):
        page_licence("creativecommons.org/" + piece * 20_000)
    code_licence("SPDX-License-Identifier: " * 20_000)
