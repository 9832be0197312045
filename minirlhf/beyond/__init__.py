"""Beyond PPO: other methods on the same task, and the answer they all look for.

The task of step 3 is to raise the reward model's score without leaving the reference model:
maximise E[score] - beta * KL(policy || reference).  Reading order:

    best_of_n.py        no training: sample n answers and keep the best; then imitate the best
    policy_gradient.py  REINFORCE, RLOO and GRPO: PPO without its value network
    dpo.py              DPO and IPO: no reinforcement learning, a loss on pairs
    optimum.py          the best possible policy, by enumeration, and the distance to it
    gao.py              the curves of Gao et al. 2022 for over-optimisation, and their fit
    frontier.py         the experiment: all of them on one plane, score against KL
    ablations.py        the experiment: PPO with one part taken out or put in wrong
    gallery.py          what broke, in sentences, and how the dashboard shows it
    remedies.py         an ensemble's minimum, rules for stopping early
    goodhart.py         what the rows of over-optimisation say: fits, remedies, tables
    pool.py             best-of-n for every n at once, on a pool of answers
    overoptimization.py the experiment: learned score and gold against KL, five kinds of labels
    pictures.py         the figures
    commands.py         the verbs `frontier`, `ablations` and `overoptimization`

The first five import only the core (tokenizer to step3), as the three steps do.
"""
