"""The SIMULATED annotators: the judge's eye, with noise, tastes and scales of their own.

They score and rank the answers of step 2, as people would; nothing else learns from them.
"""

from dataclasses import dataclass

import numpy as np

from minirlhf.data import Ranking


@dataclass(frozen=True)
class Annotator:
    """A SIMULATED person who scores and ranks.  All tastes are in units of naturalness."""

    name: str
    noise: float = 0.12  # standard deviation added to the naturalness of each distinct text
    scale: float = 1.0  # how much of the 1-7 scale this person uses
    bias: float = 0.0  # points added to every score: a generous or a strict person
    greeting_taste: float = 0.0  # added if the answer opens with a greeting
    length_taste: float = 0.0  # added per 100 % longer than the usual answer; < 0 likes brevity
    careless: float = 0.0  # probability of clicking at random, whatever the answers say

    def perceive(self, world, prompt, responses, rng):
        """K texts -> (K,) floats: gold naturalness + tastes + noise, equal for identical texts."""
        texts = list(dict.fromkeys(responses))  # distinct
        noise = rng.normal(0.0, self.noise, len(texts))
        clicks = rng.random(len(texts))
        clicks_at_random = rng.random() < self.careless
        usual_length = len(world.units(world.references(prompt)[0]))
        felt = {}
        for text, slip, click in zip(texts, noise, clicks):
            longer = len(world.units(text)) / usual_length - 1
            taste = self.greeting_taste * world.greets(text) + self.length_taste * longer
            honest = world.naturalness(prompt, text) + taste + slip
            felt[text] = click if clicks_at_random else honest
        return np.array([felt[text] for text in responses])

    def score(self, world, prompt, responses, rng):
        """K texts -> (K,) ints 1..7 (7 is best), on this SIMULATED person's own scale."""
        felt = self.perceive(world, prompt, responses, rng)
        points = 4 + self.bias + self.scale * 6 * (felt - 0.5)
        return np.clip(np.rint(points), 1, 7).astype(int)

    def rank(self, world, prompt, responses, rng):
        """K texts -> (K,) int ranks: 1 is best, dense; identical texts always tie.  SIMULATED."""
        felt = self.perceive(world, prompt, responses, rng)
        return np.unique(-felt, return_inverse=True)[1].reshape(-1) + 1


def make_annotators(rng, count=5, noise=0.12):
    """-> list of SIMULATED annotators a1, a2, ..: same eye, different scales and mild tastes."""
    annotators = []
    for number in range(1, count + 1):
        scale, bias = float(rng.uniform(0.5, 1.2)), float(rng.normal(0.0, 1.0))
        greeting_taste, length_taste = map(float, rng.normal(0.0, 0.03, 2))
        annotators.append(Annotator(name=f"a{number}", noise=noise, scale=scale, bias=bias,
                                    greeting_taste=greeting_taste, length_taste=length_taste))
    return annotators


def length_lover(name="length lover"):
    """A SIMULATED annotator to whom an answer of twice the usual length feels 0.6 better."""
    return Annotator(name, length_taste=0.6)


def greeting_lover(name="greeting lover"):
    """A SIMULATED annotator to whom any answer that opens with a greeting feels 0.6 better."""
    return Annotator(name, greeting_taste=0.6)


def careless(name="careless"):
    """A SIMULATED annotator who clicks at random 20 % of the time."""
    return Annotator(name, careless=0.2)


def rank_answers(world, collected, annotators, rng):
    """Each set of answers is ranked by one of the SIMULATED annotators -> list of Ranking."""
    rankings = []
    for number, place in enumerate(collected):
        annotator = annotators[number % len(annotators)]
        ranks = annotator.rank(world, place["prompt"], place["responses"], rng)
        ranking = Ranking(prompt=place["prompt"], responses=place["responses"],
                          ranks=[int(rank) for rank in ranks], models=place["models"],
                          annotator=annotator.name)
        rankings.append(ranking)
    return rankings
