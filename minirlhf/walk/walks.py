"""A Rufus small enough to step through by hand.  Every number can be checked on paper.

    python -m minirlhf walk                          all stops, with formula, shape and value
    python -m minirlhf walk --stop 4                 pdb opens at stop 4
    MINIRLHF_STOP=4 python -m minirlhf walk          the built-in breakpoint there, for an IDE
    python -m minirlhf walk --scenario transformer   or reward, or rufus

Three scenarios.  `ppo`: one prompt, two tokens, from the rollout to the clip that stops PPO by
itself.  `transformer`: five tokens, width 4, one head, one layer.  `reward`: three answers, one
ranking.  They call the functions that train Rufus; float64, no randomness.  stops.py says what
must be seen at each `# STOP n`.  `rufus` is one real PPO iteration, 4 prompts.
"""

import bdb
import inspect
import os
import pdb
from math import exp, log, log10

import numpy as np

from minirlhf import gpt
from minirlhf.data import encode_prompt, read_prompts
from minirlhf.errors import InputError, at
from minirlhf.layers import (
    entropy_forward,
    exact_kl,
    log_softmax,
    softmax,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.rufus.world import data_folder
from minirlhf.step2_reward_model import bradley_terry_loss, ranking_loss
from minirlhf.step3_ppo import (
    PPOHooks,
    PPOModels,
    PPOSettings,
    gae,
    kl_shaped_rewards,
    ppo_policy_loss,
    train_ppo,
)
from minirlhf.tokenizer import build_tokenizer
from minirlhf.walk.stops import STOPS, show, text_of
from minirlhf.walk.transformer import walk_transformer

ENVIRONMENT = "MINIRLHF_STOP"  # number of a stop, or "ratio": wherever ratio != 1

# ---- scenario ppo: two-token Rufus ----------------------------------------------------------


def walk_ppo(stop=None):
    """Prompt 我 ("I"); token 0 is 是 ("am"), token 1 is 一 (", a").  Rufus prefers the broken one.

    B = 2 answers of T = 1 token, vocabulary V = 2.  One answer of each kind is a chosen batch, not
    the expectation: the policy would say token 1 three times as often.
    """
    ref_logits = np.log([1.0, 3.0])  # (V,)
    targets = np.array([[0], [1]])  # (B, T)  sample A, sample B
    mask = np.ones((2, 1))  # (B, T)
    lr = log(3)
    clip_range = 0.2
    kl_coef = 0.1

    logits = ref_logits.copy()  # (V,)  the policy: two numbers
    old_probs = softmax(logits)  # (V,)
    batch_logits = np.array([[logits], [logits]])  # (B, T, V)  both answers follow one prompt
    old_logprobs, _ = token_logprobs_forward(batch_logits, targets)  # (B, T)
    if stop == 1:
        breakpoint()
    show("ppo", 1, locals())  # STOP 1

    ref_all_logprobs = log_softmax(ref_logits)  # (V,)
    ref_logprobs = ref_all_logprobs[targets]  # (B, T)
    kl = (old_logprobs - ref_logprobs) * mask  # (B, T)
    scores = np.array([1.0, -1.0])  # (B,)  the reward model
    rewards = kl_shaped_rewards(scores, old_logprobs, ref_logprobs, mask, kl_coef)  # (B, T)
    if stop == 2:
        breakpoint()
    show("ppo", 2, locals())  # STOP 2

    values = np.zeros((2, 1))  # (B, T)
    # not whitened: these have mean 0 and deviation 1 already
    advantages, returns = gae(rewards, values, mask, 1.0, 0.95)  # (B, T)
    if stop == 3:
        breakpoint()
    show("ppo", 3, locals())  # STOP 3

    # epoch 1, sample A.  The package goes down a loss; the paper goes up an objective, loss = -J.
    logprobs, cache = token_logprobs_forward(batch_logits[:1], targets[:1])  # (1, 1)
    log_ratio = float(logprobs[0, 0] - old_logprobs[0, 0])
    ratio = exp(log_ratio)
    advantage = float(advantages[0, 0])
    probs = softmax(logits)  # (V,)
    onehot_minus_probs = np.array([1.0, 0.0]) - probs  # (V,)
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs[:1], advantages[:1], mask[:1],
                                             clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (1, 1, V)  downhill
    dlogits = -dloss_dlogits[0, 0]  # (V,)  uphill
    if stop == 4 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 4, locals())  # STOP 4

    # epoch 1, sample B
    logprobs, cache = token_logprobs_forward(batch_logits[1:], targets[1:])  # (1, 1)
    log_ratio = float(logprobs[0, 0] - old_logprobs[1, 0])
    ratio = exp(log_ratio)
    advantage = float(advantages[1, 0])
    onehot_minus_probs = np.array([0.0, 1.0]) - probs  # (V,)
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs[1:], advantages[1:], mask[1:],
                                             clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (1, 1, V)
    dlogits = -dloss_dlogits[0, 0]  # (V,)
    if stop == 5 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 5, locals())  # STOP 5

    # the optimiser's step: both samples in one minibatch
    logprobs, cache = token_logprobs_forward(batch_logits, targets)  # (B, T)
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)  the loss has divided by B * T
    logits = logits + lr * grad  # (V,)
    probs = softmax(logits)  # (V,)
    if stop == 6:
        breakpoint()
    show("ppo", 6, locals())  # STOP 6

    # The new policy says both tokens equally often: one of each is now its exact expectation.
    all_logprobs = log_softmax(logits)  # (V,)
    kl_new_ref = float(exact_kl(all_logprobs, ref_all_logprobs))
    log_r = ref_all_logprobs - all_logprobs  # (V,)  Schulman's r = p_ref / p
    k1 = float((-log_r).mean())
    k2 = float((log_r * log_r / 2).mean())
    k3 = float((np.exp(log_r) - 1 - log_r).mean())
    if stop == 7:
        breakpoint()
    show("ppo", 7, locals())  # STOP 7

    # epoch 2: the same answers, the same advantages, the new policy
    batch_logits = np.array([[logits], [logits]])  # (B, T, V)
    logprobs, cache = token_logprobs_forward(batch_logits, targets)  # (B, T)
    log_ratio = logprobs - old_logprobs  # (B, T)
    ratio = np.exp(log_ratio)[:, 0].tolist()
    unclipped = np.exp(log_ratio) * advantages  # (B, T)
    clipped = np.clip(np.exp(log_ratio), 1 - clip_range, 1 + clip_range) * advantages  # (B, T)
    is_clipped = (clipped < unclipped)[:, 0].tolist()
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)
    if stop == 8 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 8, locals())  # STOP 8

    # what the step would have been without the clip
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, np.inf)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)
    logits_without_clip = logits + lr * grad  # (V,)
    probs = softmax(logits_without_clip)  # (V,)
    if stop == 9:
        breakpoint()
    show("ppo", 9, locals())  # STOP 9

    entropy, _ = entropy_forward(np.array([[ref_logits], [logits]]))  # (2, 1)
    entropy_before = float(entropy[0, 0])
    entropy_after = float(entropy[1, 0])
    if stop == 10:
        breakpoint()
    show("ppo", 10, locals())  # STOP 10

    # the exact optimum of E[score] - beta * KL(pi || ref), for three prices beta
    optimal_half = softmax(ref_logits + scores * log(3) / 2)  # (V,)  beta = 2 / ln 3
    optimal_three = softmax(ref_logits + scores * log(3))  # (V,)  beta = 1 / ln 3
    optimal_sharp = softmax(ref_logits + scores * log(3) * 2)  # (V,)  beta = 1 / (2 ln 3)
    if stop == 11:
        breakpoint()
    show("ppo", 11, locals())  # STOP 11

    chosen_scores = np.array([log(3)])  # (N,)
    rejected_scores = np.array([0.0])  # (N,)
    loss, dchosen, drejected = bradley_terry_loss(chosen_scores, rejected_scores)
    preferred = exp(-loss)
    odds = preferred / (1 - preferred)
    elo = 400 * log10(odds)
    if stop == 12:
        breakpoint()
    show("ppo", 12, locals())  # STOP 12

    # four answers to one prompt; no value model
    group = np.array([1.0, -1.0, -1.0, -1.0])  # (K,)
    others = (group.sum() - group) / 3  # (K,)  mean of the other three
    rloo = group - others  # (K,)
    centred = group - group.mean()  # (K,)
    grpo = centred / group.std()  # (K,)  population deviation, nothing added to it
    if stop == 13:
        breakpoint()
    show("ppo", 13, locals())  # STOP 13

    # one answer of three tokens; the score comes at the end
    rewards = np.array([[0.0, 0.0, 1.0]])  # (B, T)
    values = np.array([[0.5, 0.5, 0.5]])  # (B, T)
    next_values = np.array([[0.5, 0.5, 0.0]])  # (B, T)  nothing comes after the end
    delta = rewards + next_values - values  # (B, T)
    advantages, returns = gae(rewards, values, np.ones((1, 3)), 1.0, 0.5)  # (B, T)
    if stop == 14:
        breakpoint()
    show("ppo", 14, locals())  # STOP 14


# ---- scenario reward: one ranking -----------------------------------------------------------


def walk_reward(stop=None):
    """One prompt, K = 3 answers A, B, C, ranked in this order; the model likes C best at first.

    The trunk is left out: each answer's hidden state is one channel, so its score is one weight.
    """
    params = gpt.Params({"head_w": (3,), "head_b": (1,)}, np.float64)
    params.head_w[...] = [0, 0, log(2)]
    hidden = np.eye(3)[:, None]  # (B, T, C) = (3, 1, 3)
    ranks = np.array([[1, 2, 3]])  # (N, K)  1 is best
    lr = 9 * log(2)

    values, cache = gpt.scalar_head_forward(params, hidden)  # (B, T)
    scores = values.reshape(1, 3)  # (N, K)
    if stop == 1:
        breakpoint()
    show("reward", 1, locals())  # STOP 1

    margin_ab = float(scores[0, 0] - scores[0, 1])
    margin_ac = float(scores[0, 0] - scores[0, 2])
    margin_bc = float(scores[0, 1] - scores[0, 2])
    p_ab = 1 / (1 + exp(-margin_ab))
    p_ac = 1 / (1 + exp(-margin_ac))
    p_bc = 1 / (1 + exp(-margin_bc))
    right = [margin_ab > 0, margin_ac > 0, margin_bc > 0]
    tied = [margin_ab == 0, margin_ac == 0, margin_bc == 0]
    accuracy = (sum(right) + 0.5 * sum(tied)) / 3  # a tie counts one half
    if stop == 2:
        breakpoint()
    show("reward", 2, locals())  # STOP 2

    loss, dscores = ranking_loss(scores, ranks)  # nats, (N, K)
    if stop == 3:
        breakpoint()
    show("reward", 3, locals())  # STOP 3

    dvalues = dscores.reshape(3, 1)  # (B, T)
    dhidden, dhead_w, dhead_b = gpt.scalar_head_backward(params, dvalues, cache)
    if stop == 4:
        breakpoint()
    show("reward", 4, locals())  # STOP 4

    params.head_w -= lr * dhead_w
    params.head_b -= lr * dhead_b
    values, cache = gpt.scalar_head_forward(params, hidden)  # (B, T)
    scores_after = values.reshape(1, 3)  # (N, K)
    loss_after, _ = ranking_loss(scores_after, ranks)
    margin_ab = float(scores_after[0, 0] - scores_after[0, 1])
    margin_ac = float(scores_after[0, 0] - scores_after[0, 2])
    margin_bc = float(scores_after[0, 1] - scores_after[0, 2])
    p_ab = 1 / (1 + exp(-margin_ab))
    right = [margin_ab > 0, margin_ac > 0, margin_bc > 0]
    accuracy = sum(right) / 3
    if stop == 5:
        breakpoint()
    show("reward", 5, locals())  # STOP 5


# ---- scenario rufus: one real PPO iteration -------------------------------------------------


def walk_rufus(stop=None):
    """One iteration of the real thing on 4 questions, with small random models: seconds, no files.

    Stop at stop 1 and step into train_ppo.
    """
    rng = np.random.default_rng(0)
    prompts = read_prompts(data_folder("en") / "prompts.jsonl", "train")[:4]
    tokenizer = build_tokenizer([*prompts, "\n"])
    ids = [encode_prompt(tokenizer, prompt, 64) for prompt in prompts]
    config = gpt.GPTConfig(vocab_size=len(tokenizer), n_layer=1, n_head=2, n_embd=16)
    policy = gpt.init_params(config, rng)
    ref_policy = policy.copy()
    reward_model = gpt.with_scalar_head(policy, config, rng)
    value_model = gpt.with_scalar_head(reward_model, config)
    models = PPOModels(policy=policy, ref_policy=ref_policy, reward_model=reward_model,
                       value_model=value_model, config=config, reward_config=config)
    settings = PPOSettings(iterations=1, rollout_size=4, minibatch_size=2, max_new_tokens=8)
    print(models)
    if stop == 1:
        breakpoint()
    (figures,) = train_ppo(models, ids, settings, rng, PPOHooks(watch=print_rollout))  # STOP 1
    for name, value in figures.items():
        if name != "seconds":
            print(f"{name:<22} {text_of(float(value))}")


def print_rollout(rollout):
    """What watches the iteration: one line, and no figures of its own."""
    print(rollout)
    return {}


# ---- the verb -------------------------------------------------------------------------------

WALKS = {"ppo": walk_ppo, "transformer": walk_transformer, "reward": walk_reward,
         "rufus": walk_rufus}


def parse_stop(text, scenario):
    """Text or None -> a number of the scenario's stops, "ratio" or None.  Raises InputError."""
    if text is None or text == "":
        return None
    last = len(STOPS.get(scenario, (1,)))
    if text == "ratio" and scenario == "ppo":
        return "ratio"
    if text.isdecimal() and 1 <= int(text) <= last:
        return int(text)
    ratio = " or ratio" if scenario == "ppo" else ""
    raise InputError(f"scenario {scenario} has stops 1 to {last}{ratio}")


def stop_line(scenario, number):
    """-> the line of `# STOP number` in the walk's file, as it stands now."""
    lines, first = inspect.getsourcelines(WALKS[scenario])
    for offset, line in enumerate(lines):
        if line.endswith(f"# STOP {number}\n"):
            return first + offset
    raise LookupError(f"no # STOP {number} in the walk {scenario}")


def run_walk(scenario="ppo", stop=None):
    """Walk one scenario.  stop: where pdb opens (in a notebook, below the cell), or None.

    MINIRLHF_STOP in the environment names the place of a breakpoint.  Print options stay changed.
    """
    with at(f"--stop {stop}"):
        pdb_stop = parse_stop(None if stop is None else str(stop), scenario)
    named = os.environ.get(ENVIRONMENT)
    with at(f"{ENVIRONMENT}: {named}"):
        break_stop = parse_stop(named, scenario)
    np.set_printoptions(precision=4, suppress=True, threshold=60, edgeitems=2, linewidth=100)
    try:
        if pdb_stop is None:
            WALKS[scenario](break_stop)
            return
        debugger = pdb.Pdb(nosigint=True)
        file = os.path.abspath(inspect.getsourcefile(WALKS[scenario]))
        for number in (4, 5, 8) if pdb_stop == "ratio" else (pdb_stop,):
            condition = ", ratio != 1" if pdb_stop == "ratio" else ""
            debugger.rcLines.append(f"break {file}:{stop_line(scenario, number)}{condition}")
        debugger.rcLines.append("continue")
        debugger.runcall(WALKS[scenario])
    except bdb.BdbQuit:  # q in the debugger
        return
