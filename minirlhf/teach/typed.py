"""The lines that a person types while teaching Rufus, and their answer in the reader's language."""

import re

from minirlhf.errors import InputError

HELP = """
  2 > 1 > 3 = 4    rank the answers: 2 is best, then 1, then 3 and 4 alike
  2                answer 2 is the best
  u 1 3            1 and 3 sound unnatural, the others natural
  ok               all sound natural          u all    none does
  = I am a robot.  say it right: your own answer to the question
  s                skip this question         z        undo the last label
  h                history                    l        let Rufus learn now
  Who is Mia?      a line that ends in ? asks your own question
  x                end; everything is kept
  An empty line ends the round: Rufus learns, and the next question comes.
  You can say several things in one round, such as a ranking and a correction."""
HELP_ZH = """
  2 > 1 > 3 = 4    排序：2 最好，其次 1，3 和 4 一样
  2                第 2 句最好
  u 1 3            1 和 3 不自然，其余自然
  ok               都自然            u all    都不自然
  = 我是一个机器人。   纠正：写出你自己的回答
  s                跳过              z        撤销上一个标注
  h                历史              l        让 Rufus 现在学习
  小明是谁？          以问号结尾的一行是你自己的问题
  x                结束；一切都已保存
  空行结束这一轮：Rufus 学习，然后出现下一个问题。
  一轮里可以做几件事，例如先排序再纠正。"""


def say(lang, english, chinese):
    """The text in the session's language."""
    return chinese if lang == "zh" else english


def plain(text):
    """A text that nobody vouches for -> without characters that could steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


# ---- what a session answers, for the terminal and the panel ---------------------------------


def kept_line(lang, kind, value):
    """A label that is now on the disk -> one line."""
    if kind == "rank":
        return say(lang, f"Kept: {in_words(value)}", f"已保存：{in_words(value)}")
    if kind == "best":
        return say(lang, f"Kept: {value + 1} is the best.", f"已保存：第 {value + 1} 句最好。")
    if kind == "unnatural":
        marked = ", ".join(str(i + 1) for i in value) or say(lang, "none", "无")
        return say(lang, f"Kept: unnatural: {marked}.", f"已保存：不自然：{marked}。")
    if kind == "correction":
        return say(lang, f"Kept: the right answer is: {plain(value)}",
                   f"已保存：正确的回答是：{plain(value)}")
    return say(lang, "Skipped.", "已跳过。")


def history_line(lang, simulated, row):
    """A row of session.history -> one line: the annotator's own votes, and the reward model's
    agreement with them."""
    natural, agreement = say(lang, "not said", "未评"), say(lang, "not yet", "尚无")
    votes = row["votes"]
    if votes:
        count = round(row["natural"] * votes)
        natural = say(lang, f"{count} of {votes}", f"{votes} 句中 {count} 句")
    if row["agreement"] is not None:
        share = f"{100 * row['agreement']:.0f} %"
        agreement = say(lang, f"{share} of {row['pairs']} new pairs",
                        f"{row['pairs']} 对新标注中 {share}")
    by, whom, who = ("its", "it", "模拟标注者") if simulated else ("your", "you", "你")
    return say(lang, f"Version {row['judged']}: natural by {by} votes: {natural}; "
               f"the reward model agreed with {whom}: {agreement}.",
               f"第 {row['judged']} 版：{who}觉得自然的：{natural}；"
               f"奖励模型与{who}一致：{agreement}。")


# ---- what a person types --------------------------------------------------------------------


def read_line(line, k, lang):
    """A typed line about k answers -> (action, value).  Raises InputError with a plain sentence.

    Actions: the labels of Session.label, and "done", "question", "undo", "learn", "history",
    "help", "end".
    """
    text = line.strip()
    words = text.lower().replace("，", " ").replace(",", " ").split()
    alone = {"": "done", "s": "skip", "z": "undo", "undo": "undo", "skip": "skip", "h": "history",
             "l": "learn", "learn": "learn", "history": "history", "?": "help", "？": "help",
             "help": "help", "x": "end", "quit": "end", "exit": "end"}
    if text.lower() in alone:
        return alone[text.lower()], None
    if text[0] in "=＝":
        return "correction", text[1:].strip()
    if text[-1] in "?？":
        return "question", text
    if words == ["ok"]:
        return "unnatural", []
    if words[0] == "u":
        if words[1:] == ["all"]:
            return "unnatural", list(range(k))
        return "unnatural", [number_of(word, k, lang) for word in words[1:]] or nothing(lang)
    if re.fullmatch(r"[\d\s>=＞＝]+", text):
        return read_order(text, k, lang)
    raise InputError(say(
        lang, "That is not understood. Type ? for help; a correction begins with =.",
        "没有看懂。输入 ? 看帮助；纠正以 = 开头。"))


def nothing(lang):
    """Raises InputError: u without a number."""
    raise InputError(say(lang, "Which ones? u 1 3, or u all, or ok if all sound natural.",
                         "哪几句？例如 u 1 3；u all 表示都不自然，ok 表示都自然。"))


def number_of(word, k, lang):
    """"3" -> 2.  Raises InputError unless it is the number of an answer."""
    if not re.fullmatch(r"[0-9]{1,9}", word) or not 1 <= int(word) <= k:
        raise InputError(say(lang, f"{plain(word)} is no answer; they have the numbers 1 to {k}.",
                             f"没有第 {plain(word)} 句；编号是 1 到 {k}。"))
    return int(word) - 1


def read_order(text, k, lang):
    """"2 > 1 > 3 = 4" -> ("rank", [2, 1, 3, 3]); one number alone -> ("best", index).

    Answers that are not named share the last place.
    """
    tiers = re.split(r"[>＞]", text)
    if len(tiers) == 1 and len(text.split()) > 1 and not re.search("[=＝]", text):
        tiers = text.split()  # 2 1 3 4
    ranks = [0] * k
    for place, tier in enumerate(tiers, start=1):
        for word in re.split(r"[\s=＝]+", tier.strip()):
            i = number_of(word or "0", k, lang)
            if ranks[i]:
                raise InputError(say(lang, f"{i + 1} is there twice.", f"{i + 1} 出现了两次。"))
            ranks[i] = place
    if sum(rank > 0 for rank in ranks) == 1:
        return "best", ranks.index(1)
    return "rank", [rank or len(tiers) + 1 for rank in ranks]


def as_typed(kind, value, k):
    """The line that a person would type for a label: what read_line reads back."""
    if kind == "correction":
        return f"= {value}"
    if kind == "unnatural":
        chosen = " ".join(str(i + 1) for i in value)
        return "ok" if not value else "u all" if len(value) == k else f"u {chosen}"
    if kind == "rank":
        return in_words(value)
    return {"best": f"{(value or 0) + 1}", "skip": "s"}[kind]


def in_words(ranks):
    """[2, 1, 3, 3] -> "2 > 1 > 3 = 4"."""
    tiers = []
    for rank in sorted(set(ranks)):
        tiers.append(" = ".join(str(i + 1) for i, r in enumerate(ranks) if r == rank))
    return " > ".join(tiers)
