"""The command line, `python -m minirlhf VERB`.

    main.py         from the words that were typed to an exit status; one line for an error
    arguments.py    what may be typed: the parser of every verb, the ranges of its numbers
    files.py        what a verb reads and where it writes, checked before any work
    steps.py        demo pretrain sft rank reward ppo evaluate
    talk.py         chat teach walk
    experiments.py  frontier ablations overoptimization estimators signals
    progress.py     Ctrl-C and the progress bar
"""
