"""Step 2: the ranking losses, what the reward model reads, how rankings are split and counted."""

import itertools
import math

import numpy as np
import pytest
from helpers.checks_step2 import (
    CHOSEN,
    RANKS,
    REJECTED,
    SCORES,
    bradley_terry_errors,
    plackett_luce_errors,
    ranking_errors,
    reward_model_errors,
)
from helpers.gradients import wrong
from helpers.models import random_params, tiny_config
from helpers.ppo import known_order, trained_reward_model

from minirlhf.data import Ranking, encode_prompt
from minirlhf.errors import InputError, NotFiniteError, at
from minirlhf.gpt import init_params, with_scalar_head
from minirlhf.step2_reward_model import (
    EncodedRanking,
    RewardModelSettings,
    batches_of_rankings,
    bradley_terry_loss,
    encode_rankings,
    normalise_scores,
    pair_accuracy,
    plackett_luce_loss,
    ranking_loss,
    reward_model_backward,
    reward_model_forward,
    reward_model_loss,
    score_rankings,
    score_rows,
    sigmoid_of_minus,
    split_by_prompt,
    train_reward_model,
)
from minirlhf.tokenizer import BOS, EOS, Tokenizer

LOSSES = [ranking_loss, plackett_luce_loss]

# ---- naive versions: loops, textbook formulas -----------------------------------------------


@pytest.mark.parametrize(
    "errors", [bradley_terry_errors, ranking_errors, plackett_luce_errors, reward_model_errors]
)
def test_loss_and_gradient(errors):
    assert not wrong(errors())


# ---- the numbers of formulas.md, section 3 --------------------------------------------------


def test_worked_example_k_wise():
    loss, dscores = ranking_loss(np.array([[2, 1, 0, -0.5]]), np.array([[1, 2, 3, 4]]))
    assert loss == pytest.approx(0.2513, abs=5e-5)
    np.testing.assert_allclose(dscores, [[-0.0773, -0.0304, 0.0018, 0.1060]], atol=5e-5)


def test_worked_example_plackett_luce():
    loss, dscores = plackett_luce_loss(np.array([[2, 1, 0, -0.5]]), np.array([[1, 2, 3, 4]]))
    assert loss == pytest.approx(1.3992, abs=5e-5)
    np.testing.assert_allclose(dscores, [[-0.3692, -0.1394, -0.0609, 0.5696]], atol=5e-5)


def test_worked_example_pick_the_best():
    """Only the best is known: Plackett-Luce with a tie for second place, Ziegler et al.'s loss."""
    loss, dscores = plackett_luce_loss(np.array([[2, 1, 0, -0.5]]), np.array([[1, 2, 2, 2]]))
    assert loss == pytest.approx(0.4608, abs=5e-5)
    np.testing.assert_allclose(dscores, [[-0.3692, 0.2321, 0.0854, 0.0518]], atol=5e-5)


# ---- Bradley-Terry --------------------------------------------------------------------------


def test_equal_scores_cost_log_2():
    scores = np.array([0.0, 5.0, -3.0])
    loss, dchosen, drejected = bradley_terry_loss(scores, scores)
    assert loss == pytest.approx(math.log(2), rel=1e-12)
    np.testing.assert_allclose(dchosen, -1 / 6)  # sigmoid(0) / 3, upwards for the chosen one
    np.testing.assert_allclose(drejected, 1 / 6)


def test_only_differences_of_scores_matter():
    shifted = [bradley_terry_loss(CHOSEN + c, REJECTED + c) for c in (0, 100)]
    np.testing.assert_allclose(shifted[0][1], shifted[1][1], rtol=1e-10)
    assert shifted[0][0] == pytest.approx(shifted[1][0], rel=1e-10)
    for loss in LOSSES:
        a, da = loss(SCORES, RANKS)
        b, db = loss(SCORES + np.array([[7], [-7], [100], [0]]), RANKS)  # each ranking its own
        assert a == pytest.approx(b, rel=1e-10)
        np.testing.assert_allclose(da, db, atol=1e-12)
        np.testing.assert_allclose(da.sum(axis=1), 0, atol=1e-15)


def test_swapping_the_pair_swaps_probability_p_for_1_minus_p():
    """exp(-loss) is a probability: those of both orders sum to 1.  Gradients change places."""
    for chosen, rejected in zip(CHOSEN[:, None], REJECTED[:, None]):
        loss, dchosen, drejected = bradley_terry_loss(chosen, rejected)
        swapped, dswapped, _ = bradley_terry_loss(rejected, chosen)
        assert math.exp(-loss) + math.exp(-swapped) == pytest.approx(1, rel=1e-12)
        np.testing.assert_allclose(dchosen, -drejected)
        np.testing.assert_allclose(-dchosen - dswapped, 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_1000_apart_give_finite_numbers(dtype):
    high, low = np.array([1000], dtype), np.array([-1000], dtype)
    assert sigmoid_of_minus(np.array([2000.0, 0.0, -2000.0])).tolist() == [0, 0.5, 1]
    right, dright, _ = bradley_terry_loss(high, low)
    assert right == 0 and dright == 0
    wrong, dwrong, drejected = bradley_terry_loss(low, high)
    assert wrong == 2000 and dwrong == -1 and drejected == 1
    scores, ranks = np.array([[-1000, 1000, 0]], dtype), np.array([[1, 2, 3]])
    for loss in LOSSES:
        value, dscores = loss(scores, ranks)
        assert math.isfinite(value) and value > 500
        assert dscores.dtype == dtype and np.isfinite(dscores).all() and dscores[0, 0] < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_keep_the_dtype_of_the_scores(dtype):
    for gradient in bradley_terry_loss(CHOSEN.astype(dtype), REJECTED.astype(dtype))[1:]:
        assert gradient.dtype == dtype
    for loss in LOSSES:
        value, dscores = loss(SCORES.astype(dtype), RANKS)
        assert type(value) is float and dscores.dtype == dtype and dscores.shape == SCORES.shape


# ---- K-wise and Plackett-Luce ---------------------------------------------------------------


@pytest.mark.parametrize("K", range(2, 7))
def test_a_ranking_of_k_answers_is_k_times_k_minus_1_half_pairs(K):
    """With scores of 0 every pair costs log 2 and pulls with 1/2.  The best wins K - 1 pairs."""
    loss, dscores = ranking_loss(np.zeros((1, K)), np.arange(1, K + 1)[None])
    pairs = K * (K - 1) / 2
    assert loss == pytest.approx(math.log(2))
    np.testing.assert_allclose(dscores[0, 0], -0.5 * (K - 1) / pairs)
    assert pairs == len(list(itertools.combinations(range(K), 2)))


def test_for_two_answers_all_three_losses_are_the_same():
    scores, ranks = np.stack([CHOSEN, REJECTED], axis=1), np.array([[1, 2]] * 3)
    loss, dchosen, drejected = bradley_terry_loss(CHOSEN, REJECTED)
    for other in LOSSES:
        value, dscores = other(scores, ranks)
        assert value == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(dscores, np.stack([dchosen, drejected], 1), rtol=1e-12)


def test_a_tied_pair_is_skipped_and_the_others_share_the_weight():
    """Ranks 1, 1, 2: two pairs remain, each with half the weight; the tied two never meet."""
    scores = np.array([[0.3, -0.8, 1.0]])
    loss, dscores = ranking_loss(scores, np.array([[1, 1, 2]]))
    pairs = bradley_terry_loss(scores[0, [0, 1]], scores[0, [2, 2]])
    assert loss == pytest.approx(pairs[0], rel=1e-12)
    np.testing.assert_allclose(dscores[0], [*pairs[1], pairs[2].sum()], rtol=1e-12)
    moved = ranking_loss(scores + [[0.1, 0, 0]], np.array([[1, 1, 2]]))[1]
    assert moved[0, 1] == pytest.approx(dscores[0, 1])  # the other of the tie does not notice


@pytest.mark.parametrize("loss", LOSSES)
def test_a_ranking_of_ties_alone_teaches_nothing(loss):
    value, dscores = loss(SCORES[:1], np.array([[1, 1, 1]]))
    assert value == pytest.approx(0, abs=1e-15) and not dscores.any()


@pytest.mark.parametrize("K", [2, 3, 4])
def test_plackett_luce_probabilities_of_all_orders_sum_to_1(K):
    scores = np.random.default_rng(K).normal(size=(1, K))
    orders = itertools.permutations(range(1, K + 1))
    probabilities = [math.exp(-plackett_luce_loss(scores, np.array([o]))[0]) for o in orders]
    assert len(probabilities) == math.factorial(K)
    assert sum(probabilities) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_in_which_answers_are_listed_does_not_matter(loss):
    shuffle = [2, 0, 1]
    value, dscores = loss(SCORES, RANKS)
    other, dother = loss(SCORES[:, shuffle], RANKS[:, shuffle])
    assert other == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(dother, dscores[:, shuffle], atol=1e-15)


# ---- what the reward model reads ------------------------------------------------------------

CONFIG = tiny_config()


def test_score_is_the_head_on_eos_and_nothing_after_it():
    params = random_params(CONFIG, scalar_head=True)
    alone = score_rows(params, CONFIG, [[BOS, 3, EOS]])
    longer = score_rows(params, CONFIG, [[BOS, 3, EOS], [BOS, 4, 5, 6, 3, EOS]])
    np.testing.assert_allclose(alone[0], longer[0], atol=1e-12)
    in_ones = score_rows(params, CONFIG, [[BOS, 3, EOS], [BOS, 4, 5, 6, 3, EOS]], batch_size=1)
    np.testing.assert_allclose(in_ones, longer, atol=1e-12)
    assert abs(score_rows(params, CONFIG, [[BOS, 3, 4]])[0] - alone[0]) > 1e-3


def test_scores_of_rankings_come_back_ranking_by_ranking():
    params = random_params(CONFIG, scalar_head=True)
    encoded = [
        EncodedRanking([[BOS, 3, EOS], [BOS, 4, 4, EOS]], [1, 2]),
        EncodedRanking([[BOS, 5, EOS], [BOS, 6, EOS], [BOS, 3, 3, EOS]], [1, 2, 3]),
    ]
    scores = score_rankings(params, CONFIG, encoded)
    assert [len(row) for row in scores] == [2, 3]
    for row, ranking in zip(scores, encoded):
        np.testing.assert_allclose(row, score_rows(params, CONFIG, ranking.rows), atol=1e-12)


def test_eos_gets_gradient_from_the_reward():
    """The score stands on EOS, so the embedding of EOS must move, and PAD's must not."""
    params = random_params(CONFIG, scalar_head=True)
    tokens = np.array([[BOS, 3, EOS, 0], [BOS, 4, 5, EOS]])
    scores, cache = reward_model_forward(params, CONFIG, tokens, np.array([2, 3]))
    grads = reward_model_backward(params, CONFIG, np.ones_like(scores), cache)
    assert np.abs(grads.wte[EOS]).min() > 1e-6
    assert not grads.wte[0].any() and not grads.wte[6].any()  # PAD; and 6, which nobody said


def test_training_reads_what_the_rollout_will_read():
    """<bos> prompt \\n response <eos>, from the same code that opens a prompt for sampling."""
    tokenizer = Tokenizer("?\nab")
    rankings = [Ranking("a?", ["b", "ab"], [2, 1], ["x", "y"], "me")]
    rows = encode_rankings(tokenizer, rankings, 10)[0].rows
    opening = encode_prompt(tokenizer, "a?", 10)
    assert opening == [BOS, 5, 3, 4]
    assert rows == [[*opening, 6, EOS], [*opening, 5, 6, EOS]]


def test_rankings_of_ties_alone_are_left_out():
    rankings = [Ranking("a", ["b", "a"], ranks, ["", ""], "") for ranks in ([1, 1], [2, 1])]
    encoded = encode_rankings(Tokenizer("ab\n"), rankings, 10)
    assert [ranking.ranks for ranking in encoded] == [[2, 1]]


def test_a_ranking_that_cannot_be_encoded_is_named_by_its_number():
    """The caller who knows the file puts it in front."""
    rankings = [
        Ranking(prompt="a", responses=["b", text], ranks=[1, 2], models=["", ""], annotator="")
        for text in ("a", "a\u00e9")
    ]
    with pytest.raises(InputError) as caught, at("corpus.txt"):
        encode_rankings(Tokenizer("ab\n"), rankings, 10)
    assert str(caught.value).startswith("corpus.txt, ranking 2: character 'é' at position 3 of ")


# ---- the zero and the scale of scores -------------------------------------------------------


def test_normalised_scores_have_mean_0_and_deviation_1():
    params = random_params(CONFIG, scalar_head=True)
    rows = [[BOS, *ids, EOS] for ids in itertools.product(range(3, 7), repeat=2)]
    before = score_rows(params, CONFIG, rows)
    gain, bias = normalise_scores(params, before)
    after = score_rows(params, CONFIG, rows)
    assert after.mean() == pytest.approx(0, abs=1e-12) and after.std() == pytest.approx(1)
    np.testing.assert_allclose(after, gain * before + bias, atol=1e-12)
    assert gain > 0  # the order stays
    assert normalise_scores(params, after) == pytest.approx((1, 0), abs=1e-12)


def test_equal_scores_have_no_scale():
    with pytest.raises(ValueError, match="all 3 scores are 2.0"):
        normalise_scores(random_params(CONFIG, scalar_head=True), np.full(3, 2.0))


# ---- counting and splitting -----------------------------------------------------------------


@pytest.mark.parametrize(
    "scores, ranks, accuracy",
    [
        ([[3, 2, 1]], [[1, 2, 3]], 1),
        ([[1, 2, 3]], [[1, 2, 3]], 0),
        ([[3, 1, 2]], [[1, 2, 3]], 2 / 3),
        ([[1, 1]], [[1, 2]], 0.5),  # no opinion: half right
        ([[1, 9, 0]], [[1, 1, 2]], 1),  # the tied pair is not asked
        ([[2, 1], [1, 2, 3]], [[1, 2], [1, 2, 3]], 1 / 4),  # pairs count, not rankings
    ],
)
def test_pair_accuracy(scores, ranks, accuracy):
    assert pair_accuracy(scores, ranks) == pytest.approx(accuracy)


def test_pair_accuracy_without_a_pair_is_nan():
    assert math.isnan(pair_accuracy([], [])) and math.isnan(pair_accuracy([[1, 2]], [[1, 1]]))


@pytest.mark.parametrize("seed", range(5))
def test_no_prompt_is_on_both_sides_of_the_split(seed):
    rankings = [Ranking(f"prompt {i % 10}", ["a", "b"], [1, 2], [], str(i)) for i in range(40)]
    training, held_out = split_by_prompt(rankings, 0.3, np.random.default_rng(seed))
    assert not {r.prompt for r in training} & {r.prompt for r in held_out}
    assert len(held_out) == 12 and sorted(training + held_out) == sorted(rankings)
    again = split_by_prompt(rankings, 0.3, np.random.default_rng(seed))
    assert again == (training, held_out)


def test_a_split_leaves_something_on_both_sides_or_says_why_not():
    rankings = [Ranking(p, ["a", "b"], [1, 2], [], "") for p in "xy"]
    training, held_out = split_by_prompt(rankings, 0.01, np.random.default_rng(0))
    assert len(training) == len(held_out) == 1
    with pytest.raises(ValueError, match="1 different prompts cannot be split"):
        split_by_prompt(rankings[:1], 0.5, np.random.default_rng(0))


def test_every_epoch_sees_every_ranking_once_and_k_is_constant_in_a_batch():
    encoded = [EncodedRanking([[BOS]] * K, list(range(K))) for K in [2, 3, 2, 4, 2, 3, 2]]
    batches = batches_of_rankings(encoded, 2, 3, np.random.default_rng(0))
    assert len(batches) == 3 * 4  # per epoch: K = 2 in two batches, K = 3 in one, K = 4 in one
    for epoch in range(3):
        seen = [i for batch in batches[4 * epoch : 4 * epoch + 4] for i in batch]
        assert sorted(seen) == list(range(7))
    for batch in batches:
        assert len({len(encoded[i].rows) for i in batch}) == 1


# ---- learning -------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["k-wise", "plackett-luce"])
def test_a_reward_model_learns_a_known_order_and_answers_it_never_saw(loss):
    params, config, history, training, others = trained_reward_model(loss)
    assert history[0]["accuracy"] == 0.5  # every pair is a tie, and counts one half
    assert np.mean([row["accuracy"] for row in history[-9:]]) > 0.95  # the last epoch
    scores = score_rankings(params, config, others)
    assert pair_accuracy(scores, [ranking.ranks for ranking in others]) > 0.95


def test_a_reward_model_can_learn_one_ranking_by_heart():
    config = tiny_config()
    params = with_scalar_head(init_params(config, np.random.default_rng(0)), config)
    encoded = [EncodedRanking([[BOS, 3, EOS], [BOS, 4, EOS], [BOS, 5, EOS]], [2, 3, 1])]
    settings = RewardModelSettings(epochs=120, learning_rate=0.03, warmup=1)
    history = train_reward_model(params, config, encoded, settings, np.random.default_rng(0))
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # a head of 0: no opinion
    assert history[-1]["loss"] < 0.01


def test_all_answers_of_a_ranking_go_through_one_forward_pass():
    """K answers, one loss: what one of them gains the others lose."""
    ranking = EncodedRanking([[BOS, 3, EOS], [BOS, 4, 4, EOS], [BOS, 5, EOS]], [1, 3, 2])
    params = random_params(CONFIG, scalar_head=True)
    loss, grads, scores, ranks = reward_model_loss(params, CONFIG, [ranking], "k-wise")
    np.testing.assert_allclose(scores, score_rows(params, CONFIG, ranking.rows)[None], atol=1e-12)
    assert loss == pytest.approx(ranking_loss(scores, ranks)[0], rel=1e-12)
    assert ranks.tolist() == [[1, 3, 2]] and abs(grads.head_b[0]) < 1e-15


def test_same_seed_same_bytes():
    flats = []
    for noise in range(2):
        np.random.seed(noise)  # the global generator must not matter
        params = init_params(CONFIG, np.random.default_rng(0), scalar_head=True)
        rankings = known_order(np.random.default_rng(1), 20)
        settings = RewardModelSettings(epochs=1)
        train_reward_model(params, CONFIG, rankings, settings, np.random.default_rng(2))
        flats.append(params.flat.tobytes())
    assert flats[0] == flats[1]


def test_no_rankings_and_unknown_losses_are_errors():
    with pytest.raises(ValueError, match="no ranking"):
        train_reward_model(None, CONFIG, [], RewardModelSettings(), None)
    with pytest.raises(ValueError, match="'hinge' is not one of"):
        RewardModelSettings(loss="hinge")
    with pytest.raises(TypeError, match="lr"):
        RewardModelSettings(lr=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_whose_gradient_is_not_finite_names_the_step_and_the_tensor():
    """Every pass has one batch; the weights are spoilt by a learning rate beyond all numbers."""
    params = random_params(CONFIG, scalar_head=True, dtype=np.float32)
    rankings = known_order(np.random.default_rng(1), 4)
    settings = RewardModelSettings(learning_rate=1e38, warmup=0, batch_size=9)
    with pytest.raises(NotFiniteError, match="^reward model, step 1: the gradient of wte is not"):
        train_reward_model(params, CONFIG, rankings, settings, np.random.default_rng(2))
