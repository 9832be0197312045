"""Experiments: each folder asks one question of RLHF, runs it, draws it and says what came out.

    trials.py           what they share: models to start from, rows that are kept, means over trials
    frontier/           which method gets the most score for the least KL?
    ablations/          what breaks when one part of PPO is taken out or put in wrong?
    overoptimization/   how far can a learned reward be climbed before people like answers less?
    kl_estimators/      which estimate of the KL is near the exact one?
    labels/             which labels teach the most in the same minutes?
"""
