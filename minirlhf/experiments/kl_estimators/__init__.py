"""Which estimate of the KL is near the exact one, and where does its gradient point?

    estimators.py   k1, k2, k3: their values, and where their gradients point
    run.py          the experiment: `python -m minirlhf estimators`
    figure.py       bias and spread, direction and effect
    words.py        three tables
"""
