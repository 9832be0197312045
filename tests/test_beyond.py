"""Beyond PPO: the losses by hand and by finite differences, then the exact optimum against brute
force in a world of three characters, then small trainings."""

import functools
import itertools
import math

import numpy as np
import pytest
from helpers.checks_beyond import (
    BEYOND,
    CHECKS,
    LOGPROBS,
    OLD,
    REF,
    RESPONSE_ADVANTAGES,
    WEIGHTS,
    grpo_batch,
)
from helpers.checks_model import model_errors
from helpers.gradients import TOLERANCE, wrong
from helpers.models import (
    ADVANTAGE,
    MASK,
    RATIO,
    params_bytes,
    random_params,
)
from helpers.ppo import trained_reward_model

from minirlhf.beyond import best_of_n as bon
from minirlhf.beyond import optimum
from minirlhf.beyond.best_of_n import (
    RejectionSettings,
    best_of_n,
    best_of_n_distribution,
    best_of_n_kl,
    best_of_n_kl_bound,
    best_of_n_value,
    train_rejection_sampling,
)
from minirlhf.beyond.dpo import (
    DPOSettings,
    dpo_loss,
    ipo_loss,
    make_pairs,
    pairs_from_rankings,
    response_logprobs,
    train_dpo,
)
from minirlhf.beyond.optimum import (
    best_reward_at,
    enumerate_texts,
    explore,
    log_z_from_samples,
    mean_outcome,
    measure_policy,
    optimal_policy,
    regret,
    reward_ceiling_at,
    score_bounds,
    with_sampled_rest,
)
from minirlhf.beyond.policy_gradient import (
    PolicyGradientSettings,
    grpo_advantages,
    grpo_loss,
    k3_loss,
    reinforce_loss,
    response_advantages,
    rloo_advantages,
    rollout_of_groups,
    token_weights,
    train_policy_gradient,
)
from minirlhf.data import Ranking, make_batch
from minirlhf.gpt import GPTConfig, gpt_forward, init_params, lm_head_forward, scalar_head_forward
from minirlhf.gradcheck import numerical_gradient
from minirlhf.layers import log_softmax, softmax
from minirlhf.sample import sample
from minirlhf.step1_language_model import LanguageModelSettings
from minirlhf.step2_reward_model import normalise_scores, score_rows, sigmoid_of_minus
from minirlhf.step3_ppo import (
    PPOModels,
    PPOSettings,
    ppo_policy_loss,
    score_samples,
    train_ppo,
)
from minirlhf.tokenizer import BOS, EOS, build_tokenizer

# ---- golden numbers: formulas.md, section 3, and the two-token walk --------------------------


def one(*numbers):
    return [np.array([float(number)]) for number in numbers]


def test_dpo_and_ipo_by_hand():
    """log pi -4.0 (ref -4.5) against -6.0 (ref -5.8): margin .5 - (-.2) = .7."""
    loss, dchosen, drejected, stats = dpo_loss(*one(-4.0, -6.0, -4.5, -5.8), 0.1)
    assert loss == pytest.approx(0.6588, abs=5e-5)
    assert dchosen[0] == pytest.approx(-0.04825, abs=5e-6) and drejected[0] == -dchosen[0]
    assert stats == pytest.approx((1.0, 0.7, 0.5, -0.2))
    loss, dchosen, drejected, _ = ipo_loss(*one(-4.0, -6.0, -4.5, -5.8), 0.1)
    assert loss == pytest.approx((0.7 - 5) ** 2) and loss == pytest.approx(18.49)
    assert dchosen[0] == pytest.approx(-8.6) and drejected[0] == pytest.approx(8.6)


def test_dpo_starts_at_log_2_and_does_not_overflow():
    loss, dchosen, _, stats = dpo_loss(*one(-3, -5, -3, -5), 0.3)
    assert loss == pytest.approx(math.log(2)) and dchosen[0] == pytest.approx(-0.15)
    assert stats.accuracy == 0.5  # a tie
    for sign in (1, -1):
        loss, dchosen, *_ = dpo_loss(*one(sign * 1e4, 0, 0, 0), 1.0)
        assert loss == pytest.approx(0 if sign > 0 else 1e4) and np.isfinite(dchosen).all()


def test_a_larger_beta_pushes_a_learned_pair_less():
    """The pull on a pair whose margin is 2 already, per unit of beta: 1 - sigmoid(beta * 2)."""
    pulls = [-dpo_loss(*one(2, 0, 0, 0), beta)[1][0] / beta for beta in (0.1, 0.5, 2.0)]
    assert pulls == sorted(pulls, reverse=True)


def test_group_advantages_by_hand():
    scores = np.array([[1.0, 0, 0, -1]])
    np.testing.assert_allclose(rloo_advantages(scores), [[4 / 3, 0, 0, -4 / 3]])
    np.testing.assert_allclose(grpo_advantages(scores), [[1.2247, 0, 0, -1.2247]], atol=2e-4)
    group = np.array([[1.0, -1, -1, -1]])  # stop 13 of the walk
    np.testing.assert_allclose(rloo_advantages(group), [[2, -2 / 3, -2 / 3, -2 / 3]])
    wanted = [[3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]]
    np.testing.assert_allclose(grpo_advantages(group, ddof=0), wanted, atol=3e-4)
    np.testing.assert_allclose(grpo_advantages(group, False), [[1.5, -0.5, -0.5, -0.5]])


def test_a_group_that_agrees_teaches_nothing_and_one_answer_is_no_group():
    assert (grpo_advantages(np.full((2, 4), 0.3)) == 0).all()
    np.testing.assert_allclose(rloo_advantages(np.full((2, 4), 0.3)), 0, atol=1e-15)
    with pytest.raises(ValueError, match="groups of 1"):
        rloo_advantages(np.zeros((3, 1)))
    # a disagreement of a thousandth is blown up to full size by the deviation, and not without
    scores = np.array([[0.3, 0.302, 0.3, 0.302]])
    assert np.abs(grpo_advantages(scores)).max() > 0.7
    assert np.abs(grpo_advantages(scores, False)).max() < 2e-3


@pytest.mark.parametrize(
    "beta, wanted",
    [(2 / math.log(3), [1 / 2, 1 / 2]), (1 / math.log(3), [3 / 4, 1 / 4]),
     (0.5 / math.log(3), [27 / 28, 1 / 28])],
)
def test_where_two_token_rufus_should_stop(beta, wanted):
    """Stop 11 of the walk, and every identity of formulas.md, item 25."""
    ref, scores = np.log([0.25, 0.75]), np.array([1.0, -1.0])
    logprobs, log_z = optimal_policy(ref, scores, beta)
    np.testing.assert_allclose(np.exp(logprobs), wanted, rtol=1e-12)
    best = np.exp(logprobs) @ (scores - beta * (logprobs - ref))
    assert best == pytest.approx(beta * log_z, abs=1e-14)
    for p in (0.1, 0.25, 0.6, 0.9):
        pi = np.array([p, 1 - p])
        value = pi @ (scores - beta * (np.log(pi) - ref))
        kl = pi @ (np.log(pi) - logprobs)
        assert best - value == pytest.approx(beta * kl, abs=1e-14)
    # DPO's implicit reward, beta * log(pi* / ref), is the score but for one constant
    np.testing.assert_allclose(np.ptp(beta * (logprobs - ref) - scores), 0, atol=1e-14)


# ---- losses against naive versions and finite differences ------------------------------------


@pytest.mark.parametrize("errors", CHECKS)
def test_agrees_with_its_naive_version(errors):
    assert not wrong(errors())


def test_the_ratios_of_grpo_are_far_from_the_kink_and_on_both_sides_of_it():
    ratios = RATIO[MASK > 0]
    assert np.abs(np.abs(ratios - 1) - 0.2).min() > 0.09
    _, dlogprobs, stats = grpo_loss(LOGPROBS, grpo_batch(OLD, REF), WEIGHTS, 0.2, 0.0)
    assert stats.clip_fraction == pytest.approx(2 / 6)  # 1.5 with A > 0, .7 with A < 0
    assert ((dlogprobs == 0) & (MASK > 0)).sum() == 2


# ---- the whole model through each objective --------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", BEYOND)
def test_gradient_of_every_weight_agrees_with_finite_differences(name):
    failing = wrong(model_errors(BEYOND[name]))
    assert not failing, f"{name}: wrong gradient in {failing}"


def test_on_policy_grpo_is_the_plain_policy_gradient():
    """Ratio 1, no KL, tokens counted alike: REINFORCE's gradient, but for the length limit."""
    weights = token_weights(MASK, False, 9)
    _, dgrpo, stats = grpo_loss(LOGPROBS, grpo_batch(LOGPROBS, REF), weights, 0.2, 0)
    _, dreinforce = reinforce_loss(LOGPROBS, RESPONSE_ADVANTAGES, MASK)
    np.testing.assert_allclose(dgrpo * 9, dreinforce, rtol=1e-12)
    assert stats.clip_fraction == 0


def test_grpo_with_the_mean_over_tokens_is_ppos_loss():
    weights = MASK / MASK.sum()
    per_token = np.where(ADVANTAGE > 0, 1, 1) * RESPONSE_ADVANTAGES[:, None]
    loss, dlogprobs, _ = grpo_loss(LOGPROBS, grpo_batch(OLD, REF), weights, 0.2, 0)
    wanted, dwanted, _ = ppo_policy_loss(LOGPROBS, OLD, per_token, MASK, 0.2)
    assert loss == pytest.approx(wanted)
    np.testing.assert_allclose(dlogprobs, dwanted)


# ---- what the gradients are, in expectation --------------------------------------------------

THREE = np.array([0.4, -0.7, 1.1])  # logits of a policy with three answers of one token
THREE_REF = np.log([0.5, 0.3, 0.2])
THREE_SCORES = np.array([0.3, 2.0, -1.0])


def gradient_of(f, logits=THREE):
    """Numerical gradient of f(log-probs (3,)) with respect to the logits."""
    x = logits.copy()
    return numerical_gradient(lambda: f(log_softmax(x)), x)


def expected_gradient(dlogprob_of_draw, draws):
    """Sum over all draws (tuples of answers), each weighted by its probability."""
    p, total = softmax(THREE), np.zeros(3)
    for draw in draws:
        for answer, g in zip(draw, dlogprob_of_draw(draw)):
            total += np.prod(p[list(draw)]) * g * (np.eye(3)[answer] - p)
    return total


def test_rloo_is_unbiased_and_grpo_is_not():
    """All 27 groups of three answers, each weighted by its probability."""
    draws = list(itertools.product(range(3), repeat=3))
    true = -gradient_of(lambda logprobs: np.exp(logprobs) @ THREE_SCORES)

    def loss_gradient(advantages_of):
        def of_draw(draw):
            advantages = advantages_of(THREE_SCORES[list(draw)][None])[0]
            return reinforce_loss(np.zeros((3, 1)), advantages, np.ones((3, 1)))[1][:, 0]

        return expected_gradient(of_draw, draws)

    np.testing.assert_allclose(loss_gradient(rloo_advantages), true, atol=1e-9)
    # the group's own mean contains the answer itself: (K - 1) / K of the gradient, same direction
    dr_grpo = loss_gradient(functools.partial(grpo_advantages, divide_by_std=False))
    np.testing.assert_allclose(dr_grpo, true * 2 / 3, atol=1e-9)
    grpo = loss_gradient(grpo_advantages)
    cosine = grpo @ true / np.linalg.norm(grpo) / np.linalg.norm(true)
    assert 0.5 < cosine < 0.999  # dividing by the deviation changes the direction


def test_the_gradient_of_k3_on_own_samples_is_that_of_the_other_kl():
    """formulas.md, item 8: KL(ref || pi), not KL(pi || ref)."""

    def of_draw(draw):
        logprobs, ref = log_softmax(THREE)[list(draw)], THREE_REF[list(draw)]
        return k3_loss(logprobs[None], ref[None], np.ones((1, 1)))[1][0]

    got = expected_gradient(of_draw, [(i,) for i in range(3)])
    other = gradient_of(lambda logprobs: np.exp(THREE_REF) @ (THREE_REF - logprobs))
    forward = gradient_of(lambda logprobs: np.exp(logprobs) @ (logprobs - THREE_REF))
    np.testing.assert_allclose(got, other, atol=1e-9)
    assert np.abs(got - forward).max() > 0.05


def dpo_gradient_at(logprobs, win_probability, loss, beta):
    """Expected gradient of a pair loss over pairs of reference answers and their labels -> (3,)."""
    p_ref, gradient = np.exp(THREE_REF), np.zeros(3)
    for a, b in itertools.permutations(range(3), 2):
        arguments = (logprobs[[a]], logprobs[[b]], THREE_REF[[a]], THREE_REF[[b]], beta)
        _, dchosen, drejected, _ = loss(*arguments)
        weight = p_ref[a] * p_ref[b] * win_probability(a, b)
        gradient[a] += weight * dchosen[0]
        gradient[b] += weight * drejected[0]
    return gradient - np.exp(logprobs) * gradient.sum()


def test_dpo_on_drawn_labels_stops_at_the_optimum_of_the_reward_model():
    drawn = lambda a, b: sigmoid_of_minus(THREE_SCORES[b] - THREE_SCORES[a])  # noqa: E731
    always = lambda a, b: float(THREE_SCORES[a] > THREE_SCORES[b])  # noqa: E731
    best, _ = optimal_policy(THREE_REF, THREE_SCORES, 0.5)
    assert np.abs(dpo_gradient_at(best, drawn, dpo_loss, 0.5)).max() < 1e-15
    assert np.abs(dpo_gradient_at(best, always, dpo_loss, 0.5)).max() > 1e-3
    assert np.abs(dpo_gradient_at(best, drawn, ipo_loss, 0.5)).max() > 1e-3  # another optimum


# ---- best of n ------------------------------------------------------------------------------


def test_the_kl_of_best_of_n_is_below_its_bound_and_reaches_it_only_in_the_limit():
    """formulas.md, item 19: 0, .193, .636, 1.204 for n = 1, 2, 4, 8."""
    bounds = [best_of_n_kl_bound(n) for n in (1, 2, 4, 8)]
    np.testing.assert_allclose(bounds, [0, 0.1931, 0.6363, 1.2044], atol=5e-5)
    few, many = np.full(6, 1 / 6), np.full(4000, 1 / 4000)
    for n in (2, 4, 16):
        few_kl = best_of_n_kl(few, np.arange(6.0), n)
        tied_kl = best_of_n_kl(few, np.array([0, 0, 1, 1, 2, 2.0]), n)
        many_kl = best_of_n_kl(many, np.arange(4000.0), n)
        assert tied_kl < few_kl < many_kl < best_of_n_kl_bound(n)
        assert many_kl == pytest.approx(best_of_n_kl_bound(n), abs=0.01)
    assert best_of_n_kl(few, np.zeros(6), 8) == pytest.approx(0, abs=1e-15)


def test_the_value_of_best_of_n_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    probs, scores = softmax(rng.normal(size=9)), rng.normal(size=9)
    exact = best_of_n_distribution(probs, scores, 4) @ scores
    values = [best_of_n_value(scores[rng.choice(9, 12, p=probs)], 4) for _ in range(4000)]
    assert abs(np.mean(values) - exact) < 4 * np.std(values) / 4000**0.5
    assert best_of_n_value(scores, 1) == pytest.approx(scores.mean())
    assert best_of_n_value(scores, 9) == pytest.approx(scores.max())
    for n in (0, 10):
        with pytest.raises(ValueError, match=f"n is {n}"):
            best_of_n_value(scores, n)


# ---- a world of three characters, where everything can be written down -----------------------

LIMIT, PROMPT, BETA = 3, [BOS, 3], 0.7
SMALL = GPTConfig(vocab_size=6, block_size=6, n_layer=1, n_head=2, n_embd=8)


@functools.cache
def small_models():
    """Random models: a policy unlike the reference, and a reward model with opinions."""
    reward_model = random_params(SMALL, 2, scalar_head=True)
    return PPOModels(
        random_params(SMALL, 0), random_params(SMALL, 1), reward_model, reward_model, SMALL, SMALL
    )


@functools.cache
def all_texts():
    """Every answer of at most LIMIT tokens, by brute force -> rows, finished (M,)."""
    rows, finished = [], []
    for length in range(1, LIMIT + 1):
        for body in itertools.product([i for i in range(6) if i != EOS], repeat=length - 1):
            last_ones = range(6) if length == LIMIT else [EOS]
            for last in last_ones:
                rows.append([*PROMPT, *body, last])
                finished.append(last == EOS)
    return rows, np.array(finished)


def brute_logprobs(params):
    """(M,) log pi of every answer, one forward pass each, summed token by token."""
    sums = []
    for row in all_texts()[0]:
        logits, _ = lm_head_forward(params, gpt_forward(params, SMALL, np.array([row]))[0])
        logprobs = log_softmax(logits)[0]
        sums.append(sum(logprobs[t, row[t + 1]] for t in range(1, len(row) - 1)))
    return np.array(sums)


@functools.cache
def brute():
    """-> logprobs of the policy, of the reference, scores: all (M,)."""
    models = small_models()
    rows, finished = all_texts()
    scores = score_rows(models.reward_model, SMALL, rows)
    return (
        brute_logprobs(models.policy),
        brute_logprobs(models.ref_policy),
        np.where(finished, scores, -1.0),
    )


def test_brute_force_knows_every_answer():
    policy, ref, _ = brute()
    assert np.exp(policy).sum() == pytest.approx(1) and np.exp(ref).sum() == pytest.approx(1)


def test_the_search_finds_every_answer_with_its_probability():
    texts = enumerate_texts(small_models().policy, SMALL, PROMPT, LIMIT, 0)
    found = {tuple(e.ids): lp for e, lp in zip(texts.examples, texts.logprobs)}
    rows, finished = all_texts()
    assert len(found) == len(texts.examples) == len(rows) and texts.uncovered == 0
    np.testing.assert_allclose([found[tuple(row)] for row in rows], brute()[0], atol=1e-12)
    ended = {tuple(e.ids): f for e, f in zip(texts.examples, texts.finished)}
    assert [ended[tuple(row)] for row in rows] == finished.tolist()
    assert (np.diff(texts.logprobs) <= 0).all()  # best first


@pytest.mark.parametrize("smallest", [1e-1, 1e-2, 1e-3, 1e-4])
def test_the_search_keeps_exactly_what_is_likely_enough(smallest):
    texts = enumerate_texts(small_models().policy, SMALL, PROMPT, LIMIT, smallest)
    likely = brute()[0] >= math.log(smallest)
    assert len(texts.examples) == likely.sum()
    assert texts.uncovered == pytest.approx(1 - np.exp(brute()[0][likely]).sum(), abs=1e-12)


def test_the_search_in_small_chunks_finds_the_same(monkeypatch):
    wanted = enumerate_texts(small_models().policy, SMALL, PROMPT, LIMIT, 1e-4)
    monkeypatch.setattr(optimum, "CHUNK", 2)
    got = enumerate_texts(small_models().policy, SMALL, PROMPT, LIMIT, 1e-4)
    np.testing.assert_allclose(got.logprobs, wanted.logprobs, atol=1e-12)
    assert {tuple(e.ids) for e in got.examples} == {tuple(e.ids) for e in wanted.examples}


def test_the_search_goes_deeper_until_little_is_left():
    models = small_models()
    texts = optimum.cover(models.policy, SMALL, PROMPT, LIMIT, 0.02)
    assert texts.uncovered <= 0.02 < optimum.cover(models.policy, SMALL, PROMPT, LIMIT, 1).uncovered
    shallow = optimum.cover(models.policy, SMALL, PROMPT, LIMIT, 0, smallest=1e-4)
    assert shallow.smallest == 1e-4 and shallow.uncovered > 0
    with pytest.raises(ValueError, match="block_size"):
        enumerate_texts(models.policy, SMALL, PROMPT, 5, 0.1)


def test_the_optimum_is_the_brute_force_optimum():
    (world,) = explore(small_models(), [PROMPT], LIMIT, -1.0, 0, smallest=1e-12)
    assert world.texts.uncovered < 1e-9
    policy, ref, scores = brute()
    best, log_z = optimal_policy(ref, scores, BETA)
    found = optimum.optimum([world], BETA)
    assert found.log_z == pytest.approx(log_z, abs=1e-8)
    assert found.reward == pytest.approx(np.exp(best) @ scores, abs=1e-8)
    assert found.kl == pytest.approx(np.exp(best) @ (best - ref), abs=1e-8)
    assert BETA * found.log_z == pytest.approx(found.reward - BETA * found.kl, abs=1e-8)  # J*

    outcome = measure_policy(small_models(), PROMPT, LIMIT, -1.0, 1e-15, 0, None)
    assert outcome.reward == pytest.approx(np.exp(policy) @ scores, abs=1e-9)
    assert outcome.kl == pytest.approx(np.exp(policy) @ (policy - ref), abs=1e-9)
    distance = np.exp(policy) @ (policy - best)  # KL(pi || pi*), by its definition
    assert regret(outcome, found)[0] == pytest.approx(distance, abs=1e-8) and distance > 0.1


@pytest.mark.parametrize("beta", [2.0, 0.7, 0.2])
def test_log_z_lies_between_its_bounds_however_shallow_the_search(beta):
    _, ref, scores = brute()
    _, exact = optimal_policy(ref, scores, beta)
    widths = []
    for smallest in (0.2, 1e-2, 1e-3, 1e-4):
        worlds = explore(small_models(), [PROMPT], LIMIT, -1.0, 0, smallest=smallest)
        found = optimum.optimum(worlds, beta)
        assert found.log_z <= exact + 1e-12 and exact <= found.log_z_high + 1e-12
        assert found.log_z <= found.log_z_seen <= found.log_z_high
        widths.append(found.log_z_high - found.log_z)
    assert widths == sorted(widths, reverse=True)


def test_no_text_scores_outside_the_proven_bounds_and_they_are_sharp():
    model = small_models().reward_model
    low, high = score_bounds(model)
    rows, _ = all_texts()
    scores = score_rows(model, SMALL, rows)
    assert low < scores.min() and scores.max() < high
    # a hidden state that points along the head nearly reaches them
    v = model.lnf_g * model.head_w
    xhat = (v - v.mean()) / np.linalg.norm(v - v.mean()) * len(v) ** 0.5
    hidden = (xhat * model.lnf_g + model.lnf_b)[None, None]
    assert scalar_head_forward(model, hidden)[0] == pytest.approx(high, rel=1e-12)
    hidden = (-xhat * model.lnf_g + model.lnf_b)[None, None]
    assert scalar_head_forward(model, hidden)[0] == pytest.approx(low, rel=1e-12)


def test_the_sampled_rest_agrees_with_brute_force():
    policy, ref, scores = brute()
    outcomes = [
        measure_policy(small_models(), PROMPT, LIMIT, -1.0, 0.02, 3000, np.random.default_rng(seed))
        for seed in range(3)
    ]
    for outcome in outcomes:
        assert 0.1 < outcome.uncovered < 0.6 and outcome.reward_error > 0
        assert abs(outcome.reward - np.exp(policy) @ scores) < 4 * outcome.reward_error
        assert abs(outcome.kl - np.exp(policy) @ (policy - ref)) < 4 * outcome.kl_error
    mean = mean_outcome(outcomes)
    assert mean.reward == pytest.approx(np.mean([o.reward for o in outcomes]))
    assert mean.reward_error == pytest.approx(
        math.sqrt(sum(o.reward_error**2 for o in outcomes)) / 3
    )


def test_the_references_whole_distribution_keeps_its_mean_score():
    (world,) = explore(small_models(), [PROMPT], LIMIT, -1.0, 0, smallest=0.02)
    probs, scores = with_sampled_rest(
        small_models(), world, LIMIT, -1.0, 4000, np.random.default_rng(0)
    )
    assert probs.sum() == pytest.approx(1) and len(probs) > len(world.scores)
    _, ref, all_scores = brute()
    assert probs @ scores == pytest.approx(np.exp(ref) @ all_scores, abs=0.03)


def test_the_frontier_is_reached_by_pi_star_and_passed_by_nobody():
    worlds = explore(small_models(), [PROMPT], LIMIT, -1.0, 0, smallest=1e-10)
    policy, ref, scores = brute()
    for beta in (0.3, 1.0, 3.0):
        found = optimum.optimum(worlds, beta)
        reward, at = best_reward_at(worlds, found.kl)
        assert reward == pytest.approx(found.reward, abs=1e-6)
        assert at == pytest.approx(beta, rel=1e-3)
    optima = [optimum.optimum(worlds, beta) for beta in np.geomspace(0.05, 20, 60)]
    rng = np.random.default_rng(0)
    for size in (0.3, 1, 3):
        logits = ref + rng.normal(0, size, len(ref))
        pi = np.exp(logits - np.logaddexp.reduce(logits))
        kl, reward = pi @ (np.log(pi) - ref), pi @ scores
        assert reward < best_reward_at(worlds, kl)[0] <= reward_ceiling_at(optima, kl) + 1e-3


def test_importance_sampling_is_right_at_a_large_beta_and_blind_at_a_small_one():
    models = small_models()
    _, ref, scores = brute()
    samples = sample(models.ref_policy, SMALL, [PROMPT] * 500, LIMIT, np.random.default_rng(0))
    drawn = score_samples(models, samples, PPOSettings(missing_eos_score=-1.0))
    estimate, effective = log_z_from_samples(drawn, 20.0)
    assert estimate == pytest.approx(optimal_policy(ref, scores, 20.0)[1], abs=0.02)
    assert effective > 400
    rare = np.concatenate([np.zeros(999), [1.0]])  # one answer in a million scores 1, the rest 0
    estimate, effective = log_z_from_samples(rare[:999], 0.05)
    assert abs(estimate) < 1e-12 and math.log(1 + 1e-6 * (math.e**20 - 1)) > 6
    assert log_z_from_samples(rare, 0.05)[1] == pytest.approx(1, abs=1e-4)


# ---- training -------------------------------------------------------------------------------


@functools.cache
def small_task():
    """The reward model of test_step2, which likes the letter 3, and a reference without taste."""
    reward_model, config = trained_reward_model("k-wise")[:2]
    reward_model = reward_model.copy()
    ref = init_params(config, np.random.default_rng(7))
    samples = sample(ref, config, [[BOS]] * 200, 6, np.random.default_rng(0))
    rows = bon.response_rows(samples)
    normalise_scores(reward_model, score_rows(reward_model, config, rows))
    return PPOModels(ref, ref, reward_model, reward_model, config, config)


def fresh_task():
    models = small_task()
    return models._replace(policy=models.ref_policy.copy(), value_model=models.reward_model.copy())


def train_small(method, models, seed, beta=0.2):
    rng, common = np.random.default_rng(seed), {"max_new_tokens": 4}
    if method == "ppo":
        settings = PPOSettings(iterations=25, learning_rate=5e-3, kl_coef=beta, **common)
        train_ppo(models, [[BOS]], settings, rng)
    elif method in ("dpo", "ipo"):
        settings = DPOSettings(
            loss=method, beta=beta, pairs=800, steps=100, learning_rate=3e-3, **common
        )
        train_dpo(models, make_pairs(models, [[BOS]], settings, rng), settings, rng)
    elif method == "rejection":
        training = LanguageModelSettings(response_only=True, steps=80, learning_rate=3e-3)
        settings = RejectionSettings(n=4, questions=300, training=training, **common)
        train_rejection_sampling(models, [[BOS]], settings, rng)
    else:
        changes = {"dr. grpo": {"divide_by_std": False, "per_response": False}}.get(method, {})
        settings = PolicyGradientSettings(
            method=method.split()[-1], iterations=40, learning_rate=5e-3, kl_coef=beta,
            **common, **changes,
        )
        train_policy_gradient(models, [[BOS]], settings, rng)


TRAINED = ("ppo", "reinforce", "rloo", "grpo", "dr. grpo", "dpo", "ipo", "rejection")


@functools.cache
def small_world():
    return explore(small_task(), [[BOS]], 4, -1.0, 1e-3, smallest=1e-6)


@functools.cache
def trained(method):
    """-> models after training, Outcome."""
    models = fresh_task()
    train_small(method, models, 0)
    return models, measure_policy(models, [BOS], 4, -1.0, 1e-6, 0, None)


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_raises_the_score_and_stays_below_the_frontier(method):
    models, outcome = trained(method)
    worlds = small_world()
    before = measure_policy(small_task(), [BOS], 4, -1.0, 1e-6, 0, None)
    assert before.kl == pytest.approx(0, abs=1e-5) and outcome.uncovered < 0.01
    assert outcome.reward > before.reward + 0.4
    assert outcome.reward < best_reward_at(worlds, outcome.kl)[0] + 0.02


@pytest.mark.parametrize("method", TRAINED)
def test_reference_and_reward_model_keep_every_byte(method):
    models, _ = trained(method)
    task = small_task()
    frozen = params_bytes(models.ref_policy, models.reward_model)
    assert frozen == params_bytes(task.ref_policy, task.reward_model)
    assert models.policy.flat.tobytes() != task.ref_policy.flat.tobytes()


def test_ppo_and_rloo_go_most_of_the_way_to_the_optimum():
    best = optimum.optimum(small_world(), 0.2)
    start = measure_policy(small_task(), [BOS], 4, -1.0, 1e-6, 0, None)
    at_start, _ = regret(start, best)
    assert at_start > 9  # nats: this optimum is far away
    for method in ("ppo", "rloo"):
        low, high = regret(trained(method)[1], best)
        assert 0 < low < 0.3 * at_start and low <= high


@pytest.mark.parametrize("method", ["reinforce", "grpo", "dpo", "rejection"])
def test_same_seed_same_bytes(method):
    flats = []
    for noise in range(2):
        np.random.seed(noise)  # the global generator must not matter
        models = fresh_task()
        train_small(method, models, 3)
        flats.append(models.policy.flat.tobytes())
    assert flats[0] == flats[1]


def test_a_larger_beta_keeps_dpo_closer_to_the_reference():
    kls = []
    for beta in (0.1, 1.0):
        models = fresh_task()
        train_small("dpo", models, 0, beta)
        kls.append(measure_policy(models, [BOS], 4, -1.0, 1e-6, 0, None).kl)
    assert kls[0] > 2 * kls[1]


def test_the_rollout_of_groups_asks_each_prompt_group_size_times_in_a_row():
    models = small_task()
    settings = PolicyGradientSettings(rollout_size=12, group_size=4, max_new_tokens=4)
    prompts = [[BOS, 3], [BOS, 4], [BOS, 5]]
    rollout = rollout_of_groups(models, prompts, settings, np.random.default_rng(0))
    asked = rollout.tokens[:, 1].reshape(3, 4)
    assert (asked == asked[:, :1]).all() and set(asked[:, 0]) == {3, 4, 5}
    rewards = rollout.rewards.sum(axis=1)
    log_ratio = (rollout.old_logprobs - rollout.ref_logprobs).sum(axis=1)
    np.testing.assert_allclose(rewards, rollout.scores - 0.1 * log_ratio, atol=1e-5)
    got = response_advantages(rollout, 0.25, settings)
    np.testing.assert_allclose(got, rloo_advantages(rewards.reshape(3, 4)).reshape(-1))
    other = PolicyGradientSettings(method="reinforce", rollout_size=12, group_size=4)
    np.testing.assert_allclose(response_advantages(rollout, 0.25, other), rewards - 0.25)
    other = PolicyGradientSettings(method="grpo", rollout_size=12, group_size=4)
    got = response_advantages(rollout, 0.25, other)
    np.testing.assert_allclose(got, grpo_advantages(rollout.scores.reshape(3, 4)).reshape(-1))


def test_best_of_n_keeps_the_best():
    models = small_task()
    rng = np.random.default_rng(0)
    examples, scores = best_of_n(models, [[BOS], [BOS, 3]], 5, 4, -1.0, rng)
    assert scores.shape == (2, 5) and [e.prompt_length for e in examples] == [1, 2]
    for example, row in zip(examples, scores):
        if example.ids[-1] == EOS:
            got = score_rows(models.reward_model, models.config, [example.ids])
            assert got[0] == pytest.approx(row.max(), abs=1e-5)


def test_made_pairs_are_two_different_answers_and_the_better_one_wins_as_often_as_it_should():
    models = small_task()
    settings = DPOSettings(pairs=1500, max_new_tokens=4)
    pairs = make_pairs(models, [[BOS]], settings, np.random.default_rng(0))
    assert 700 < len(pairs) <= 1500 and all(p.chosen != p.rejected for p in pairs)
    scores = []
    for side in ("chosen", "rejected"):
        examples = [getattr(pair, side) for pair in pairs]
        finished = np.array([e.ids[-1] == EOS for e in examples])
        scores.append(optimum.score_examples(models, examples, finished, -1.0))
    margin = np.abs(scores[0] - scores[1])
    wins = (scores[0] > scores[1]).mean()
    expected = sigmoid_of_minus(-margin)
    error = math.sqrt((expected * (1 - expected)).sum()) / len(pairs)
    ties = (margin == 0).mean()
    assert abs(wins + ties / 2 - expected.mean()) < 4 * error + ties


def test_pairs_from_rankings_are_all_pairs_that_are_not_tied():
    tokenizer = build_tokenizer(["abc\n?"])
    ranking = Ranking("?", ["a", "b", "c"], [2, 1, 2], ["m"] * 3, "a1")
    pairs = pairs_from_rankings(tokenizer, [ranking], 10)
    read = [[tokenizer.decode(e.ids[e.prompt_length : -1]) for e in pair] for pair in pairs]
    assert read == [["b", "a"], ["b", "c"]]


def test_log_probabilities_of_responses_are_sums_over_response_and_eos():
    models = small_task()
    texts = enumerate_texts(models.policy, models.config, [BOS, 3], 4, 1e-3)
    got = response_logprobs(models.policy, models.config, texts.examples, batch_size=7)
    np.testing.assert_allclose(got, texts.logprobs, atol=1e-5)
    _, _, mask = make_batch(texts.examples, True)
    assert mask.sum() == sum(len(e.ids) - e.prompt_length for e in texts.examples)


def test_wrong_settings_are_errors():
    with pytest.raises(ValueError, match="method 'rlo'"):
        PolicyGradientSettings(method="rlo")
    with pytest.raises(ValueError, match="group_size 5"):
        PolicyGradientSettings(rollout_size=48, group_size=5)
    with pytest.raises(ValueError, match="loss 'kto'"):
        DPOSettings(loss="kto")
    with pytest.raises(TypeError, match="tau"):
        DPOSettings(tau=0.1)
    with pytest.raises(ValueError, match="no pair"):
        train_dpo(small_task(), [], DPOSettings(), np.random.default_rng(0))
    assert TOLERANCE <= 1e-6
