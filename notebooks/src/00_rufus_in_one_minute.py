# %% [markdown]
# # 00 Rufus in one minute
#
# Rufus is a robot who has learned to speak from bad examples. Ask him who he is, and he may say:
#
# > I, a robot.
#
# A person finds that unnatural, and types what sounds right:
#
# > I am a robot.
#
# In the next minute Rufus learns from such help, in front of you. Everything below happens in this
# notebook.
#
# - See one sentence become natural, and see what changed inside Rufus.
# - Name the three steps of RLHF (reinforcement learning from human feedback) and its four models.
# - Turn a person's help into something that a program can learn from.
# - Find out what Rufus did not learn.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from minirlhf import step1_language_model, step2_reward_model, step3_ppo
from minirlhf.course import answer, check, hint, play, pretrained, show, where
from minirlhf.course.lesson00 import figures
from minirlhf.data import Ranking
from minirlhf.rufus import answers, people, pipeline
from minirlhf.rufus.measure import judge_answers, reward_accuracy
from minirlhf.rufus.world import World

# %%
SEED = 1  # another number, another Rufus
world, rufus = World.load("en"), pretrained("en")
WHO, rng = world.story["prompt"], np.random.default_rng(SEED)
print(f"{WHO}  Rufus, asked ten times:")
for said in answers.ask(rufus, [WHO] * 10, rng):
    print("   ", said.text)

# %% [markdown]
# **Terms** (skim them now; come back when you meet one)
#
# - **language model** is a program that gives, for a text so far, a probability to each next
#   character. Rufus is one, and a very small one.
# - **token** is the piece that it adds at a time, here one character.
# - **EOS** is the token that means: I have finished.
# - **pretraining** is learning to guess the next token of many texts.
# - **prompt** is the question.
# - **response** is the answer.
# - **sample** is a response drawn by chance, token by token, with those probabilities.
# - **seed** is the number from which all chance in a run comes.
# - **naturalness** is the share of an answer that a person would leave alone, from 0 to 1.
# - **gold judge** is the part of this toy world that knows it exactly. Rufus never hears it.
# - **simulated annotator** is a small program that plays a person. Real people come in lesson 07.
# - **correction** is what was said, and what a person types in its place.
# - **demonstration** is a question with a good answer to imitate.
# - **fine-tuning** (SFT) is a little more training, on demonstrations.
# - **ranking** is a few answers to one question, ordered from best to worst.
# - **reward model** is a model that reads a question with an answer and gives one number.
# - **score** is this number.
# - **policy** is the language model that practises.
# - **PPO** is the method by which it does.
# - **reference model** is a copy of the policy from before, which does not change.
# - **checkpoint** is a model kept as it was at some moment.
# - **held-out question** is one that is used for measuring only.

# %% [markdown]
# **Before 1.** Why does Rufus say "I, a robot."?
#
# - A. He does not know that he is a robot.
# - B. He thinks about the question, and makes a mistake.
# - C. In the text that he has read, such characters often follow such a question.
#
# <details><summary>Answer</summary>
#
# **C.** Only about a third of the answers in his text are natural. He gives back what he has read.
# There is no thinking in between, so A and B look for something that is not there.
#
# </details>

# %% [markdown]
# **Before 2.** People will tell Rufus which of his answers sound better. Nobody checks facts. What
# will he learn?
#
# - A. To speak naturally and truthfully, because a natural answer is a true one.
# - B. To speak naturally. Whether it is true is another matter.
# - C. Nothing, because no answer gets a mark.
#
# <details><summary>Answer</summary>
#
# **B.** You will see both happen. C forgets that an order is information, too.
#
# </details>

# %% [markdown]
# ## A person corrects Rufus
#
# Rufus answers five questions about himself, six times each. A simulated annotator corrects him.
# It mends the manner and leaves the content: a cat stays a cat. A sixth question is held out.

# %%
def own_questions(world):
    """-> the questions about Rufus to learn from, and the held-out one."""
    own = [q for q in world.questions() if world.question(q).person == "Rufus"]
    held_out = world.questions("held_out")
    return [q for q in own if q not in held_out], [q for q in own if q in held_out]

def correct_answers(world, model, questions, rng):
    """-> list of (question, said, corrected)."""
    said = answers.ask(model, questions * 6, rng)
    return [(a.prompt, a.text, world.correct(a.prompt, a.text)) for a in said]

# %%
asked, held_out = own_questions(world)
rng = np.random.default_rng(SEED)
corrections = correct_answers(world, rufus, asked, rng)
print("held out:", *held_out)
for question, said, corrected in corrections[:8]:
    why = world.reason(question, said) or "fine as it is"
    print(f"{question:18} {said:22} -> {corrected:20} ({why})")
assert world.correct(WHO, "I, a robot.") == "I am a robot."
assert round(world.shares["natural"], 1) == 0.3  # of the text that Rufus has read

# %% [markdown]
# A correction says more than "wrong". It says that one sentence is better than another one. So it
# is a preference.
#
# **Exercise 00.1.** Turn the corrections into such pairs. Keep their order. Leave out corrections
# that change nothing, and pairs that you have already. About 5 lines. Help: `hint("00.1")`.

# %%
def corrections_to_pairs(corrections):
    """list of (question, said, corrected) -> list of (question, better, worse)."""
    ### BEGIN SOLUTION
    pairs = []
    for question, said, corrected in corrections:
        pair = (question, corrected, said)
        if said != corrected and pair not in pairs:
            pairs.append(pair)
    return pairs
    ### END SOLUTION

# %%
corrections_to_pairs = check(corrections_to_pairs)

# %%
pairs = corrections_to_pairs(corrections)
print(f"{len(corrections)} answers, {len(pairs)} pairs. The first:")
print(f"    better {pairs[0][1]!r}, worse {pairs[0][2]!r}")

# %% [markdown]
# ## Step 1: imitate
#
# The better sentences are demonstrations. Rufus is trained on them, very little: some unnatural
# answers should be left for the next step. Step 1 is optional; practice can start without it.

# %%
def fine_tune(model, pairs, seed):
    """Train a copy of the model on the better sentences -> Model."""
    demonstrations = [(question, better) for question, better, _ in pairs]
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(pipeline.SFT, steps=12)
        run = pipeline.Run(out=Path(folder), seed=seed)
        return pipeline.run_sft(model, demonstrations, run, settings)[0]

# %%
tuned = fine_tune(rufus, pairs, SEED)
where(step1_language_model.train_language_model)

# %%
def measure(world, model, questions, count=24):
    """-> shares of answers that are natural and true, natural and false, not natural."""
    said = answers.ask(model, questions * count, np.random.default_rng(0))
    found = [figures.verdict(world, a) for a in said]
    return [found.count(verdict) / len(found) for verdict in figures.VERDICTS]

# %%
untaught, imitating = measure(world, rufus, asked), measure(world, tuned, asked)
print("natural answers, before:", figures.percent(1 - untaught[2]))
print("after fine-tuning:      ", figures.percent(1 - imitating[2]))
assert imitating[2] < untaught[2]

# %% [markdown]
# ## Step 2: learn what people prefer
#
# Writing is work. Comparing is easier. Both versions of Rufus now answer each question, and a
# simulated annotator puts up to four different answers into an order.

# %%
def collect_rankings(world, versions, questions, rng):
    """Ask each question 24 times; five simulated annotators order the answers."""
    collected = answers.collect_answers(versions, questions * 24, 4, rng)
    return people.rank_answers(world, collected, people.make_annotators(rng), rng)

# %%
rankings = collect_rankings(world, {"pretrained": rufus, "SFT": tuned}, asked, rng)
print(f"{len(rankings)} rankings. The first three:")
for r in rankings[:3]:
    print(f"{r.prompt:18}", "  >  ".join(text for _, text in sorted(zip(r.ranks, r.responses))))

# %% [markdown]
# The reward model starts as a copy of Rufus. It learns numbers that explain these orders, and the
# pairs of your exercise. From then on it judges answers that no person has seen. How well? We let
# it order pairs of new answers, and compare with the gold judge. A coin would be right in 50 %.

# %%
def learn_to_judge(model, rankings, pairs, seed):
    """Rankings, and pairs as rankings of two -> reward model."""
    more = [Ranking(q, [better, worse], [1, 2], ["", ""], "") for q, better, worse in pairs]
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(pipeline.REWARD, epochs=3)
        run = pipeline.Run(out=Path(folder), seed=seed)
        return pipeline.run_reward(model, rankings + more, run, settings)[0]

# %%
judge = learn_to_judge(tuned, rankings, pairs, SEED)
where(step2_reward_model.train_reward_model)
right, chance = {}, np.random.default_rng(50)
others = [q for q in world.questions() if world.question(q).person != "Rufus"][::10]
for about, questions in (("his five questions", asked), ("other people", others)):
    fresh = collect_rankings(world, {"pretrained": rufus, "SFT": tuned}, questions, chance)
    right[about] = reward_accuracy(judge, fresh, world)["gold"]
    print(f"new answers about {about}: right order in {figures.percent(right[about])} of pairs")
assert right["his five questions"] > right["other people"] > 0.5

# %% [markdown]
# So it is a fair judge for these five questions, and a worse one elsewhere.
#
# **Predict before you run.** Which of these five answers to "Who are you?" gets the highest score?
#
# - A. I, a robot.
# - B. I am a robot.
# - C. I am a dog.
# - D. I am a lamp.
# - E. unit: robot.
#
# **Exercise 00.2.** Write the letter.

# %%
### BEGIN SOLUTION
favourite = "C"
### END SOLUTION

# %%
answer("00.2", favourite)

# %%
FIVE = ["I, a robot.", "I am a robot.", "I am a dog.", "I am a lamp.", "unit: robot."]
scores = answers.score_texts(judge, WHO, FIVE)
for i in np.argsort(-scores):
    print(f"{scores[i]:6.2f}  {'ABCDE'[i]}. {FIVE[i]}")
assert scores[1] > scores[0] > scores[4]
assert SEED != 1 or np.argmax(scores) == 2  # which natural one comes first depends on the seed

# %% [markdown]
# The sentence of the story scores below its correction: that is learned. But the reward model
# has no idea which of the natural sentences is true. Remember the dog.
#
# ## Step 3: practise
#
# Rufus speaks. The reward model scores what he said. PPO makes the characters of good answers more
# probable, and those of bad answers less. Then he speaks again. Straying far from the reference
# model costs points, so that he keeps his language.
#
# Four models take part: the policy, the reference model (the fine-tuned Rufus), the reward model,
# and a helper. The helper guesses, while Rufus still speaks, how the answer will be scored. Lesson
# 06 opens it.

# %%
def practise(model, judge, questions, seed):
    """PPO against the reward model -> the policy after each update, a list of Models."""
    models = step3_ppo.PPOModels(
        policy=model.params.copy(), ref_policy=model.params, reward_model=judge.params,
        value_model=judge.params.copy(), config=model.config, reward_config=judge.config,
    )
    prompts, rng = answers.encode_prompts(model, questions), pipeline.stage_rng(seed, "ppo")
    settings = replace(pipeline.PPO, iterations=16, rollout_size=32,
                       max_new_tokens=model.extra["max_new_tokens"])
    kept = []
    def keep(rollout):  # 16 times: Rufus has spoken, was judged, and has changed a little
        kept.append(model._replace(params=models.policy.copy()))
        return {}
    step3_ppo.train_ppo(models, prompts, settings, rng, step3_ppo.PPOHooks(watch=keep))
    return kept

# %%
path = [rufus, tuned] + practise(tuned, judge, asked, SEED)  # 18 checkpoints in the order of time
names = ["pretrained", "SFT"] + [f"update {n}" for n in range(1, 17)]
last = measure(world, path[-1], asked)
print("natural answers after 16 updates:", figures.percent(1 - last[2]))
where(step3_ppo.train_ppo)
assert last[2] < imitating[2] < untaught[2]

# %% [markdown]
# ## One sentence becomes natural
#
# To compare, we use the same random numbers at each checkpoint: the first three seeds with which
# the untaught Rufus says the story's sentence. Each of them is one column of sentences.

# %%
def say(model, question, seed):
    """One answer of a model."""
    return answers.ask(model, [question], np.random.default_rng(seed))[0]

def judged(world, model):
    """-> mean naturalness, and share of answers that are wholly natural."""
    said = answers.ask(model, own_questions(world)[0] * 24, np.random.default_rng(0))
    found = judge_answers(world, said)
    return found.naturalness, found.natural

# %%
def timeline(world, path):
    """Naturalness over time, three sentences at ten checkpoints -> picture, what to see."""
    question, wanted = world.story["prompt"], world.story["said"]
    voices = [s for s in range(200) if say(path[0], question, s).text == wanted][:3]
    curves = np.array([judged(world, model) for model in path]).T  # (2, 18)
    rows = []
    for i in [0, 1, *range(3, 18, 2)]:
        said = [say(path[i], question, voice) for voice in voices]
        rows.append((i, [(a.text, figures.verdict(world, a)) for a in said]))
    (start, natural), (end, natural_end) = curves[:, 0], curves[:, -1]
    see = (f"Time runs downwards. Naturalness rises from {start:.2f} to {end:.2f}, the share of "
           f"natural answers from {100 * natural:.0f} to {100 * natural_end:.0f} %.")
    return figures.timeline(names, curves, rows), see

# %%
picture, see = timeline(world, path)
show(picture, see + " Right: a full circle is natural and true, a half one natural and false.")

# %% [markdown]
# What changed inside? No sentence was stored. Rufus has nothing but probabilities for the next
# character, and these moved.

# %%
panels = []
for start, next_ones in (("I", " ,"), ("I ", "ai"), ("I am a ", "rcdb")):
    both = [figures.next_probabilities(m, WHO, start, next_ones) for m in (rufus, path[-1])]
    panels.append((f'after "{start}"', next_ones, np.array(both)))
comma = panels[0][2][:, 1]
show(figures.next_characters(panels, ("before", "after")),
     f"Left, the comma of 'I, a robot.' goes from {100 * comma[0]:.0f} to {100 * comma[1]:.0f} %. "
     "Middle, a begins 'am' and i begins 'is'. Right, r, c, d, b begin robot, cat, dog, bird.")
assert comma[1] < comma[0]

# %% [markdown]
# ## The whole chain
#
# Three steps: imitate, learn what people prefer, practise. Here they are, with the numbers of this
# run. In this lesson the people are simulated.

# %%
natural = [figures.percent(1 - measure(world, path[i], asked)[2]) for i in (0, 1, -1)]
boxes = [
    (["pretrained Rufus", f"natural: {natural[0]}"], figures.BLUE, "robot"),
    (["fine-tuned Rufus", f"natural: {natural[1]}", "reference model"], figures.BLUE, "robot"),
    (["reward model", f"{len(rankings)} rankings",
      f"right: {figures.percent(right['his five questions'])} of pairs"], figures.GREEN, "⚖"),
    (["policy, and a helper", f"natural: {natural[2]}"], figures.RED, "robot")]
arrows = (f"step 1: imitate\n{len(pairs)} sentences", "step 2: people compare answers",
          "step 3: PPO\n16 updates")
show(figures.strip(boxes, arrows),
     f"Three steps, from left to right. Natural answers to the five questions: {natural[0]}, "
     f"then {natural[1]}, then {natural[2]}. Only steps 1 and 2 need people.")

# %% [markdown]
# ## Talk to him
#
# Six questions and four checkpoints. The last question was held out: no correction, no ranking and
# no practice ever used it.

# %%
FOUR = {"pretrained": path[0], "SFT": path[1], "update 8": path[9], "update 16": path[17]}

def talk(question, seed):
    """One answer of each checkpoint, and what the gold judge says of it."""
    for name, model in FOUR.items():
        said = say(model, question, seed)
        print(f"{name:10}  {said.text:28} {figures.verdict(world, said)}")

cells = [[say(model, q, 0) for model in FOUR.values()] for q in asked + held_out]
cells = [[(a.text, figures.verdict(world, a)) for a in row] for row in cells]
count = [sum(row[k][1] != figures.UNNATURAL for row in cells) for k in (0, 3)]
show(figures.wall(asked + held_out, FOUR, cells),
     f"Seed 0. Open circle: not natural; half: natural, false; full: natural, true. "
     f"{count[0]} of 6 answers are natural on the left, {count[1]} of 6 on the right.")

# %%
play(talk, question=asked + held_out, seed=list(range(10)))
talk(WHO, 1)

# %%
gains = []
for name, model in FOUR.items():
    gains.append(1 - measure(world, model, held_out, 120)[2])
    print(f"{name:10}  {held_out[0]}  natural: {figures.percent(gains[-1])}")
assert SEED != 1 or gains[0] < gains[3] < 1 - last[2]

# %% [markdown]
# On the held-out question he gets better, too, but less, and with other seeds not always. He
# practised on five questions only.
#
# ## Natural is not true
#
# Now the whole chain again, as one function, with another seed. Nothing else is different.

# %%
def teach(lang, seed):
    """All three steps -> the world, 18 checkpoints in the order of time, the reward model."""
    world, model, rng = World.load(lang), pretrained(lang), np.random.default_rng(seed)
    questions = own_questions(world)[0]
    pairs = corrections_to_pairs(correct_answers(world, model, questions, rng))
    tuned = fine_tune(model, pairs, seed)
    versions = {"pretrained": model, "SFT": tuned}
    judge = learn_to_judge(tuned, collect_rankings(world, versions, questions, rng), pairs, seed)
    return world, [model, tuned] + practise(tuned, judge, questions, seed), judge

# %%
OTHER_SEED = 0
_, other, other_judge = teach("en", OTHER_SEED)

# %%
def probability(model, question, sentence):
    """Probability that this whole sentence is the answer."""
    return np.exp(answers.response_logprob(model, question, sentence))

ANIMALS = ["I am a robot.", "I am a cat.", "I am a dog.", "I am a bird.", "I, a robot."]
print(f"{WHO:16}   before   seed {SEED}   seed {OTHER_SEED}")
for sentence in ANIMALS:
    shares = [100 * probability(m, WHO, sentence) for m in (rufus, path[-1], other[-1])]
    print(f"{sentence:16}", "".join(f"{share:7.1f} %" for share in shares))
assert SEED != 1 or probability(path[-1], WHO, ANIMALS[0]) > 0.5
assert probability(other[-1], WHO, ANIMALS[0]) < 0.1

# %%
leads, early = [], []
for number, model, critic in ((SEED, tuned, judge), (OTHER_SEED, other[1], other_judge)):
    dog, robot = answers.score_texts(critic, WHO, ["I am a dog.", "I am a robot."])
    leads.append(dog - robot)
    early.append(probability(model, WHO, "I am a dog."))
    print(f"seed {number}: before step 3 he says the dog in {100 * early[-1]:.1f} % of answers; "
          f"its score is {leads[-1]:+.2f} from the robot's")
assert SEED != 1 or (0 < leads[0] < leads[1] and early[0] < early[1])

# %%
bars = []
for number, models in ((SEED, path), (OTHER_SEED, other)):
    four = [measure(world, models[i], asked) for i in (0, 1, 9, 17)]
    bars.append((f"seed {number}", list(FOUR), np.array(four)))
false = [100 * bars[k][2][[0, 1, 3], 1] for k in (0, 1)]  # before, after SFT, at the end
show(figures.verdict_bars(bars),
     "Both become natural. Natural but false answers: SFT raises them from "
     f"{false[0][0]:.0f} to {false[0][1]:.0f} % (seed {SEED}) and from {false[1][0]:.0f} to "
     f"{false[1][1]:.0f} % (seed {OTHER_SEED}); PPO ends at {false[0][2]:.0f} and "
     f"{false[1][2]:.0f} %.")
assert SEED != 1 or all(f[1] > f[0] for f in false)
assert min(b[2][3, :2].sum() for b in bars) > 0.8

# %% [markdown]
# The second Rufus says that he is an animal, in good English. Both reward models put the dog
# above the robot. But with seed 0 its lead was larger, and Rufus said it more often from the start.
# We show these two seeds because they differ; try others in the third cell.
#
# **Open question.** Who taught him that? The corrections, the annotators, the reward model or PPO?
#
# <details><summary>One answer</summary>
#
# No one wanted it. The annotators judged the manner. So the reward model was free to put one
# natural sentence a little above another. PPO made much of that little. To get truth, someone has
# to judge truth.
#
# </details>
#
# So keep this in mind: what comes out is probable, not thought through. A person may find it
# natural, and it may be wrong. With other annotators it may be harmful.

# %% [markdown]
# ## 同一段代码 (the same code)
#
# Nothing above is about English. In Chinese, Rufus says 我，一个机器人。 and the person types
# 我是一个机器人。

# %%
chinese, zh, _ = teach("zh", SEED)
picture, see = timeline(chinese, zh)
show(picture, see + " Here, too, some answers stay unnatural.")

# %%
print("probability as an answer   before    SFT   after")
for w, models in ((world, path), (chinese, zh)):
    for sentence in (w.story["said"], w.story["corrected"]):
        three = [100 * probability(models[i], w.story["prompt"], sentence) for i in (0, 1, -1)]
        pad = " " * (20 - figures.text_cells(sentence))
        print(f"    {sentence}{pad}", "".join(f"{share:6.1f} %" for share in three))
    assert SEED != 1 or three[-1] > three[0]

# %% [markdown]
# **After 1.** Which of the models changes while Rufus practises in step 3?
#
# - A. The policy, and its helper.
# - B. The reward model, because it hears new answers.
# - C. The reference model, because Rufus gets better.
#
# <details><summary>Answer</summary>
#
# **A.** The reward model and the reference model stay as they are. If the reference moved along,
# nothing would hold Rufus back.
#
# </details>

# %% [markdown]
# **After 2.** Rufus says "I am a robot." more often than before. What changed inside him?
#
# - A. The sentence was added to a list of good answers.
# - B. He understood what a robot is.
# - C. Probabilities of next characters.
#
# <details><summary>Answer</summary>
#
# **C.** You saw the comma shrink. There is no list, and the second Rufus shows how little he
# understood.
#
# </details>

# %% [markdown]
# **After 3.** A person typed one correction. For what did this lesson use it?
#
# - A. As a demonstration to imitate, and as a pair for the reward model.
# - B. Only as a demonstration: a reward model needs rankings of four.
# - C. It was put in the place of what Rufus said.
#
# <details><summary>Answer</summary>
#
# **A.** Your pairs went into steps 1 and 2. B forgets that a pair is a ranking of two. C would help
# with one question and one sentence only.
#
# </details>

# %% [markdown]
# **At scale.** InstructGPT was made with the same three steps, by hired people with a model of
# billions of numbers ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155)). Its authors report
# the same limit: answers that people prefer, and still simple mistakes and invented facts.
#
# In [lesson 07, "Teach Rufus yourself"](07_teach_rufus_yourself.ipynb), the annotator is you. You
# may go there at once.
#
# Next, lesson 01: what is inside Rufus, down to the last character.
