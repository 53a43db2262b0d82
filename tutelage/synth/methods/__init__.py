"""All synthesis methods, one file each. To add one: a file here with its class, and its name in AnyMethod."""

from __future__ import annotations

from tutelage.synth.methods.alpaca import Alpaca
from tutelage.synth.methods.self_instruct import SelfInstruct
from tutelage.synth.methods.teacher_swap import TeacherSwap

AnyMethod = Alpaca | SelfInstruct | TeacherSwap
