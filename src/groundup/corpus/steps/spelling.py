"""Step `spelling`: correct what is surely a typo in English text, and leave alone what only looks like one.

A word is judged if it is lower-case letters only, set off by blanks and punctuation; so code, numbers, addresses, hashtags, names and
whatever has a capital are never looked at. It is corrected if

    it is none of the 287,000 words that we know, nor one that the corpus or the user has of its own,
    its likeliest reading (`noisy_channel`) is likely enough beside all others, that of an unseen word included,
    the document does not have it again and again,
    and the line around it is English prose: known words, function words among them, and not quoted as a word.

Almost all words are known, so the tokens of a text are first taken as a set, less those found harmless before; only what remains is
looked at, each distinct word once per process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge, noisy_channel
from groundup.errors import RequestError
from groundup.recipe.cleaning.spelling import Spelling

WORD = re.compile(r"""["“”'‘(\[]*([a-z]+)[.,;:!?)\]"“”'’…]*""")
QUOTED = re.compile(r"""[(\[]*["“'‘].*["”'’][.,;:!?)\]]*""")  # one word in quotation marks is shown, not used
MOST_REMEMBERED = 1_000_000  # tokens and words a process remembers; then it begins anew
MANY_SUSPECTS, MOST_SUSPECTS = 20, 2000  # unknown tokens of a text that is judged: 20 and a tenth of the distinct ones, 2,000 at most
SHORT = 8  # words; a shorter line is judged by the whole document
# Function words of English that are not at the same time common words of German, French, Spanish, Italian, Dutch or Portuguese.
FUNCTION_WORDS = frozenset(
    """the of and to is that it for with be by this are from have which you they had his her were there been their would what can she
    has when who more if about out up them then some could than other into only its our two my after any how where most your these
    because through between should did does because very just also but or at not i he we our us him""".split()
)
LEAST_STEM = 4  # letters
PREFIXES = frozenset(
    """anti auto bi bio co counter cyber de dis down eco electro ethno extra fore geo hyper in infra inter intra macro mega meta micro mid mini
    mis mono multi neo neuro non omni out over para photo poly post pre proto pseudo psycho quasi re semi socio sub super tele thermo
    trans tri ultra un under uni up""".split()
)
MISSPELT_PREFIXES = frozenset(["co", "de", "dis", "fore", "hyper", "in", "infra", "intra", "up"])  # independant, descided
IN_GOOD_USE = 5_000_000  # count in books (SymSpell's dictionary): the 9,000 commonest words
SUFFIXES = frozenset("""s like less ness nesses ings wise ward wards ship ships ism isms ist ists ize ized izes izing ization eth est edst
    dom hood esque ish fold man men s""".split())
OWN_RATIO = 3  # an unknown word is not the corpus's own if more than this many documents have its correction for each that has it


class SpellingStep:
    """The step. `known_words` are left alone beside those of the settings' file (`frequent_words` finds the corpus's own)."""

    def __init__(self, settings: Spelling, known_words: frozenset[str] = frozenset()) -> None:
        self.settings = settings
        listed: list[str] = []
        if settings.words:
            try:
                listed = Path(settings.words).read_text(encoding="utf-8").lower().split()
            except (OSError, UnicodeDecodeError) as error:
                raise RequestError(f"the word list cannot be read: {error}", where="clean.spelling.words", do="Name a text file of words.") from None
        self.known_words = known_words | frozenset(listed)
        self._harmless: set[str] = set()  # tokens of which nothing is to be said
        self._corrections: dict[str, str | None] = {}  # unknown word -> what it is meant to be, if that is sure

    def __getstate__(self) -> dict[str, object]:
        return {"settings": self.settings, "known_words": self.known_words, "_harmless": set(), "_corrections": {}}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "spelling", self._correct)

    def _correct(self, seen: Seen) -> Verdict:
        if seen.language and not seen.language.lower().startswith("en"):
            return Verdict(seen.text)
        text, counts = self.correct(seen.text, sure_of_language=seen.language is not None)
        return Verdict(text, score=float(sum(counts.values())), counts=counts)

    def correct(self, text: str, *, sure_of_language: bool = False) -> tuple[str, Counter[str]]:
        """The text corrected, and what was changed, as "teh -> the". A text of few words is only changed if surely English."""
        counts: Counter[str] = Counter()
        tokens = text.split()
        distinct = set(tokens)
        suspects = self._suspects(distinct)
        # Judging a word takes a thousand times as long as knowing it: a text with this many unknown words is not given the time.
        if not suspects or len(suspects) > min(MANY_SUSPECTS + len(distinct) // 10, MOST_SUSPECTS):
            return text, counts
        often = Counter(word for token in tokens if (word := suspects.get(token)))
        rare = {token for token, word in suspects.items() if often[word] < self.settings.repeated}
        english: bool | None = None
        lines = text.split("\n")
        for number, line in enumerate(lines):
            parts = line.split()
            if rare.isdisjoint(parts):
                continue
            if len(parts) >= SHORT:
                prose = self._prose(parts, suspects)
            else:
                if english is None:
                    english = self._prose(tokens, suspects) if len(tokens) >= SHORT else sure_of_language
                prose = english
            if prose:
                lines[number] = self._correct_line(line, rare, suspects, counts)
        return "\n".join(lines), counts

    def correction(self, word: str) -> str | None:
        """What an unknown lower-case word is surely meant to be, or None."""
        if word not in self._corrections:
            if len(self._corrections) >= MOST_REMEMBERED:
                self._corrections.clear()
            self._corrections[word] = self._judge_word(word)
        return self._corrections[word]

    def _judge_word(self, word: str) -> str | None:
        english = noisy_channel.english()
        readings = english.readings(word, distance=2 if len(word) > 4 else 1)
        if not readings or readings[0].probability < self.settings.confidence:
            return None
        right = readings[0].word
        sounded = right == f"{word}g"  # nothin
        lettered = right == word[1:] and word[0] != word[1]  # ebook, jsmith
        return None if right in english.names or sounded or lettered or derived(word, right, english.count) else right

    def _suspects(self, tokens: set[str]) -> dict[str, str]:
        """Tokens of unknown words, and the words."""
        found: dict[str, str] = {}
        if len(self._harmless) >= MOST_REMEMBERED:
            self._harmless.clear()
        for token in tokens - self._harmless:
            if word := self._unknown(token):
                found[token] = word
            else:
                self._harmless.add(token)
        return found

    def _unknown(self, token: str) -> str | None:
        shape = WORD.fullmatch(token)
        if shape is None or len(shape[1]) < self.settings.min_letters or QUOTED.fullmatch(token):
            return None
        if token.endswith(("'", "’")) and not token.startswith(("'", "‘")):
            return None  # goin', for the sound of it
        return None if shape[1] in noisy_channel.english().known or shape[1] in self.known_words else shape[1]

    def _prose(self, tokens: list[str], suspects: Mapping[str, str]) -> bool:
        """Whether tokens are English sentences: function words enough, and few that are neither known nor surely typos."""
        if sum(token.lower() in FUNCTION_WORDS for token in tokens) < self.settings.min_function_words * len(tokens):
            return False
        allowed = self.settings.max_unknown * len(tokens)
        unknown = [suspects[token] for token in tokens if token in suspects]
        code = sum(not plain(token) for token in tokens)
        if code + len(unknown) <= allowed:
            return True
        if code > allowed or 2 * len(unknown) > len(tokens):
            return False
        return code + sum(self.correction(word) is None for word in unknown) <= allowed

    def _correct_line(self, line: str, rare: set[str], suspects: Mapping[str, str], counts: Counter[str]) -> str:
        pieces = re.split(r"(\s+)", line)
        for place in range(0, len(pieces), 2):
            token = pieces[place]
            if token in rare and (right := self.correction(word := suspects[token])):
                pieces[place] = token.replace(word, right, 1)
                counts[f"{word} -> {right}"] += 1
        return "".join(pieces)


def plain(token: str) -> bool:
    """Whether a token is a word, a number, or punctuation, and not a piece of code or an address."""
    bare = token.strip(".,;:!?%()[]\"'“”‘’–—…-$€£")
    return not bare or bare.replace("-", "").replace("'", "").replace("’", "").replace(",", "").replace(".", "").isalnum()


def derived(word: str, right: str, counts: Callable[[str], float]) -> bool:
    """Whether an unknown word is rather made of known ones by the rules that make new words than `right` misspelt.

    unintuitive is not intuitive, nor socioeconomics socioeconomic: a prefix or suffix was added to what `right` has too.
    Nor is undecodable undecidable or a textfile a textile, where both parts are words in good use.
    """
    for end in range(2, len(word)):
        head, tail = word[:end], word[end:]
        stems = len(head) >= LEAST_STEM, len(tail) >= LEAST_STEM
        if stems[1] and head in PREFIXES and counts(tail) and (right.endswith(tail) or (len(tail) > 5 and head not in MISSPELT_PREFIXES)):
            return True
        if all(stems) and min(counts(head), counts(tail)) >= IN_GOOD_USE:
            return True
        if stems[0] and tail in SUFFIXES and right.startswith(head) and counts(head):
            return True
    return False


def frequent_words(texts: Iterable[str], step: SpellingStep, *, min_documents: int = 5) -> frozenset[str]:
    """The corpus's own words: unknown ones that `step` would correct, but that so many documents have that they are no typos.

    A word has to be in `min_documents`, and in one for every OWN_RATIO that have its correction: misspellings of common words
    occur in many documents too, but far more have the word itself.
    """
    unknown: Counter[str] = Counter()
    corrections: Counter[str] = Counter()
    for text in texts:
        tokens = set(text.split())
        unknown.update({word for token in tokens if token not in step._harmless and (word := step._unknown(token))})
        corrections.update({token.strip(".,;:!?()\"'“”").lower() for token in tokens})
    return frozenset(
        word for word, documents in sorted(unknown.items())
        if documents >= min_documents and (right := step.correction(word)) and documents * OWN_RATIO >= corrections[right]
    )  # fmt: skip
