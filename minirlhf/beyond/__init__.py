"""Beyond PPO: other methods on the same task, and the answer they all look for.

The task of step 3 is to raise the reward model's score without leaving the reference model:
maximise E[score] - beta * KL(policy || reference).  Reading order:

    best_of_n.py        no training: sample n answers and keep the best; then imitate the best
    policy_gradient.py  REINFORCE, RLOO and GRPO: PPO without its value network
    dpo.py              DPO and IPO: no reinforcement learning, a loss on pairs
    optimum.py          the best possible policy, by enumeration, and the distance to it

They import only the core (tokenizer to step 3), as the three steps do; experiments/ compares them.
"""
