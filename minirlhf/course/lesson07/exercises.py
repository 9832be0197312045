"""Exercises of lesson 07: undo, agreement with oneself, the majority, two teachers of one Rufus."""

import numpy as np

from minirlhf.course import Choice, Exercise, Mistake, Property, close
from minirlhf.teach import agreement, records
from minirlhf.teach.records import LABELS

# ---- 07.1 standing_labels -------------------------------------------------------------------


def standing_labels(kinds, of):
    """kinds, of: one str and one int for each record -> numbers of the labels that count."""
    undone = [of[n] for n, kind in enumerate(kinds) if kind == "undo"]
    return [n for n, kind in enumerate(kinds) if kind in LABELS and n not in undone]


def labels_without_undo(kinds, of):
    return [n for n, kind in enumerate(kinds) if kind in LABELS]


def labels_by_place(kinds, of):
    standing = []
    for n, kind in enumerate(kinds):
        if kind in LABELS:
            standing.append(n)
        if kind == "undo" and standing:
            standing.pop()
    return standing


def labels_of_whole_rounds(kinds, of):
    undone = [of[of[n]] for n, kind in enumerate(kinds) if kind == "undo"]
    return [n for n, kind in enumerate(kinds) if kind in LABELS and of[n] not in undone]


def labels_with_rounds(kinds, of):
    undone = [of[n] for n, kind in enumerate(kinds) if kind == "undo"]
    return [n for n, kind in enumerate(kinds) if kind != "undo" and n not in undone]


def labels_counted_alone(kinds, of):
    numbers = [n for n, kind in enumerate(kinds) if kind in LABELS]
    return [numbers.index(n) for n in standing_labels(kinds, of)]


def labels_by_round_number(kinds, of):
    return [of[n] for n in standing_labels(kinds, of)]


def record_cases(rng):
    """One label, one that is taken back, an older one taken back, then random sessions."""
    cases = [
        (["session", "round", "rank"], [-1, -1, 1]),
        (["session", "round", "rank", "best", "undo"], [-1, -1, 1, 1, 3]),
        (["session", "round", "rank", "correction", "undo", "learn"], [-1, -1, 1, 1, 2, -1]),
        (["session", "round", "skip", "undo", "unnatural", "learn", "round", "best", "undo"],
         [-1, -1, 1, 2, 1, -1, -1, 6, 4]),
    ]
    for rounds in (3, 5):
        kinds, of, standing = ["session"], [-1], []
        for _ in range(rounds):
            place = len(kinds)
            kinds, of = kinds + ["round"], of + [-1]
            for kind in rng.choice(LABELS[:-1], size=rng.integers(2, 4), replace=False):
                standing.append(len(kinds))
                kinds, of = kinds + [str(kind)], of + [place]
            if rng.random() < 0.6:
                taken = standing.pop(int(rng.integers(len(standing))))
                kinds, of = kinds + ["undo"], of + [taken]
            kinds, of = kinds + ["learn"], of + [-1]
        cases.append((kinds, of))
    return cases


def undo_of_the_only_label(function):
    """Said and taken back: nothing is left."""
    return list(function(["session", "round", "best", "undo"], [-1, -1, 1, 2])) == []


STANDING = Exercise(
    id="07.1", reference=standing_labels, package=records.without_undone,
    task="It takes the kind of each record and its field `of`, two lists of the same length, and "
         "gives the numbers of the labels that count, in order. Records are numbered from 0.",
    example='standing_labels(["session", "round", "rank", "best", "undo"], [-1, -1, 1, 1, 3]) is '
            "[2].",
    cases=record_cases,
    mistakes=(
        Mistake("undo ignored", "These are all the labels. One or more of them were taken back.",
                labels_without_undo),
        Mistake("by place", "You take away the label that stands last before the undo. An undo "
                "says in `of` which label it means.", labels_by_place),
        Mistake("whole round", "One undo takes away every label of a round. It should take one "
                "label.", labels_of_whole_rounds),
        Mistake("not labels", "Rounds, learnings or the first record are among your numbers. Only "
                "the kinds in LABELS are labels.", labels_with_rounds),
        Mistake("counted alone", "You number the labels by themselves. A label keeps the number "
                "of its record.", labels_counted_alone),
        Mistake("rounds", "These are the rounds that the labels belong to. The numbers of the "
                "labels are wanted.", labels_by_round_number),
    ),
    properties=(
        Property("nothing left", "With one label and its undo, nothing should be left.",
                 undo_of_the_only_label),
    ),
    hints=("First collect what is taken back. Then go through the records once more.",
           "A record of kind `undo` names a number in `of`. Collect these numbers in a list.",
           "A label counts if its kind is in LABELS and its number is not in that list. "
           "enumerate gives number and kind together."),
)
# ---- 07.2 self_consistency ------------------------------------------------------------------


def self_consistency(before, after):
    """before, after (P,): signs 1, -1 or 0 of the same pairs -> share of agreement, 0 to 1."""
    return float(np.mean(1 - np.abs(before - after) / 2))


def consistency_of_equals(before, after):
    return float(np.mean(before == after))


def consistency_as_product(before, after):
    return float(np.mean(before * after))


def consistency_without_ties(before, after):
    ordered = (before != 0) & (after != 0)
    return float(np.mean(before[ordered] == after[ordered]))


def consistency_from_minus_one(before, after):
    return float(np.mean(1 - np.abs(before - after)))


def consistency_as_change(before, after):
    return float(np.mean(np.abs(before - after) / 2))


def consistency_as_sum(before, after):
    return float(np.sum(1 - np.abs(before - after) / 2))


def sign_cases(rng):
    """Two pairs, three with a tie, then random signs with ties."""
    cases = [(np.array([1, -1]), np.array([1, 1])), (np.array([1, 1, 0]), np.array([1, -1, 1]))]
    for pairs in (6, 12, 24):
        before = rng.integers(-1, 2, size=pairs)  # (P,)
        after = np.where(rng.random(pairs) < 0.5, before, rng.integers(-1, 2, size=pairs))
        before[:3], after[:3] = (1, 0, 1), (1, 1, -1)  # each of the three kinds once
        cases.append((before, after))
    return cases


def consistency_is_fair(function):
    """Which time came first must not matter, nor which answer of a pair."""
    before, after = np.array([1, -1, 0, 1]), np.array([1, 1, 1, 0])
    return close(function(before, after), function(after, before)) and close(
        function(before, after), function(-before, -after)
    )


CONSISTENCY = Exercise(
    id="07.2", reference=self_consistency, package=agreement.self_consistency,
    task="It takes the signs of the same pairs at two times, (P,) each: 1 the first is better, -1 "
         "the second, 0 a tie. It gives a float: the same counts 1, a tie against an order one "
         "half, the opposite 0, and then the mean.",
    example="self_consistency(np.array([1, 1, 0]), np.array([1, -1, 1])) is 0.5.",
    cases=sign_cases,
    mistakes=(
        Mistake("ties", "A tie at one time and an order at the other is not a contradiction. It "
                "should count one half.", consistency_of_equals),
        Mistake("product", "This runs from -1 to 1, and a pair that is a tie both times counts "
                "0. Two ties are the same.", consistency_as_product),
        Mistake("ordered only", "You leave out the pairs with a tie. They count too: two ties 1, "
                "one tie one half.", consistency_without_ties),
        Mistake("too strict", "An opposite pair counts -1 here, a tie against an order 0. The "
                "worst should be 0.", consistency_from_minus_one),
        Mistake("change", "This is the share that has changed. How much is the same?",
                consistency_as_change),
        Mistake("sum", "This is a sum. Take the mean over the pairs.", consistency_as_sum),
    ),
    properties=(
        Property("fair", "It should not matter which time comes first, nor which answer of a pair "
                 "is named first.", consistency_is_fair),
    ),
    hints=("What is the distance between two signs? There are three possible values.",
           "The distance is 0, 1 or 2. You want 1, one half, 0.",
           "numpy.abs of the difference, halved, taken from 1, and then the mean of all pairs."),
)


# ---- 07.3 majority_vote ---------------------------------------------------------------------


def majority_vote(votes, weights):
    """votes (A, P): signs by A annotators, weights (A,) -> signs (P,), 0 where they balance."""
    return np.sign(weights @ votes)


def vote_unweighted(votes, weights):
    return np.sign(votes.sum(axis=0))


def vote_without_ties(votes, weights):
    return np.where(weights @ votes >= 0, 1, -1)


def vote_as_mean(votes, weights):
    return weights @ votes / weights.sum()


def vote_of_the_heaviest(votes, weights):
    return votes[weights.argmax()]


def vote_absolute(votes, weights):
    total = weights @ votes  # (P,)
    return np.where(np.abs(total) > weights.sum() / 2, np.sign(total), 0)


def vote_for_the_second(votes, weights):
    return -majority_vote(votes, weights)


def vote_cases(rng):
    """Two annotators, three with a tie, then random ones, the last ones with fractions."""
    cases = [
        (np.array([[1, -1], [-1, -1]]), np.array([2, 1])),
        (np.array([[1, 1, -1, 1], [-1, 1, 0, -1], [0, -1, -1, -1]]), np.array([2, 1, 1])),
    ]
    for A, P in ((3, 6), (5, 12)):
        votes = rng.integers(-1, 2, size=(A, P))  # (A, P)
        votes[:, 0], votes[:, 1] = 0, np.where(np.arange(A) == 0, 1, -1)
        cases.append((votes, rng.integers(1, 4, size=A)))
    heavy = np.array([3.7, 1.3, 0.9, 0.4])  # (A,)  the first one outvotes all others
    light = np.array([1.1, 1.3, 0.9, 0.6])  # (A,)
    votes = rng.integers(-1, 2, size=(4, 10))  # (A, P)
    votes[:, 0] = (-1, 1, 1, 1)
    return [*cases, (votes, heavy), (votes, light)]


def twice_the_weight_is_two_votes(function):
    """An annotator of weight 2 counts as much as two who always agree."""
    votes = np.array([[1, 1, -1], [-1, 1, 1], [-1, -1, 1]])
    doubled = votes[[0, 0, 1, 2]]
    return close(function(votes, np.array([2, 1, 1])), function(doubled, np.ones(4)))


MAJORITY = Exercise(
    id="07.3", reference=majority_vote, axes=("P",),
    task="It takes votes (A, P), the signs that A annotators gave to P pairs, and a weight for "
         "each annotator (A,). It gives the sign of the weighted sum for each pair (P,).",
    example="majority_vote(np.array([[1, -1], [-1, -1]]), np.array([2, 1])) is [1, -1].",
    cases=vote_cases,
    mistakes=(
        Mistake("unweighted", "Everybody counts the same here. A vote counts as much as its "
                "annotator's weight.", vote_unweighted),
        Mistake("no tie", "Where the votes balance, you decide for one side. That should be 0: "
                "nothing is known.", vote_without_ties),
        Mistake("mean", "This is the weighted mean. Its sign is wanted.", vote_as_mean),
        Mistake("heaviest", "Only the annotator of the largest weight decides. The others "
                "together may outvote this one.", vote_of_the_heaviest),
        Mistake("absolute", "You ask for more than half of all weight. A tie is no vote: the "
                "larger side wins, however many abstain.", vote_absolute),
        Mistake("reversed", "Every decision is reversed: 1 says that the first is better.",
                vote_for_the_second),
    ),
    properties=(
        Property("two votes", "An annotator of weight 2 should count as two who agree.",
                 twice_the_weight_is_two_votes),
    ),
    hints=("For one pair: multiply each vote by its weight, add up, and look at the sign.",
           "weights (A,) times votes (A, P), summed over A: that is a matrix product.",
           "numpy.sign gives 1, -1 or 0."),
)


# ---- 07.4 a prediction ----------------------------------------------------------------------


TWO_TEACHERS = Choice(
    id="07.4",
    task="One person wants a greeting first, another the bare answer. They teach one Rufus in "
         "turn. What will he say?",
    options={
        "A": "The middle would be a greeting and a bare answer. Nobody ever said that to him, so "
             "he has no example of it.",
        "B": "He has heard two manners, and nothing tells him whose turn it is. So he says now the "
             "one, now the other.",
        "C": "The plain sentence is what both wanted to change. Their labels push him away from "
             "it.",
    },
    right="B",
    hints=("Look at the corrections. Which sentences has he heard?",
           "A language model that has heard two kinds of answers to one kind of question gives "
           "probability to both."),
)


EXERCISES = [STANDING, CONSISTENCY, MAJORITY, TWO_TEACHERS]
