"""Exercises of lesson 09: the best policy, RLOO, GRPO, DPO; and the map from here to TRL."""

import numpy as np

from minirlhf.beyond import dpo, optimum
from minirlhf.beyond import policy_gradient as pg
from minirlhf.course import Exercise, Mistake, Property, close, finite

# ---- 09.1 optimal_policy --------------------------------------------------------------------


def optimal_policy(ref_logprobs, scores, beta):
    """ref_logprobs, scores (N,) of all answers -> log-probs (N,) of the best policy, log Z."""
    weights = ref_logprobs + scores / beta  # (N,)
    log_z = np.logaddexp.reduce(weights)
    return weights - log_z, log_z


def optimum_without_reference(ref_logprobs, scores, beta):
    return optimal_policy(np.zeros_like(ref_logprobs), scores, beta)


def optimum_times_beta(ref_logprobs, scores, beta):
    return optimal_policy(ref_logprobs, scores, 1 / beta)


def optimum_not_normalised(ref_logprobs, scores, beta):
    weights = ref_logprobs + scores / beta  # (N,)
    return weights, np.logaddexp.reduce(weights)


def optimum_from_probs(ref_logprobs, scores, beta):
    return optimal_policy(np.exp(ref_logprobs), scores, beta)


def optimum_of_costs(ref_logprobs, scores, beta):
    return optimal_policy(ref_logprobs, -scores, beta)


def optimum_z_itself(ref_logprobs, scores, beta):
    logprobs, log_z = optimal_policy(ref_logprobs, scores, beta)
    return logprobs, np.exp(log_z)


def optimum_cases(rng):
    """The two-token world of lesson 06, then random worlds."""
    cases = [(np.log([1 / 4, 3 / 4]), np.array([1.0, -1.0]), 2 / np.log(3))]
    for n, beta in ((3, 0.5), (6, 1.5)):
        ref = np.log(rng.dirichlet(np.full(n, 2.0)))  # (N,)
        cases.append((ref, rng.normal(size=n), beta))
    return cases


def optimum_is_stable(function):
    """A small price: the weights are e to the power of thousands."""
    logprobs, log_z = function(np.log([0.5, 0.5]), np.array([4.0, 2.0]), 1e-3)
    return finite(logprobs) and close(log_z, 4000 + np.log(0.5))


OPTIMUM = Exercise(
    id="09.1", reference=optimal_policy, package=optimum.optimal_policy, axes=("N",),
    task="It takes the reference's log-probs (N,) and the scores (N,) of all answers and the KL "
         "coefficient, and gives the log-probs (N,) of the best policy and log Z.",
    example="optimal_policy(np.log([1/4, 3/4]), np.array([1, -1]), 2 / ln 3) has probabilities "
            "1/2 and 1/2.",
    cases=optimum_cases,
    mistakes=(
        Mistake("no reference", "Your policy looks at the scores alone. What the reference would "
                "rather say counts too.", optimum_without_reference),
        Mistake("beta", "The KL coefficient acts the wrong way round. A higher price should keep "
                "the policy closer to the reference.", optimum_times_beta),
        Mistake("not normalised", "Your log Z is right, but the probabilities do not sum to 1.",
                optimum_not_normalised),
        Mistake("probs", "You add probabilities to scores. Multiplying a probability by a power "
                "of e is adding to its logarithm.", optimum_from_probs),
        Mistake("sign", "The lowest scores are liked best.", optimum_of_costs),
        Mistake("Z", "The log-probs are right. The second number should be the logarithm of the "
                "sum.", optimum_z_itself),
    ),
    properties=(
        Property("stable", "With beta 0.001 and scores of 4 and 2 there is an overflow. Stay with "
                 "logarithms all the way.", optimum_is_stable),
    ),
    hints=("Two steps: a weight for each answer, then divide by their sum. Do both with "
           "logarithms.",
           "The logarithm of a weight is the reference's log-prob plus score over price.",
           "np.logaddexp.reduce gives the logarithm of a sum of exponentials. Dividing is "
           "subtracting it."),
)
# ---- 09.2 rloo_advantage --------------------------------------------------------------------


def rloo_advantage(rewards):
    """rewards (N, K), K answers to each of N prompts -> advantages (N, K)."""
    K = rewards.shape[1]
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (K - 1)  # (N, K)
    return rewards - others


def rloo_with_itself(rewards):
    return rewards - rewards.mean(axis=1, keepdims=True)


def rloo_over_k(rewards):
    return rewards - (rewards.sum(axis=1, keepdims=True) - rewards) / rewards.shape[1]


def rloo_over_prompts(rewards):
    others = (rewards.sum(axis=0, keepdims=True) - rewards) / (len(rewards) - 1)
    return rewards - others


def rloo_whole_batch(rewards):
    return rewards - (rewards.sum() - rewards) / (rewards.size - 1)


def rloo_baseline_only(rewards):
    return (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)


def group_cases(rng):
    """The debugger tour's group, with a second one; then random groups."""
    cases = [(np.array([[1.0, -1.0, -1.0, -1.0], [2.0, 2.0, 0.0, 0.0]]),)]
    for n, k in ((3, 2), (4, 5)):
        cases.append((rng.normal(size=(n, k)),))
    return cases


def rloo_ignores_luck(function):
    """An answer's baseline must not depend on the answer's own reward."""
    rewards = np.array([[0.0, 1.0, 3.0], [1.0, 1.0, 2.0]])
    other = rewards.copy()
    other[0, 0] = 5.0
    before, after = rewards - function(rewards), other - function(other)
    return close(before[0, 0], after[0, 0])


RLOO = Exercise(
    id="09.2", reference=rloo_advantage, package=pg.rloo_advantages, axes=("N", "K"),
    task="It takes the rewards (N, K) of K answers to each of N prompts and gives advantages "
         "(N, K).",
    example="rloo_advantage of [[1, -1, -1, -1], [2, 2, 0, 0]] begins with 2, -2/3, -2/3, -2/3.",
    cases=group_cases,
    mistakes=(
        Mistake("itself", "The mean includes the answer's own reward. Then the advantage is too "
                "small by a factor of (K - 1)/K: leave it out.", rloo_with_itself),
        Mistake("over K", "The sum of the others is divided by K. How many others are there?",
                rloo_over_k),
        Mistake("across prompts", "You compare answers to different prompts. A group is a row.",
                rloo_over_prompts),
        Mistake("whole batch", "You compare with all answers of the batch. Prompts differ in how "
                "easy they are: stay within the row.", rloo_whole_batch),
        Mistake("baseline", "This is what each answer is compared with. Subtract it from the "
                "answer's reward.", rloo_baseline_only),
    ),
    properties=(
        Property("own reward", "What an answer is compared with changes with its own reward.",
                 rloo_ignores_luck),
    ),
    hints=("For each answer: its reward minus the mean of the others in its row.",
           "Sum of the others: the row's sum without the answer. Number of the others: one less "
           "than the group.",
           "keepdims=True keeps the row sums as (N, 1), so that (N, K) can be subtracted."),
)


# ---- 09.3 grpo_advantage --------------------------------------------------------------------


def grpo_advantage(scores):
    """scores (N, K) -> advantages (N, K): mean 0, deviation about 1 in each row."""
    centred = scores - scores.mean(axis=1, keepdims=True)  # (N, K)
    deviation = scores.std(axis=1, keepdims=True, ddof=1)  # (N, 1)
    return centred / (deviation + 1e-4)


def grpo_population(scores):
    deviation = scores.std(axis=1, keepdims=True)
    return (scores - scores.mean(axis=1, keepdims=True)) / (deviation + 1e-4)


def grpo_unguarded(scores):
    centred = scores - scores.mean(axis=1, keepdims=True)
    return centred / scores.std(axis=1, keepdims=True, ddof=1)


def grpo_whitened(scores):
    return (scores - scores.mean()) / (scores.std(ddof=1) + 1e-4)


def grpo_by_variance(scores):
    variance = scores.var(axis=1, keepdims=True, ddof=1)
    return (scores - scores.mean(axis=1, keepdims=True)) / (variance + 1e-4)


def grpo_not_divided(scores):
    return scores - scores.mean(axis=1, keepdims=True)


def grpo_not_centred(scores):
    return scores / (scores.std(axis=1, keepdims=True, ddof=1) + 1e-4)


def grpo_cases(rng):
    """The debugger tour's group beside one where all agree, then random groups."""
    cases = [(np.array([[1.0, -1.0, -1.0, -1.0], [0.5, 0.5, 0.5, 0.5]]),)]
    for n, k in ((3, 3), (4, 6)):
        cases.append((rng.normal(size=(n, k)) * rng.uniform(0.2, 3, size=(n, 1)),))
    return cases


GRPO = Exercise(
    id="09.3", reference=grpo_advantage, package=pg.grpo_advantages, axes=("N", "K"),
    task="It takes the scores (N, K) of K answers to each of N prompts and gives advantages "
         "(N, K). The deviation is that of a sample (it divides by K - 1), and 1e-4 is added.",
    example="grpo_advantage of [[1, -1, -1, -1], [1/2, 1/2, 1/2, 1/2]] has the rows "
            "1.4999, -0.49995, -0.49995, -0.49995 and 0, 0, 0, 0.",
    cases=grpo_cases,
    mistakes=(
        Mistake("population", "Your deviation divides by K. Here it should be that of a sample, "
                "K - 1, as in TRL.", grpo_population),
        Mistake("deviation 0", "Where all answers have one score you divide 0 by 0. Add 1e-4 to "
                "the deviation.", grpo_unguarded),
        Mistake("whole batch", "Mean and deviation are those of the whole batch. Each prompt has "
                "its own.", grpo_whitened),
        Mistake("variance", "You divide by the variance. The deviation is its root.",
                grpo_by_variance),
        Mistake("not divided", "The deviation is missing. (Such a version exists. It is called "
                "Dr. GRPO.)", grpo_not_divided),
        Mistake("not centred", "The mean of the group has not been taken away.",
                grpo_not_centred),
    ),
    hints=("Row by row: take the mean away, then divide by the deviation.",
           "np.std divides by K. Its argument ddof says how much less than K it should be.",
           "The small number goes to the deviation before you divide, so it never is 0."),
)


# ---- 09.4 dpo_loss --------------------------------------------------------------------------


def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    """Log-probs (P, T) of P pairs, 0 outside the answers -> loss, a mean over pairs."""
    chosen_moved = (chosen - ref_chosen).sum(axis=1)  # (P,)
    rejected_moved = (rejected - ref_rejected).sum(axis=1)  # (P,)
    return np.logaddexp(0, -beta * (chosen_moved - rejected_moved)).mean()


def dpo_token_means(chosen, rejected, ref_chosen, ref_rejected, beta):
    parts = [x.sum(axis=1) / np.maximum((ref != 0).sum(axis=1), 1) for x, ref in (
        (chosen - ref_chosen, ref_chosen), (rejected - ref_rejected, ref_rejected))]
    return np.logaddexp(0, -beta * (parts[0] - parts[1])).mean()


def dpo_reference_sign(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(chosen, rejected, -ref_chosen, -ref_rejected, beta)


def dpo_no_reference(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(chosen, rejected, 0 * ref_chosen, 0 * ref_rejected, beta)


def dpo_swapped(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(rejected, chosen, ref_rejected, ref_chosen, beta)


def dpo_pair_sum(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta) * len(chosen)


def dpo_beta_outside(chosen, rejected, ref_chosen, ref_rejected, beta):
    return beta * dpo_loss(chosen, rejected, ref_chosen, ref_rejected, 1.0)


def dpo_cases(rng):
    """Two pairs of short answers, then random ones of different lengths."""
    first = np.log([[0.5, 0.5, 1.0], [0.25, 0.5, 0.5]])
    second = np.log([[0.5, 0.25, 0.5], [0.5, 1.0, 1.0]])
    cases = [(first, second, first + np.log([[0.5], [1.0]]) * (first != 0),
              second + np.log(0.5) * (second != 0), 0.5)]
    for P, T, beta in ((3, 4, 0.1), (5, 6, 0.3)):
        rows = []
        for _ in range(2):
            said = np.arange(T) < rng.integers(1, T + 1, size=(P, 1))  # (P, T)
            rows.append(np.log(rng.uniform(0.05, 0.95, size=(2, P, T))) * said)
        (chosen, ref_chosen), (rejected, ref_rejected) = rows
        cases.append((chosen, rejected, ref_chosen, ref_rejected, beta))
    return cases


def dpo_starts_at_log_2(function):
    """Policy and reference equal: every loss is log 2, whatever the answers are."""
    a, b = np.array([[-1.0, -2.0]]), np.array([[-3.0, 0.0]])
    return close(function(a, b, a, b, 0.1), np.log(2))


def dpo_is_stable(function):
    zeros, far = np.zeros((1, 1)), np.full((1, 1), -1600.0)
    return close(function(far, zeros, zeros, zeros, 1.0), 1600.0)


DPO = Exercise(
    id="09.4", reference=dpo_loss, package=dpo.dpo_loss,
    task="It takes the log-probs (P, T) of the tokens of the chosen and of the rejected answers, "
         "the same of the reference, and beta, and gives one number.",
    example="dpo_loss of a policy that equals its reference is log 2.",
    cases=dpo_cases,
    mistakes=(
        Mistake("token mean", "You average over the tokens of an answer. Its log-prob is a sum: a "
                "mean pays short answers more for the same change.", dpo_token_means),
        Mistake("reference sign", "The reference is added. It should be taken away: what counts "
                "is how far the policy has moved.", dpo_reference_sign),
        Mistake("no reference", "The reference is missing. Then a rare answer counts as bad "
                "before anything was learned.", dpo_no_reference),
        Mistake("swapped", "The rejected answer is preferred.", dpo_swapped),
        Mistake("sum", "This is the sum over the pairs. The loss is their mean.", dpo_pair_sum),
        Mistake("beta", "Beta stands before the whole loss. It belongs to the margin, inside the "
                "logistic function.", dpo_beta_outside),
    ),
    properties=(
        Property("log 2", "For a policy that equals its reference the loss should be log 2.",
                 dpo_starts_at_log_2),
        Property("stable", "A margin of -1600 gives an overflow. np.logaddexp is safe.",
                 dpo_is_stable),
    ),
    hints=("Three steps: how far each answer has moved, the margin of the two, the loss of lesson "
           "04.",
           "Moved: policy minus reference, summed over the tokens. Margin: chosen minus "
           "rejected.",
           "Minus the log of the logistic function of x is log(1 + e^-x); np.logaddexp with 0 "
           "does that."),
)

EXERCISES = [OPTIMUM, RLOO, GRPO, DPO]


# ---- the way to TRL ---------------------------------------------------------------------------

TRL_VERSION, TRL_READ = "1.16.0", "2026-11-28"  # newest then; tests/trl_names.json has its names
TRL_MAP = (  # here, there, what to know
    ("train_language_model", "SFTTrainer", "columns prompt and completion"),
    ("train_reward_model", "RewardTrainer", "pairs: columns prompt, chosen, rejected"),
    ("train_ppo", "RLOOTrainer", "no PPO any more; this is the nearest"),
    ("train_policy_gradient", "RLOOTrainer", 'method="rloo"; there with a clip'),
    ("train_policy_gradient", "GRPOTrainer", 'method="grpo"'),
    ("train_dpo", "DPOTrainer", "columns prompt, chosen, rejected"),
    ("PolicyGradientSettings.kl_coef", "RLOOConfig.beta", "in the reward; default 0.05"),
    ("PolicyGradientSettings.kl_coef", "GRPOConfig.beta", "in the loss; default 0.0"),
    ("PolicyGradientSettings.group_size", "RLOOConfig.num_generations", "default 2"),
    ("PolicyGradientSettings.group_size", "GRPOConfig.num_generations", "default 8"),
    ("PolicyGradientSettings.rollout_size", "GRPOConfig.generation_batch_size", "default None"),
    ("PolicyGradientSettings.max_new_tokens", "GRPOConfig.max_completion_length", "default 512"),
    ("PolicyGradientSettings.epochs", "GRPOConfig.num_iterations", "default 1"),
    ("PolicyGradientSettings.clip_range", "GRPOConfig.epsilon", "default 0.2"),
    ("PolicyGradientSettings.divide_by_std", "GRPOConfig.scale_rewards", "default 'group'"),
    ("PolicyGradientSettings.per_response", "GRPOConfig.loss_type", "default 'dapo', not 'grpo'"),
    ("DPOSettings.loss", "DPOConfig.loss_type", "default ['sigmoid']; 'ipo' is per token"),
    ("DPOSettings.beta", "DPOConfig.beta", "default 0.1"),
    ("DPOSettings.learning_rate", "DPOConfig.learning_rate", "default 1e-06: for large models"),
)
