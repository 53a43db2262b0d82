"""Names and phrases of the project's former private dialect do not come back; the field's terms are used instead.

A pattern is a regular expression. Plain English words are not banned, only identifiers and phrases that a reader who
knows PyTorch, TRL and datatrove would have to look up.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

BANNED: tuple[tuple[str, str], ...] = (
    # distributed
    (r"\bmeet\(", "barrier("),
    (r"\bagreed\(", "broadcast_object("),
    (r"\bfirst_leads\b", "main_process_first"),
    (r"\bis_first\(", "is_main_process("),
    (r"distributed\.(joined|processes|gather)\b", "init_distributed, world_size, all_gather_object"),
    (r"\bspread_like\b", "distribute_like"),
    (r"\bwhole_tensor\b", "full_tensor"),
    (r"\blaunched\(", "rank_and_world_size("),
    # training
    (
        r"\bgraded (tokens?|weights?|positions?)\b|\b(not|only) graded\b|\.graded\b|\bgraded=",
        "trained tokens, loss weight",
    ),
    (r"\bis_filler\b|\bFILLER\b", "is_padding, padding micro-batch"),
    (r"\b[a-z]+_U\b", "example group, suffix _G"),
    (r"\bfind_rate\b", "lr_range_test"),
    (r"\bModelFolder\b", "PretrainedModel"),
    (r"\bclass (Setting|Prepared|Position|Journal)\b", "StageContext, TrainSetup, TrainState, hooks"),
    (r"\b(evaluate|look)s_after\b|\blook_at\(", "inspect, eval"),
    (r"\b[Mm]erit(_of)?\(", "eval score, selection metric"),
    (r"keep ?= ?\"behaviour\"", 'keep = "best_eval"'),
    (
        r"train_on ?= ?\"(everything|last|response-only)\"",
        '"assistant", "last_assistant", "response_only", "all_tokens"',
    ),
    (r"\bby heart\b", "memorised"),
    (r"\bcrowds? out\b", "replay share too high"),
    (r"\bpast its best\b", "overtrained"),
    # chat
    (r"\bChatSource\b", "ChatConfig"),
    (r"\bUnproven\b", "VerificationError"),
    (r"\bRewritten\b", "HistoryDependentTemplate"),
    (r"\bforetold\b|\bforetell", "render-cache hit"),
    (r"\b[Ww]atched\b", "traced strings"),
    (r"\banswered_alike\b", "same_predicates"),
    (r"\b_looked\b", "mark_uncacheable"),
    (r"\bPieceEncoder\b", "pre-token BPE cache"),
    (r"\bskeletons?\b", "template outline"),
    (r"\blay_out\b", "layout"),
    (r"\b(un)?proven\b|\bunprovable\b", "verified, unverifiable"),
    (r"\bimported templates?\b", "hf_template"),
    # audit
    (r"\blikeness\b|\bfind_alike\b|\bLikeness\b", "near_duplicates, similar"),
    (r"\bDecided\b", "AnswerIndex"),
    (r"\bGIST\b|\b_gist\b", "summary"),
    (r"\bhollow[ _]answers?\b", "placeholder answer"),
    (r"\bloose[ _]ends?\b", "no terminal punctuation"),
    (r"\btold_by\b", "detected_by"),
    (r"\bcures?\b", "fix"),
    (r"\bmends\b|\bmendable\b", "auto-fixable"),
    # client, engine
    (r"\bKeptAnswers\b", "ResponseCache"),
    (r"\bmost[_-](requests|tokens)\b", "max_requests, max_tokens_total"),
    (r"\bLONGEST_REST\b|\b_rest_until\b", "backoff"),
    (r"\bfit_history\b", "truncate_to_context"),
    (r"\bended=\"(stop|length|context)\"|generation\.ended\b", "finish_reason"),
    # corpus
    (r"\blet_go\b", "madvise_dontneed"),
    (r"\bseen_before\b", "bloom_seen"),
    (r"\bLineKind\b", "line mode"),
    (r"\bclass (_Judge|_Aside|Account)\b", "DecisionApplier, RejectWriter, StepStats"),
    # commands and reports
    (r"\bGOES_ON\b", "RESUMABLE"),
    (r"\bspeaks\(", "is_output_rank("),
    (r"\bend_at_the_gate\b", "exit_if_forgetting"),
    (r"\btoo_forgetful\b", "forgetting_exceeds_limit"),
    (r"@verb\b", "command"),
    (r"\bset_words\b", "format_*"),
    # phrases
    (r"\bmade elsewhere\b", "external checkpoint"),
    (r"\b(goes|go) on from\b", "resume from"),
    (r"\bwhat became of\b|\bwhat has become of\b", "result, ledger"),
    (r"\bthe law\b", "invariant"),
    (r"\b(of|in) the house\b", "of the project"),
    (r"\bnouns that flow\b", "data types"),
    (r"\busers' words\b", "user tokens"),
    (r"\bkeeps? its turn\b", "role leakage"),
    (r"\bspeaks? for the user\b", "role leakage"),
    (r"\bwants to be paid\b", "payment required"),
    (r"\bleft alone for\b", "rate limited"),
    (r"\blook here\b", "warning"),
    (r"\ban error of ours\b", "internal error"),
)

# The history, the glossary, and this list itself.
EXEMPT = {"CHANGELOG.md", "LOG.md", "docs/glossary.md", "tests/test_vocabulary.py"}
SUFFIXES = {".py", ".md", ".toml", ".css", ".js", ".html"}


def scanned_files(root: Path) -> list[str]:
    """The files to scan, relative to the root."""
    files = [path for name in ("tutelage", "docs", "recipes", "tests") for path in (root / name).rglob("*")]
    names = [path.relative_to(root).as_posix() for path in (*files, root / "README.md") if path.suffix in SUFFIXES]
    return sorted(name for name in names if name not in EXEMPT)


def violations(root: Path) -> list[str]:
    """One sentence for each banned name or phrase: file, line, and what to use instead."""
    patterns = [(re.compile(pattern), instead) for pattern, instead in BANNED]
    sentences = []
    for name in scanned_files(root):
        for number, line in enumerate((root / name).read_text(encoding="utf-8").splitlines(), 1):
            for pattern, instead in patterns:
                if match := pattern.search(line):
                    sentences.append(f"{name}:{number}: {match[0]!r}; use: {instead}")
    return sentences


def test_the_former_dialect_is_gone() -> None:
    assert len(scanned_files(ROOT)) > 20
    assert violations(ROOT) == []


def test_a_banned_name_is_reported_with_its_line_and_replacement(tmp_path: Path) -> None:
    (tmp_path / "tutelage").mkdir()
    (tmp_path / "tutelage/train.py").write_text("# all processes wait\nmeet()\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("Plain English.\n", encoding="utf-8")
    assert violations(tmp_path) == ["tutelage/train.py:2: 'meet('; use: barrier("]
