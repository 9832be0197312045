"""minirlhf: RLHF from scratch in NumPy, every gradient written by hand.

The three steps (Ouyang et al. 2022, arXiv 2203.02155), one file each:

    step1_language_model.py   a corpus -> a language model -> fine-tuned on demonstrations
    step2_reward_model.py     answers ranked by people -> a model of what people prefer
    step3_ppo.py              the language model, improved against the reward model by PPO

What they stand on, in reading order:

    tokenizer.py    characters <-> ids                 data.py         files in and out, batches
    layers.py       every forward/backward pair        gpt.py          the transformer
    adam.py         the optimiser                      sample.py       prompts -> responses
    gradcheck.py    numerical gradients                checkpoint.py   save, load, resume
    errors.py       the two errors, and their place    one_line.py     how a record shows itself
    ppo_figures.py  what the dashboard shows           messages.py     texts in other languages
    plots.py        the pictures of the three steps

Around them, each folder importing only what stands above it:

    beyond/         other methods on the same task, and the exact optimum
    rufus/          a toy world with simulated annotators, and the three steps run on it
    teach/          a person ranks or corrects the answers, and Rufus learns
    experiments/    questions about RLHF, each run, drawn and put into words
    walk/           a Rufus small enough to step through by hand
    course/         what the notebooks use: exercises, hints, solutions, pictures, grading
    cli/            the command line, `python -m minirlhf`
"""

__version__ = "0.1.0"
