"""The toy world of Rufus the robot: what is said, who judges it, and the three steps run on it.

world             what may be said, what is natural and what is true: the gold judge
people            simulated annotators, who score and rank
answers           asking a model, and what a reward model gives for the answer
measure           a model's answers before the gold judge
pipeline          the three steps on Rufus: stages that read and write files
demo              the three steps, told on the terminal
summary           what the demo measures at the end
pictures          what the demo draws
pipeline_picture  the three steps in one picture
"""
