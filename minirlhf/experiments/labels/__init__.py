"""Which labels teach the most for the same minutes of an annotator: scores, rankings, demonstrations?"""
