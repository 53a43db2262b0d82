"""Published benchmarks by name. A new one is a file with a ChoiceBenchmark or a PromptBenchmark, named here."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.benchmarks.bbh import BBH, BBH_COT
from tutelage.evaluate.benchmarks.benchmark import Benchmark
from tutelage.evaluate.benchmarks.bfcl import BFCL
from tutelage.evaluate.benchmarks.choice_sets import CHOICE_SETS
from tutelage.evaluate.benchmarks.code_sets import HUMAN_EVAL, MBPP
from tutelage.evaluate.benchmarks.ifeval import IFEVAL
from tutelage.evaluate.benchmarks.math_sets import MATH_SETS
from tutelage.evaluate.benchmarks.mmlu import MMLU
from tutelage.evaluate.benchmarks.open_questions import OPEN_SETS
from tutelage.evaluate.benchmarks.xstest import XSTEST

BENCHMARKS: Mapping[str, Benchmark] = {
    MMLU.name: MMLU,
    **CHOICE_SETS,
    **MATH_SETS,
    **OPEN_SETS,
    **{one.name: one for one in (BBH, BBH_COT, IFEVAL, HUMAN_EVAL, MBPP, BFCL, XSTEST)},
}
