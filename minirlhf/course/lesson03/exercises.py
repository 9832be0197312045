"""Exercises of lesson 03: candidates from several models, ranks, Kendall's tau, z-scores."""

import numpy as np

from minirlhf.course import Exercise, Mistake, Property, close
from minirlhf.rufus.answers import collect_answers

# ---- 03.1 make_candidates -------------------------------------------------------------------


def make_candidates(samples, k):
    """samples: one list of n texts per model -> at most k different texts, models in turn."""
    turns = [text for turn in zip(*samples) for text in turn]
    return list(dict.fromkeys(turns))[:k]


def candidates_with_duplicates(samples, k):
    return [text for turn in zip(*samples) for text in turn][:k]


def candidates_model_by_model(samples, k):
    return list(dict.fromkeys([text for texts in samples for text in texts]))[:k]


def candidates_sorted(samples, k):
    return sorted({text for texts in samples for text in texts})[:k]


def candidates_cut_first(samples, k):
    return list(dict.fromkeys(candidates_with_duplicates(samples, k)))


def candidates_cases(rng):
    """Two models that say the same thing, then random texts with many duplicates."""
    cases = [
        ([["b", "a"], ["b", "c"]], 3),
        ([["I am a dog.", "unit: dog."], ["I, a dog.", "I am a dog."]], 2),
        ([["I am a dog.", "unit: dog."], ["I, a dog.", "I am a dog."]], 4),
    ]
    words = ["owl", "dog", "cat", "robot", "bird", "cook"]
    for models, n, k in ((2, 5, 4), (3, 4, 5), (4, 6, 6)):
        picked = rng.integers(0, len(words), size=(models, n))
        cases.append(([[words[i] for i in row] for row in picked], k))
    return cases


CANDIDATES = Exercise(
    id="03.1", reference=make_candidates, package=collect_answers,
    task="It takes one list of texts per model, all of the same length, and a number k. It gives "
         "a list of at most k different texts: the first text of each model, then the second of "
         "each, and so on.",
    example="make_candidates([['b', 'a'], ['b', 'c']], 3) is ['b', 'a', 'c'].",
    cases=candidates_cases,
    mistakes=(
        Mistake("duplicates", "The same text occurs twice. Nobody can say which of two identical "
                "answers is better.", candidates_with_duplicates),
        Mistake("model by model", "The first model fills the list before the second one speaks. "
                "Take the models in turn.", candidates_model_by_model),
        Mistake("sorted", "The texts are in alphabetical order. A set forgets who came first; "
                "keep the order in which the models spoke.", candidates_sorted),
        Mistake("cut too early", "There are fewer than k texts although more were to be had. "
                "First drop duplicates, then count.", candidates_cut_first),
    ),
    hints=("Two jobs, one after the other: bring the texts into the order of the turns, then keep "
           "the first of equals.",
           "zip(*lists) walks through several lists side by side.",
           "The keys of a dict are unique and keep their order: dict.fromkeys makes one from a "
           "list. Cut at the very end."),
)
# ---- 03.2 ranks -----------------------------------------------------------------------------


def ranks(values):
    """values (K,), larger is better -> ranks (K,) floats, best = 1, ties averaged."""
    better = (values > values[:, None]).sum(axis=1)  # (K,) how many are better than this one
    equal = (values == values[:, None]).sum(axis=1)  # (K,) this one included
    return better + (equal + 1) / 2


def ranks_from_worst(values):
    return ranks(-values)


def ranks_argsort(values):
    return np.argsort(-values, kind="stable") + 1.0


def ranks_dense(values):
    return np.unique(-values, return_inverse=True)[1].reshape(-1) + 1.0


def ranks_smallest(values):
    return 1.0 + (values > values[:, None]).sum(axis=1)


def ranks_by_position(values):
    return np.argsort(np.argsort(-values, kind="stable"), kind="stable") + 1.0


def ranks_cases(rng):
    """No ties, a tie for the first place, a tie below a winner, then random scores of 1 to 7."""
    cases = [(np.array([1.0, 3.0, 2.0, 0.0]),), (np.array([7.0, 7.0, 2.0]),)]
    cases.append((np.array([5.0, 6.0, 5.0, 5.0, 1.0]),))
    for K in (4, 7, 12):
        cases.append((rng.integers(1, 8, size=K).astype(float),))
    return cases


def ranks_keep_their_sum(function):
    """The ranks of K answers always add up to K (K + 1) / 2."""
    return close(np.sum(function(np.array([2.0, 2.0, 2.0, 5.0, 5.0]))), 15.0)


RANKS = Exercise(
    id="03.2", reference=ranks, axes=("K",),
    task="It takes values (K,), larger is better, and gives the ranks (K,): 1 for the best; equal "
         "values share the average of their places.",
    example="ranks(np.array([7.0, 7.0, 2.0])) is [1.5, 1.5, 3].",
    cases=ranks_cases,
    mistakes=(
        Mistake("from the worst", "The worst answer has rank 1. Larger values are better, and the "
                "best has rank 1.", ranks_from_worst),
        Mistake("argsort", "This lists which answer comes first, second, third. Asked is the "
                "place of each answer.", ranks_argsort),
        Mistake("dense", "After a tie you go on with the next number. Two answers that share the "
                "places 1 and 2 leave place 3 to the next.", ranks_dense),
        Mistake("smallest place", "Tied answers all get the best of their places. They share the "
                "average of them.", ranks_smallest),
        Mistake("by position", "Equal values get different ranks, by their position in the list. "
                "They share the average of their places.", ranks_by_position),
    ),
    properties=(Property("sum", "The ranks of K answers should add up to K (K + 1) / 2, with or "
                         "without ties.", ranks_keep_their_sum),),
    hints=("For each answer, count how many are better. Without ties that number plus 1 is its "
           "rank.",
           "A column against a row, values[:, None], compares every answer with every other one.",
           "Count also how many are equal, itself included. m equal answers share m places: how "
           "far is the middle of them from the first?"),
)


# ---- 03.3 kendall_tau -----------------------------------------------------------------------


def kendall_tau(x, y):
    """Two (n,) arrays -> Kendall's tau-b (Kendall 1945), between -1 and 1."""
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)  # (n, n) who is above whom
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def tau_pairs_twice(x, y):
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)  # (n, n)
    return float((a * b).sum() / (len(x) * (len(x) - 1) / 2))


def tau_ties_in_the_denominator(x, y):
    return tau_pairs_twice(x, y) / 2


def tau_without_all_ties(x, y):
    product = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)  # (n, n)
    return float(product.sum() / np.abs(product).sum())


def tau_share_of_pairs(x, y):
    product = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)  # (n, n)
    return float((product > 0).sum() / (len(x) * (len(x) - 1)))


def tau_of_spearman(x, y):
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def tau_cases(rng):
    """Equal orders, one swap, a tie on one side, then random orders and random scores."""
    cases = [(np.array([1.0, 2.0]), np.array([3.0, 9.0]))]
    cases.append((np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])))
    cases.append((np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])))
    points = np.array([1.0, 2.0, 2.0, 5.0, 6.0, 6.0, 7.0])
    for _ in range(2):
        cases.append((rng.permutation(8) + 1.0, rng.permutation(8) + 1.0))
        cases.append((rng.permutation(points), rng.permutation(points[::2].repeat(2)[:7])))
    return cases


def tau_ignores_monotone_change(function):
    x, y = np.array([1.0, 4.0, 2.0, 2.0]), np.array([2.0, 3.0, 1.0, 4.0])
    return close(function(x, y), function(np.exp(x), 5 + y / 2))


KENDALL = Exercise(
    id="03.3", reference=kendall_tau,
    task="It takes two arrays (n,) about the same n answers and gives their tau: pairs in the "
         "same order minus pairs in opposite order, divided by the geometric mean of the numbers "
         "of pairs that are not tied in x, and not tied in y.",
    example="kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) is 1/3.",
    cases=tau_cases,
    mistakes=(
        Mistake("pairs twice", "Some results are above 1. Above the line every pair is counted "
                "twice, as (i, j) and as (j, i); below it once.", tau_pairs_twice),
        Mistake("ties below", "You divide by the number of all pairs. Pairs that are tied cannot "
                "agree, so two equal lists with ties would not reach 1.",
                tau_ties_in_the_denominator),
        Mistake("ties dropped", "Pairs that only one of the two leaves open are not counted at "
                "all. They should count as not tied in the other one.", tau_without_all_ties),
        Mistake("share", "This is a share between 0 and 1. Opposite pairs count against.",
                tau_share_of_pairs),
        Mistake("Spearman", "This is the Pearson correlation of the ranks, known as Spearman's "
                "rho. Tau counts pairs.", tau_of_spearman),
    ),
    properties=(Property("not monotone", "Tau should not change when a monotone function is "
                         "applied to x or y: only signs of differences count.",
                         tau_ignores_monotone_change),),
    hints=("For each array a table (n, n): +1, 0 or -1 as row is above, tied with or below column.",
           "The product of the two tables is +1 for a pair in the same order, -1 for an opposite "
           "one. The sum has every pair twice.",
           "The sum of the squares of one table counts its pairs without ties, also twice. What "
           "is double above and below the line cancels."),
)


# ---- 03.4 zscore_per_annotator --------------------------------------------------------------


def zscore_per_annotator(scores):
    """scores (A, n), a row per annotator -> (A, n), each row with mean 0 and deviation 1."""
    centred = scores - scores.mean(axis=1, keepdims=True)  # (A, n)
    spread = scores.std(axis=1, keepdims=True)  # (A, 1)
    return centred / np.where(spread > 0, spread, 1)


def zscore_wrong_axis(scores):
    return zscore_per_annotator(scores.T).T


def zscore_all_together(scores):
    return (scores - scores.mean()) / scores.std()


def zscore_without_care(scores):
    return (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)


def zscore_sample_deviation(scores):
    return zscore_per_annotator(scores) * np.sqrt(1 - 1 / scores.shape[1])


def zscore_centred_only(scores):
    return scores - scores.mean(axis=1, keepdims=True)


def zscore_cases(rng):
    """A wide and a narrow row, someone who gives everything 4 points, then random scores."""
    cases = [(np.array([[1.0, 7.0, 1.0, 7.0], [5.0, 5.0, 6.0, 6.0]]),)]
    cases.append((np.array([[4.0, 4.0, 4.0], [1.0, 2.0, 6.0]]),))
    for A, n in ((2, 6), (5, 4), (3, 9)):
        cases.append((rng.integers(1, 8, size=(A, n)) + rng.normal(0, 0.1, size=(A, n)),))
    return cases


def zscore_undoes_a_person(function):
    """Another bias and another scale of one person change nothing."""
    scores = np.array([[1.0, 2.0, 4.0], [3.0, 1.0, 7.0]])
    return close(function(scores), function(scores * np.array([[2.0], [0.5]]) + 3))


ZSCORE = Exercise(
    id="03.4", reference=zscore_per_annotator, axes=("A", "n"),
    task="It takes scores (A, n), one row per annotator, and gives an array of the same shape in "
         "which every row has mean 0 and standard deviation 1 (of all n, not n - 1). A row of "
         "equal scores becomes zeros.",
    example="zscore_per_annotator(np.array([[1.0, 7.0], [4.0, 4.0]])) is [[-1, 1], [0, 0]].",
    cases=zscore_cases,
    mistakes=(
        Mistake("wrong axis", "You normalise the columns. The mean and the deviation should be "
                "those of one annotator: one row.", zscore_wrong_axis),
        Mistake("all together", "One mean and one deviation for everybody. That keeps every "
                "personal bias.", zscore_all_together),
        Mistake("deviation 0", "Someone who gave every answer the same score has deviation 0, and "
                "you divide by it. Such a row says nothing: make it zeros.", zscore_without_care),
        Mistake("n - 1", "You divide by the deviation with n - 1. Here it is over all n.",
                zscore_sample_deviation),
        Mistake("centred only", "The biases are gone, the scales are not: the deviations differ.",
                zscore_centred_only),
    ),
    properties=(Property("a person remains", "Another bias or scale of one person should change "
                         "nothing.", zscore_undoes_a_person),),
    hints=("Subtract from each row its own mean. keepdims=True keeps the shape (A, 1).",
           "Then divide each row by its own standard deviation.",
           "numpy.where can put a 1 in the place of a deviation of 0: a row of zeros stays zeros."),
)

EXERCISES = [CANDIDATES, RANKS, KENDALL, ZSCORE]
