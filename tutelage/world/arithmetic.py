"""Small sums with worked steps, as documents and as questions with answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.world.keyed_random import KeyedRandom

Operation = Literal["plus", "minus", "times"]

SIGNS: dict[Operation, str] = {"plus": "+", "minus": "-", "times": "x"}


@dataclass(frozen=True, slots=True)
class Sum:
    """left operation right = result, with the steps as equations."""

    left: int
    right: int
    operation: Operation
    steps: tuple[str, ...]
    result: int

    @property
    def expression(self) -> str:
        """The sum without the result: "47 + 38"."""
        return f"{self.left} {SIGNS[self.operation]} {self.right}"


def random_sum(rng: KeyedRandom) -> Sum:
    """A sum for mental arithmetic: tens and ones, and times tables up to 9 x 19."""
    operation = rng.choice(tuple(SIGNS))
    if operation == "times":
        left, right = 2 + rng.randbelow(8), 2 + rng.randbelow(18)
        if right <= 10:
            return Sum(left, right, operation, (f"{left} x {right} = {left * right}",), left * right)
        ones = right - 10
        parts = (f"{left} x 10 = {left * 10}", f"{left} x {ones} = {left * ones}")
        total = f"{left * 10} + {left * ones} = {left * right}"
        return Sum(left, right, operation, (*parts, total), left * right)
    if operation == "plus":
        left, right = 10 * rng.randbelow(10) + 1 + rng.randbelow(9), 10 * rng.randbelow(10) + 1 + rng.randbelow(9)
        if left < 10 or right < 10:
            return Sum(left, right, operation, (f"{left} + {right} = {left + right}",), left + right)
        tens, ones = left // 10 * 10 + right // 10 * 10, left % 10 + right % 10
        steps = (f"{left // 10 * 10} + {right // 10 * 10} = {tens}", f"{left % 10} + {right % 10} = {ones}")
        return Sum(left, right, operation, (*steps, f"{tens} + {ones} = {left + right}"), left + right)
    right = 10 * rng.randbelow(5) + 1 + rng.randbelow(9)
    left = right + 1 + rng.randbelow(50)
    if right < 10:
        return Sum(left, right, operation, (f"{left} - {right} = {left - right}",), left - right)
    between = left - right // 10 * 10
    steps = (f"{left} - {right // 10 * 10} = {between}", f"{between} - {right % 10} = {left - right}")
    return Sum(left, right, operation, steps, left - right)


NOTES: dict[Operation, tuple[str, ...]] = {
    "plus": (
        "To add {left} and {right}, take the tens first and then the ones. {steps}. So {expression} = {result}.",
        "What is {left} and {right} together? {steps}. Together they make {result}.",
        "A basket holds {left} apples and another holds {right}. {steps}. There are {result} apples in all.",
        "{expression} can be done in the head. {steps}. The sum is {result}.",
        "Adding {right} to {left} gives {result}, and here is why: {steps}.",
    ),
    "minus": (
        "To take {right} from {left}, go step by step. {steps}. So {expression} = {result}.",
        "How much is left of {left} when {right} are gone? {steps}. What is left is {result}.",
        "A shelf held {left} books, and {right} were lent out. {steps}. That leaves {result} on the shelf.",
        "{expression} can be done in the head. {steps}. The difference is {result}.",
        "Taking {right} away from {left} leaves {result}, and here is why: {steps}.",
    ),
    "times": (
        "To multiply {left} by {right}, break it up where needed. {steps}. So {expression} = {result}.",
        "How many is {left} times {right}? {steps}. The answer is {result}.",
        "There are {left} boxes with {right} eggs in each. {steps}. That makes {result} eggs.",
        "{expression} can be done in the head. {steps}. The product is {result}.",
        "Multiplying {left} by {right} gives {result}, and here is why: {steps}.",
    ),
}

QUESTIONS: dict[Operation, tuple[str, ...]] = {
    "plus": (
        "What is {left} plus {right}?",
        "What is {expression}?",
        "Add {left} and {right}.",
        "How much is {left} and {right} together?",
        "Can you work out {expression} for me?",
        "I have {left} apples and pick {right} more. How many do I have?",
        "A bus carries {left} people and {right} more get on. How many are on the bus?",
    ),
    "minus": (
        "What is {left} minus {right}?",
        "What is {expression}?",
        "Take {right} away from {left}.",
        "How much is {left} less {right}?",
        "Can you work out {expression} for me?",
        "I had {left} coins and spent {right}. How many are left?",
        "There were {left} birds on a roof and {right} flew away. How many stayed?",
    ),
    "times": (
        "What is {left} times {right}?",
        "What is {expression}?",
        "Multiply {left} by {right}.",
        "How much is {left} times {right}?",
        "Can you work out {expression} for me?",
        "I have {left} bags with {right} sweets in each. How many sweets is that?",
        "A hall has {left} rows of {right} chairs. How many chairs are there?",
    ),
}

ANSWERS = (
    "{steps}. The answer is {result}.",
    "{steps}. So {expression} = {result}.",
    "Step by step: {steps}. That makes {result}.",
)


def fill(template: str, sum_: Sum) -> str:
    """Fill in a template of this file; the steps are joined as in "a, b and c"."""
    steps = ", ".join(sum_.steps[:-1]) + " and " + sum_.steps[-1] if len(sum_.steps) > 1 else sum_.steps[0]
    return template.format(
        left=sum_.left, right=sum_.right, result=sum_.result, expression=sum_.expression, steps=steps
    )


def note(rng: KeyedRandom) -> str:
    """A worked sum as a document."""
    sum_ = random_sum(rng)
    return fill(rng.choice(NOTES[sum_.operation]), sum_)


def exchange(rng: KeyedRandom) -> tuple[str, str]:
    """A question about a sum, and its worked answer."""
    sum_ = random_sum(rng)
    return fill(rng.choice(QUESTIONS[sum_.operation]), sum_), fill(rng.choice(ANSWERS), sum_)
