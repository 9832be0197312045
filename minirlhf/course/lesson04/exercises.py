"""Exercises of lesson 04: Bradley-Terry loss and gradient, one Elo update, Plackett-Luce."""

import numpy as np

from minirlhf import step2_reward_model
from minirlhf.course import Exercise, Mistake, Property, close, finite

# ---- 04.1 bradley_terry_loss ----------------------------------------------------------------


def bradley_terry_loss(r_chosen, r_rejected):
    """Two (n,) arrays -> mean over the pairs of the NLL, in nats."""
    margin = r_chosen - r_rejected  # (n,)
    return float(np.logaddexp(0, -margin).mean())


def bt_loss_swapped(r_chosen, r_rejected):
    return float(np.logaddexp(0, r_chosen - r_rejected).mean())


def bt_loss_without_minus(r_chosen, r_rejected):
    return -bradley_terry_loss(r_chosen, r_rejected)


def bt_loss_summed(r_chosen, r_rejected):
    return bradley_terry_loss(r_chosen, r_rejected) * len(r_chosen)


def bt_loss_without_log(r_chosen, r_rejected):
    return float((1 / (1 + np.exp(r_chosen - r_rejected))).mean())


def bt_loss_log_of_mean(r_chosen, r_rejected):
    return float(-np.log((1 / (1 + np.exp(r_rejected - r_chosen))).mean()))


def bt_loss_cases(rng):
    """One pair with margin ln 3, one equal pair, then random lengths."""
    cases = [(np.array([np.log(3)]), np.array([0.0])), (np.array([0.5]), np.array([0.5]))]
    for n in (2, 3, 7):
        cases.append((rng.normal(size=n), rng.normal(0.5, 1, size=n)))
    return cases


def bt_loss_is_stable(function):
    """No overflow at margins of -1600 and 1600."""
    big, zero = np.array([1600.0]), np.array([0.0])
    losses = function(zero, big), function(big, zero)
    return finite(losses[0]) and close(losses[0], 1600.0) and close(losses[1], 0.0)


LOSS = Exercise(
    id="04.1", reference=bradley_terry_loss, package=step2_reward_model.bradley_terry_loss,
    task="It takes the utilities of the winners (n,) and of the losers (n,), and gives the mean "
         "loss in nats.",
    example="bradley_terry_loss(np.array([0.5]), np.array([0.5])) is ln 2 = 0.6931.",
    cases=bt_loss_cases,
    mistakes=(
        Mistake("swapped", "These are the numbers of the opposite wish: the loss falls when the "
                "loser is ahead. Which of the two should be larger?", bt_loss_swapped),
        Mistake("sign", "Every number has the wrong sign. A log-probability is never above 0, "
                "such a loss never below 0.", bt_loss_without_minus),
        Mistake("sum", "This is the sum over the pairs. Twice as many pairs should not double "
                "the loss.", bt_loss_summed),
        Mistake("no logarithm", "This is the mean probability of the wrong winner. The loss comes "
                "from the logarithm of the probability of the right one.", bt_loss_without_log),
        Mistake("mean first", "The logarithm was taken after the mean. Every pair has a loss of "
                "its own, and these are averaged.", bt_loss_log_of_mean),
    ),
    properties=(
        Property("overflow", "Right for small margins. At a margin of -1600 the loss should be "
                 "1600, but an exponential of 1600 overflows. Does NumPy have a function for the "
                 "logarithm of a sum of exponentials?", bt_loss_is_stable),
    ),
    hints=("Only the difference of the two arrays matters. Give it a name first.",
           "The loss of one pair is the logarithm of 1 + e to the power of minus the margin.",
           "NumPy's logaddexp(a, b) is log(e^a + e^b) without overflow, and 1 is e^0. Then the "
           "mean."),
)
# ---- 04.2 bt_gradient -----------------------------------------------------------------------


def bt_gradient(utilities, winners, losers):
    """utilities (K,), winners (n,), losers (n,) ints -> gradient of the mean loss (K,)."""
    upset = 1 / (1 + np.exp(utilities[winners] - utilities[losers])) / len(winners)  # (n,)
    gradient = np.zeros(len(utilities))  # (K,)
    np.add.at(gradient, winners, -upset)
    np.add.at(gradient, losers, upset)
    return gradient


def bt_gradient_up(utilities, winners, losers):
    return -bt_gradient(utilities, winners, losers)


def bt_gradient_half(utilities, winners, losers):
    return bt_gradient(utilities, winners, losers) / 2


def bt_gradient_sum(utilities, winners, losers):
    return bt_gradient(utilities, winners, losers) * len(winners)


def bt_gradient_winners_only(utilities, winners, losers):
    upset = step2_reward_model.sigmoid_of_minus(utilities[winners] - utilities[losers])
    return -np.bincount(winners, upset, len(utilities)) / len(winners)


def bt_gradient_expected(utilities, winners, losers):
    return bt_gradient(-utilities, winners, losers)


def bt_gradient_once(utilities, winners, losers):
    upset = step2_reward_model.sigmoid_of_minus(utilities[winners] - utilities[losers])
    gradient = np.zeros(len(utilities))  # (K,)
    gradient[winners] -= upset / len(winners)
    gradient[losers] += upset / len(winners)
    return gradient


def bt_gradient_cases(rng):
    """One pair with margin ln 3, then tables in which answers win and lose several times."""
    cases = [(np.array([np.log(3), 0.0]), np.array([0]), np.array([1]))]
    cases.append((np.array([0.0, 0.0, 0.0]), np.array([0, 0]), np.array([1, 2])))
    for K, n in ((3, 5), (4, 12), (5, 7)):
        winners = rng.integers(0, K, size=n)
        losers = (winners + rng.integers(1, K, size=n)) % K
        cases.append((rng.normal(size=K), winners, losers))
    return cases


def bt_gradient_sums_to_zero(function):
    """What the winners gain the losers lose."""
    u, winners, losers = np.array([2.0, -1.0, 0.5]), np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2])
    return close(np.sum(function(u, winners, losers)), 0.0)


def bt_gradient_is_stable(function):
    """A pair that went against all expectation pushes with full force."""
    far = function(np.array([0.0, 1600.0]), np.array([0]), np.array([1]))
    return close(far, np.array([-1.0, 1.0]))


GRADIENT = Exercise(
    id="04.2", reference=bt_gradient, package=step2_reward_model.bradley_terry_loss, axes=("K",),
    task="It takes utilities (K,), indices of the winners (n,) and of the losers (n,), and gives "
         "the gradient of the mean loss with respect to the utilities (K,).",
    example="bt_gradient(np.zeros(2), np.array([0]), np.array([1])) is [-0.5, 0.5].",
    cases=bt_gradient_cases,
    mistakes=(
        Mistake("sign", "A step against this gradient makes winners worse. The loss falls when a "
                "winner goes up: what sign has its slope?", bt_gradient_up),
        Mistake("half", "Every number is half of what it should be. The logistic function brings "
                "no factor 1/2 with it.", bt_gradient_half),
        Mistake("sum", "This is the gradient of the sum of the losses. The loss is their mean.",
                bt_gradient_sum),
        Mistake("winners only", "Only winners move. The margin also depends on the loser: each "
                "pair pushes two utilities, in opposite directions.", bt_gradient_winners_only),
        Mistake("expected wins", "You push by the probability of what happened. A winner who was "
                "sure to win should hardly move.", bt_gradient_expected),
        Mistake("repeated index", "An answer that occurs in several pairs is counted once. "
                "Indexed assignment keeps only the last of several writes to one place.",
                bt_gradient_once),
    ),
    properties=(
        Property("sum is not 0", "The gradient should sum to 0: nothing changes when all "
                 "utilities rise together.", bt_gradient_sums_to_zero),
        Property("overflow", "Right for small margins, but not at a margin of -1600, where the "
                 "push should be 1.", bt_gradient_is_stable),
    ),
    hints=("First an array (n,): for each pair, the probability that the loser should have won.",
           "Each pair pushes its winner by minus this probability, divided by n, and its loser "
           "by plus.",
           "An index may occur several times. numpy.add.at(array, indices, amounts) adds every "
           "amount."),
)


# ---- 04.3 elo_update ------------------------------------------------------------------------


def elo_update(rating_a, rating_b, result_a, k):
    """Two ratings, result of A (1 won, 0 lost), K factor -> both new ratings."""
    expected_a = 1 / (1 + 10 ** ((rating_b - rating_a) / 400))
    change = k * (result_a - expected_a)
    return rating_a + change, rating_b - change


def elo_update_base_e(rating_a, rating_b, result_a, k):
    change = k * (result_a - 1 / (1 + np.exp((rating_b - rating_a) / 400)))
    return rating_a + change, rating_b - change


def elo_update_sign(rating_a, rating_b, result_a, k):
    return elo_update(rating_a, rating_b, result_a, -k)


def elo_update_expected_of_b(rating_a, rating_b, result_a, k):
    change = elo_update(rating_b, rating_a, result_a, k)[0] - rating_b
    return rating_a + change, rating_b - change


def elo_update_cases(rng):
    """Equal ratings, the difference of a 75 % favourite, then random ones."""
    cases = [(1000.0, 1000.0, 1, 32), (1000 + 400 * np.log10(3), 1000.0, 1, 32)]
    for result in (1, 0, 1, 0, 0.5):
        a, b = rng.normal(1000, 150, size=2)
        cases.append((float(a), float(b), result, float(rng.integers(8, 64))))
    return cases


ELO = Exercise(
    id="04.3", reference=elo_update,
    task="It takes two ratings, the result of A (1 won, 0 lost) and the K factor, and gives both "
         "new ratings.",
    example="elo_update(1000, 1000, 1, 32) is (1016, 984).",
    cases=elo_update_cases,
    mistakes=(
        Mistake("base e", "Your expected result has base e. By convention Elo has base 10: 400 "
                "points are odds of ten to one.", elo_update_base_e),
        Mistake("sign", "The winner loses points. Compare the result with what was expected, in "
                "this order.", elo_update_sign),
        Mistake("wrong expected", "This is the expectation of B. When A has the higher rating, "
                "A's expected result is above 1/2.", elo_update_expected_of_b),
    ),
    hints=("First the expected result of A: a number between 0 and 1, and 1/2 for equal ratings.",
           "It is the logistic curve with base 10, on a scale of 400 points.",
           "The change is K times (result minus expectation): A gets it, B gives it."),
)


# ---- 04.4 plackett_luce_nll -----------------------------------------------------------------


def plackett_luce_nll(utilities, order):
    """utilities (K,), order (K,) indices, best first -> -log probability of the order."""
    ordered = utilities[order]  # (K,)
    remaining = np.logaddexp.accumulate(ordered[::-1])[::-1]  # (K,)
    return float((remaining - ordered).sum())


def pl_over_all(utilities, order):
    return float(len(order) * np.logaddexp.reduce(utilities) - utilities.sum())


def pl_reversed(utilities, order):
    return plackett_luce_nll(utilities, order[::-1])


def pl_ranks_for_order(utilities, order):
    return plackett_luce_nll(utilities, np.argsort(order))


def pl_probability(utilities, order):
    return float(np.exp(-plackett_luce_nll(utilities, order)))


def pl_cases(rng):
    """Worths 4, 2, 1 in three orders, one of them circular, then random ones."""
    worths = np.log([4.0, 2.0, 1.0])
    cases = [(worths, np.array(order)) for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0))]
    return cases + [(rng.normal(size=K), rng.permutation(K)) for K in (2, 4, 6, 5)]


def pl_is_stable(function):
    return close(function(np.array([0.0, 1600.0]), np.array([0, 1])), 1600.0)


PLACKETT_LUCE = Exercise(
    id="04.4", reference=plackett_luce_nll, package=step2_reward_model.plackett_luce_loss,
    task="It takes utilities (K,) and an order (K,), the indices with the best answer first, and "
         "gives minus the logarithm of the probability of this order.",
    example="plackett_luce_nll(np.log([4, 2, 1]), np.array([0, 1, 2])) is ln(21/8) = 0.9651.",
    cases=pl_cases,
    mistakes=(
        Mistake("over all", "Every choice is made among all K answers. An answer that was taken "
                "no longer competes.", pl_over_all),
        Mistake("reversed", "This is the probability of the order read backwards, from the last "
                "to the first.", pl_reversed),
        Mistake("ranks", "You read the order as ranks. order[0] is the index of the best answer, "
                "not the rank of answer 0.", pl_ranks_for_order),
        Mistake("no logarithm", "This is the probability itself.", pl_probability),
    ),
    properties=(Property("overflow", "Right for small utilities; those of 1600 overflow.",
                         pl_is_stable),),
    hints=("Put the utilities into the given order first.",
           "Choice k: log of the summed worths of those still there, minus the utility taken.",
           "numpy.logaddexp.accumulate adds up worths from the left; you need it from the right."),
)

EXERCISES = [LOSS, GRADIENT, ELO, PLACKETT_LUCE]
