"""Exercises of lesson 00: corrections as preferences, and what the reward model likes best."""

from minirlhf.course import Choice, Exercise, Mistake

# ---- 00.1 corrections_to_pairs ---------------------------------------------------------------


def corrections_to_pairs(corrections):
    """list of (question, said, corrected) -> list of (question, better, worse)."""
    pairs = []
    for question, said, corrected in corrections:
        pair = (question, corrected, said)
        if said != corrected and pair not in pairs:
            pairs.append(pair)
    return pairs


def ctp_swapped(corrections):
    return [(question, worse, better)
            for question, better, worse in corrections_to_pairs(corrections)]


def ctp_keeps_unchanged(corrections):
    return list(dict.fromkeys((q, corrected, said) for q, said, corrected in corrections))


def ctp_keeps_repeats(corrections):
    return [(q, corrected, said) for q, said, corrected in corrections if said != corrected]


def ctp_sorted(corrections):
    return sorted(corrections_to_pairs(corrections))


def ctp_no_question(corrections):
    return [(better, worse) for _, better, worse in corrections_to_pairs(corrections)]


def ctp_one_per_question(corrections):
    found = {}
    for question, better, worse in corrections_to_pairs(corrections):
        found.setdefault(question, (question, better, worse))
    return list(found.values())


def ctp_last_of_repeats(corrections):
    backwards = corrections_to_pairs(corrections[::-1])
    return backwards[::-1]


WHO, HOW, LIKE = "Who are you?", "How are you?", "What do you like?"


def ctp_cases(rng):
    """One correction; one that changes nothing; repeats out of order; then random lists."""
    comma = (WHO, "I, a robot.", "I am a robot.")
    fine, unit = (WHO, "I am a robot.", "I am a robot."), (WHO, "unit: robot.", "I am a robot.")
    cases = [([comma],), ([fine],), ([unit, fine, comma, unit, comma],)]
    known = [comma, fine, unit, (HOW, "I happy.", "I am happy."), (HOW, "I am sad.", "I am sad."),
             (HOW, "state: sad.", "I am sad."), (LIKE, "I, tea.", "I like tea."),
             (LIKE, "I likes tea.", "I like tea."), (LIKE, "I like snow.", "I like snow.")]
    for size in (5, 6, 8):
        chosen = [known[i] for i in rng.permutation(len(known))[:size]]
        chosen += [(LIKE, "I like like tea.", "I like tea."), fine, chosen[0], unit]
        cases.append(([*chosen, comma],))
    return cases


PAIRS = Exercise(
    id="00.1", reference=corrections_to_pairs,
    task="It takes a list of (question, said, corrected) and gives a list of (question, better, "
         "worse), in the same order, each once, without those that change nothing.",
    example='corrections_to_pairs([("Who are you?", "I, a robot.", "I am a robot.")]) is '
            '[("Who are you?", "I am a robot.", "I, a robot.")].',
    cases=ctp_cases,
    mistakes=(
        Mistake("swapped", "Better and worse are exchanged. The person typed the correction "
                "because it sounds better than what Rufus said.", ctp_swapped),
        Mistake("unchanged", "A pair with two equal sentences says nothing about which one is "
                "better. Leave out corrections that change nothing.", ctp_keeps_unchanged),
        Mistake("repeats", "The same pair occurs more than once. Keep its first place only.",
                ctp_keeps_repeats),
        Mistake("order", "The right pairs, in another order. Keep the order in which they came, so "
                "that every run gives the same list.", ctp_sorted),
        Mistake("no question", "The question is missing. A sentence is better as an answer to "
                "something.", ctp_no_question),
        Mistake("one each", "Only one pair for each question is left. Different mistakes in "
                "answers to one question are different pairs.", ctp_one_per_question),
        Mistake("last place", "A repeated pair stands at its last place. It should stand where it "
                "came first.", ctp_last_of_repeats),
    ),
    hints=("Start with an empty list and go through the corrections one by one.",
           "Two things can keep a pair out: nothing was changed, or the pair is already in the "
           "list.",
           "The parts of a pair come in the order question, then the sentence of the person, then "
           "that of Rufus."),
)
# ---- 00.2 what the reward model likes best ----------------------------------------------------

FAVOURITE = Choice(
    id="00.2", right="C",
    task="Which of five sentences does the reward model of this run prefer?",
    options={
        "A": "The comma stands where the verb should be. People corrected this very sentence, and "
             "the reward model has learned it.",
        "B": "Natural and true, so it is what we hope for. But did anybody ever tell the reward "
             "model what is true?",
        "C": "It is natural, and nobody told the reward model what is true. Between two natural "
             "sentences the order is luck.",
        "D": "Nearly. It has the right form, so it scores high, too. But one sentence is above it.",
        "E": "People always put this telegram last, and so does the reward model.",
    },
    hints=("The annotators looked at the manner of speaking. What did they not look at?",
           "Three of the five sentences are well formed. Only one of those three is true."),
)

EXERCISES = [PAIRS, FAVOURITE]
