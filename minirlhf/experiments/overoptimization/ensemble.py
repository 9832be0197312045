"""Several reward models from the same labels: an answer is worth what the sternest says.

The minimum and the disagreement are the worst case of Coste et al. 2023 (arXiv 2310.02743): the
same rankings, learned in another order from another head.  Their fine-tuned members also start
from one pretrained model each; here all start from the same one, so they differ less.
"""

import numpy as np

from minirlhf.step3_ppo import score_samples


def judge_scores(models, judges, samples, settings):
    """Samples (or a Rollout) of B prompts -> (M, B): what each of M reward models (Params) says.

    settings: PPOSettings, for the score of an answer without EOS.
    """
    rows = []
    for judge in judges:
        rows.append(score_samples(models._replace(reward_model=judge), samples, settings))
    return np.stack(rows)


def ensemble_minimum(scores):
    """scores (M, B) of M judges -> (B,): the sternest judge's.  Coste et al. 2023, "worst case"."""
    return scores.min(axis=0)


def disagreement(scores):
    """scores (M, B) of M judges -> their standard deviation, mean over the B answers."""
    return float(scores.std(axis=0).mean())


class MinimumScore:
    """The score that PPO climbs, as PPOHooks(score=MinimumScore(judges)): the minimum of M judges.

    With one judge, models.reward_model, PPO is what it is without the hook, number for number.
    """

    def __init__(self, judges):
        """judges: list of M reward models (Params)."""
        self.judges = judges

    def __repr__(self):
        return f"MinimumScore({len(self.judges)} judges)"

    def __call__(self, models, samples, settings):
        """Samples of B prompts -> scores (B,)."""
        return ensemble_minimum(judge_scores(models, self.judges, samples, settings))
