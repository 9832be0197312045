"""Which method gets the most score for the least KL, beside the exact optimum?

    methods.py   the methods that are compared, and their settings
    run.py       the experiment: `python -m minirlhf frontier`
    figure.py    the plane, and how far each method ends from the optimum
    words.py     the table
"""
