"""Which labels teach the most in the same minutes: scores, rankings or demonstrations?

    scores_or_rankings.py           reward models from scores and from rankings, in five crowds
    demonstrations_or_rankings.py   the same minutes spent on showing, on judging, or half and half
    run.py                          the experiment: `python -m minirlhf signals`
    figure.py                       five crowds, and the minutes
    words.py                        two tables
"""
