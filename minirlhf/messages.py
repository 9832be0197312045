"""What people read, in their language.

English stands in the code and is the key; `say` gives its rendering and fills in the values:

    say = load_messages("zh")
    say("natural answers")
    say("{count} rankings, {share:.1%} of them tied", count=600, share=0.02)

Another language is a file and no Python: data/LANG/messages.po, in gettext's form, which tools for
translators read and write.  A text that the file does not have stays English.  A test finds every
text by its call, so the first argument of `say` is always written out; a text that stands in a
table, to be said later, is marked by `later`.
"""

import json
import re
from pathlib import Path

from minirlhf.data import DATA, read_text
from minirlhf.errors import InputError

CATALOGUE = "messages.po"
LINE = re.compile(r'(?:(msgid|msgstr) )?(".*")')


class Messages:
    """The texts in one language: call it with the English."""

    def __init__(self, renderings):
        """renderings: {English: text}; {} for English itself."""
        self.renderings = renderings

    def __repr__(self):
        return f"Messages({len(self.renderings)} texts)"

    def __call__(self, english, **values):
        """-> the rendering of `english` with its {names} replaced by the values."""
        text = self.renderings.get(english, english)
        return text.format(**values) if values else text


def later(english):
    """Marks a text that stands in a table, for tests and translators.  -> the same text."""
    return english


def load_messages(lang):
    """'en', 'zh' or the path of a world.json -> Messages: the catalogue beside the world, if any.

    Raises InputError if the catalogue cannot be read.
    """
    folder = Path(lang).parent if Path(lang).suffix == ".json" else DATA / lang
    path = folder / CATALOGUE
    return Messages(read_catalogue(path) if path.is_file() else {})


def read_catalogue(path):
    """A .po file with msgid and msgstr -> {English: rendering}; empty renderings are left out.

    Raises InputError that names the line.
    """
    entries, kind = [], None  # of {"msgid": text, "msgstr": text}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}, line {number}"
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None or (found[1] is None and kind is None):
            raise InputError(f'{where}: expected msgid "...", msgstr "..." or "...", got {line!r}')
        if found[1] == "msgid":
            entries.append({"msgid": "", "msgstr": ""})
        kind = found[1] or kind
        if not entries:
            raise InputError(f"{where}: msgstr stands before the first msgid")
        try:
            entries[-1][kind] += json.loads(found[2])  # both escape alike: \n, \", \\
        except ValueError as error:
            raise InputError(f"{where}: {error} in {line!r}") from None
    renderings = {entry["msgid"]: entry["msgstr"] for entry in entries if entry["msgstr"]}
    renderings.pop("", None)  # the file's header
    return renderings
