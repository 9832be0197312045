"""Exercises of lesson 05: the last real token, pairs of a ranking, the best possible accuracy."""

import math
from dataclasses import replace

import numpy as np

from minirlhf import step2_reward_model as step2
from minirlhf import step3_ppo
from minirlhf.course import Choice, Exercise, Mistake, Property, close
from minirlhf.tokenizer import BOS, EOS, PAD

# ---- 05.1 last_token_index ------------------------------------------------------------------


def last_token_index(tokens):
    """tokens (B, T) ids -> (B,) place of each row's last token that is not PAD."""
    real = tokens != PAD  # (B, T)
    if not real.any(axis=1).all():
        raise ValueError("a row has nothing but padding")
    return tokens.shape[1] - 1 - real[:, ::-1].argmax(axis=1)


def last_index_past_the_end(tokens):
    return last_token_index(tokens) + 1


def last_index_of_the_batch(tokens):
    last_token_index(tokens)  # raises where the right one raises
    return np.full(len(tokens), tokens.shape[1] - 1)


def last_index_unchecked(tokens):
    return tokens.shape[1] - 1 - (tokens != PAD)[:, ::-1].argmax(axis=1)


def last_index_minus_one(tokens):
    return (tokens != PAD).sum(axis=1) - 1


def last_index_counted(tokens):
    last_token_index(tokens)
    return (tokens != PAD).sum(axis=1) - 1


def last_index_of_eos(tokens):
    last_token_index(tokens)
    return (tokens == EOS).argmax(axis=1)


def padded_batch(rng, B, T):
    """Random rows (B, T), filled with PAD at the end; some have no EOS, one a PAD inside."""
    tokens = rng.integers(EOS + 1, 20, size=(B, T))  # (B, T)
    tokens[:, 0] = BOS
    for row in range(B):
        length = int(rng.integers(2, T + 1))
        tokens[row, length:] = PAD
        if row % 3:
            tokens[row, length - 1] = EOS
    return tokens


def last_index_cases(rng):
    """Two short rows; random batches; a PAD inside a row; a row of PAD alone."""
    cases = [(np.array([[BOS, 7, EOS, PAD], [BOS, 5, 6, EOS]]),)]
    cases += [(padded_batch(rng, B, T),) for B, T in ((3, 6), (5, 9), (8, 12))]
    cases.append((np.array([[BOS, 7, PAD, 8, EOS], [BOS, 9, EOS, PAD, PAD]]),))
    return cases + [(np.array([[BOS, 7, EOS], [PAD, PAD, PAD]]),)]


LAST_TOKEN = Exercise(
    id="05.1", reference=last_token_index, package=step3_ppo.last_response_index, axes=("B",),
    task="It takes tokens (B, T) and gives for each row the place (B,) of its last token that is "
         "not PAD, counted from 0. A row of PAD alone must raise ValueError.",
    example="last_token_index(np.array([[BOS, 7, EOS, PAD]])) is [2].",
    cases=last_index_cases,
    mistakes=(
        Mistake("off by one", "Every place is one too far: it points at the first PAD, or out of "
                "the batch. A row of three tokens ends at place 2.", last_index_past_the_end),
        Mistake("last column", "This is the last column of the batch. Short rows end earlier, and "
                "behind their end stands only padding.", last_index_of_the_batch),
        Mistake("all-pad row", "Right for rows with tokens. But a row of PAD alone gets a place, "
                "and later a score, without complaint. Which error should it raise?",
                last_index_unchecked),
        Mistake("counted, no error", "You count tokens. A row of PAD alone then has its last token "
                "at place -1, which NumPy reads as the last column. And a count is too small when "
                "a PAD stands inside a row.", last_index_minus_one),
        Mistake("counted", "You count the tokens. A language model may also say PAD inside its "
                "answer, and then the count is too small.", last_index_counted),
        Mistake("first EOS", "You look for EOS. An answer that was cut off at the length limit has "
                "none, and gets place 0.", last_index_of_eos),
    ),
    hints=("First an array (B, T) of True and False: what is not PAD?",
           "The last True of a row is the first True of the row read backwards. argmax finds the "
           "first.",
           "If argmax finds k in the reversed row of T places, the place is T - 1 - k. argmax also "
           "gives 0 where there is no True at all: test for that with any(axis=1)."),
)
# ---- 05.2 pairs_from_ranking ----------------------------------------------------------------


def pairs_from_ranking(group, ranks):
    """group (n,) which ranking a row is from, ranks (n,) -> (P, 2) rows: better, worse."""
    same = group[:, None] == group[None, :]  # (n, n)
    return np.argwhere(same & (ranks[:, None] < ranks[None, :]))


def pairs_across_rankings(group, ranks):
    return np.argwhere(ranks[:, None] < ranks[None, :])


def pairs_with_ties(group, ranks):
    same = (group[:, None] == group[None, :]) & ~np.eye(len(ranks), dtype=bool)
    return np.argwhere(same & (ranks[:, None] <= ranks[None, :]))


def pairs_reversed(group, ranks):
    same = group[:, None] == group[None, :]
    return np.argwhere(same & (ranks[:, None] > ranks[None, :]))


def pairs_of_neighbours(group, ranks):
    same = group[:, None] == group[None, :]
    return np.argwhere(same & (ranks[:, None] + 1 == ranks[None, :]))


def pairs_as_listed(group, ranks):
    pairs = pairs_from_ranking(group, ranks)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def pairs_by_lower_row(group, ranks):
    pairs = pairs_from_ranking(group, ranks)
    return pairs[np.lexsort((pairs.max(axis=1), pairs.min(axis=1)))]


def pairs_from_ranking_cases(rng):
    """One ranking, one with a tie, two groups, then random groups with ties."""
    cases = [
        (np.array([0, 0, 0]), np.array([2, 1, 3])),
        (np.array([0, 0, 0]), np.array([2, 1, 2])),
        (np.array([0, 0, 1, 1]), np.array([1, 2, 2, 1])),
    ]
    for sizes in ((4, 4), (4, 3, 2), (2, 4, 4)):
        ranks = [rng.integers(1, k + 1, size=k) for k in sizes]
        dense = [np.unique(part, return_inverse=True)[1].reshape(-1) + 1 for part in ranks]
        cases.append((np.repeat(np.arange(len(sizes)), sizes), np.concatenate(dense)))
    return cases


def counts_pairs(function):
    """A ranking of 9 without ties has 9 * 8 / 2 pairs."""
    return len(function(np.zeros(9, int), np.arange(9)[::-1] + 1)) == 36


PAIRS = Exercise(
    id="05.2", reference=pairs_from_ranking, axes=("P", "2"),
    task="It takes the ranking that each row belongs to (n,) and its rank there (n,), 1 is best. "
         "It gives all pairs (P, 2): row of the better, row of the worse, the smallest first.",
    example="pairs_from_ranking(np.array([0, 0, 0]), np.array([2, 1, 3])) is "
            "[[0, 2], [1, 0], [1, 2]].",
    cases=pairs_from_ranking_cases,
    mistakes=(
        Mistake("across rankings", "You compare answers of different rankings. A rank only says "
                "something about the answers that were seen together.", pairs_across_rankings),
        Mistake("ties", "Equal ranks give pairs, in both directions. The annotator did not decide "
                "there: skip them.", pairs_with_ties),
        Mistake("reversed", "The worse one comes first. Rank 1 is best, so the better answer has "
                "the smaller rank.", pairs_reversed),
        Mistake("neighbours", "You keep pairs of neighbouring ranks only. The first is also better "
                "than the third: K answers give K(K-1)/2 pairs.", pairs_of_neighbours),
        Mistake("listed order", "Half of the pairs are missing: those in which the better answer "
                "stands in a later row than the worse one.", pairs_as_listed),
        Mistake("order", "All pairs are there, in another order. Sort them: by the better row, "
                "then by the worse row.", pairs_by_lower_row),
    ),
    properties=(Property("count", "A ranking of 9 answers should give 9 * 8 / 2 pairs.",
                         counts_pairs),),
    hints=("Make a table (n, n): is row i better than row j?",
           "Two conditions must hold: the same ranking, and a smaller rank.",
           "An array (n, 1) compared with an array (1, n) gives such a table; numpy.argwhere lists "
           "where it is True, in the order that is wanted."),
)


# ---- 05.3 bayes_ceiling ---------------------------------------------------------------------


def bayes_ceiling(p):
    """p (n,) probability that the first of each pair wins -> best possible accuracy, a float."""
    return float(np.maximum(p, 1 - p).mean())


def ceiling_mean(p):
    return float(p.mean())


def ceiling_of_the_mean(p):
    return float(max(p.mean(), 1 - p.mean()))


def ceiling_two_judges(p):
    return float((p**2 + (1 - p) ** 2).mean())


def ceiling_share(p):
    return float((p > 0.5).mean())


def ceiling_best_pair(p):
    return float(np.maximum(p, 1 - p).max())


def ceiling_cases(rng):
    """One pair, two opposite pairs, then random ones."""
    cases = [(np.array([0.2]),), (np.array([0.9, 0.3]),), (np.array([0.5, 0.5, 1.0]),)]
    return cases + [(rng.random(n),) for n in (3, 8, 20)]


def ceiling_ignores_the_order(function):
    """Which answer of a pair is named first must not matter."""
    p = np.array([0.9, 0.7, 0.2])
    return close(function(p), function(1 - p))


CEILING = Exercise(
    id="05.3", reference=bayes_ceiling,
    task="It takes the probabilities (n,) that the first answer of each pair wins, and gives the "
         "accuracy of somebody who knows them and always names the likelier winner.",
    example="bayes_ceiling(np.array([0.9, 0.3])) is 0.8.",
    cases=ceiling_cases,
    mistakes=(
        Mistake("mean", "This is the accuracy of always naming the first answer. Who knows that "
                "it wins 3 times in 10 names the other one.", ceiling_mean),
        Mistake("mean first", "You decide once for all pairs. The choice is free for every pair: "
                "decide first, then average.", ceiling_of_the_mean),
        Mistake("two judges", "This is how often two judges agree. The best guesser does not draw "
                "by chance as a judge does: it always names the likelier one.",
                ceiling_two_judges),
        Mistake("share", "This counts pairs where the first answer is the favourite. How often is "
                "the favourite right?", ceiling_share),
        Mistake("best pair", "This is the easiest pair alone. Average over all pairs.",
                ceiling_best_pair),
    ),
    properties=(Property("order", "It should not matter which answer of a pair is named first.",
                         ceiling_ignores_the_order),),
    hints=("Take one pair with p = 0.3. Whom do you name, and how often are you right?",
           "For one pair it is the larger of two numbers.",
           "numpy.maximum takes the larger one, element by element. Then the mean."),
)


# ---- 05.4 a silent bug ----------------------------------------------------------------------


SUSPECTS = Choice(
    id="05.4",
    task="Two runs, X and Y, each with one wrong line. Which line?",
    options={
        "A": "Ranks that belong to other answers are noise: then there is nothing to learn, the "
             "loss stays near ln 2, and the own accuracy near one half.",
        "B": "With chosen and rejected swapped there is as much to learn as before, and it is "
             "learned: the own accuracy rises, and the held-out accuracy falls below one half.",
        "C": "A model that never saw the answers gives all of them the same score: the loss would "
             "be ln 2 from the first step to the last.",
        "D": "Held-out questions among the training questions would make the held-out accuracy "
             "look too good, not too bad.",
    },
    right="BA",
    hints=("Compare two accuracies: on the run's own labels, and on held-out labels.",
           "One run learned nothing. The other learned well, but what?"),
    points=2,
)


def spoil_x(encoded, rng):
    """list of EncodedRanking -> the data of run X: better and worse are swapped."""
    return [step2.EncodedRanking(r.rows, [-rank for rank in r.ranks]) for r in encoded]


def spoil_y(encoded, rng):
    """list of EncodedRanking -> the data of run Y: the answers moved, their ranks did not."""
    spoiled = []
    for ranking in encoded:
        rows = [ranking.rows[i] for i in rng.permutation(len(ranking.rows))]
        spoiled.append(step2.EncodedRanking(rows, ranking.ranks))
    return spoiled


# ---- what only a simulation can know --------------------------------------------------------


def win_probability(world, annotators, prompt, first, second):
    """-> probability that a SIMULATED annotator, drawn at random, ranks `first` above `second`.

    A person feels naturalness + habits + noise.  Without the noise the gap of two answers is
    known; the difference of two noises has standard deviation noise * sqrt(2).
    """
    chances = []
    for annotator in annotators:
        calm = replace(annotator, noise=0.0)
        felt = calm.perceive(world, prompt, [first, second], np.random.default_rng(0))  # (2,)
        gap = float(felt[0] - felt[1])
        chances.append(0.5 + 0.5 * math.erf(gap / (2 * annotator.noise)))
    return float(np.mean(chances))


EXERCISES = [LAST_TOKEN, PAIRS, CEILING, SUSPECTS]
