"""Exercises of lesson 02: cross-entropy with a mask, padding in the mean, drawing one token."""

import numpy as np

from minirlhf import step1_language_model
from minirlhf.course import Choice, Exercise, Mistake, Property, close, finite
from minirlhf.layers import log_softmax

# ---- 02.1 masked_cross_entropy --------------------------------------------------------------


def masked_cross_entropy(logits, targets, mask):
    """logits (B, T, V), targets (B, T) ids, mask (B, T) of 0/1 -> mean surprise, a float."""
    logprobs = log_softmax(logits)  # (B, T, V)
    said = np.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return float(-(said * mask).sum() / mask.sum())


def ce_over_all_tokens(logits, targets, mask):
    return masked_cross_entropy(logits, targets, np.ones(mask.shape))


def ce_masked_but_divided_by_all(logits, targets, mask):
    return masked_cross_entropy(logits, targets, mask) * mask.sum() / mask.size


def ce_shifted_again(logits, targets, mask):
    return masked_cross_entropy(logits[:, :-1], targets[:, 1:], mask[:, 1:])


def ce_on_the_prompt(logits, targets, mask):
    return masked_cross_entropy(logits, targets, 1 - mask)


def ce_summed(logits, targets, mask):
    return masked_cross_entropy(logits, targets, mask) * mask.sum()


def ce_without_minus(logits, targets, mask):
    return -masked_cross_entropy(logits, targets, mask)


def ce_of_logits(logits, targets, mask):
    said = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return float(-(said * mask).sum() / mask.sum())


def ce_of_probabilities(logits, targets, mask):
    probs = np.exp(log_softmax(logits))  # (B, T, V)
    said = np.take_along_axis(probs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return float(-(said * mask).sum() / mask.sum())


def ce_mean_of_texts(logits, targets, mask):
    losses = [
        masked_cross_entropy(logits[[b]], targets[[b]], mask[[b]]) for b in range(len(targets))
    ]
    return float(np.mean(losses))


def ce_in_bits(logits, targets, mask):
    return masked_cross_entropy(logits, targets, mask) / np.log(2)


def ce_cases(rng):
    """Two tokens with probabilities 1/2 and 1/4, then batches with prompts and padding."""
    two = np.log(np.array([[[2.0, 1.0, 1.0], [1.0, 2.0, 1.0]]]))  # (1, 2, 3)
    cases = [(two, np.array([[0, 0]]), np.array([[0.0, 1.0]]))]
    cases.append((two, np.array([[0, 0]]), np.array([[1.0, 1.0]])))
    for B, T, V in ((2, 4, 3), (3, 5, 7), (2, 6, 4)):
        mask = np.zeros((B, T))  # (B, T)
        for row in range(B):  # responses of different lengths, the first of them the longest
            mask[row, 1 + row : T - row] = 1
        cases.append((rng.normal(size=(B, T, V)), rng.integers(0, V, size=(B, T)), mask))
    return cases


def ce_is_stable(function):
    """No overflow at logits of 1600."""
    logits = np.array([[[1600.0, 0.0]]])  # (1, 1, 2)
    losses = [function(logits, np.array([[i]]), np.ones((1, 1))) for i in (0, 1)]
    return finite(losses) and close(losses[0], 0.0) and close(losses[1], 1600.0)


def ce_ignores_what_the_mask_ignores(function):
    """Other logits where the mask is 0: the same loss."""
    logits = np.arange(12.0).reshape(1, 4, 3) % 5  # (1, 4, 3)
    other, mask = logits.copy(), np.array([[0.0, 1.0, 1.0, 0.0]])
    other[:, [0, 3]] = 7.0, 1.0, -3.0
    targets = np.array([[0, 2, 1, 0]])
    return close(function(other, targets, mask), function(logits, targets, mask))


CROSS_ENTROPY = Exercise(
    id="02.1", reference=masked_cross_entropy, package=step1_language_model.cross_entropy,
    task="It takes logits (B, T, V), targets (B, T) and a mask (B, T) of 0 and 1, and gives the "
         "mean surprise, in nats, over the tokens where the mask is 1.",
    example="masked_cross_entropy(np.zeros((1, 1, 2)), np.array([[0]]), np.ones((1, 1))) is "
            "ln 2 = 0.6931.",
    cases=ce_cases,
    mistakes=(
        Mistake("over all tokens", "The mask has no effect: prompt and padding count, too.",
                ce_over_all_tokens),
        Mistake("divided by all", "The right sum, divided by the number of all tokens. How many "
                "tokens were counted?", ce_masked_but_divided_by_all),
        Mistake("off by one", "You move logits and targets against each other. They are aligned "
                "already: entry t of the logits is about entry t of the targets.",
                ce_shifted_again),
        Mistake("on the prompt", "This is the loss of everything except the response. The mask is "
                "1 where a token counts.", ce_on_the_prompt),
        Mistake("sum", "This is the sum over the tokens. A longer answer should not cost more "
                "for its length alone.", ce_summed),
        Mistake("sign", "Every number has the wrong sign. A log-probability is never above 0, a "
                "surprise never below 0.", ce_without_minus),
        Mistake("logits", "These are raw logits. They become log-probabilities only after the "
                "logarithm of a softmax.", ce_of_logits),
        Mistake("probability", "This is a mean of probabilities. Surprise is made of their "
                "logarithms.", ce_of_probabilities),
        Mistake("mean of texts", "You average each text first and the texts afterwards. Here "
                "every token counts the same, so a long answer weighs more.", ce_mean_of_texts),
        Mistake("bits", "These are bits, from the logarithm with base 2. Nats come from the "
                "natural logarithm.", ce_in_bits),
    ),
    properties=(
        Property("overflow", "Right for small logits. With logits of 1600 an exponential "
                 "overflows; the log_softmax of the package is safe.", ce_is_stable),
        Property("masked tokens matter", "Your loss changes when only logits change whose mask "
                 "is 0.", ce_ignores_what_the_mask_ignores),
    ),
    hints=("Three steps: log-probabilities of all tokens, those of the targets, a mean over the "
           "ones that count.",
           "numpy.take_along_axis picks along the last axis. It wants the ids with one more axis: "
           "targets[..., None].",
           "The number of tokens that count is the sum of the mask."),
)
# ---- 02.2 a silent bug ----------------------------------------------------------------------

PADDING_BUG = Choice(
    id="02.2",
    task="Which line of batch_loss, A to E, must change?",
    options={
        "A": "PAD fills the short rows at their end. A token never looks ahead, so PAD at the end "
             "changes no prediction before it.",
        "B": "The alignment is right: entry t of the targets is the token that follows entry t of "
             "the inputs.",
        "C": "These are the log-probabilities of the targets, one for each place, as they should "
             "be.",
        "D": "This marks what counts, EOS included, and leaves PAD out. Look at what is done "
             "with it afterwards.",
        "E": "The product is 0 at PAD, so the sum is right. But .mean() divides by all places, "
             "PAD included; it should divide by the number of places that count.",
    },
    right="E",
    hints=("A mean of two numbers lies between them. Which line takes a mean?",
           "How large is the sum, and by what is it divided, when PAD is added?"),
)


# ---- 02.3 sample_next -----------------------------------------------------------------------


def sample_next(logits, temperature, top_k, u):
    """logits (V,), temperature > 0, top_k, u in [0, 1) -> the id that is drawn, an int."""
    kept = np.argsort(-logits, kind="stable")[:top_k]  # (k,)
    scaled = np.full(len(logits), -np.inf)  # (V,)
    scaled[kept] = logits[kept] / temperature
    cdf = np.exp(scaled - scaled.max()).cumsum()  # (V,)
    return int(np.searchsorted(cdf, u * cdf[-1], side="right"))


def drawn(weights, u, side="right"):
    """weights (V,), not negative -> the id at u, by inverse CDF."""
    cdf = weights.cumsum()  # (V,)
    return int(np.searchsorted(cdf, u * cdf[-1], side=side))


def kept_weights(logits, temperature, top_k):
    """logits (V,) -> their weights (V,) after temperature and top-k; the largest is 1."""
    weights = np.zeros(len(logits))  # (V,)
    kept = np.argsort(-logits, kind="stable")[:top_k]
    weights[kept] = np.exp((logits[kept] - logits.max()) / temperature)
    return weights


def next_temperature_after_softmax(logits, temperature, top_k, u):
    return drawn(kept_weights(logits, 1.0, top_k) / temperature, u)


def next_temperature_upside_down(logits, temperature, top_k, u):
    return drawn(kept_weights(logits, 1 / temperature, top_k), u)


def next_without_top_k(logits, temperature, top_k, u):
    return drawn(kept_weights(logits, temperature, len(logits)), u)


def next_ties_kept(logits, temperature, top_k, u):
    weights = kept_weights(logits, temperature, len(logits))  # (V,)
    return drawn(np.where(logits >= np.sort(logits)[-top_k], weights, 0), u)


def next_ties_dropped(logits, temperature, top_k, u):
    weights = kept_weights(logits, temperature, len(logits))  # (V,)
    strictly = logits > np.append(np.sort(logits)[::-1], -np.inf)[top_k]
    return drawn(np.where(strictly, weights, 0), u)


def next_smallest_k(logits, temperature, top_k, u):
    weights = np.zeros(len(logits))  # (V,)
    kept = np.argsort(logits, kind="stable")[:top_k]
    weights[kept] = np.exp((logits[kept] - logits.max()) / temperature)
    return drawn(weights, u)


def next_place_among_kept(logits, temperature, top_k, u):
    weights = kept_weights(logits, temperature, top_k)  # (V,)
    return drawn(np.sort(weights)[::-1][:top_k], u)


def next_not_rescaled(logits, temperature, top_k, u):
    weights = kept_weights(logits, temperature, top_k)  # (V,)
    total = kept_weights(logits, temperature, len(logits)).sum()
    return int(np.searchsorted(weights.cumsum(), u * total, side="right"))


def next_most_probable(logits, temperature, top_k, u):
    return int(logits.argmax())


def next_left_side(logits, temperature, top_k, u):
    return drawn(kept_weights(logits, temperature, top_k), u, side="left")


def next_cases(rng):
    """One fair coin, ties at the edge of the k, u = 0 where the first token is out; then random."""
    coin, tied = np.zeros(2), np.array([0.0, 1.0, 1.0, 1.0])
    cases = [(coin, 1.0, 2, 0.3), (coin, 1.0, 2, 0.7), (np.array([-1.0, 1.0, 0.0]), 1.0, 2, 0.0)]
    cases += [(tied, 1.0, 2, u) for u in (0.1, 0.4, 0.6, 0.9)]
    for _ in range(24):
        V, k = 6, int(rng.integers(2, 6))
        cases.append((rng.normal(size=V), float(rng.uniform(0.4, 2.5)), k, float(rng.random())))
    # a low and a high temperature along a grid of u
    logits = np.array([0.5, -0.4, 1.1, 0.2, -0.9])
    cases += [(logits, T, 5, u) for T in (0.3, 3.0) for u in (0.06, 0.25, 0.45, 0.65, 0.95)]
    return cases


def next_is_stable(function):
    """No overflow at logits of 1600."""
    logits = np.array([0.0, 1600.0, 1600.0])  # (3,)
    found = [function(logits, 0.5, 3, u) for u in (0.1, 0.9)]
    return close(found, [1, 2])


def next_follows_the_distribution(function):
    """A fine grid of u gives every token its share."""
    logits, V = np.log(np.array([1.0, 2.0, 5.0])), 3
    found = [function(logits, 0.5, V, (n + 0.5) / 300) for n in range(300)]
    return close(np.bincount(found, minlength=V), np.array([10, 40, 250]))


SAMPLE_NEXT = Exercise(
    id="02.3", reference=sample_next,
    task="It takes logits (V,), a temperature, top_k and a random number u from 0 to 1, and gives "
         "the id of the token that is drawn, by inverse CDF.",
    example="sample_next(np.zeros(2), 1.0, 2, 0.7) is 1.",
    cases=next_cases,
    mistakes=(
        Mistake("temperature after softmax", "The temperature has no effect. Divided "
                "probabilities are the same probabilities once they sum to 1 again.",
                next_temperature_after_softmax),
        Mistake("temperature upside down", "Your low temperature is bold and your high one is "
                "careful. Which of the two should make large logits win more often?",
                next_temperature_upside_down),
        Mistake("no top-k", "top_k has no effect: tokens outside the k largest are drawn, too.",
                next_without_top_k),
        Mistake("ties kept", "With equal logits at the edge you keep more than top_k tokens. Keep "
                "exactly top_k: among equals those with the smaller id.", next_ties_kept),
        Mistake("ties dropped", "With equal logits at the edge you keep fewer than top_k tokens. "
                "Keep exactly top_k: among equals those with the smaller id.", next_ties_dropped),
        Mistake("smallest k", "You keep the k least probable tokens. Sorting goes upwards.",
                next_smallest_k),
        Mistake("place, not id", "This is the place among the kept tokens, sorted. The result "
                "should be the token's id.", next_place_among_kept),
        Mistake("not rescaled", "After the cut the probabilities no longer sum to 1, so a large u "
                "falls behind the last token.", next_not_rescaled),
        Mistake("most probable", "You always take the most probable token, so u has no effect.",
                next_most_probable),
        Mistake("probability 0", "For u = 0 you draw a token that was cut away. Take the first "
                "token whose cumulative sum is larger than u, not equal to it.", next_left_side),
    ),
    properties=(
        Property("overflow", "Right for small logits, but not for logits of 1600. Subtract the "
                 "largest logit before the exponential.", next_is_stable),
        Property("shares", "Tried on an even grid of u, the tokens do not get their shares.",
                 next_follows_the_distribution),
    ),
    hints=("First cut: keep the top_k largest logits and give the others the logit minus "
           "infinity, which has the probability 0.",
           "Divide by the temperature before the exponential. Then cumsum gives the CDF, up to "
           "its last entry, the total.",
           "numpy.searchsorted(cdf, value, side=\"right\") is the first place whose entry is "
           "larger than the value."),
)

EXERCISES = [CROSS_ENTROPY, PADDING_BUG, SAMPLE_NEXT]
