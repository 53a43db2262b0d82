"""Templates inside sentences are written out; no sentence keeps a hole."""

from __future__ import annotations

import pytest

from tutelage.corpus.read.wikitext import wiki_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("{{convert|1300|mi|km}}", "1,300 mi"),
        ("{{cvt|3|to|5|km|mi|abbr=on}}", "3 to 5 km"),
        ("{{convert|5|ft|10|in|m}}", "5 ft 10 in"),
        ("{{convert|12.5|sqmi|km2|sigfig=2}}", "12.5 sq mi"),
        ("{{convert|20|C|F}}", "20 °C"),
        ("{{formatnum:77006}}", "77,006"),
        ("{{formatnum:1234.5|R}}", "1234.5"),
        ("{{val|879.6|0.8|u=days}}", "879.6 ± 0.8 days"),
        ("{{val|6.02|e=23|ul=mol}}", "6.02×10^23 mol"),
        ("{{circa|1887|1890}}", "c. 1887 – c. 1890"),
        ("{{c.|1887}}", "c. 1887"),
        ("{{lang|fr|Liberté}}", "Liberté"),
        ("{{lang-de|Freiheit}}", "Freiheit"),
        ("{{langx|de|Freiheit}}", "Freiheit"),
        ("{{transl|ja|ISO|Jiyū}}", "Jiyū"),
        ("{{nihongo|Freedom|自由|Jiyū}}", "Freedom (自由, Jiyū)"),
        ("{{nowrap|twelve {{small|old}} men}}", "twelve old men"),
        ("{{nowrap|1=a = b}}", "a = b"),
        ("{{frac|2|1|2}}", "2 1/2"),
        ("{{US$|5 million}}", "US$5 million"),
        ("10{{sup|6}}", "10^6"),
        ("10<sup>6</sup>", "10^6"),
        ("''x''<sub>i</sub><sup>2</sup>", "x_i^2"),
        ("{{flag|France}}", "France"),
        ("{{unknown thing|kind=x|[[Paris|the city]]}}", "the city"),
        ("{{start date|2024|5|3}}", "3 May 2024"),
    ],
)
def test_wiki_numbers(markup: str, text: str) -> None:
    assert wiki_text(f"So it was {markup} then.") == f"So it was {text} then."


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("There were ten in {{as of|2020}}.", "There were ten in 2020."),
        ("{{As of|2020|5}}, there are ten.", "As of May 2020, there are ten."),
        ("It was warm.{{sfn|Keeper|1887|p=3}} And cold{{citation needed|date=May 2020}}.", "It was warm. And cold."),
        ("It burnt {{IPAc-en|l|ae}} well.", "It burnt  well."),
        ("One here. It is {{odd thing}} of them. Two here.", "One here. Two here."),
        ("{{Infobox|a={{convert|3|km}}}}\n{{Other box|a|b}}\nText.", "Text."),
        ("{{quote|The light must burn.|A. Keeper}}", "The light must burn. — A. Keeper"),
        ("Said:\n{{blockquote|text=It is {{formatnum:1000}}.|author=B}}\nThen.", "Said:\n\nIt is 1,000. — B\n\nThen."),
        ('<syntaxhighlight lang="c">\nif (a[[1]]) { {{0}}; }\n</syntaxhighlight>', "if (a[[1]]) { {{0}}; }"),
        (
            "Use <code>x[[i]] || '''y'''</code> and <nowiki>{{a}} &lt;b&gt;</nowiki>.",
            "Use x[[i]] || '''y''' and {{a}} <b>.",
        ),
        ("<pre>\n* no list\n: none\n</pre>", "* no list\n: none"),
        ("Text.\n[[de:Leuchtturm]]\n[[Kategorie:Turm]] [[カテゴリ:灯台]]", "Text."),
    ],
)
def test_wiki_numbers_and_what_stands_beside_them(markup: str, text: str) -> None:
    assert wiki_text(markup) == text
