"""The methods that are compared, each with its settings, and how each is trained.

Every method that samples may sample as many answers in all; DPO and IPO get as many, as pairs.
"""

from dataclasses import replace

from minirlhf.beyond.best_of_n import RejectionSettings, train_rejection_sampling
from minirlhf.beyond.dpo import DPOSettings, make_pairs, train_dpo
from minirlhf.beyond.policy_gradient import PolicyGradientSettings, train_policy_gradient
from minirlhf.step3_ppo import PPOSettings, train_ppo

METHODS = (
    "PPO", "RLOO", "REINFORCE", "GRPO", "Dr. GRPO", "DPO", "IPO", "rejection sampling",
)


def settings_of(method, price, limit, answers):
    """The settings of one method at one price (beta, tau or n).

    Chosen once, on other seeds than the experiment's, and the same for every price.
    """
    if method == "PPO":
        return PPOSettings(
            iterations=answers // 48, rollout_size=48, minibatch_size=24, ppo_epochs=2,
            learning_rate=5e-4, kl_coef=price, max_new_tokens=limit,
        )
    if method in ("DPO", "IPO"):
        return DPOSettings(
            loss=method.lower(), beta=price, pairs=answers // 2, steps=answers // 64,
            batch_size=64, learning_rate=3e-4, max_new_tokens=limit,
        )
    if method == "rejection sampling":
        return RejectionSettings(n=price, questions=answers // price, max_new_tokens=limit)
    settings = PolicyGradientSettings(
        iterations=answers // 48, rollout_size=48, kl_coef=price, max_new_tokens=limit
    )
    if method == "GRPO":
        return replace(settings, method="grpo", learning_rate=3e-4)
    if method == "Dr. GRPO":
        return replace(
            settings, method="grpo", learning_rate=3e-4, divide_by_std=False, per_response=False
        )
    return replace(settings, method=method.lower())


def train_method(method, models, prompts, settings, rng):
    """Train models.policy in place with one of METHODS."""
    if method == "PPO":
        train_ppo(models, prompts, settings, rng)
    elif method in ("DPO", "IPO"):
        train_dpo(models, make_pairs(models, prompts, settings, rng), settings, rng)
    elif method == "rejection sampling":
        train_rejection_sampling(models, prompts, settings, rng)
    else:
        train_policy_gradient(models, prompts, settings, rng)
