"""minirlhf: RLHF from scratch in NumPy, every gradient written by hand.

The three steps (Ouyang et al. 2022, arXiv 2203.02155), one file each:

    step1_language_model.py   a corpus -> a language model -> fine-tuned on demonstrations
    step2_reward_model.py     answers ranked by people -> a model of what people prefer
    step3_ppo.py              the language model, improved against the reward model by PPO

What they stand on, in reading order:

    tokenizer.py    characters <-> ids                 data.py        files in and out, batches
    layers.py       every forward/backward pair        gpt.py         the transformer
    adam.py         the optimiser                      sample.py      prompts -> responses
    gradcheck.py    numerical gradients                checkpoint.py  save, load, resume

Around them: human.py (the simulated people), pipeline.py (the steps wired together),
plots.py (the pictures), walk.py (a Rufus small enough to step through by hand), beyond/ (other
methods on the same task, and the exact optimum) and __main__.py (the command line:
`python -m minirlhf`).
"""

__version__ = "0.2.0"
