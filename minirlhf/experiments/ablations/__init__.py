"""What breaks when one part of PPO is taken out or put in wrong?

    changes.py   what each ablation changes: settings, rollout or loss of step 3
    run.py       the experiment: `python -m minirlhf ablations`
    figure.py    each ablation beside the healthy run
    words.py     what broke and how the dashboard shows it; the table
"""
