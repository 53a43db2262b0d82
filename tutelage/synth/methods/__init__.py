"""All synthesis methods, one file each. To add one: a file here with its class, and its name in AnyMethod."""

from __future__ import annotations

from tutelage.synth.methods.agents import Agents
from tutelage.synth.methods.alpaca import Alpaca
from tutelage.synth.methods.constitution import Constitution
from tutelage.synth.methods.continuation import Continuation
from tutelage.synth.methods.document_qa import DocumentQa
from tutelage.synth.methods.evol_instruct import EvolInstruct
from tutelage.synth.methods.exercises import Exercises
from tutelage.synth.methods.instruction_reversal import InstructionReversal
from tutelage.synth.methods.knowledge_probe import KnowledgeProbe
from tutelage.synth.methods.mga import Mga
from tutelage.synth.methods.multi_turn import MultiTurn
from tutelage.synth.methods.nemotron_cc import NemotronCc
from tutelage.synth.methods.persona import Persona
from tutelage.synth.methods.persona_if import PersonaIf
from tutelage.synth.methods.plurality import Plurality
from tutelage.synth.methods.reasoning import Reasoning
from tutelage.synth.methods.rejection_sampling import RejectionSampling
from tutelage.synth.methods.rlaif import Rlaif
from tutelage.synth.methods.self_instruct import SelfInstruct
from tutelage.synth.methods.self_rewarding import SelfRewarding
from tutelage.synth.methods.teacher_swap import TeacherSwap
from tutelage.synth.methods.wrap import Wrap

AnyMethod = (
    Agents
    | Alpaca
    | Constitution
    | Continuation
    | DocumentQa
    | EvolInstruct
    | Exercises
    | InstructionReversal
    | KnowledgeProbe
    | Mga
    | MultiTurn
    | NemotronCc
    | Persona
    | PersonaIf
    | Plurality
    | Reasoning
    | RejectionSampling
    | Rlaif
    | SelfInstruct
    | SelfRewarding
    | TeacherSwap
    | Wrap
)
