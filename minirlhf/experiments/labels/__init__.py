"""Which labels teach the most in the same minutes: scores, rankings or demonstrations?"""
