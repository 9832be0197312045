"""A Rufus small enough to check every number by hand, stop by stop, in a debugger.

    stops.py         the table of the stops: formula and exact values; what prints it
    transformer.py   the transformer of width 4 that is stepped through, forward and backward
    walks.py         PPO with two tokens, one ranking, one real PPO iteration; run_walk
"""
