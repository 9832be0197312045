"""The toy world of Rufus the robot: what may be said, who judges it, and the three steps run on it."""
