"""The commands, one file each. They import what they need when they run, so that `--help` is instant."""

from __future__ import annotations

import click

from tutelage import __version__
from tutelage.cli.arena import arena
from tutelage.cli.audit import audit
from tutelage.cli.best_of_n import best_of_n
from tutelage.cli.chat import chat
from tutelage.cli.command import CommandGroup
from tutelage.cli.compare import compare
from tutelage.cli.curate import curate
from tutelage.cli.demo import demo
from tutelage.cli.doctor import doctor
from tutelage.cli.dpo import dpo
from tutelage.cli.evaluate import evaluate
from tutelage.cli.export import export
from tutelage.cli.grpo import grpo
from tutelage.cli.judge import judge
from tutelage.cli.judge_pairs import judge_pairs
from tutelage.cli.kto import kto
from tutelage.cli.lab import lab
from tutelage.cli.look import look
from tutelage.cli.memorisation import memorisation
from tutelage.cli.mix import mix
from tutelage.cli.perplexity import perplexity
from tutelage.cli.plan import plan
from tutelage.cli.ppo import ppo
from tutelage.cli.probe import probe
from tutelage.cli.reward import reward
from tutelage.cli.run import run
from tutelage.cli.scorer import scorer
from tutelage.cli.select import select
from tutelage.cli.serve import serve
from tutelage.cli.settings import settings
from tutelage.cli.sft import sft
from tutelage.cli.synth import synth
from tutelage.cli.token_shift import token_shift
from tutelage.cli.watch import watch

COMMANDS = (
    arena,
    audit,
    best_of_n,
    chat,
    compare,
    curate,
    demo,
    doctor,
    dpo,
    evaluate,
    export,
    grpo,
    judge,
    judge_pairs,
    kto,
    lab,
    look,
    memorisation,
    perplexity,
    mix,
    plan,
    ppo,
    probe,
    reward,
    run,
    scorer,
    select,
    serve,
    settings,
    sft,
    synth,
    token_shift,
    watch,
)


@click.group(cls=CommandGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Train a language model end to end: corpus, pre-training, SFT, preferences, rewards, evaluation, serving.
    `tutelage demo` does it in minutes on a built-in world; `tutelage COMMAND --help` describes a command."""
