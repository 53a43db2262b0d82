"""The commands, one file each. They import what they need when they run, so that `--help` is instant."""

from __future__ import annotations

import click

from tutelage import __version__
from tutelage.cli.agreement import agreement
from tutelage.cli.annotate import annotate
from tutelage.cli.answers import answers
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
from tutelage.cli.identical import identical
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
from tutelage.cli.scaling import scaling
from tutelage.cli.scorer import scorer
from tutelage.cli.select import select
from tutelage.cli.serve import serve
from tutelage.cli.settings import settings
from tutelage.cli.sft import sft
from tutelage.cli.synth import synth
from tutelage.cli.token_shift import token_shift
from tutelage.cli.watch import watch
from tutelage.cli.win_rate import win_rate

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Start": (demo, run, plan, settings),
    "Fine-tuning": (sft, dpo, kto, reward, grpo, ppo, best_of_n),
    "Data": (audit, look, curate, judge, scorer, synth, select, mix, probe, annotate),
    "Evaluation": (
        evaluate,
        compare,
        identical,
        doctor,
        judge_pairs,
        answers,
        arena,
        win_rate,
        agreement,
        perplexity,
        memorisation,
        token_shift,
        scaling,
        lab,
    ),
    "Use": (chat, serve, watch, export),
}
COMMANDS = [command for commands in SECTIONS.values() for command in commands]


class Main(CommandGroup):
    """All commands; the help lists them by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list for each section."""
        width = formatter.width - 6 - max(len(str(command.name)) for command in COMMANDS)
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(str(command.name), command.get_short_help_str(width)) for command in commands])


@click.group(cls=Main, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Train a language model end to end: corpus, pre-training, SFT, preferences, rewards, evaluation, serving.
    `tutelage demo` does it in minutes on a built-in world; `tutelage COMMAND --help` describes a command."""
