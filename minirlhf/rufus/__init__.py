"""The toy world of Rufus the robot: what is said, who judges it, and the three steps run on it."""
