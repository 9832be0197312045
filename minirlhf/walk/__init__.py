"""A Rufus small enough to check every number by hand, stop by stop, in a debugger."""
