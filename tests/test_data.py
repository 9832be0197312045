"""Files in and out, encoding, batches; and the data files of the repository themselves."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from minirlhf import data
from minirlhf.data import (
    Example,
    Ranking,
    decode_response,
    encode_example,
    encode_prompt,
    make_batch,
    pad_rows,
    read_corpus,
    read_demonstrations,
    read_jsonl,
    read_preferences,
    read_prompts,
    read_rankings,
    read_text,
    render,
    shuffled_order,
    write_jsonl,
    write_preferences,
    write_rankings,
    write_text,
)
from minirlhf.errors import InputError, at
from minirlhf.tokenizer import BOS, EOS, PAD, Tokenizer, build_tokenizer

DATA = Path(__file__).parent.parent / "data"
LANGS = ("en", "zh")


def put(path, content):
    """Text or bytes -> file."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def put_rows(path, *rows):
    return put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def refused(read, path, *words):
    """read(path) is refused in one line that names the path and has these words in it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message, message
    for word in words:
        assert word in message, message


# ---- characters -----------------------------------------------------------------------------


def test_the_three_special_ids_stand_for_no_character():
    tokenizer = Tokenizer("abc")
    assert (PAD, BOS, EOS) == (0, 1, 2) and len(tokenizer) == 6
    assert tokenizer.encode("cab") == [5, 3, 4] and tokenizer.decode([5, 3, 4]) == "cab"
    assert tokenizer.decode([BOS, 3, EOS, PAD]) == "<bos>a<eos><pad>"


def test_every_text_comes_back():
    text = "I, a robot.\n我，机器人。\u2028\U0001f916é e\u0301\t\x00"
    tokenizer = build_tokenizer([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab == "".join(sorted(set(text)))
    assert build_tokenizer([text[::-1]]).vocab == tokenizer.vocab  # the order of texts is no matter


def test_an_unknown_character_is_named_with_its_place():
    with pytest.raises(InputError) as caught, at("my.jsonl, line 7"):
        Tokenizer("abc").encode("abxc")
    assert str(caught.value) == (
        "my.jsonl, line 7: character 'x' at position 2 of 'abxc' "
        "is not in the vocabulary of 3 characters"
    )


def test_a_vocabulary_has_no_character_twice():
    with pytest.raises(InputError, match="twice: 'aba'"):
        Tokenizer("aba")


# ---- text <-> ids ---------------------------------------------------------------------------


def test_a_prompt_and_its_response_by_hand():
    tokenizer = Tokenizer("\nab")  # \n 3, a 4, b 5
    assert render("ab", "ba") == "ab\nba" and render("", "ba") == "ba"
    example = encode_example(tokenizer, "ab", "ba", 10)
    assert example == Example([BOS, 4, 5, 3, 5, 4, EOS], 4)
    assert encode_example(tokenizer, "", "ba", 10) == Example([BOS, 5, 4, EOS], 1)
    assert encode_prompt(tokenizer, "ab", 10) == example.ids[: example.prompt_length]
    assert decode_response(tokenizer, example.ids[example.prompt_length :]) == "ba"
    assert decode_response(tokenizer, np.array([5, 4])) == "ba"  # not finished
    assert decode_response(tokenizer, [EOS]) == decode_response(tokenizer, []) == ""


def test_what_fits_and_what_does_not():
    tokenizer = Tokenizer("\nab")
    assert len(encode_example(tokenizer, "ab", "ba", 7).ids) == 7
    with pytest.raises(InputError, match=r"^'ab\\nba' needs 7 positions.* of 6$"):
        encode_example(tokenizer, "ab", "ba", 6)
    assert len(encode_prompt(tokenizer, "ab", 5)) == 4  # one position is left for an answer
    with pytest.raises(InputError, match="^f: prompt 'ab' fills 4 of the model's 4 positions"):
        with at("f"):
            encode_prompt(tokenizer, "ab", 4)


@pytest.mark.parametrize("encode", [encode_example, encode_prompt])
def test_an_unknown_character_in_prompt_or_response(encode):
    arguments = ("aé",) if encode is encode_prompt else ("a", "aé")
    with pytest.raises(InputError, match="^f, line 3: character 'é' at position"):
        with at("f, line 3"):
            encode(Tokenizer("\nab"), *arguments, 20)


# ---- batches --------------------------------------------------------------------------------


def test_a_batch_by_hand():
    """<bos> a \\n b <eos>  and  <bos> \\n <eos>: every target, and which of them count."""
    examples = [Example([BOS, 4, 3, 5, EOS], 3), Example([BOS, 3, EOS], 2)]
    inputs, targets, mask = make_batch(examples, response_only=True)
    assert inputs.tolist() == [[BOS, 4, 3, 5], [BOS, 3, EOS, PAD]]
    assert targets.tolist() == [[4, 3, 5, EOS], [3, EOS, PAD, PAD]]
    assert mask.tolist() == [[0, 0, 1, 1], [0, 1, 0, 0]]  # response and its EOS, no padding
    assert make_batch(examples, response_only=False)[2].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert mask.dtype == np.float32 and inputs.dtype.kind == "i"


def test_a_text_without_prompt_counts_whole_in_both():
    for response_only in (True, False):
        mask = make_batch([Example([BOS, 4, EOS], 1)], response_only)[2]
        assert mask.tolist() == [[1, 1]]


def test_an_empty_response_still_teaches_to_stop():
    example = encode_example(Tokenizer("\na"), "a", "", 9)
    _, targets, mask = make_batch([example], response_only=True)
    assert targets[mask > 0].tolist() == [EOS]


def test_rows_are_padded_at_the_end():
    assert pad_rows([[5], [5, 6, 7]]).tolist() == [[5, PAD, PAD], [5, 6, 7]]


@pytest.mark.parametrize("n, batch_size, steps", [(7, 3, 14), (100, 16, 13), (2, 5, 3), (1, 1, 1)])
def test_every_example_comes_equally_often(n, batch_size, steps):
    order = shuffled_order(n, batch_size, steps, np.random.default_rng(0))
    assert order.shape == (steps, batch_size)
    counts = np.bincount(order.ravel(), minlength=n)
    assert counts.sum() == steps * batch_size and counts.max() - counts.min() <= 1
    first_pass = order.ravel()[:n]
    assert len(set(first_pass.tolist())) == len(first_pass)  # no text twice before all came once


def test_the_order_is_shuffled_anew_in_every_pass_and_the_seed_decides():
    order = shuffled_order(50, 10, 10, np.random.default_rng(0)).reshape(2, 50)
    assert order[0].tolist() != order[1].tolist() != list(range(50))
    again = shuffled_order(50, 10, 10, np.random.default_rng(0)).reshape(2, 50)
    assert (order == again).all()


# ---- text files -----------------------------------------------------------------------------


def test_a_byte_order_mark_and_windows_line_ends_are_forgiven(tmp_path):
    path = put(tmp_path / "a.txt", b"\xef\xbb\xbfWho?\r\nI.\r\n\r\nHello.\r\n")
    assert read_corpus(path) == ["Who?\nI.", "Hello."]
    row = b'{"prompt": "Who?", "completion": "\\nI."}'
    path = put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + row + b"\r\n" + row + b"\r\n")
    assert read_demonstrations(path) == [("Who?", "I.")] * 2


@pytest.mark.parametrize("content", ["", " \n\n \t\n", "\ufeff", "\ufeff\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_an_empty_file(tmp_path, name, content):
    refused(read_corpus, put(tmp_path / name, content), "the file is empty")


def test_files_that_cannot_be_read(tmp_path):
    refused(read_text, tmp_path / "a.txt", "no such file")
    refused(read_text, tmp_path, "cannot be read")
    path = put(tmp_path / "a.txt", "ok\n我\n".encode() + b"caf\xe9\n")
    refused(read_text, path, "a.txt, line 3: byte 0xe9 is not UTF-8 text")
    refused(read_text, put(path, "hello".encode("utf-16")), "line 1: byte 0xff is not UTF-8")


def test_documents_end_at_blank_lines(tmp_path):
    path = put(tmp_path / "a.txt", "\n\nq\na\n\n\n\n\nalone\n\n b \n")
    assert read_corpus(path) == ["q\na", "alone", " b "]
    path = put_rows(tmp_path / "a.jsonl", {"text": "q\n\na"}, {"text": "b", "more": 1})
    assert read_corpus(path) == ["q\n\na", "b"]


def full_disk(path, *args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["replace", "open"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name):
    path = put(tmp_path / "a.txt", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os if name == "replace" else data, name, full_disk, raising=False)
        with pytest.raises(OSError):
            write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "old"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")  # half of a pair: fails in the middle of writing
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "old"


def test_written_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "x" / "a.txt", "我\nb\n")
    assert (tmp_path / "x" / "a.txt").read_bytes() == "我\nb\n".encode()


# ---- JSONL ----------------------------------------------------------------------------------


def test_only_a_newline_ends_a_line(tmp_path):
    """U+2028, U+2029, NEL, form feed: str.splitlines would cut the text there."""
    text = "a\u2028b\u2029c\x85d\x0ce"
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"text": text}, {"text": "next"}])
    assert text in path.read_text(encoding="utf-8").replace("\\f", "\x0c")
    assert read_corpus(path) == [text, "next"]
    put(path, '{"text": "a\u2028b"}\n{"text": }\n')
    refused(read_corpus, path, ", line 2: not JSON")


def test_rows_keep_their_line_numbers(tmp_path):
    path = put(tmp_path / "a.jsonl", '\n{"x": 1}\n\n  \n{"x": 2}')
    assert read_jsonl(path, {"x": int}) == [(2, {"x": 1}), (5, {"x": 2})]


@pytest.mark.parametrize(
    "line, words",
    [
        ('{"x": 1', "line 3: not JSON (Expecting ',' delimiter): '{\"x\": 1'"),
        ("{'x': 1}", "line 3: not JSON"),
        ('{"x": 1} {"x": 2}', "line 3: not JSON (Extra data)"),
        ('{"x": "\\ud83e alone"}', "line 3: not JSON"),  # half a pair: cannot be written again
        ('{"x": %s}' % ("9" * 5000), "line 3: not JSON"),  # Python refuses to read such a number
        ("[" * 100_000, "line 3: not JSON"),
        ("[1, 2]", "line 3: expected an object, got '[1, 2]'"),
        ("null", "line 3: expected an object, got 'null'"),
        ('{"y": 1}', "line 3: field 'x' is missing"),
        ('{"x": null}', "line 3: field 'x' should be int, got None"),
        ('{"x": "1"}', "line 3: field 'x' should be int, got '1'"),
    ],
)
def test_a_broken_line(tmp_path, line, words):
    path = put(tmp_path / "a.jsonl", f'{{"x": 1}}\n\n{line}\n{{"x": 1}}\n')
    with pytest.raises(InputError) as caught:
        read_jsonl(path, {"x": int})
    message = str(caught.value)
    assert message.startswith(f"{path}, {words}") and "\n" not in message
    assert len(message) < 400  # the file may be one endless line


def test_both_halves_of_a_pair_are_one_character(tmp_path):
    path = put(tmp_path / "a.jsonl", '{"text": "\\ud83e\\udd16"}')
    assert read_corpus(path) == ["\U0001f916"]


def test_demonstrations(tmp_path):
    path = put_rows(
        tmp_path / "a.jsonl",
        {"prompt": "Who? ", "completion": "\nI."},  # ours: the separator is taken off, no more
        {"prompt": "Who?", "completion": "\n I. "},
        {"prompt": "Who?", "completion": " I.\n", "source": "x"},  # foreign: whitespace goes
    )
    assert read_demonstrations(path) == [("Who?", "I."), ("Who?", " I. "), ("Who?", "I.")]
    good = {"prompt": "Who?", "completion": "I."}
    for spoilt, words in [
        ({"prompt": "Who?"}, "line 2: field 'completion' is missing"),
        ({"completion": "I."}, "line 2: field 'prompt' is missing"),
        ({"prompt": 5, "completion": "I."}, "line 2: field 'prompt' should be str, got 5"),
        ({"prompt": "Who?", "completion": "\n "}, "line 2: the completion is empty"),
    ]:
        refused(read_demonstrations, put_rows(path, good, spoilt), words)


def test_prompts(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": "a", "split": "train"}, {"prompt": "b\n"}, {"prompt": "c", "split": 1}]
    put_rows(path, *rows)
    assert read_prompts(path) == ["a", "b", "c"]
    assert read_prompts(path, "train") == ["a"]
    with pytest.raises(InputError, match="no prompt with split 'test'"):
        read_prompts(path, "test")
    refused(read_prompts, put_rows(path, {"prompt": "a"}, {"question": "b"}), "line 2", "'prompt'")


GOOD_RANKING = {"prompt": "Who?", "responses": ["I.", "We.", "You."], "ranks": [1, 2, 2]}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"responses": ["I."], "ranks": [1]}, "1 responses and 1 ranks"),
        ({"ranks": [1, 2]}, "3 responses and 2 ranks"),
        ({"responses": "I."}, "field 'responses' should be list, got 'I.'"),
        ({"responses": ["I.", "I.", "You."]}, "response 'I.' is not a text or occurs twice"),
        ({"responses": ["I.", 5, "You."]}, "response 5 is not a text"),
        ({"ranks": [1, 3, 3]}, "ranks [1, 3, 3] should count 1, 2, .. without a gap"),
        ({"ranks": [0, 1, 2]}, "ranks [0, 1, 2]"),
        ({"ranks": [2, 2, 3]}, "ranks [2, 2, 3]"),
        ({"ranks": [1, 2, 10**15]}, "ranks [1, 2, 1000000000000000]"),
        ({"ranks": [1, 2, 1.5]}, "rank 1.5 is not a whole number"),
        ({"ranks": [1, True, 2]}, "rank True is not a whole number"),
        ({"ranks": [1, "2", 2]}, "rank '2' is not a whole number"),
        ({"models": ["a"]}, "models ['a'] should be 3 names"),
        ({"models": "abc"}, "models 'abc' should be 3 names"),
        ({"models": ["a", None, "b"]}, "models ['a', None, 'b'] should be 3 names"),
        ({"annotator": 7}, "field 'annotator' should be str, got 7"),
        ({"prompt": None}, "field 'prompt' should be str, got None"),
    ],
)
def test_a_ranking_that_is_none(tmp_path, change, words):
    path = put_rows(tmp_path / "a.jsonl", GOOD_RANKING, GOOD_RANKING | change)
    refused(read_rankings, path, f"{path}, line 2: ", words)


@pytest.mark.parametrize(
    "row, words",
    [
        ({"prompt": "Who?", "chosen": "I."}, "field 'rejected' is missing"),
        ({"prompt": "Who?", "chosen": ["I."], "rejected": "We."}, "'chosen' should be str"),
        ({"prompt": 1, "chosen": "I.", "rejected": "We."}, "field 'prompt' should be str, got 1"),
        ({"chosen": "\nI.", "rejected": " I."}, "chosen and rejected are both 'I.'"),
        ({"chosen": "I.", "rejected": "We.", "annotator": {}}, "'annotator' should be str, got {}"),
    ],
)
def test_a_preference_that_is_none(tmp_path, row, words):
    path = put_rows(tmp_path / "a.jsonl", {"chosen": "I.", "rejected": "We."}, row)
    refused(read_preferences, path, f"{path}, line 2: ", words)


def test_rankings_of_other_people_get_names(tmp_path):
    path = put_rows(tmp_path / "a.jsonl", GOOD_RANKING)
    assert read_rankings(path) == [Ranking(*GOOD_RANKING.values(), ["unknown"] * 3, "unknown")]


# answers as models give them: spaces at both ends, a line inside, odd characters, ties
RANKINGS = [
    Ranking("Who are you?", ["I am.", " I am.", "I am. ", "I.\nam\u2028"], [2, 1, 3, 3],
            ["sft", "sft", "pretrained", "human"], "a1"),
    Ranking("你是谁？", ["我，机器人。", "我是机器人。"], [2, 1], ["sft", "sft"], "a2"),
    Ranking("", ["one whole text", "another"], [1, 2], ["x", "y"], "z"),
    Ranking("Tied?", ["a", "b"], [1, 1], ["x", "y"], "z"),
]


def test_rankings_out_and_in_and_out(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_rankings(a, RANKINGS)
    assert read_rankings(a) == RANKINGS
    write_rankings(b, read_rankings(a))
    assert a.read_bytes() == b.read_bytes() and b"\r" not in a.read_bytes()
    assert "我，机器人。" in a.read_text(encoding="utf-8")  # readable, not \\uXXXX


def test_preferences_out_and_in_and_out(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_preferences(a, RANKINGS)
    pairs = read_preferences(a)
    assert [(p.prompt, *p.responses) for p in pairs] == [
        ("Who are you?", "I am.", "I am. "),
        ("Who are you?", "I am.", "I.\nam\u2028"),
        ("Who are you?", " I am.", "I am."),
        ("Who are you?", " I am.", "I am. "),
        ("Who are you?", " I am.", "I.\nam\u2028"),
        ("你是谁？", "我是机器人。", "我，机器人。"),
        ("", "one whole text", "another"),
    ]
    assert all(pair.ranks == [1, 2] for pair in pairs)
    assert [pair.annotator for pair in pairs] == ["a1"] * 5 + ["a2", "z"]
    write_preferences(b, pairs)
    assert a.read_bytes() == b.read_bytes()


def test_prompt_and_completion_are_the_rendered_text(tmp_path):
    """What Hugging Face tools get by joining the two fields is what our models read."""
    write_preferences(tmp_path / "a.jsonl", RANKINGS[:2])
    for _, row in read_jsonl(tmp_path / "a.jsonl", {"prompt": str, "chosen": str}):
        response = row["chosen"].removeprefix("\n")
        assert row["prompt"] + row["chosen"] == render(row["prompt"], response)


def test_the_implicit_prompt_of_trl(tmp_path):
    path = put_rows(tmp_path / "a.jsonl", {"chosen": "Who?\nI.", "rejected": "Who?\nWe."})
    (pair,) = read_preferences(path)
    assert (pair.prompt, pair.responses) == ("", ["Who?\nI.", "Who?\nWe."])


# ---- the data of the repository -------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_the_bundled_files_keep_their_promises(lang):
    folder = DATA / lang
    texts = read_corpus(folder / "corpus.txt")
    assert len(texts) == 20_000
    tokenizer = build_tokenizer(texts + ["\n"])
    train = read_prompts(folder / "prompts.jsonl", "train")
    held_out = read_prompts(folder / "prompts.jsonl", "held_out")
    assert not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(read_prompts(folder / "prompts.jsonl"))
    assert len(set(train + held_out)) == len(train) + len(held_out) == 54
    demonstrations = read_demonstrations(folder / "sft.jsonl")
    assert {prompt for prompt, _ in demonstrations} <= set(train)
    for prompt, response in demonstrations:
        tokenizer.encode(render(prompt, response))
        assert response == response.strip()
    for prompt in train + held_out:
        tokenizer.encode(prompt)


@pytest.mark.parametrize("lang", LANGS)
def test_the_bundled_rankings_keep_their_promises(lang):
    folder = DATA / lang
    if not (folder / "rankings.jsonl").exists():
        pytest.skip("made by the pipeline")
    rankings = read_rankings(folder / "rankings.jsonl")  # dense ranks, different answers
    tokenizer = build_tokenizer(read_corpus(folder / "corpus.txt") + ["\n"])
    train = set(read_prompts(folder / "prompts.jsonl", "train"))
    pairs = set()
    for ranking in rankings:
        assert ranking.prompt in train and min(ranking.ranks) == 1
        for response in ranking.responses:
            tokenizer.encode(render(ranking.prompt, response))
        for a, rank_a in zip(ranking.responses, ranking.ranks):
            pairs |= {
                (ranking.prompt, a, b, ranking.annotator)
                for b, rank_b in zip(ranking.responses, ranking.ranks) if rank_a < rank_b
            }
    preferences = read_preferences(folder / "preferences.jsonl")
    assert {(p.prompt, *p.responses, p.annotator) for p in preferences} == pairs


def test_the_bundled_files_are_utf8_with_unix_line_ends():
    names = sorted([*DATA.glob("*/*.jsonl"), *DATA.glob("*/*.txt"), *DATA.glob("*/*.json")])
    assert len(names) >= 8
    for path in names:
        content = path.read_bytes()
        assert b"\r" not in content and not content.startswith(b"\xef\xbb\xbf"), path
        assert content.endswith(b"\n") and content.decode("utf-8"), path
