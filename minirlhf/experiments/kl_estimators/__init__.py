"""Which estimate of the KL is near the exact one, and where does its gradient point?"""
