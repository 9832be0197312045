"""The toy world of Rufus the robot: what is said, who judges it, and the three steps run on it.

    world.py             what may be said, what is natural and what is true: the gold judge
    people.py            simulated annotators, who score and rank
    answers.py           asking a model, and what a reward model gives for the answer
    measure.py           a model's answers before the gold judge
    pipeline.py          the three steps on Rufus: stages that read and write files
    demo.py              the three steps, told on the terminal
    summary.py           what the demo measures at the end
    pictures.py          what the demo draws
    pipeline_picture.py  the three steps in one picture
"""
