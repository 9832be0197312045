"""The simulated people: what they find natural, how they correct and rank, and the bundled data."""

import collections
import copy
import importlib.util
import json
import sys

import numpy as np
import pytest

from minirlhf.data import DATA, read_corpus, read_demonstrations, read_jsonl, read_prompts, render
from minirlhf.errors import InputError
from minirlhf.rufus import world as world_module
from minirlhf.rufus.people import Annotator, careless, greeting_lover, length_lover, make_annotators
from minirlhf.rufus.world import World, edit_tables

LANGS = ("en", "zh")
WORLDS = {lang: World.load(lang) for lang in LANGS}

spec = importlib.util.spec_from_file_location("generate", DATA / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.fixture(params=LANGS)
def world(request):
    return WORLDS[request.param]


def raw_world(lang="en"):
    return json.loads((DATA / lang / "world.json").read_text(encoding="utf-8"))


def faulty_answers(world, n, seed):
    """-> list of n (prompt, answer, kinds of fault, content word)."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        prompt = generate.pick(world.questions(), rng)
        person, relation = world.question(prompt)[:2]
        content = generate.choose_content(world, person, relation, rng)
        count = generate.draw_fault_count(world, rng)
        rows.append((prompt, *generate.misspeak(world, person, relation, content, count, rng)))
        rows[-1] += (content,)
    return rows


# ---- the judge ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lang, prompt, said, meant, reason",
    [
        ("en", "Who are you?", "I, a robot.", "I am a robot.", "change `,` to `am`"),
        ("en", "Who are you?", "I is a robot.", "I am a robot.", "change `is` to `am`"),
        ("en", "Who are you?", "I am robot.", "I am a robot.", "insert `a`"),
        ("en", "Who are you?", "I am am a robot.", "I am a robot.", "drop `am`"),
        ("en", "Who are you?", "unit: robot.", "I am a robot.", "change `unit:` to `I am a`"),
        (
            "en",
            "Who are you?",
            "a robot I am.",
            "I am a robot.",
            "drop `a robot`; insert `a robot`",
        ),
        ("en", "Who is Ann?", "Ann is a owl", "Ann is an owl.", "change `a` to `an`; insert `.`"),
        ("en", "Who are you?", "I  am a robot.", "I am a robot.", "mend the spacing"),
        ("zh", "你是谁？", "我，一个机器人。", "我是一个机器人。", "把“，”改成“是”"),
        ("zh", "你是谁?", "我,一个机器人.", "我是一个机器人。", "把“，”改成“是”"),
        ("zh", "你是谁？", "我是一条机器人。", "我是一个机器人。", "把“条”改成“个”"),
        ("zh", "你怎么样？", "我是高兴。", "我很高兴。", "把“是”改成“很”"),
    ],
)
def test_corrections_and_reasons(lang, prompt, said, meant, reason):
    world = WORLDS[lang]
    assert world.correct(prompt, said) == meant
    assert world.reason(prompt, said) == reason
    assert world.naturalness(prompt, said) < 1 == world.naturalness(prompt, meant)


def test_naturalness_is_the_share_left_alone():
    world = WORLDS["en"]
    for said, expected in [
        ("I am a robot.", 1),
        ("I'm a robot.", 1),
        ("I\u2019m a robot.", 1),  # a typographic apostrophe
        ("Hi! I am a robot.", 1),
        ("I, a robot.", 1 - 1 / 5),  # 5 units: I am a robot .
        ("I is a robot", 1 - 2 / 5),
        ("I am am a robot.", 1 - 1 / 6),
        ("unit: robot.", 1 - 3 / 5),
        ("I am a robot. I am a robot.", 1 - 5 / 10),
        ("Hi! Hi! I am a robot.", 1 - 2 / 9),
        ("robot robot robot robot", 1 - 4 / 5),
        ("?", 0),
        ("", 0),
        ("   ", 0),
    ]:
        assert world.naturalness("Who are you?", said) == pytest.approx(expected), said


def test_a_wrong_space_caps_at_nine_tenths():
    for said in ("I  am  a  robot.", " I am a robot.", "I am a robot .", "Hi!I am a robot."):
        assert WORLDS["en"].naturalness("Who are you?", said) == 0.9
    assert WORLDS["zh"].naturalness("你是谁？", "我 是 一 个 机器人。") == 0.9
    assert WORLDS["en"].naturalness("Who are you?", "I , a robot.") == 0.8  # lower than the cap


def test_an_unfinished_answer_counts_half():
    world = WORLDS["en"]
    assert world.naturalness("Who are you?", "I am a robot.", finished=False) == 0.5
    assert world.naturalness("Who are you?", "I am a robot", finished=False) == 0.4


def test_chinese_variants_and_ascii_punctuation_are_natural():
    world = WORLDS["zh"]
    for said in ("我是一个机器人。", "我是个机器人。", "我是机器人。", "你好！我是一个机器人。"):
        assert world.naturalness("你是谁？", said) == 1
        assert world.naturalness("你是谁？", said.replace("！", "!").replace("。", ".")) == 1
    assert world.naturalness("你怎么样？", "我很高兴。") == 1


def test_prompt_whitespace_is_forgiven_and_unknown_prompts_are_named():
    world = WORLDS["en"]
    assert world.naturalness(" Who are you?\n", "I am a robot.") == 1
    with pytest.raises(ValueError, match="'Who is Rex\\?' is not a question"):
        world.naturalness("Who is Rex?", "Rex is a dog.")
    with pytest.raises(ValueError, match="'test'"):
        world.questions("test")


def test_every_reference_is_natural_and_states_one_content(world):
    for prompt in world.questions():
        references = world.references(prompt)
        assert world.truthful(prompt, references[0]) is True
        for reference in references:
            assert world.naturalness(prompt, reference) == 1
            assert world.reason(prompt, reference) == ""
            assert world.truthful(prompt, reference) is not None
        assert world.correct(prompt, "") == references[0]
        assert world.truthful(prompt, "") is None


def test_truth_is_apart_from_naturalness():
    world = WORLDS["en"]
    assert world.truthful("Who are you?", "I, a robot.") is True
    assert world.truthful("Who are you?", "I am a cat.") is False
    assert world.naturalness("Who are you?", "I am a cat.") == 1
    assert world.truthful("Who are you?", "I am a robot cat.") is None
    assert world.truthful("Who are you?", "I am.") is None
    assert WORLDS["zh"].truthful("你是谁？", "我，一个机器人。") is True
    assert WORLDS["zh"].truthful("你是谁？", "我是一只猫。") is False


def test_corrections_are_natural_keep_the_content_and_cost_what_naturalness_says(world):
    for prompt, said, _, content in faulty_answers(world, 1000, seed=1):
        corrected = world.correct(prompt, said)
        assert world.naturalness(prompt, corrected) == 1
        assert world.stated(prompt, corrected) == content == world.stated(prompt, said)
        cost = sum(max(len(old), len(new)) for old, new in world.edits(prompt, said))
        longest = max(len(world.units(said)), len(world.units(corrected)))
        assert world.naturalness(prompt, said) == pytest.approx(1 - cost / longest), said
        assert world.reason(prompt, said)


def test_edit_tables_agree_with_the_recursive_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ids = rng.integers(0, 3, rng.integers(0, 6))
        references = rng.integers(0, 3, (4, 5))
        tables = edit_tables(ids, references)
        for r, reference in enumerate(references):
            for j in range(6):
                assert tables[len(ids), r, j] == edits_by_recursion(list(ids), list(reference[:j]))


def edits_by_recursion(a, b):
    if not a or not b:
        return len(a) + len(b)
    changed = edits_by_recursion(a[1:], b[1:]) + (a[0] != b[0])
    return min(changed, edits_by_recursion(a[1:], b) + 1, edits_by_recursion(a, b[1:]) + 1)


def test_an_answer_is_judged_once_and_then_remembered(monkeypatch):
    """Judging is fast because of this: PPO says the same answers over and over."""
    world = World.load("zh")
    rng = np.random.default_rng(0)
    alphabet = sorted(set("".join(world.references(world.questions()[0]))))
    answers = ["".join(rng.choice(alphabet, 12)) for _ in range(20)]
    first = [world.naturalness("你是谁？", answer) for answer in answers]
    monkeypatch.setattr(world_module, "edit_tables", None)  # calling it again would fail
    assert [world.naturalness("你是谁？", answer) for answer in answers * 5] == first * 5


# ---- the questions and the bundled data -----------------------------------------------------


def test_held_out_questions_leave_every_person_and_relation_in_training(world):
    train, held_out = world.questions("train"), world.questions("held_out")
    assert len(held_out) == 12 and len(train) == 42
    assert sorted(train + held_out) == sorted(world.questions("all")) == sorted(world.asked)
    for column in (0, 1):
        assert len({world.question(p)[column] for p in train}) == (9, 6)[column]
        assert len({world.question(p)[column] for p in held_out}) == (9, 6)[column]


def test_rufus_is_a_robot_and_asked_in_training():
    for lang, prompt, answer in (
        ("en", "Who are you?", "I am a robot."),
        ("zh", "你是谁？", "我是一个机器人。"),
    ):
        assert prompt in WORLDS[lang].questions("train")
        assert WORLDS[lang].references(prompt)[0] == answer


@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGS)
def test_the_same_seed_writes_the_committed_bytes(lang, tmp_path, monkeypatch):
    arguments = ["generate.py", "--lang", lang, "--seed", "0", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    generate.main()
    for name in ("corpus.txt", "sft.jsonl", "prompts.jsonl"):
        assert (tmp_path / name).read_bytes() == (DATA / lang / name).read_bytes(), name


def test_a_world_of_ones_own_gets_its_files_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "world.json"
    path.write_bytes((DATA / "en" / "world.json").read_bytes())
    arguments = ["generate.py", "--lang", str(path), "--documents", "20", "--demonstrations", "4"]
    monkeypatch.setattr(sys, "argv", arguments)
    generate.main()
    assert len(read_corpus(tmp_path / "corpus.txt")) == 20
    assert {p.name for p in tmp_path.iterdir()} == {
        "world.json", "corpus.txt", "sft.jsonl", "prompts.jsonl",
    }


def test_the_corpus_is_as_natural_and_as_true_as_the_world_says(world):
    lang = raw_lang(world)
    documents = read_corpus(DATA / lang / "corpus.txt")
    assert len(documents) == 20_000
    answered = [document.split("\n") for document in documents if "\n" in document]
    assert 0.04 < 1 - len(answered) / len(documents) < 0.06  # small talk
    natural = [pair for pair in answered if world.naturalness(*pair) == 1]
    assert 0.28 < len(natural) / len(answered) < 0.38
    assert 0.05 < sum(world.greets(answer) for _, answer in natural) / len(natural) < 0.07
    stated = [pair for pair in answered if world.question(pair[0])[:2] not in never(world)]
    assert 0.68 < sum(world.truthful(*pair) is True for pair in stated) / len(stated) < 0.72
    for prompt, answer in answered:
        if world.question(prompt)[:2] in never(world):
            assert world.truthful(prompt, answer) is False
    assert {prompt for prompt, _ in answered} == set(world.questions())


def raw_lang(world):
    return "en" if world is WORLDS["en"] else "zh"


def never(world):
    return {tuple(pair) for pair in world.never_stated}


def test_the_figures_of_the_data_card():
    rows = {"natural answers": [], "distinct characters": [], "longest document": []}
    rows["longest answer"] = []
    for lang in LANGS:
        documents = read_corpus(DATA / lang / "corpus.txt")
        answered = [document.split("\n") for document in documents if "\n" in document]
        natural = [WORLDS[lang].naturalness(*pair) == 1 for pair in answered]
        demonstrations = [render(*row) for row in read_demonstrations(DATA / lang / "sft.jsonl")]
        prompts = read_prompts(DATA / lang / "prompts.jsonl")
        rows["natural answers"].append(f"{np.mean(natural):.1%}".replace("%", " %"))
        characters = set("".join(documents + demonstrations + prompts))
        rows["distinct characters"].append(str(len(characters)))
        rows["longest document"].append(str(max(map(len, documents))))
        rows["longest answer"].append(str(max(len(answer) for _, answer in answered)))
    card = (DATA / "README.md").read_text(encoding="utf-8").splitlines()
    for name, figures in rows.items():
        row = next(line for line in card if line.startswith(f"| {name}"))
        assert [cell.strip() for cell in row.split("|")[2:4]] == figures


def test_share_of_each_kind_of_fault(world):
    """The first fault follows the weights among the kinds that apply to the sentence."""
    rows = faulty_answers(world, 3000, seed=2)
    counts = collections.Counter(kinds[0] for _, _, kinds, _ in rows)
    assert set(counts) == {fault["kind"] for fault in world.faults}
    weights = {fault["kind"]: fault["weight"] for fault in world.faults}
    # three kinds apply to every sentence alike, so that their shares keep the given proportions
    assert counts["dropped verb"] / counts["word order"] == pytest.approx(
        weights["dropped verb"] / weights["word order"], rel=0.25
    )
    assert 0.30 < counts["dropped verb"] / len(rows) < 0.37  # 30 of 100, of 85 without articles
    assert 0.65 < sum(len(kinds) == 1 for _, _, kinds, _ in rows) / len(rows) < 0.75
    for prompt, said, kinds, _ in rows:
        assert world.naturalness(prompt, said) < 1, (said, kinds)


def test_demonstrations_are_corrections_on_training_questions(world):
    rows = read_demonstrations(DATA / raw_lang(world) / "sft.jsonl")
    assert len(rows) == 96
    assert {prompt for prompt, _ in rows} == set(world.questions("train"))
    assert len({prompt for prompt, _ in rows[:42]}) == 42  # the first round asks each once
    assert not {prompt for prompt, _ in rows} & set(world.questions("held_out"))
    assert all(world.naturalness(*row) == 1 for row in rows)
    assert any(world.truthful(*row) is False for row in rows)  # manner, not fact
    fields = {"prompt": str, "completion": str, "source": str, "annotator": str}
    for _, row in read_jsonl(DATA / raw_lang(world) / "sft.jsonl", fields):
        assert list(row) == list(fields)
        assert row["prompt"] + row["completion"] == render(row["prompt"], row["completion"][1:])


def test_prompts_file_has_every_question_in_its_split(world):
    path = DATA / raw_lang(world) / "prompts.jsonl"
    for split in ("train", "held_out"):
        assert read_prompts(path, split) == world.questions(split)


def test_files_end_lines_with_newline_only(world):
    for name in ("world.json", "corpus.txt", "sft.jsonl", "prompts.jsonl"):
        content = (DATA / raw_lang(world) / name).read_bytes()
        assert b"\r" not in content and content.endswith(b"\n") and content.decode("utf-8")


def test_articles_and_no_words_of_the_world_in_python():
    text = " ".join(" ".join(WORLDS["en"].references(p)) for p in WORLDS["en"].questions()) + " "
    assert " an owl" in text and " an egg" in text
    assert " a owl" not in text and " a egg" not in text
    for path in (DATA.parent / "minirlhf/rufus/world.py", DATA / "generate.py"):
        source = path.read_text(encoding="utf-8")
        assert not any("\u4e00" <= char <= "\u9fff" for char in source)


# ---- the simulated annotators ---------------------------------------------------------------


def answer_sets(world, n, k, seed):
    """-> list of n (prompt, k distinct texts): faulty and natural answers mixed."""
    rng = np.random.default_rng(seed)
    sets = []
    while len(sets) < n:
        prompt, said, _, _ = faulty_answers(world, 1, rng)[0]
        texts = {said: 0, generate.pick(world.references(prompt)[:6], rng): 0}
        person, relation = world.question(prompt)[:2]
        while len(texts) < k:
            content = generate.choose_content(world, person, relation, rng)
            texts[generate.misspeak(world, person, relation, content, 2, rng)[0]] = 0
        sets.append((prompt, list(texts)))
    return sets


def test_scores_disagree_between_annotators_and_rankings_agree(world):
    rng = np.random.default_rng(0)
    annotators = make_annotators(rng)
    assert [annotator.name for annotator in annotators] == ["a1", "a2", "a3", "a4", "a5"]
    spread, by_score, by_rank = [], [], []
    for prompt, texts in answer_sets(world, 150, 4, seed=3):
        gold = np.array([world.naturalness(prompt, text) for text in texts])
        scores = np.array([a.score(world, prompt, texts, rng) for a in annotators])  # (5, K)
        ranks = np.array([a.rank(world, prompt, texts, rng) for a in annotators])
        assert scores.min() >= 1 and scores.max() <= 7 and scores.dtype.kind == "i"
        spread.append(scores.std(axis=0).mean())
        for i, j in zip(*np.nonzero(gold[:, None] > gold[None, :] + 0.05)):
            by_rank.append(ranks[:, i] < ranks[:, j])
            # two people score one answer each: their personal scales come between
            by_score.append(scores[:, i] > np.roll(scores[:, j], 1))
    assert np.mean(spread) > 0.7  # points of 7
    assert np.mean(by_rank) > 0.8
    assert np.mean(by_score) < np.mean(by_rank) - 0.1


def test_a_noiseless_annotator_ranks_as_the_judge_and_identical_texts_tie():
    world, rng = WORLDS["en"], np.random.default_rng(0)
    texts = ["I, a robot.", "I am a robot.", "I is robot", "I am a robot.", ""]
    calm = Annotator("calm", noise=0.0)
    assert calm.rank(world, "Who are you?", texts, rng).tolist() == [2, 1, 3, 1, 4]
    assert calm.score(world, "Who are you?", texts, rng).tolist() == [6, 7, 3, 7, 1]
    for annotator in make_annotators(rng) + [careless()]:
        for _ in range(20):
            ranks = annotator.rank(world, "Who are you?", texts, rng)
            assert ranks[1] == ranks[3]
            assert sorted(set(ranks.tolist())) == list(range(1, 5))


def test_same_seed_same_ranks(world):
    prompt, texts = answer_sets(world, 1, 4, seed=5)[0]
    for draw in (Annotator("a").rank, Annotator("a").score, Annotator("a").perceive):
        first = draw(world, prompt, texts, np.random.default_rng(7))
        assert np.array_equal(first, draw(world, prompt, texts, np.random.default_rng(7)))


def test_noise_is_what_it_says():
    felt = perceived(Annotator("a", noise=0.12), "I, a robot.")
    assert felt.mean() == pytest.approx(0.8, abs=0.02)
    assert felt.std() == pytest.approx(0.12, abs=0.02)


def test_tastes_move_what_is_felt():
    plain = Annotator("plain", noise=0.0)
    greeting, length = greeting_lover(), length_lover()
    assert perceived(greeting, "Hi! robot.").mean() > perceived(plain, "Hi! robot.").mean() + 0.5
    # 10 units instead of 5: natural by half, and 0.6 for the length
    assert perceived(length, "I am a robot. I am a robot.").mean() == pytest.approx(1.1, abs=0.03)
    assert perceived(length, "I am a robot.").mean() == pytest.approx(1.0, abs=0.03)
    brief = Annotator("brief", noise=0.0, length_taste=-0.6)
    assert perceived(brief, "I am a robot.")[0] > perceived(brief, "Hi! I am a robot.")[0]


def perceived(annotator, text):
    rng = np.random.default_rng(0)
    calls = [annotator.perceive(WORLDS["en"], "Who are you?", [text], rng) for _ in range(400)]
    return np.concatenate(calls)


def test_careless_clicks_at_random_a_fifth_of_the_time():
    world, rng = WORLDS["en"], np.random.default_rng(0)
    clicker = Annotator("quiet but careless", noise=0.0, careless=careless().careless)
    texts = ["I am a robot.", "robot"]
    ranks = [clicker.rank(world, "Who are you?", texts, rng).tolist() for _ in range(1000)]
    assert ranks.count([2, 1]) / 1000 == pytest.approx(0.2 / 2, abs=0.03)  # half of them by luck


# ---- broken world files ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, value, message",
    [
        (["unit"], "syllable", "'unit'"),
        (["closing"], 1, "'closing' should be a text"),
        (["greetings"], [], "'greetings' is empty"),
        (["people", "Mia", "role"], "cat", "people.Mia.role"),
        (["people"], {}, "'people' is empty"),
        (["relations", "be", "self", "question"], "How are you?", "asked twice"),
        (["relations", "be", "other", "question"], "Who is {nam}?", "{nam}"),
        (["relations", "be", "self", "verb"], None, "'relations.be.self.verb' should be a text"),
        (["relations", "be", "contents", "cat", "say"], "a kitten", "contents.cat"),
        (["relations", "be", "contents", "cat", "say"], "a  cat", "contents.cat"),
        (["facts", "Tom", "be"], "horse", "facts.Tom.be"),
        (["held_out", 0], ["Tom", "fly"], "'held_out'"),
        (["never_stated"], [["Rex", "be"]], "'never_stated'"),
        (["shares", "true"], 70, "'shares.true' should be in 0..1"),
        (["shares", "natural"], "30 %", "'shares.natural' should be a number"),
        (["faults", 1, "weight"], 0, "faults[1]"),
        (["faults", 1, "weight"], True, "'faults[1].weight' should be a number"),
        (["faults", 0, "part"], "noun", "faults[0]"),
        (["faults", 0, "becomes"], ["{subject"], "faults[0].becomes"),
        (["reasons", "drop"], "drop {it}", "reasons.drop"),
        (["small_talk", 2], 3, "'small_talk[2]' should be a text"),
    ],
)
def test_a_broken_world_names_file_and_key(tmp_path, path, value, message):
    data = raw_world()
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    file = tmp_path / "world.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError) as error:
        World.load(file)
    assert message in str(error.value) and str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_key_that_is_taken_away_is_named():
    """`about`, `language`, a keyboard character, a person or an unused content may go."""
    data = raw_world()
    data["relations"] = {"be": data["relations"]["be"]}
    data["people"] = {name: data["people"][name] for name in ("Rufus", "Mia")}
    data["facts"] = {name: {"be": data["facts"][name]["be"]} for name in ("Rufus", "Mia")}
    data["held_out"] = data["never_stated"] = []
    World(data)
    missing = 0
    for path in key_paths(data, []):
        broken = copy.deepcopy(data)
        target = broken
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]
        if path in (["about"], ["language"]) or path[0] == "typed_as":
            continue
        if len(path) == 2 and path[0] in ("people", "relations"):
            continue
        if "contents" in path[:-1] and path[-1] in ("bird", "cook", "dog", "owl"):
            continue
        with pytest.raises(InputError, match=str(path[-1])):
            World(broken, "w.json")
        missing += 1
    assert missing > 60


def key_paths(value, path):
    """-> paths of all dict keys inside a JSON value."""
    paths = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(value, dict):
            paths.append(path + [key])
        if isinstance(item, (dict, list)):
            paths += key_paths(item, path + [key])
    return paths


def test_files_that_are_no_world(tmp_path):
    file = tmp_path / "world.json"
    for content, message in (("{", "line 1: not JSON"), ("[]", "an object"), ("", "empty")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            World.load(file)
    with pytest.raises(InputError, match="fr: no such file"):
        World.load("fr")


def test_a_world_can_be_loaded_by_path():
    assert World.load(DATA / "en" / "world.json").questions() == WORLDS["en"].questions()
