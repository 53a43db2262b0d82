from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.robotparser import RobotFileParser

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.robots import MAX_BYTES, parse_robots, refusals

# The examples of RFC 9309, section 2.2.2 and 5, and what follows from its text.
RFC = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("crawler", "path", "allowed"),
    [
        ("other", "/a.gif", False), ("other", "/a.gif?x", True), ("other", "/example/x", False),
        ("other", "/publications/x", True), ("other", "/publications/a.gif", True), ("foobot", "/x", False),
        ("FooBot", "/example/page.html", True), ("barbot", "/example/page.html", False), ("bazbot", "/x", True),
        ("quxbot", "/a.gif", True), ("foobot", "/robots.txt", True),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfc(crawler: str, path: str, allowed: bool) -> None:
    assert parse_robots(RFC).allows(f"https://a.org{path}", crawler) == allowed


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/fish", "/fish/salmon.html", True), ("/fish", "/Fish.asp", False), ("/fish/", "/fish", False),
        ("/*.php", "/folder/a.php?x", True), ("/*.php$", "/a.php?x", False), ("/fish*.php", "/fishes.php", True),
        ("/$", "/", True), ("/$", "/a", False), ("/a*a$", "/a", False), ("/%C3%A9", "/é", True),
        ("/a*", "/a", True), ("*b", "/ab", True), ("fish", "/fish", True), ("/a**b", "/axb", True),
        ("/x$y", "/x$y", True), ("/é", "/%C3%A9", True),
    ],
)  # fmt: skip
def test_patterns_fit_the_beginning_of_a_path(pattern: str, path: str, fits: bool) -> None:
    assert parse_robots(f"User-agent: *\nDisallow: {pattern}").allows(f"http://a.org{path}", "x") != fits


def test_the_longest_rule_decides_and_of_two_the_kinder() -> None:
    robots = parse_robots("user-agent: a\ndisallow: /p\nallow: /p\nallow: /page\ndisallow: /page/secret")
    assert robots.allows("http://a.org/p", "a")
    assert robots.allows("http://a.org/page/x", "a")
    assert not robots.allows("http://a.org/page/secret/x", "a")


def test_files_as_people_write_them() -> None:
    robots = parse_robots("\ufeffUser-agent : GPTBot/1.0 # them\r\nDissallow: /\rUSERAGENT: x\nDisallow:\nSitemap: y")
    assert not robots.allows("http://a.org/", "gptbot")
    assert robots.allows("http://a.org/", "x")
    assert not parse_robots("<html><body>Not found: sorry</body></html>").names
    merged = parse_robots("user-agent: a\ndisallow: /x\nuser-agent: b\ndisallow: /\nuser-agent: a\ndisallow: /y")
    assert not merged.allows("http://a.org/x", "a")
    assert not merged.allows("http://a.org/y", "a")


@pytest.mark.parametrize(
    "line", ["Content-Signal: search=yes, ai-train=no", "content-usage: train-ai=n", "Content-Signal: ai-train = no"]
)
def test_a_signal_against_training_counts_where_fetching_is_allowed(line: str) -> None:
    assert parse_robots(line).refuses_training("x")  # a signal above all groups is for all
    robots = parse_robots(f"User-agent: *\n{line}\nAllow: /\n\nUser-agent: CCBot\nAllow: /")
    assert refusals(robots, "http://a.org/x", ["GPTBot", "CCBot"]) == ["GPTBot"]
    assert not parse_robots(f"User-agent: *\n{line.replace('no', 'yes').replace('=n', '=y')}").refuses_training("x")


def test_names_match_as_a_whole() -> None:
    robots = parse_robots("User-agent: google\nUser-agent: anthropic\nDisallow:\n\nUser-agent: *\nDisallow: /")
    assert refusals(robots, "http://a.org/x", ["Google", "Google-Extended", "anthropic-ai"]) == [
        "Google-Extended", "anthropic-ai",
    ]  # fmt: skip


def test_other_lines_end_no_group() -> None:
    robots = parse_robots("User-agent: a\nCrawl-delay: 9\nSitemap: http://a.org/s\nUser-agent: b\nDisallow: /x")
    assert [robots.allows("http://a.org/x", crawler) for crawler in "abc"] == [False, False, True]


def test_only_the_first_part_of_a_huge_file_counts() -> None:
    lines = "User-agent: *\nDisallow: /a\n" + "# filler\n" * (MAX_BYTES // 9) + "Disallow: /b\n"
    assert not parse_robots(lines).allows("http://a.org/a", "x")
    assert parse_robots(lines).allows("http://a.org/b", "x")


def test_a_pattern_made_to_hang_does_not() -> None:
    robots = parse_robots("User-agent: *\nDisallow: /" + "a*" * 5000 + "b$")
    assert robots.allows("http://a.org/" + "a" * 20_000, "x")


@given(st.text(max_size=300))
def test_whatever_stands_there_is_read(text: str) -> None:
    robots = parse_robots("User-agent: *\nDisallow: " + text)
    assert robots.allows("http://a.org/x", "y") in (True, False)
    parse_robots(text)


def test_real_files_mean_what_the_standard_library_reads_where_both_know_how(data: Callable[[str], Path]) -> None:
    """The standard library knows no wildcards, and the first rule that fits decides: files without either must agree.
    A group that it ends at an empty line, or of two groups of one name the second, it does not read: there ours forbids
    more, as RFC 9309 has it."""
    packed = pyarrow.CompressedInputStream(pyarrow.OSFile(str(data("robots_txt/robots.tar.zst"))), "zstd").read()
    compared = refused = differ = 0
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            text = file.read().decode("utf-8", "replace") if file else ""
            robots = parse_robots(text)
            refused += bool(refusals(robots, "https://a.org/", ["GPTBot", "CCBot"]))
            lowered = text.lower()
            if len(text) > 5000 or "allow:" in lowered.replace("disallow:", "") or "*/" in text or "<" in text:
                continue
            if any(sign in line for line in lowered.splitlines() if line.startswith("disallow") for sign in "*$%?"):
                continue
            theirs = RobotFileParser()
            theirs.parse(text.splitlines())
            for crawler in ("GPTBot", "Googlebot"):
                for path in ("/", "/index.html", "/admin/x", "/search", "/cgi-bin/a"):
                    compared += 1
                    ours = robots.allows(f"https://a.org{path}", crawler)
                    if ours != theirs.can_fetch(crawler, f"https://a.org{path}"):
                        assert not ours, (member.name, crawler, path)
                        differ += 1
    assert compared > 3000
    assert differ < 0.01 * compared
    assert refused > 0


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        ("/caf%c3%a9", "/caf%C3%A9/menu", False),
        ("/café", "/caf%c3%a9/menu", False),
        ("/caf%C3%A9", "/café/menu", False),
        ("/%7Esam/", "/~sam/x", False),
        ("/~sam/", "/%7Esam/x", False),
        ("/%61b", "/ab", False),
        ("/a%2fb", "/a%2Fb", False),
        ("/a%2Fb", "/a/b", True),
        ("/x%2a", "/xy", True),
        ("/*%7e$", "/a~", False),
        ("/p?q=%e4", "/p?q=%E4&r", False),
        ("/~sam/", "/sam/", True),
    ],
)
def test_robots_percent(rule: str, path: str, allowed: bool) -> None:
    assert parse_robots(f"User-agent: *\nDisallow: {rule}").allows(f"https://a.org{path}", "GPTBot") == allowed
