"""Which method gets the most score for the least KL, beside the exact optimum?"""
