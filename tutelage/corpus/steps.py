"""Every kind of step that a curation recipe can name: its settings, and the function that makes it of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from tutelage.corpus.batch import Step
from tutelage.corpus.consent import (
    BlockSettings,
    LicenceSettings,
    NoAiSettings,
    RobotsSettings,
    block,
    licences,
    no_ai,
    robots,
)
from tutelage.corpus.corpus_step import CorpusStep
from tutelage.corpus.decontaminate import (
    CutSettings,
    Llama3Settings,
    Tulu3Settings,
    cut_contamination,
    decontaminate,
)
from tutelage.corpus.dedup.lines import LinesSettings, dedup_lines
from tutelage.corpus.dedup.near import MinhashSettings, dedup_minhash
from tutelage.corpus.dedup.ngrams import NgramSettings, dedup_ngrams
from tutelage.corpus.dedup.substring import SubstringSettings, dedup_substring
from tutelage.corpus.dedup.whole import ExactSettings, UrlSettings, dedup_exact, dedup_url
from tutelage.corpus.extract import ExtractSettings, extract
from tutelage.corpus.language import LanguageSettings, language
from tutelage.corpus.pii import PiiDomainSettings, PiiSettings, pii, pii_domains
from tutelage.corpus.quality.distil import JudgedSettings, judged
from tutelage.corpus.quality.dsir import DsirSettings, dsir
from tutelage.corpus.quality.perplexity import PerplexitySettings, perplexity
from tutelage.corpus.quality.steps import (
    QualitySettings,
    ScoreSettings,
    ToxicitySettings,
    by_function,
    quality,
    toxicity,
)
from tutelage.corpus.rules.c4 import C4FineWebSettings, C4PaperSettings, c4
from tutelage.corpus.rules.code import CodeSettings, code
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, FineWebPaperSettings, fineweb
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
)
from tutelage.corpus.rules.length import LengthSettings, length
from tutelage.corpus.select import KeepTopSettings, PercentilesSettings, keep_top, percentiles
from tutelage.corpus.templated import TemplatedSettings, templated

StepSettings = (
    RobotsSettings
    | NoAiSettings
    | BlockSettings
    | LicenceSettings
    | ExtractSettings
    | TemplatedSettings
    | PiiSettings
    | PiiDomainSettings
    | LanguageSettings
    | C4PaperSettings
    | C4FineWebSettings
    | GopherQualitySettings
    | GopherRepetitionSettings
    | FineWebPaperSettings
    | FineWebCodeSettings
    | LengthSettings
    | CodeSettings
    | QualitySettings
    | JudgedSettings
    | ToxicitySettings
    | PerplexitySettings
    | ScoreSettings
    | DsirSettings
    | UrlSettings
    | ExactSettings
    | LinesSettings
    | MinhashSettings
    | SubstringSettings
    | NgramSettings
    | CutSettings
    | Llama3Settings
    | Tulu3Settings
    | KeepTopSettings
    | PercentilesSettings
)

MAKERS: dict[type, Callable[[Any], Step | CorpusStep]] = {
    RobotsSettings: robots,
    NoAiSettings: no_ai,
    BlockSettings: block,
    LicenceSettings: licences,
    ExtractSettings: extract,
    TemplatedSettings: templated,
    PiiSettings: pii,
    PiiDomainSettings: pii_domains,
    LanguageSettings: language,
    C4PaperSettings: c4,
    C4FineWebSettings: c4,
    GopherQualitySettings: gopher_quality,
    GopherRepetitionSettings: gopher_repetition,
    FineWebPaperSettings: fineweb,
    FineWebCodeSettings: fineweb,
    LengthSettings: length,
    CodeSettings: code,
    QualitySettings: quality,
    JudgedSettings: judged,
    ToxicitySettings: toxicity,
    PerplexitySettings: perplexity,
    ScoreSettings: by_function,
    DsirSettings: dsir,
    UrlSettings: dedup_url,
    ExactSettings: dedup_exact,
    LinesSettings: dedup_lines,
    MinhashSettings: dedup_minhash,
    SubstringSettings: dedup_substring,
    NgramSettings: dedup_ngrams,
    CutSettings: cut_contamination,
    Llama3Settings: decontaminate,
    Tulu3Settings: decontaminate,
    KeepTopSettings: keep_top,
    PercentilesSettings: percentiles,
}

# Steps that judge a document by what is in the whole corpus: those that say so.
OF_THE_CORPUS = tuple(kind for kind, maker in MAKERS.items() if get_type_hints(maker)["return"] is CorpusStep)

assert set(get_args(StepSettings)) == set(MAKERS), "a kind of step without a maker, or the other way round"


def make(settings: Any) -> Step | CorpusStep:
    """The step that settings describe; ValueError where it needs what is not there: a package, a file."""
    return MAKERS[type(settings)](settings)
