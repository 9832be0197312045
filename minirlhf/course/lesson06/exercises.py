"""Exercises of lesson 06: shaped rewards, GAE, the clipped gradient, three silent bugs."""

import numpy as np

from minirlhf import step3_ppo as step3
from minirlhf.course import Choice, Exercise, Mistake, Property, close

# ---- 06.1 kl_shaped_rewards -----------------------------------------------------------------


def kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    """scores (B,), the others (B, T) -> rewards (B, T), 0 outside the response."""
    kl = (logprobs - ref_logprobs) * response_mask  # (B, T)
    rewards = -kl_coef * kl
    last = step3.last_response_index(response_mask)  # (B,)
    rewards[np.arange(len(scores)), last] += scores
    return rewards


def rewards_with_a_bonus(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    return kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, -kl_coef)


def rewards_with_kl_at_the_end(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    paid = kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef)  # (B, T)
    rewards = np.zeros_like(paid)  # (B, T)
    rewards[np.arange(len(paid)), step3.last_response_index(response_mask)] = paid.sum(axis=1)
    return rewards


def rewards_of_the_next_token(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    neighbour = np.roll(ref_logprobs, -1, axis=1)  # (B, T)
    return kl_shaped_rewards(scores, logprobs, neighbour, response_mask, kl_coef)


def rewards_in_the_last_column(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    rewards = -kl_coef * (logprobs - ref_logprobs) * response_mask  # (B, T)
    rewards[:, -1] += scores
    return rewards


def rewards_on_padding(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    rewards = kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef)
    return rewards - kl_coef * (logprobs - ref_logprobs) * (1 - response_mask)


def rewards_on_every_token(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    kl = (logprobs - ref_logprobs) * response_mask  # (B, T)
    return scores[:, None] * response_mask - kl_coef * kl


def shaped_cases(rng):
    """One response of three tokens, then batches whose rows differ in length."""
    half, third, quarter = np.log([1 / 2, 1 / 3, 1 / 4])
    small = (np.array([1.0]), np.array([[half, third, quarter]]),
             np.array([[quarter, third, half]]), np.ones((1, 3)), 0.1)
    cases = [small]
    for B, T in ((2, 4), (3, 6)):
        starts, lengths = rng.integers(0, 2, size=B), rng.integers(1, T - 1, size=B)
        place = np.arange(T)
        mask = (place >= starts[:, None]) & (place < (starts + lengths)[:, None])  # (B, T)
        logprobs, ref = np.log(rng.uniform(0.05, 1, size=(2, B, T)))  # each (B, T)
        cases.append((rng.normal(size=B), logprobs, ref, mask.astype(float), 0.3))
    return cases


def shaped_rewards_sum(function):
    """A row sums to the score minus kl_coef times its log-ratio."""
    logprobs, ref = np.array([[-1.0, -2.0, 0.0]]), np.array([[-0.5, -3.0, 0.0]])
    paid = function(np.array([2.0]), logprobs, ref, np.array([[1.0, 1.0, 0.0]]), 0.5)
    return close(np.sum(paid), 2.0 - 0.5 * 0.5)


SHAPED = Exercise(
    id="06.1", reference=kl_shaped_rewards, package=step3.kl_shaped_rewards, axes=("B", "T"),
    task="It takes scores (B,), log-probs of the policy and of the reference (B, T), the response "
         "mask (B, T) and the KL coefficient, and gives rewards (B, T).",
    example="kl_shaped_rewards of one response with score 1 and equal log-probs is "
            "[[0, 0, 1]] for three tokens.",
    cases=shaped_cases,
    mistakes=(
        Mistake("sign", "The policy is paid for leaving the reference. A token that it likes more "
                "than the reference does should cost something.", rewards_with_a_bonus),
        Mistake("at the end", "The sums of the rows are right, but the whole price of the "
                "distance is paid at the last token. Each token has a price of its own.",
                rewards_with_kl_at_the_end),
        Mistake("wrong reference", "The policy's log-prob of a token is compared with the "
                "reference's log-prob of its neighbour. Entry t of all arrays speaks of one "
                "token.", rewards_of_the_next_token),
        Mistake("last column", "The score is in the last column. A short response ended earlier; "
                "there stands padding.", rewards_in_the_last_column),
        Mistake("padding", "Tokens outside the response have a reward. The mask is 0 there.",
                rewards_on_padding),
        Mistake("every token", "Every token gets the whole score. The reward model has judged the "
                "response once.", rewards_on_every_token),
    ),
    properties=(
        Property("sum", "A row should sum to its score minus the KL coefficient times its "
                 "log-ratio.", shaped_rewards_sum),
    ),
    hints=("Three steps: the log-ratio of each token, its price, then the score on top.",
           "The price of a token is the KL coefficient times log policy minus log reference. It "
           "is taken away. Outside the response it is 0.",
           "step3.last_response_index takes the mask and says where each row's last token "
           "stands, (B,). An array can be indexed by two arrays at once: rows and columns."),
)
# ---- 06.2 gae -------------------------------------------------------------------------------


def gae(rewards, values, gamma, gae_lambda):
    """One response, rewards and values (T,) -> advantages (T,).  After the last token: nothing."""
    advantages = np.zeros(len(rewards))  # (T,)
    next_value, next_advantage = 0.0, 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value - values[t]
        next_advantage = delta + gamma * gae_lambda * next_advantage
        next_value, advantages[t] = values[t], next_advantage
    return advantages


def td_errors(rewards, values, gamma, after_the_end=0.0):
    """-> TD errors (T,)."""
    return rewards + gamma * np.append(values[1:], after_the_end) - values


def discounted_sums(deltas, decay):
    """(T,) -> (T,), each with all later ones, decayed."""
    sums = np.array(deltas, float)  # (T,)
    for t in reversed(range(len(sums) - 1)):
        sums[t] += decay * sums[t + 1]
    return sums


def gae_forwards(rewards, values, gamma, gae_lambda):
    deltas = td_errors(rewards, values, gamma)  # (T,)
    return discounted_sums(deltas[::-1], gamma * gae_lambda)[::-1]


def gae_past_the_end(rewards, values, gamma, gae_lambda):
    return discounted_sums(td_errors(rewards, values, gamma, values[-1]), gamma * gae_lambda)


def gae_without_gamma(rewards, values, gamma, gae_lambda):
    return discounted_sums(td_errors(rewards, values, gamma), gae_lambda)


def gae_without_lambda(rewards, values, gamma, gae_lambda):
    return discounted_sums(td_errors(rewards, values, gamma), gamma)


def gae_of_one_step(rewards, values, gamma, gae_lambda):
    return td_errors(rewards, values, gamma)


def gae_returns(rewards, values, gamma, gae_lambda):
    return gae(rewards, values, gamma, gae_lambda) + values


def gae_cases(rng):
    """The example of the debugger tour, one token, then random responses with gamma below 1."""
    cases = [(np.array([0.0, 0.0, 1.0]), np.full(3, 0.5), 1.0, 0.5),
             (np.array([1.0]), np.array([0.25]), 1.0, 0.95)]
    for T, gamma, gae_lambda in ((2, 0.5, 0.5), (4, 0.9, 0.8), (7, 0.99, 0.95)):
        cases.append((rng.normal(size=T), rng.normal(size=T), gamma, gae_lambda))
    return cases


def gae_ends(function):
    """lambda 1: what followed minus the value.  lambda 0: the TD error."""
    rewards, values = np.array([1.0, -2.0, 4.0]), np.array([0.5, 1.0, -1.0])
    whole = np.cumsum(rewards[::-1])[::-1] - values  # (T,)
    return close(function(rewards, values, 1.0, 1.0), whole) and close(
        function(rewards, values, 1.0, 0.0), td_errors(rewards, values, 1.0)
    )


GAE = Exercise(
    id="06.2", reference=gae, package=step3.gae, axes=("T",),
    task="It takes the rewards (T,) and values (T,) of one response, gamma and lambda, and gives "
         "the advantages (T,).",
    example="gae(np.array([0, 0, 1]), np.full(3, 0.5), 1, 0.5) is [1/8, 1/4, 1/2].",
    cases=gae_cases,
    mistakes=(
        Mistake("direction", "You run from the first token to the last, so a token gets credit "
                "for what came before it. What follows from a token comes after it.",
                gae_forwards),
        Mistake("past the end", "At the last token you expect a further value. After the end of "
                "the response there is nothing more to come.", gae_past_the_end),
        Mistake("gamma in the decay", "The TD errors are right. Their decay lacks the discount.",
                gae_without_gamma),
        Mistake("lambda", "The TD errors are right. Their decay lacks lambda.",
                gae_without_lambda),
        Mistake("one step", "These are the TD errors themselves. Later ones should be added, "
                "with a decay.", gae_of_one_step),
        Mistake("returns", "The value is still in it: these are the returns. The advantage is "
                "what is left without the value.", gae_returns),
    ),
    properties=(
        Property("ends", "With lambda 1 it should be the sum of later rewards minus the value, "
                 "with lambda 0 the TD error.", gae_ends),
    ),
    hints=("First the TD error of a token: its reward, plus what is expected after it, minus what "
           "was expected before it.",
           "Go backwards. The advantage of a token is its TD error plus a part of the advantage "
           "of the next token. The part is gamma times lambda.",
           "Two numbers go along on the way back: the next value and the next advantage. Both "
           "are 0 at the end."),
)


# ---- 06.3 ppo_clip_grad ---------------------------------------------------------------------


def ppo_clip_grad(logprobs, old_logprobs, advantages, clip_range):
    """All (n,) -> gradient of the mean clipped loss with respect to logprobs (n,)."""
    ratio = np.exp(logprobs - old_logprobs)  # (n,)
    unclipped = ratio * advantages  # (n,)
    clipped = np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantages  # (n,)
    return np.where(clipped < unclipped, 0, -unclipped) / len(ratio)


def clip_grad_of_max(logprobs, old_logprobs, advantages, clip_range):
    unclipped = np.exp(logprobs - old_logprobs) * advantages  # (n,)
    stopped = ppo_clip_grad(logprobs, old_logprobs, -advantages, clip_range) == 0  # (n,)
    return np.where(stopped, 0, -unclipped) / len(unclipped)


def clip_grad_on_both_sides(logprobs, old_logprobs, advantages, clip_range):
    change = np.exp(logprobs - old_logprobs)  # (n,)
    return np.where(np.abs(change - 1) > clip_range, 0, -change * advantages) / len(change)


def clip_grad_without_ratio(logprobs, old_logprobs, advantages, clip_range):
    right = ppo_clip_grad(logprobs, old_logprobs, advantages, clip_range)  # (n,)
    return np.where(right == 0, 0, -advantages) / len(right)


def clip_grad_uphill(logprobs, old_logprobs, advantages, clip_range):
    return -ppo_clip_grad(logprobs, old_logprobs, advantages, clip_range)


def clip_grad_of_sum(logprobs, old_logprobs, advantages, clip_range):
    return ppo_clip_grad(logprobs, old_logprobs, advantages, clip_range) * len(logprobs)


def clip_grad_never(logprobs, old_logprobs, advantages, clip_range):
    return ppo_clip_grad(logprobs, old_logprobs, advantages, np.inf)


def clip_grad_cases(rng):
    """Ratio 1, then both signs of A with a ratio below, inside and above, then random tokens."""
    cases = [(np.array([-1.0]), np.array([-1.0]), np.array([1.0]), 0.2)]
    old = np.log(np.full(6, 0.25))  # (6,)
    ratio = np.array([0.5, 0.9, 2.0, 0.5, 1.1, 2.0])  # (6,)
    cases.append((old + np.log(ratio), old, np.array([1.0, 1, 1, -1, -1, -1]), 0.2))
    for n, clip_range in ((8, 0.1), (12, 0.3)):
        old = np.log(rng.uniform(0.1, 0.4, size=n))  # (n,)
        ratio = np.tile([0.45, 0.95, 1.05, 1.9], n // 4) * rng.uniform(0.97, 1.03, size=n)
        advantages = rng.uniform(0.2, 2, size=n) * np.tile([1, -1, 1, -1, -1, 1, -1, 1], 2)[:n]
        cases.append((old + np.log(ratio), old, advantages, clip_range))
    return cases


CLIP_GRAD = Exercise(
    id="06.3", reference=ppo_clip_grad, package=step3.ppo_policy_loss, axes=("n",),
    task="It takes new and old log-probs (n,), advantages (n,) and the clip range, and gives the "
         "gradient of the mean loss with respect to the new log-probs (n,).",
    example="ppo_clip_grad with ratio 1 and advantage 1, for one token, is [-1].",
    cases=clip_grad_cases,
    mistakes=(
        Mistake("max", "You take the larger of the two. The objective is the smaller one: it "
                "never promises more than the plain one.", clip_grad_of_max),
        Mistake("sign of A", "Every token outside the range has slope 0 here. A bad token that "
                "became more likely must still be pushed back: the side depends on the sign of "
                "the advantage.", clip_grad_on_both_sides),
        Mistake("ratio factor", "The right tokens are stopped, but the others lack a factor. The "
                "slope of an exponential is the exponential itself.", clip_grad_without_ratio),
        Mistake("uphill", "This is the gradient of the objective, which should rise. The loss is "
                "minus the objective.", clip_grad_uphill),
        Mistake("sum", "This is the gradient of the sum over the tokens. The loss is their mean.",
                clip_grad_of_sum),
        Mistake("no clip", "No token is stopped, however far its ratio has moved.",
                clip_grad_never),
    ),
    hints=("First two arrays: ratio times advantage, once plain, once with the ratio held inside "
           "the range.",
           "Where the second array is smaller, the smaller one is constant: slope 0.",
           "Elsewhere the slope of ratio times advantage along the log-prob is ratio times "
           "advantage. Then the sign of a loss, and the mean."),
)


# ---- 06.4 three silent bugs -----------------------------------------------------------------

HUNT = Choice(
    id="06.4", right="CAB", points=3,
    task="Which bug made dashboard P, which Q, which R?",
    options={
        "A": "Old log-probs that are taken after each update equal the new ones. Then every "
             "ratio is exactly 1. Which curve would that stop for good?",
        "B": "Whitening that also counts zeros of padding finds too small a deviation and "
             "divides by it. Which curve should stand at exactly 1?",
        "C": "With the score on every token, a response is paid about as many times as it has "
             "tokens. Which curve would that multiply?",
    },
    hints=("In each row, look for one curve that is far from the grey one from the first "
           "iteration on.",
           "A bug that changes how far one update goes shows in the KL. A bug in the payment "
           "shows in the payment."),
)

EXERCISES = [SHAPED, GAE, CLIP_GRAD, HUNT]
