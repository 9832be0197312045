"""Experiments: each folder asks one question of RLHF, runs it, draws it and says what came out."""
