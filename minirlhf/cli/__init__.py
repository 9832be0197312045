"""The command line: the arguments of every verb and what it runs."""
