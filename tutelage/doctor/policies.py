"""What can go wrong where a model learns from rewards of its own samples: no signal, and training itself."""

from __future__ import annotations

import numpy as np

from tutelage.doctor.case import Case, Diagnosis
from tutelage.doctor.fixes import length_times, lr_times, override
from tutelage.doctor.rewards import REWARDS
from tutelage.doctor.rollouts import ends, late, mean_of, share_words, tenths
from tutelage.doctor.training import Check
from tutelage.rl.advantages import no_signal_rate

MOSTLY = 0.5  # of samples or groups
SMALL_GROUP, USUAL_GROUP = 3, 8
ALIKE = 0.02  # nats per token; samples of a group are all the same
LOST = 0.5  # of the best reward
FAR = 1.0  # nats per token from the start
STILL = 1e-3  # nats per token; a model that learned has moved further
CLIPPED = 0.1  # of the tokens
BLIND = 3.0  # squared error over variance; a head that learned little is near 1
FEWEST = 4  # rollouts that show a course
MANY_EPOCHS, GAP = 10, 0.3  # of prompts; between the reward in training and on held-out prompts


def cap_too_low(case: Case) -> Diagnosis | None:
    """Most samples were cut off from the beginning, so they were not rewarded."""
    first, cut_off = ends(case, "finish.length")[0], ends(case, "no_signal.cap")[0]
    if first <= MOSTLY or cut_off <= MOSTLY:
        return None
    limit = case.settings["max_tokens"]
    return Diagnosis(
        "cap-too-low",
        case.stage.name,
        "nearly all answers are cut off, and a group of them has no signal",
        f"max_tokens is {limit}, and answers need more",
        "a larger max_tokens, or first fine-tuning on shorter answers",
        (share_words("samples cut off", first), share_words("groups without signal for that reason", cut_off)),
        (override(case, "max_tokens", 4 * limit),),
    )


def all_solved(case: Case) -> Diagnosis | None:
    """Most groups were all right from the beginning."""
    solved = ends(case, "no_signal.solved")[0]
    if solved <= MOSTLY:
        return None
    return Diagnosis(
        "all-solved",
        case.stage.name,
        "most groups of samples are all right, and teach nothing",
        "the prompts are too easy for this model",
        "harder prompts; refill draws others in place of solved ones",
        (share_words("groups that were all right at the beginning", solved), _reward_words(case)),
        (override(case, "refill", 2),),
    )


def samples_alike(case: Case) -> Diagnosis | None:
    """Groups had no signal from the beginning, at a low temperature, because all samples of a group were the same."""
    temperature = case.settings.get("temperature", 1.0)
    entropy, none = ends(case, "entropy")[0], ends(case, "no_signal")[0]
    if temperature >= 0.5 or entropy > ALIKE or none <= MOSTLY:
        return None
    return Diagnosis(
        "samples-alike",
        case.stage.name,
        "the samples of a group are all the same, so none is better than another",
        f"they are drawn at temperature {temperature:g}",
        "temperature = 1, which is that of the trained policy",
        (
            f"entropy of the sampler at the beginning: {entropy:.2g} nats per token",
            share_words("groups without signal", none),
        ),
        (override(case, "temperature", 1.0),),
    )


def group_too_small(case: Case) -> Diagnosis | None:
    """Groups of two or three samples, of which most have equal rewards as chance has it."""
    size, none = case.settings.get("group_size", USUAL_GROUP), ends(case, "no_signal")[0]
    reward = ends(case, "reward")[0]
    if size > SMALL_GROUP or none < MOSTLY * 0.9 or not 0 < reward < 1:
        return None
    expected, other = no_signal_rate(reward, size), no_signal_rate(reward, USUAL_GROUP)
    return Diagnosis(
        "group-too-small",
        case.stage.name,
        "most groups have samples of one reward, and teach nothing",
        f"a group has {size} samples",
        f"group_size = {USUAL_GROUP}, with fewer prompts for the same number of samples",
        (
            share_words("groups without signal at the beginning", none),
            f"by p^G + (1 - p)^G it is {expected:.0%} at p = {reward:.2g} and G = {size}, and {other:.0%} at G = "
            f"{USUAL_GROUP}",
        ),
        (override(case, "group_size", USUAL_GROUP),),
    )


def policy_collapsed(case: Case) -> Diagnosis | None:
    """The reward fell well below its best, far from the start."""
    rewards, kl = tenths(case, "reward"), late(case, "kl")
    if kl is None or kl < FAR or len(rewards) < FEWEST:
        return None
    best, last = float(rewards.max()), float(rewards[-1])
    if best - last <= LOST * max(abs(best), abs(float(rewards[0]))):
        return None
    return Diagnosis(
        "policy-collapsed",
        case.stage.name,
        "the reward fell, and the policy is far from where it began",
        "the learning rate is too high: one step takes the policy where no sample was",
        "lower lr to a third or a tenth; kl holds a policy near its start",
        (
            f"reward: {best:.3g} in its best tenth of the rollouts, {last:.3g} in the last",
            f"divergence from the start at the end: {kl:.3g} nats per token",
            f"peak learning rate {case.stage.info.lr:g}",
        ),
        lr_times(case, 1 / 10),
    )


def kl_too_strong(case: Case) -> Diagnosis | None:
    """The penalty kept the policy where it was."""
    kl, factor = late(case, "kl"), case.settings.get("kl") or 0.0
    if not factor or kl is None or abs(kl) >= 10 * STILL or _rose(case):
        return None
    return Diagnosis(
        "kl-too-strong",
        case.stage.name,
        "the policy has hardly moved, and its reward did not rise",
        f"the factor of the divergence is {factor:g}: leaving the start costs more than any reward pays",
        "a smaller kl",
        (f"divergence from the start at the end: {kl:.2g} nats per token", _reward_words(case)),
        (override(case, "kl", float(f"{factor / 30:.2g}")),),
    )


def policy_unmoved(case: Case) -> Diagnosis | None:
    """There was signal, and the policy did not move."""
    kl, none = late(case, "kl"), late(case, "no_signal") or 0.0
    if kl is None or abs(kl) >= STILL or none > 0.9 or case.settings.get("kl"):
        return None
    return Diagnosis(
        "policy-unmoved",
        case.stage.name,
        "the policy has not moved, although its samples differ in reward",
        f"the learning rate {case.stage.info.lr:g} is too low for {case.stage.info.steps} steps",
        "raise lr to a tenth of that of fine-tuning, or train longer",
        (f"divergence from the start at the end: {kl:.2g} nats per token", _reward_words(case)),
        lr_times(case, 100) if abs(kl) < STILL / 30 else lr_times(case, 10),
    )


def rollout_overused(case: Case) -> Diagnosis | None:
    """Many tokens were clipped: later steps on a rollout learn from samples of a policy that is no more."""
    clipped = mean_of(case, "clipped")
    uses = case.settings.get("inner_epochs", 1) * case.settings.get("minibatches", 1)
    if clipped <= CLIPPED or uses < 2:
        return None
    fewer = override(case, "inner_epochs", 1)
    return Diagnosis(
        "rollout-overused",
        case.stage.name,
        "many tokens are clipped: the policy has left the samples that it still learns from",
        f"{uses} steps on each rollout, at learning rate {case.stage.info.lr:g}",
        "fewer steps on a rollout (inner_epochs, minibatches), or a lower lr",
        (f"clipped tokens: {clipped:.0%} of all", _reward_words(case)),
        (fewer, *lr_times(case, 1 / 3)),
    )


def value_head_blind(case: Case) -> Diagnosis | None:
    """The value head explains nothing of the returns, once it has had time to."""
    losses, spreads = (tenths(case, name) for name in ("value_loss", "reward_std"))
    if len(losses) < FEWEST or not case.settings.get("value_weight"):
        return None
    half = len(losses) // 2
    error, variance = 2 * float(losses[half:].mean()), float(np.square(spreads[half:]).mean())
    if error <= BLIND * variance:
        return None
    return Diagnosis(
        "value-head-blind",
        case.stage.name,
        "the value head says less of the returns than their mean does",
        f"it hardly learns (value_weight {case.settings['value_weight']:g}, value_clip "
        f"{case.settings.get('value_clip', 0.2):g})",
        "a larger value_weight and value_clip, or more steps; GRPO needs no value head",
        (f"in the second half of training its squared error is {error:.3g}, the variance of rewards {variance:.3g}",),
        (override(case, "value_weight", 0.5), override(case, "value_clip", 0.2)),
    )


def prompts_memorised(case: Case) -> Diagnosis | None:
    """Rewards in training are high, and on held-out prompts they never rose."""
    _, epochs = case.most_epochs()
    trained, held_out = late(case, "reward"), late(case, "eval.reward")
    if epochs <= MANY_EPOCHS or trained is None or held_out is None or trained - held_out <= GAP * abs(trained):
        return None
    if not _rose(case):
        return None
    return Diagnosis(
        "prompts-memorised",
        case.stage.name,
        "the reward rose on the prompts of training, and not on others",
        f"{epochs:.3g} epochs of too few prompts",
        "more prompts, or fewer steps",
        (f"reward of samples in training at the end: {trained:.2g}", f"of answers to held-out prompts: {held_out:.2g}"),
        length_times(case, 1 / 5),
    )


def _rose(case: Case) -> bool:
    """Whether the reward rose by more than its noise: over twice the standard error of its curve's two ends."""
    from_, to = ends(case, "reward")
    spread = late(case, "reward_std") or 0.0
    samples = case.settings.get("prompts", 16) * case.settings.get("group_size", 8)
    return bool(to - from_ > 2 * np.sqrt(2) * spread / np.sqrt(max(1, samples)))


def _reward_words(case: Case) -> str:
    first, last = ends(case, "reward")
    return f"reward: {first:.3g} at the beginning, {last:.3g} at the end"


# What leaves no signal comes first: nothing else matters then.
POLICIES: tuple[Check, ...] = (
    cap_too_low,
    *REWARDS,
    samples_alike,
    all_solved,
    group_too_small,
    rollout_overused,
    policy_collapsed,
    kl_too_strong,
    policy_unmoved,
    value_head_blind,
    prompts_memorised,
)
