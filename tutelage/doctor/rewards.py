"""What can be wrong with a reward: it is never paid, cannot be read, is missing, or pays for something else."""

from __future__ import annotations

from tutelage.doctor.case import Case, Diagnosis
from tutelage.doctor.fixes import override
from tutelage.doctor.rollouts import ends, late, noise_of_tenth, share_words, tenths
from tutelage.doctor.training import Check
from tutelage.report.read import names_under

MOSTLY, NEARLY_ALL = 0.5, 0.9
FELL = 0.2  # of what gold was at its best
NOISE = 4.0  # standard errors: the best of ten noisy means is flattered
LONGER, GAINED = 1.5, 0.2  # response length; gain of the reward over its size


def reward_unparsable(case: Case) -> Diagnosis | None:
    """The verifier could not read most answers from the beginning."""
    for name in names_under(case.stage.log, "outcome."):
        part, _, outcome = name.rpartition(".")
        share = ends(case, f"outcome.{name}")[0]
        if outcome == "unparsable" and share > MOSTLY:
            return Diagnosis(
                "reward-unparsable",
                case.stage.name,
                f"the verifier '{part}' cannot read most answers",
                "the model does not write the form that the verifier reads",
                "fine-tune on a few answers of that form first, or use a verifier that reads the model's form",
                (share_words("answers that it could not read at the beginning", share),),
            )
    return None


def never_rewarded(case: Case) -> Diagnosis | None:
    """Nearly all groups were all wrong, at the beginning and at the end."""
    first, last = ends(case, "no_signal.unsolved")
    if min(first, last) < NEARLY_ALL:
        return None
    return Diagnosis(
        "never-rewarded",
        case.stage.name,
        "no sample is ever right, so there is nothing to learn from",
        "the prompts are too hard for this model, or the gold answers are wrong",
        "easier prompts, larger groups, fine-tuning on worked answers first; and a look at the gold answers",
        (share_words("groups that were all wrong at the beginning", first), share_words("at the end", last)),
        (override(case, "group_size", 4 * case.settings.get("group_size", 8)),),
    )


def rewards_missing(case: Case) -> Diagnosis | None:
    """Most samples had no reward."""
    share = ends(case, "samples_abstained")[0]
    if share <= MOSTLY:
        return None
    reasons = {name: ends(case, f"outcome.{name}")[0] for name in names_under(case.stage.log, "outcome.")}
    told = [share_words(name, part) for name, part in reasons.items() if name.endswith(("abstained", "timed out"))]
    return Diagnosis(
        "rewards-missing",
        case.stage.name,
        "most samples have no reward, and leave their groups",
        "the grader abstains or times out",
        "a grader that answers: more seconds, another judge, or a value for answers that it cannot grade",
        (share_words("samples without a reward", share), *told),
    )


def reward_hacked(case: Case) -> Diagnosis | None:
    """A part of weight 0, logged beside the reward, fell from its best value in the run, by more than its noise, while
    the reward rose on. It need not have fallen below where it began."""
    rewards = tenths(case, "reward")
    for name, settings in (case.settings.get("rewards") or {}).items():
        gold = tenths(case, f"reward.{name}")
        if (settings or {}).get("weight", 1.0) != 0 or len(gold) != len(rewards) or len(gold) < 2:
            continue
        best, last = int(gold.argmax()), float(gold[-1])
        fall = float(gold[best]) - last
        least = max(FELL * max(abs(float(gold[best])), 0.05), NOISE * noise_of_tenth(case, f"reward.{name}"))
        if rewards[-1] > rewards[best] and fall > least:
            return Diagnosis(
                "reward-hacked",
                case.stage.name,
                f"the reward rose, and '{name}', which is only measured, fell",
                "the reward is a proxy that pays for something else",
                "stop where both still rose (save_every keeps those weights); a larger kl, or a better reward",
                (
                    f"'{name}': {gold[0]:.3g} at the beginning, {gold[best]:.3g} at its best, {last:.3g} at the end",
                    f"reward: {rewards[best]:.3g} there, {rewards[-1]:.3g} at the end",
                    f"its best was after about {best / (len(gold) - 1):.0%} of the run",
                    *_divergence(case),
                ),
                (override(case, "kl", max(0.1, 4 * (case.settings.get("kl") or 0.0))),),
            )
    return None


def length_exploited(case: Case) -> Diagnosis | None:
    """Answers became much longer with the reward, and nothing else is measured that rose as well."""
    before, after = ends(case, "response_length")
    reward = ends(case, "reward")
    named = [name for name in names_under(case.stage.log, "outcome.") if name.endswith("right")]
    rose = any(ends(case, f"outcome.{name}")[1] > ends(case, f"outcome.{name}")[0] for name in named)
    if after < LONGER * before or reward[1] - reward[0] <= GAINED * max(abs(reward[0]), 1e-9) or rose:
        return None
    return Diagnosis(
        "length-exploited",
        case.stage.name,
        "answers become longer and longer, and the reward rises with them",
        "the reward pays for length",
        "a part of kind 'length' or 'overlong' in the reward, and a reward that does not grow with length",
        (
            f"tokens of an answer: {before:.3g} at the beginning, {after:.3g} at the end",
            f"reward: {reward[0]:.3g} to {reward[1]:.3g}",
            share_words("cut off at the end", ends(case, "finish.length")[1]),
        ),
    )


def _divergence(case: Case) -> list[str]:
    kl = late(case, "kl")
    return [] if kl is None else [f"divergence from the start at the end: {kl:.3g} nats per token"]


REWARDS: tuple[Check, ...] = (
    reward_unparsable,
    never_rewarded,
    rewards_missing,
    reward_hacked,
    length_exploited,
)
