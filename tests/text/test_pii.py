"""Among others: how much planted personal data is found, and how little else, with numbers that only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.text.pii import find_pii, mask

# What must be found stands between « and ».
PLANTED = [
    "Write to «jane.doe@mail.company.co.uk» or «j_d+news@gmail.com».",
    "<«bob@firm.de»>, mailto:«ann-marie@uni-koeln.de»?subject=x",
    "Contact:«info@kirche.org», or “«o'hara@firm.ie»”.",
    "«JOHN@FIRM.COM» wrote (see «x99@sub.sub.domain.info»)",
    "«81.2.69.142» is the visitor",
    "The server at «203.0.114.7»:8080 and http://«45.33.32.156»/x answered.",
    "Connection from «185.199.108.153» closed; IP: «93.184.216.34», «151.101.1.69»",
    "client IP «12.4.5.6» and host «8.8.8.8»",
    "Listening on [«2606:4700:4700::1111»]:443 and «2001:4860:4860:0:0:0:0:8888».",
    "Call «(212) 664-7665» or «+1 415-555-2671» or «800.555.0199».",
    "Phone: «650 253 0000», fax «1-650-253-0001».",
    "The card is «4539 1488 0343 6467» or «4539148803436467», «5555-5555-5555-4444», «3782 822463 10005».",
    "export OPENAI_API_KEY=«sk-proj-9aB8cD7eF6gH5iJ4kL3mN2oP1qR0»",
    "Use «ghp_16C7e42F292c6912E7710c838347Ae178B4a» and «AKIA2E2A7F3B244C5776»",
    "token: «hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567»",
    "«-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/0==\n-----END RSA PRIVATE KEY-----»",
    "In London «+44 20 7946 0958», in Berlin «+49 (30) 901820», in Paris «+33 1 42 68 53 00».",
]
TRAPS = [
    "Version 4.12.133.7 and v10.200.33.1 and Chrome/96.12.44.45 and release 91.44.12.133",
    "See section 3.2.1.4, clause 45.33.12.1 and Table 12.44.100.9.",
    "1.2.3.4 Overview of the method; 10.4.2.1 Limits",
    "OID 1.3.6.1.4.1.311 and the file lib-45.33.32.156-py3.whl, numpy==91.33.45.200",
    "Private: 192.168.1.1, 10.0.0.1, 127.0.0.1, 172.16.5.4, 169.254.1.1 and 0.0.0.0/0, 255.255.255.0",
    "Groups 224.1.1.1 and 239.255.255.250, message <c40sdm$mov$1@smc.vnet.net>",
    "Numbers 300.400.500.600 and 01.02.03.04, 1,234.56.78.90 and 12.34.56.78.90",
    "On 12.11.2019 at 12:30:45, 2019-11-12, 2001:02:03 04:05, 2024-01-02T03:04:05Z",
    "MAC 00:1a:2b:3c:4d:5e, std::vector, a::b, fe80::1, ::1, 2001:db8::8a2e:370:7334",
    "logo@2x.png, icons@3x.svg, git@github.com:owner/repo.git, user@host:/path, deploy@server.io:/srv",
    "@someone on a site, a @ b, foo@bar, x@y.z1, name@.com, \\@decorator.method, @app.route",
    "someone@example.com and test@example.org stand for nobody",
    "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, SSN 078-05-1120, order 123-456-789-0123",
    "StepStats 4155552671 and 5551234567890, price 1,234,567.89, 111-222-3333, 212-011-1234, 415-911-2671",
    "Phone model 6502530000, 2125551234x, http://a.org/212-664-7665/x, id=212-664-7665",
    "Cards 4539 1488 0343 6468 and 4539 1488-0343 6467, order 1539148803436467, 45391488034364671, id/4539148803436467",
    "Keys sk-xxxxxxxxxxxxxxxxxxxx, sk-your-api-key-goes-here-12, task-0123456789abcdef01, sk-learn-is-a-fine-library",
    "AKIAIOSFODNN7EXAMPLE is an example, hf_hub_download and npm_config are names, eyJ is a prefix",
    "Scores 212 664 766 and 3 4 5, 100 200 3000, years 1990-2000, range 200-300-4000",
    "C++11, a+49, +4, x = +1234567, 5+12345678 and 2+2",
    "Matrix [2001:4860] and slice [2600:4700:12], ratio 3000:2000:1000",
]


def marked(text: str) -> tuple[str, set[str]]:
    wanted = {part.split("»")[0] for part in text.split("«")[1:]}
    return text.replace("«", "").replace("»", ""), wanted


def test_precision_and_recall_on_planted_cases_with_traps() -> None:
    true = found = both = 0
    mistakes = []
    for line in [*PLANTED, *TRAPS]:
        text, wanted = marked(line)
        spans = {text[span.start : span.stop] for span in find_pii(text)}
        true, found, both = true + len(wanted), found + len(spans), both + len(spans & wanted)
        mistakes += sorted(spans ^ wanted)
    assert true >= 25
    assert both / found >= 0.97, mistakes  # precision
    assert both / true >= 0.97, mistakes  # recall


@pytest.mark.parametrize("line", PLANTED)
def test_what_is_planted_is_found_and_masked(line: str) -> None:
    text, wanted = marked(line)
    spans = find_pii(text)
    assert {text[span.start : span.stop] for span in spans} == wanted
    hidden = mask(text, spans)
    assert not any(one in hidden for one in wanted)
    assert find_pii(hidden) == [] or all(span.placeholder in hidden for span in find_pii(hidden))


@pytest.mark.parametrize("line", TRAPS)
def test_what_only_looks_like_it_stays(line: str) -> None:
    assert find_pii(line) == []


@given(
    st.text("abc @.:-+()0123456789\n", max_size=200),
    st.sampled_from(["jane@firm.com", "(212) 664-7665", "81.2.69.142"]),
)
def test_masking_changes_the_spans_and_nothing_else(text: str, planted: str) -> None:
    text = f"{text}\n{planted}\n{text}"
    spans = find_pii(text)
    assert planted in {text[span.start : span.stop] for span in spans}
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    rest, at = [], 0
    for span in spans:
        assert at <= span.start < span.stop
        rest += [text[at : span.start], span.placeholder]
        at = span.stop
    assert mask(text, spans) == "".join([*rest, text[at:]])


def test_placeholders_are_not_masked_again() -> None:
    text = "jane@firm.com, (212) 664-7665, 81.2.69.142, 2606:4700:4700::1111"
    once = mask(text, find_pii(text))
    assert mask(once, find_pii(once)) == once


def test_text_made_to_hang_does_not() -> None:
    for piece in ("a@", "1.", "+1 ", "a.b@c.", "2001:", "(212) ", "1 2 ", "@a.", "a+"):
        find_pii(piece * 20_000)
        find_pii("a" * 50_000 + piece * 5_000)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hi! My name is Anna-Lena Müller and I live here.", ["Anna-Lena Müller"]),
        ("Ich heiße Jürgen von der Heide, guten Tag.", ["Jürgen von der Heide"]),
        ("Je m'appelle Éloïse Dupont. Me llamo José Ñandú. Mi chiamo Luca.", ["Éloïse Dupont", "José Ñandú", "Luca"]),
        ("Меня зовут Анна Петрова, а вас?", ["Анна Петрова"]),
        ("Ask Dr. Smith, Frau Özdemir or Señora López about it.", ["Smith", "Özdemir", "López"]),
        ("See you soon.\nKind regards,\nAoife O'Brien\nSales", ["Aoife O'Brien"]),
        ("你好，我叫王小明。", ["王小明"]),
        ("私の名前は田中太郎です。", ["田中太郎"]),
        ("제 이름은 김민수입니다.", ["김민수"]),
        ("اسمي محمد وأعيش هنا", ["محمد"]),
        ("My name is not important. Mr. President, the frau and mr right. The Smith Group met Anna in Paris.", []),
        ("Je m'appelle toujours. Me llamo a menudo. The name of the game: London Bridge.", []),
    ],
)
def test_international_names_are_found_where_they_are_introduced(text: str, names: list[str]) -> None:
    found = [text[span.start : span.stop] for span in find_pii(text, ("name",))]
    assert found == names
    assert find_pii(text) == []  # only on request


@pytest.mark.parametrize(
    "address", ["jörg@müller.de", "user@пример.рф", "info@xn--mller-kva.xn--p1ai", "δοκιμή@παράδειγμα.gr"]
)
def test_mail_addresses_in_any_script_are_found(address: str) -> None:
    text = f"Write to {address}, please."
    assert mask(text, find_pii(text)) == "Write to email@example.com, please."
    assert find_pii("Größe 5 @ Preis, @müller, ä@b, foto@2x.png und x@y.") == []
