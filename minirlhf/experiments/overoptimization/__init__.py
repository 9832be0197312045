"""How far can a learned reward be climbed before people like the answers less?

    run.py              the experiment: `python -m minirlhf overoptimization`
    judges.py           labels, and the reward models that learn from them
    best_of_n_pool.py   best-of-n for every n at once
    ensemble.py         an answer is worth what the sternest judge says
    stopping.py         rules that keep an earlier policy
    curves.py           the curves of Gao et al. 2022 and their fit
    summary.py          what the rows say: fits, remedies side by side
    figure.py           gain against KL, and what each remedy keeps
    words.py            two tables, and what the policy says along the way
"""
