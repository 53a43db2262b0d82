"""Multiple choice by likelihood: sets that differ in their data and prompt alone. MMLU is in `mmlu`.

The prompts are those of lm-evaluation-harness; the normaliser of the headline is that of OLMES.
"""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.benchmarks.benchmark import ChoiceBenchmark
from tutelage.evaluate.choice_items import Form
from tutelage.io.row import Row

CLOZE: frozenset[Form] = frozenset({"cloze"})


def lambada_row(row: Row) -> Row:
    """The last word of a text is its right continuation."""
    if row.get("continuation") is not None or not isinstance(row.get("text"), str):
        return row
    context, _, word = row["text"].strip().rpartition(" ")
    return {**row, "context": context, "continuation": word}


_SETS = (
    ChoiceBenchmark(
        "arc_easy", "ARC, easy questions", ("arc_easy.jsonl*", "ARC-Easy**test*"),
        shot_files=("ARC-Easy**train*",), metric="acc/char",
    ),
    ChoiceBenchmark(
        "arc_challenge", "ARC, hard questions", ("arc_challenge.jsonl*", "ARC-Challenge**test*"),
        shot_files=("ARC-Challenge**train*",), metric="acc/pmi",
    ),
    ChoiceBenchmark("piqa", "PIQA", ("piqa.jsonl*", "piqa**valid*", "piqa**dev*"), metric="acc/char"),
    ChoiceBenchmark(
        "siqa", "Social IQa", ("siqa.jsonl*", "*siqa**valid*", "*social_i_qa**valid*", "*socialiqa**dev*"),
        metric="acc/char",
    ),
    ChoiceBenchmark(
        "obqa", "OpenBookQA", ("openbook_qa.jsonl*", "openbookqa**test*"),
        shot_files=("openbookqa**train*",), metric="acc/pmi", bare=CLOZE,
    ),
    ChoiceBenchmark(
        "csqa", "CommonsenseQA", ("commonsense_qa.jsonl*", "commonsense_qa**valid*", "*dev_rand_split*"),
        metric="acc/pmi",
    ),
    ChoiceBenchmark("copa", "COPA", ("copa.jsonl*", "copa**val*", "copa**dev*"), bare=CLOZE),
    ChoiceBenchmark("winogrande", "WinoGrande", ("winogrande.jsonl*", "winogrande**valid*", "winogrande**dev*")),
    ChoiceBenchmark("wsc", "Winograd schemas", ("winograd_wsc.jsonl*",)),
    ChoiceBenchmark("boolq", "BoolQ", ("boolq.jsonl*", "boolq**val*", "boolq**dev*")),
    ChoiceBenchmark("hellaswag", "HellaSwag", ("hellaswag.jsonl*", "hellaswag**val*"), metric="acc/char", bare=CLOZE),
    ChoiceBenchmark(
        "lambada", "LAMBADA, last words", ("lambada_openai.jsonl*", "lambada_openai_small.jsonl*", "*lambada**test*"),
        bare=CLOZE, convert=lambada_row,
    ),
    ChoiceBenchmark("logiqa", "LogiQA", ("logi_qa.jsonl*",)),
    ChoiceBenchmark("lsat_ar", "AGIEval LSAT, analytical reasoning", ("agi_eval_lsat_ar.jsonl*",)),
    ChoiceBenchmark("lsat_lr", "AGIEval LSAT, logical reasoning", ("agi_eval_lsat_lr.jsonl*",)),
    ChoiceBenchmark("lsat_rc", "AGIEval LSAT, reading", ("agi_eval_lsat_rc.jsonl*",)),
    ChoiceBenchmark("sat_en", "AGIEval SAT, English", ("agi_eval_sat_en.jsonl*",)),
    ChoiceBenchmark("pubmed_qa", "PubMedQA", ("pubmed_qa_labeled.jsonl*",), bare=CLOZE),
    ChoiceBenchmark("dyck_languages", "BIG-bench Dyck languages", ("bigbench_dyck_languages.jsonl*",), bare=CLOZE),
    ChoiceBenchmark("operators", "BIG-bench operators", ("bigbench_operators.jsonl*",), bare=CLOZE),
    ChoiceBenchmark("cs_algorithms", "BIG-bench CS algorithms", ("bigbench_cs_algorithms.jsonl*",), bare=CLOZE),
    ChoiceBenchmark("logical_deduction", "BIG-bench logical deduction", ("bigbench_logical_deduction.jsonl*",)),
    ChoiceBenchmark("math_qa", "MathQA", ("math_qa.jsonl*",)),
    ChoiceBenchmark("strategy_qa", "BIG-bench StrategyQA", ("bigbench_strategy_qa.jsonl*",)),
    ChoiceBenchmark("fables", "BIG-bench fables", ("bigbench_understanding_fables.jsonl*",), metric="acc/char"),
    ChoiceBenchmark("misconceptions", "BIG-bench misconceptions", ("bigbench_misconceptions.jsonl*",)),
)  # fmt: skip
CHOICE_SETS: Mapping[str, ChoiceBenchmark] = {one.name: one for one in _SETS}
