"""Exercises of lesson 08: the curve of over-optimisation, early stopping, a sternest judge."""

import numpy as np

from minirlhf.course import Choice, Exercise, Mistake, Property, close
from minirlhf.experiments.overoptimization.curves import fit_rl
from minirlhf.experiments.overoptimization.ensemble import ensemble_minimum
from minirlhf.experiments.overoptimization.stopping import stop_at_peak

# ---- 08.1 gold_kl_curve ---------------------------------------------------------------------


def gold_kl_curve(kl, gain):
    """kl (N,) nats, gain (N,) -> alpha, beta of gain = d (alpha - beta log d), d = root of kl."""
    d = np.sqrt(kl)  # (N,)
    columns = np.stack([d, -d * np.log(d)], axis=1)  # (N, 2)
    (alpha, beta), *_ = np.linalg.lstsq(columns, gain, rcond=None)
    return alpha, beta


def curve_without_root(kl, gain):
    return gold_kl_curve(kl**2, gain)


def curve_with_log_of_kl(kl, gain):
    alpha, beta = gold_kl_curve(kl, gain)
    return alpha, beta / 2


def curve_with_minus_beta(kl, gain):
    alpha, beta = gold_kl_curve(kl, gain)
    return alpha, -beta


def curve_without_log(kl, gain):
    d = np.sqrt(kl)  # (N,)
    found = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1), gain, rcond=None)[0]
    return found[0], found[1]


def curve_without_factor(kl, gain):
    d = np.sqrt(kl)  # (N,)
    found = np.linalg.lstsq(np.stack([np.ones_like(d), -np.log(d)], axis=1), gain, rcond=None)[0]
    return found[0], found[1]


def curve_with_a_constant(kl, gain):
    d = np.sqrt(kl)  # (N,)
    columns = np.stack([d, -d * np.log(d), np.ones_like(d)], axis=1)  # (N, 3)
    found = np.linalg.lstsq(columns, gain, rcond=None)[0]
    return found[0], found[1]


def curve_swapped(kl, gain):
    return gold_kl_curve(kl, gain)[::-1]


def curve_cases(rng):
    """Two points, d = 1 and d = e, then noisy curves."""
    cases = [(np.array([1.0, np.exp(2.0)]), np.array([0.75, 0.25 * np.e]))]
    for n, alpha, beta in ((5, 0.6, 0.3), (9, 0.4, 0.5)):
        kl = np.sort(rng.uniform(0.1, 20, size=n))  # (N,)
        d = np.sqrt(kl)  # (N,)
        cases.append((kl, d * (alpha - beta * np.log(d)) + rng.normal(0, 0.2, size=n)))
    return cases


CURVE = Exercise(
    id="08.1", reference=gold_kl_curve, package=fit_rl,
    task="It takes KLs (N,), all above 0, and gains (N,), and gives alpha and beta of the curve "
         "that fits them best.",
    example="gold_kl_curve of the KLs [1, e^2] and the gains [0.75, 0.25 e] is (0.75, 0.5).",
    cases=curve_cases,
    mistakes=(
        Mistake("no root", "You take the KL itself for d. The curve lives on its square root.",
                curve_without_root),
        Mistake("log of KL", "alpha is right and beta is half of what it should be. The logarithm "
                "is that of d, not of the KL.", curve_with_log_of_kl),
        Mistake("sign", "beta has the wrong sign. The formula takes beta log d away.",
                curve_with_minus_beta),
        Mistake("other curve", "This is the straight fall d (alpha - beta d). Here it is the "
                "logarithm of d that is multiplied with beta.", curve_without_log),
        Mistake("no factor", "You fit alpha - beta log d. The bracket is multiplied with d, so "
                "that nothing is gained at d = 0.", curve_without_factor),
        Mistake("constant", "You fit a constant as well. At d = 0 the gain is 0 by definition, "
                "so two columns are enough.", curve_with_a_constant),
        Mistake("swapped", "These are the two numbers in the other order.", curve_swapped),
    ),
    hints=("The formula is linear in alpha and beta: gain = alpha (one column) + beta (another).",
           "The first column is d. The second is minus d times the logarithm of d.",
           "np.stack makes a matrix (N, 2) of them, and np.linalg.lstsq(matrix, gain, rcond=None) "
           "returns a tuple; its first part holds the two numbers."),
)
# ---- 08.2 early_stop ------------------------------------------------------------------------


def early_stop(signal, patience):
    """signal (C,) of C looks -> which one is kept: the best before `patience` looks without."""
    best = 0
    for now in range(1, len(signal)):
        if signal[now] > signal[best]:
            best = now
        elif now - best >= patience:
            break
    return best


def stop_with_hindsight(signal, patience):
    return int(np.argmax(signal))


def stop_and_keep_the_last(signal, patience):
    return stop_at_peak(signal, patience).seen


def stop_at_the_first_fall(signal, patience):
    return early_stop(signal, 1)


def stop_too_late(signal, patience):
    return early_stop(signal, patience + 1)


def stop_compared_with_the_last(signal, patience):
    best, falls = 0, 0
    for now in range(1, len(signal)):
        falls = 0 if signal[now] > signal[now - 1] else falls + 1
        best = best if falls else now
        if falls >= patience:
            break
    return best


def stop_at_the_lowest(signal, patience):
    return early_stop(-signal, patience)


def stop_at_the_last_of_equals(signal, patience):
    best = 0
    for now in range(1, len(signal)):
        if signal[now] >= signal[best]:
            best = now
        elif now - best >= patience:
            break
    return best


def stop_cases(rng):
    """A rise and a fall; a second summit that is never seen; a dip; equals; random walks."""
    cases = [(np.array([0.0, 2.0, 1.0, 0.0]), 2), (np.array([0.0, 2.0, 1.0, 1.5, 9.0]), 2),
             (np.array([0.0, 2.0, 1.0, 3.0, 1.0, 0.5, 4.0]), 2),
             (np.array([0.0, 2.0, 0.5, 1.0, 1.5, 9.0]), 3),
             (np.array([1.0, 3.0, 3.0, 2.0, 1.0, 5.0]), 2),
             (np.array([5.0, 1.0, 0.0, 2.0, 6.0, 3.0]), 3),
             (np.array([0.0, 1.0, 2.0, 3.0]), 1)]
    for n, patience in ((12, 2), (20, 4)):
        cases.append((np.cumsum(rng.normal(size=n)), patience))
    return cases


STOP = Exercise(
    id="08.2", reference=early_stop, package=stop_at_peak,
    task="It takes a signal (C,), one number for each look, and a patience, and gives the number "
         "of the look that is kept.",
    example="early_stop(np.array([0, 2, 1, 0]), 2) is 1.",
    cases=stop_cases,
    mistakes=(
        Mistake("hindsight", "You choose from the whole signal. Who has stopped never sees what "
                "would have come later.", stop_with_hindsight),
        Mistake("last one", "You stop at the right moment, but keep the policy of that moment. "
                "The best one was earlier.", stop_and_keep_the_last),
        Mistake("no patience", "You stop at the first look that is not better. Looks are noisy: "
                "wait as long as the patience says.", stop_at_the_first_fall),
        Mistake("one too many", "You wait one look too long. After `patience` looks without a new "
                "best it is over.", stop_too_late),
        Mistake("neighbours", "You compare each look with the one before it. It should be compared "
                "with the best so far.", stop_compared_with_the_last),
        Mistake("lowest", "You keep the lowest. A high signal is good.", stop_at_the_lowest),
        Mistake("equals", "Of two equal looks you keep the later one, and wait longer for it. Only "
                "a higher one is better.", stop_at_the_last_of_equals),
    ),
    hints=("One loop over the looks, from the second one on, and one number: which was best.",
           "A look that is higher than the best becomes the best. Else see how long ago the best "
           "was, and leave the loop if that is too long."),
)


# ---- 08.3 ensemble_min ----------------------------------------------------------------------


def ensemble_min(scores, reference_scores):
    """scores (M, B), reference_scores (M, N) of M judges -> (B,), in deviations of the latter."""
    mean = reference_scores.mean(axis=1, keepdims=True)  # (M, 1)
    deviation = reference_scores.std(axis=1, keepdims=True)  # (M, 1)
    return ((scores - mean) / deviation).min(axis=0)


def standard_scores(scores, reference_scores):
    """-> (M, B)."""
    mean = reference_scores.mean(axis=1, keepdims=True)  # (M, 1)
    return (scores - mean) / reference_scores.std(axis=1, keepdims=True)


def minimum_of_raw_scores(scores, reference_scores):
    return scores.min(axis=0)


def minimum_scaled_by_its_batch(scores, reference_scores):
    return ensemble_min(scores, scores)


def minimum_without_deviation(scores, reference_scores):
    return (scores - reference_scores.mean(axis=1, keepdims=True)).min(axis=0)


def minimum_with_one_scale(scores, reference_scores):
    return ((scores - reference_scores.mean()) / reference_scores.std()).min(axis=0)


def mean_of_judges(scores, reference_scores):
    return standard_scores(scores, reference_scores).mean(axis=0)


def kindest_judge(scores, reference_scores):
    return standard_scores(scores, reference_scores).max(axis=0)


def minimum_over_answers(scores, reference_scores):
    return standard_scores(scores, reference_scores).min(axis=1)


def minimum_cases(rng):
    """Two judges, one of them on a scale ten times as wide, then random ones."""
    small = (np.array([[1.0, 2.0], [30.0, -10.0]]), np.array([[-1.0, 1.0], [0.0, 20.0]]))
    cases = [small]
    for M, B, N in ((3, 4, 6), (4, 7, 5)):
        scale, zero = rng.uniform(0.5, 3, size=(M, 1)), rng.normal(0, 2, size=(M, 1))  # (M, 1)
        scores, reference = rng.normal(size=(M, B)), rng.normal(size=(M, N))
        cases.append((zero + scale * scores, zero + scale * reference))
    return cases


def scale_does_not_matter(function):
    """A judge that counts from another zero in other units says the same."""
    scores, reference = np.array([[1.0, 2.0], [0.5, 3.0]]), np.array([[-1.0, 1.0], [0.0, 2.0]])
    units, zeros = np.array([[1.0], [7.0]]), np.array([[0.0], [5.0]])
    moved = function(zeros + units * scores, zeros + units * reference)
    return close(moved, function(scores, reference))


MINIMUM = Exercise(
    id="08.3", reference=ensemble_min, package=ensemble_minimum, axes=("B",),
    task="It takes the scores (M, B) of M judges for B answers, their scores (M, N) for the "
         "reference's answers, and gives one number for each of the B answers.",
    example="ensemble_min(np.array([[1, 2], [30, -10]]), np.array([[-1, 1], [0, 20]])) is "
            "[1, -2].",
    cases=minimum_cases,
    mistakes=(
        Mistake("raw scores", "You compare raw scores. A reward model has no zero and no unit of "
                "its own: bring each judge to a common scale first.", minimum_of_raw_scores),
        Mistake("own batch", "You take mean and deviation from the answers that are being judged. "
                "Then a batch of garbage has mean 0 too. Take the reference's answers.",
                minimum_scaled_by_its_batch),
        Mistake("no deviation", "The zeros agree now, the units do not.",
                minimum_without_deviation),
        Mistake("one scale", "All judges get the same mean and deviation. Each has its own.",
                minimum_with_one_scale),
        Mistake("mean", "This is the judges' mean. One judge with a weakness can still lift it.",
                mean_of_judges),
        Mistake("max", "This is the kindest judge. The sternest one cannot be talked round so "
                "easily.", kindest_judge),
        Mistake("over answers", "You have one number for each judge. There should be one for each "
                "answer.", minimum_over_answers),
    ),
    properties=(
        Property("scale", "Counting from another zero, or in other units, should change nothing.",
                 scale_does_not_matter),
    ),
    hints=("Two steps: a common scale, then the minimum over the judges.",
           "For each judge, the reference's answers should have mean 0 and deviation 1. keepdims "
           "makes (M, 1) of it, which fits to (M, B).",
           "The judges are axis 0 of the scores."),
)


# ---- 08.4 who taught whom -------------------------------------------------------------------

SUSPECTS = Choice(
    id="08.4", right="BCA", points=3,
    task="Who taught P, who taught Q, who taught R?",
    options={
        "A": "Someone who likes long answers pays for every word more. In which row are answers "
             "longest?",
        "B": "Someone who clicks at random now and then is noisy, but leans to no side. Which row "
             "is the most ordinary?",
        "C": "Someone who wants to hear one thing gets it, whatever the question. Which row has "
             "few true answers, and the same word again and again?",
    },
    hints=("Noise has no direction, so a policy cannot learn it. Taste has one.",
           "Begin with the row whose sentences all say the same."),
)

EXERCISES = [CURVE, STOP, MINIMUM, SUSPECTS]
