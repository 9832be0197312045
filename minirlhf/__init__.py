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
    errors.py       a user's mistake, in one line

What is shown of them:

    plots.py        the pictures                       ppo_log.py        what PPO's log says
    messages.py     texts in other languages           debugger_view.py  a record in one line

Around them, a folder each:

    rufus/        the toy world, its simulated people, the three steps wired together, the demo
    beyond/       other methods on the same task, and the exact optimum
    teach/        a person teaches Rufus: sessions, learning, terminal and notebook panel
    walk/         a Rufus small enough to step through by hand
    experiments/  what goes wrong and what is worth what: one folder for each question
    course/       the exercises and pictures of the notebooks, and their grading
    cli/          the command line, `python -m minirlhf VERB`
"""

__version__ = "0.2.0"
