"""Published costs beside what this package computes for them, with the tolerance and the source of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tutelage.cost.hardware import PARTS
from tutelage.cost.inference import decode_step, dollars_per_million, prefill, ridge
from tutelage.cost.shapes import SHAPES, cache_bytes_per_token, parameters
from tutelage.cost.training import DAY, attention_share, flops_6nd, training_cost


@dataclass(frozen=True)
class Figure:
    """A figure as published and as computed. `tolerance` is a share of the published one: published figures are
    rounded, or use another count."""

    name: str
    published: float
    computed: float
    unit: str = ""
    tolerance: float = 0.005

    @property
    def within(self) -> bool:
        """Whether both agree."""
        return abs(self.computed - self.published) <= self.tolerance * abs(self.published)


@dataclass(frozen=True)
class CostExample:
    """A published cost: its inputs in words, its source, its figures."""

    title: str
    inputs: str
    source: str
    figures: list[Figure]


def llama3_405b() -> CostExample:
    """The lecture's example of what Llama 3 405B cost."""
    flops = flops_6nd(405e9, 15.6e12)
    cost = training_cost(flops, PARTS["h100"], 16_000, 400e12, 2.0, 0.24)
    shape = SHAPES["llama3-405b"]
    return CostExample(
        "Llama 3 405B, training",
        "405e9 parameters, 15.6e12 tokens, 6ND without attention; 16,000 H100 at 400 TFLOP/s, $2 an hour, 0.7 kW, "
        "0.24 kg CO2 per kWh",
        "Training LLMs (lecture), after arXiv 2407.21783",
        [
            Figure("FLOPs", 3.8e25, flops, "", 0.03),
            Figure("H100 hours", 26e6, cost.hours, "h", 0.02),
            Figure("days", 70, cost.days, "", 0.03),
            Figure("dollars", 52e6, cost.dollars, "$", 0.02),
            Figure("CO2", 4400, cost.tonnes, "t", 0.02),
            Figure("tokens per parameter", 40, 15.6e12 / 405e9, "", 0.05),
            Figure("MFU at 430 TFLOP/s", 0.43, 430e12 / PARTS["h100"].flops, "", 0.025),
            Figure("MFU at 400 TFLOP/s", 0.41, 400e12 / PARTS["h100"].flops, "", 0.025),
            Figure("MFU at 380 TFLOP/s", 0.38, 380e12 / PARTS["h100"].flops, "", 0.025),
            *(
                Figure(
                    f"tokens/s of {gpus:,} GPUs at {rate} TFLOP/s", published, gpus * rate * 1e12 / 6 / 405e9, "", 5e-4
                )
                for gpus, rate, published in ((8192, 430, 1.450e6), (16_384, 400, 2.697e6), (16_384, 380, 2.562e6))
            ),
            *(
                Figure(f"tokens per batch, {sequence:,} x {rows} x dp {dp}", 16_777_216, sequence * rows * dp, "", 0.0)
                for sequence, rows, dp in ((8192, 32, 64), (8192, 16, 128), (131_072, 16, 8))
            ),
            Figure("parameters", 405.85e9, parameters(shape).total, "", 1e-4),
            Figure("attention on top at 8,192 tokens", 0.042, attention_share(shape, 8192), "", 0.02),
            Figure("attention on top at 131,072 tokens", 0.67, attention_share(shape, 131_072), "", 0.02),
        ],
    )


def deepseek_v3() -> CostExample:
    """DeepSeek-V3's published hours."""
    hours = 2_664e3 + 119e3 + 5e3
    per_second = flops_6nd(37e9, 14.8e12) / (2_664e3 * 3600)
    return CostExample(
        "DeepSeek-V3, training",
        "37e9 active parameters, 14.8e12 tokens, 2,664K H800 hours of pre-training, 119K of context extension, 5K of "
        "post-training; $2 an hour, 2,048 H800",
        "arXiv 2412.19437, table 1",
        [
            Figure("H800 hours", 2_788e3, hours, "h", 0.0),
            Figure("dollars", 5.576e6, 2 * hours, "$", 0.0),
            Figure("hours per 1e12 tokens", 180e3, 2_664e3 / 14.8, "h", 0.001),
            Figure("days of pre-training", 54.2, 2_664e3 / 2048 / DAY, "", 0.001),
            Figure("TFLOP/s per H800", 343, per_second / 1e12, "", 0.002),
            Figure("MFU, if SXM", 0.346, per_second / PARTS["h800"].flops, "", 0.005),
            Figure("MFU, if PCIe", 0.453, per_second / PARTS["h800-pcie"].flops, "", 0.005),
            Figure("parameters", 671e9, parameters(SHAPES["deepseek-v3"]).total, "", 1e-3),
            Figure("active parameters", 37e9, parameters(SHAPES["deepseek-v3"]).active_without_lookup, "", 0.015),
            Figure("cache per token", 70_272, cache_bytes_per_token(SHAPES["deepseek-v3"]), "bytes", 0.0),
        ],
    )


def llama3_8b_serving() -> CostExample:
    """The roofline of Llama 3 8B on one H100."""
    shape, part = SHAPES["llama3-8b"], PARTS["h100"]
    rates = {batch: batch / decode_step(shape, part, batch, 2048).seconds for batch in (1, 32, 256)}
    read = prefill(shape, part, 2048)
    return CostExample(
        "Llama 3 8B, serving on one H100 (lower bounds)",
        "bfloat16 weights and cache, 2,048 cached tokens per request, $2 an hour; attention FLOPs left out",
        "computed from data sheets: 989.4e12 FLOP/s, 3.35e12 bytes/s",
        [
            Figure("ridge", 295, ridge(part), "FLOP/byte", 0.002),
            Figure("decoding without cache, 1 request", 4.79e-3, decode_step(shape, part, 1, 0).seconds, "s", 0.002),
            *(Figure(f"decoding, {batch} requests", rate, rates[batch], "tokens/s", 0.002)
              for batch, rate in ((1, 205), (32, 4349), (256, 10_116))),
            *(Figure(f"a million tokens, {batch} requests", price, dollars_per_million(rates[batch], 2.0), "$", 0.01)
              for batch, price in ((1, 2.71), (32, 0.128), (256, 0.055))),
            Figure("prefill of 2,048 tokens, compute", 33.2e-3, read.compute_seconds, "s", 0.005),
            Figure("prefill of 2,048 tokens, memory", 4.8e-3, read.memory_seconds, "s", 0.005),
        ],
    )  # fmt: skip


def teachers() -> CostExample:
    """What small fine-tuned models cost, by the hours and dollars that were published."""
    return CostExample(
        "Fine-tuning on a teacher's answers",
        "Alpaca: 52K rows, 3 h on 8 A100, less than $100; Sky-T1: 17K rows, 19 h on 8 H100, $450; s1: 1K rows, 26 "
        "min on 16 H100, less than $50",
        "Training LLMs (lecture)",
        [
            Figure("Alpaca, hours", 24, 3 * 8, "h", 0.0),
            Figure("Alpaca, dollars per hour, at most", 4.17, 100 / 24, "$", 0.001),
            Figure("Sky-T1, hours", 152, 19 * 8, "h", 0.0),
            Figure("Sky-T1, dollars per hour", 2.96, 450 / 152, "$", 0.001),
            Figure("s1, hours", 6.93, 26 / 60 * 16, "h", 0.001),
            Figure("s1, dollars at $2 an hour", 14, 2 * 26 / 60 * 16, "$", 0.01),
            Figure("s1, dollars per hour, at most", 7.2, 50 / (26 / 60 * 16), "$", 0.005),
        ],
    )


def reading() -> CostExample:
    """How much 15e12 tokens are."""
    pages = 15e12 / 1000
    return CostExample(
        "15e12 tokens on paper",
        "1,000 tokens a sheet, 100 sheets a centimetre; 10 s to read a sheet",
        "Training LLMs (lecture)",
        [
            Figure("height", 1500, pages / 100 / 100 / 1000, "km", 0.0),
            Figure("years of reading", 4756, pages * 10 / (365.25 * 86_400), "", 0.001),
        ],
    )


EXAMPLES: dict[str, Callable[[], CostExample]] = {
    "llama3-405b": llama3_405b,
    "deepseek-v3": deepseek_v3,
    "llama3-8b-serving": llama3_8b_serving,
    "teachers": teachers,
    "reading": reading,
}


def find_example(name: str) -> CostExample:
    """An example by name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in EXAMPLES:
        raise ValueError(f"there is no example {name!r}; choose one of {', '.join(EXAMPLES)}")
    return EXAMPLES[name]()
