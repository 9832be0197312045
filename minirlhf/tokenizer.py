"""Characters <-> ids.

One character is one token, so a reader can see every token.  Three ids stand for no character:
PAD fills short rows of a batch, BOS opens every text, EOS is the decision to stop talking.
They are three different ids on purpose.  Where EOS doubles as PAD, masking the padding also
masks the end of the answer, and the model never learns to stop.
"""

from minirlhf.errors import InputError

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ("<pad>", "<bos>", "<eos>")


class Tokenizer:
    """A fixed list of characters.  `vocab` is one string; character i has the id 3 + i."""

    def __init__(self, vocab: str):
        if len(set(vocab)) != len(vocab):
            raise InputError(f"vocabulary has a character twice: {vocab!r}")
        self.vocab = vocab
        self.id_of = {char: len(SPECIALS) + i for i, char in enumerate(vocab)}

    def __repr__(self):
        return f"Tokenizer({len(self)} ids: 3 special, {len(self.vocab)} characters)"

    def __len__(self):
        return len(SPECIALS) + len(self.vocab)

    def encode(self, text: str) -> list[int]:
        """str -> list of ids, without BOS and EOS.

        Raises InputError at the first character that is not in the vocabulary.
        """
        ids = []
        for position, char in enumerate(text):
            if char not in self.id_of:
                raise InputError(
                    f"character {char!r} at position {position} of {text!r} "
                    f"is not in the vocabulary of {len(self.vocab)} characters"
                )
            ids.append(self.id_of[char])
        return ids

    def decode(self, ids) -> str:
        """Sequence of ids -> str.  PAD, BOS and EOS are shown as <pad>, <bos>, <eos>."""
        chars = []
        for i in ids:
            chars.append(SPECIALS[i] if i < len(SPECIALS) else self.vocab[i - len(SPECIALS)])
        return "".join(chars)


def build_tokenizer(texts: list[str]) -> Tokenizer:
    """list of str -> Tokenizer over every character that occurs, in code point order."""
    return Tokenizer("".join(sorted(set("".join(texts)))))
