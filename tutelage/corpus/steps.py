"""The registry of step kinds that a curation recipe can name: settings class -> function that makes the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union, get_type_hints

from tutelage.config import Settings
from tutelage.corpus.batch import Step
from tutelage.corpus.by_language import ByLanguageSettings, by_language
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
from tutelage.corpus.corpus_step import GlobalStep
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
from tutelage.corpus.join_lines import JoinLinesSettings, join_wrapped_lines
from tutelage.corpus.language import LanguageSettings, language
from tutelage.corpus.pii import PiiDomainSettings, PiiSettings, pii, pii_domains
from tutelage.corpus.quality.distil import DistilledScoreSettings, distilled_score
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
from tutelage.corpus.templated import BoilerplateSettings, boilerplate
from tutelage.corpus.terms import TermsSettings, terms
from tutelage.corpus.topics import ReweightSettings, TopicsSettings, reweight, topics
from tutelage.corpus.user_step import PythonSettings, user_step

MAKERS: dict[type, Callable[[Any], Step | GlobalStep]] = {
    RobotsSettings: robots,
    NoAiSettings: no_ai,
    BlockSettings: block,
    LicenceSettings: licences,
    TermsSettings: terms,
    ExtractSettings: extract,
    JoinLinesSettings: join_wrapped_lines,
    BoilerplateSettings: boilerplate,
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
    DistilledScoreSettings: distilled_score,
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
    ByLanguageSettings: by_language,
    PythonSettings: user_step,
    TopicsSettings: topics,
    ReweightSettings: reweight,
    KeepTopSettings: keep_top,
    PercentilesSettings: percentiles,
}

# Kinds of global steps: those whose maker is annotated as returning one.
GLOBAL_STEPS = tuple(kind for kind, maker in MAKERS.items() if get_type_hints(maker)["return"] is GlobalStep)


if TYPE_CHECKING:
    StepSettings = Settings
else:
    StepSettings = Union[tuple(MAKERS)]  # noqa: UP007


def make(settings: Any) -> Step | GlobalStep:
    """The step for these settings. Raises ValueError if a package or file that it needs is missing."""
    return MAKERS[type(settings)](settings)
