"""The personal-data step: span precision and recall, speed; beside Presidio's pattern recognisers, scrubadub and datatrove.

    python benchmarks/personal_data.py --data ../shared/data [--peers PYTHON ...] [--json]

Two labelled sets: Presidio's generated sample, for the kinds that the step knows; and a text made here, by a generator that shares no
code with the step: numbers in the forms of two dozen countries in sentences of five languages, and as many sentences with what only
looks like one: dates, prices, ISBNs, versions, ids, numbers with a wrong check digit. A span counts if both ends and the kind are
right ("exact") or if it overlaps one of its kind ("overlap"). `--peers`: interpreters with presidio-analyzer, scrubadub or datatrove.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import string
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup.corpus.steps.personal_data import PersonalDataStep
from groundup.recipe.cleaning.personal_data import PersonalData

Span = tuple[int, int, str]
Labelled = tuple[str, list[Span]]
PRESIDIO_KINDS = {"PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IP_ADDRESS": "ip", "EMAIL_ADDRESS": "e-mail", "US_SSN": "ssn", "IBAN_CODE": "iban"}

# --- a generator of labelled text ---------------------------------------------------------------------------------

PHONES = {  # # any digit, N 2 to 9
    "US": ["(N##) N##-####", "N##-N##-####", "N##.N##.####", "+1 N## N## ####", "1-N##-N##-####", "+1-N##-N##-#### ext. ###", "N## N## ####"],
    "UK": ["020 7### ####", "+44 20 7### ####", "07### ######", "+44 7### ######", "01### ######", "(01###) ######", "+44 (0)161 ### ####"],
    "DE": ["030 #######", "+49 30 ########", "0171 #######", "+49 (0)89 #######", "0221/#######", "(040) ### ####", "+49-151-########"],
    "FR": ["01 ## ## ## ##", "06 ## ## ## ##", "+33 6 ## ## ## ##", "04.##.##.##.##", "+33 (0)1 ## ## ## ##"],
    "ES": ["+34 6## ### ###", "91# ### ###", "6## ## ## ##", "+34 93 ### ## ##"],
    "IT": ["+39 06 #### ####", "+39 3## ### ####", "06 #### ####"], "NL": ["06-########", "+31 6 ########", "020-#######", "010 ### ####"],
    "AU": ["(02) #### ####", "04## ### ###", "+61 4## ### ###", "1300 ### ###"], "IN": ["+91 9#### #####", "+91-22-########"],
    "JP": ["03-####-####", "+81 3-####-####", "090-####-####"], "BR": ["(11) 9####-####", "+55 11 9####-####"],
    "CH": ["044 ### ## ##", "+41 79 ### ## ##"], "SE": ["08-### ## ##", "+46 70 ### ## ##"], "IE": ["01 ### ####", "+353 87 ### ####"],
    "PL": ["+48 ### ### ###"], "CN": ["+86 138 #### ####"], "ZA": ["+27 82 ### ####", "011 ### ####"], "IL": ["+972 50-###-####"],
}  # fmt: skip
IBANS = {  # the account's part: d digits, a letters
    "DE": "18d", "GB": "4a14d", "FR": "20d1a2d", "ES": "20d", "IT": "1a22d", "NL": "4a10d", "BE": "12d", "CH": "17d", "AT": "16d", "PL": "24d",
    "SE": "20d", "NO": "11d", "DK": "14d", "IE": "4a14d", "PT": "21d", "MT": "4a23d", "FI": "14d", "CZ": "20d", "GR": "23d", "SA": "20d",
}  # fmt: skip
CARDS = [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("36", 14), ("3530", 16), ("62", 16)]
SENTENCES = {
    "phone": ["You can call me on {} after six.", "Tel.: {}", "Our office is in the High Street, {}, open daily.", "Phone {} or write to us.",
              "Rufen Sie uns an: {}.", "Telefon: {} (werktags)", "Appelez le {} avant midi.", "Mi teléfono es {}.", "Contact Mr Smith ({}) for details.",
              "My number is {}, text me.", "{} is the number of the surgery.", "Fax: {}"],
    "e-mail": ["Write to {} for a copy.", "E-Mail: {}", "[{}](mailto:{})", "<{}> wrote:", "Contact {}.", "send it to {}, please", "Schreiben Sie an {}!"],
    "ip": ["The server at {} is down.", "Failed password for root from {} port 22", "ping {}", "{} - - [10/Oct/2000:13:55:36] \"GET / HTTP/1.0\" 200",
           "Its address is {}."],
    "card": ["I paid with my card {} yesterday.", "Card number: {}, valid thru 09/27", "Meine Kreditkarte {} wurde belastet.", "charge {} please"],
    "iban": ["Please transfer to {}.", "IBAN: {}", "Bitte überweisen Sie auf das Konto {} bei der Bank.", "Mon IBAN est {}, merci."],
    "key": ["export API_KEY={}", "token: \"{}\"", "The key {} was committed by mistake.", "client_secret = '{}'", "Authorization: Bearer {}"],
    "ssn": ["My social security number is {}.", "SSN: {}"],
}  # fmt: skip
DECOYS = [
    "It happened on {1-12}/{1-28}/19{10-99} at {10-23}:{10-59}.", "Between 19{10-49} and 19{50-99} the town grew to {1-9},{100-999},{100-999} people.",
    "See ISBN 978-{0-9}-{100-999}-{10000-99999}-{0-9}.", "ISBN 0-{100-999}-{10000-99999}-{0-9} (paperback)", "Version {1-9}.{0-99}.{0-99}.{0-9} was released.",
    "The war of 19{10-40}-19{41-99} cost £{1-9},{100-999},{100-999}.", "Invoice no. {1000000-9999999} of {1-28}.{1-12}.20{10-24}", "Order #{10000000-99999999} has shipped.",
    "Es kostet {100-999}.{100-999},00 Euro.", "The distance is {100-999} {100-999} {100-999} metres.", "commit {1000000-9999999}e{10-99}af{100-999}", "pi is 3.14159265358979",
    "| {10-99} | {100-999} | {1000-9999} | {100-999} |", "{10-99} {100-999} {1000-9999} {100-999} {10-99}", "doi:10.{1000-9999}/s{10000-99999}-{100-999}-{10000-99999}-{0-9}",
    "arXiv:{1000-2412}.{10000-99999}", "The bill H.R. {1000-9999} of 20{10-24}-{10-12}-{10-28}.", "Patent US {1-9},{100-999},{100-999} was granted.", "20{10-24}-{10-12}-{10-28} {10-23}:{10-59}:{10-59}",
    "at 192.168.{0-255}.{1-254} on the local network", "See section {1-9}.{1-9}.{1-9}.{1-9} of the manual.", "Ratio {1-9}:{1-9}, score {10-99}-{10-99}, pages {100-499}-{500-999}.",
    "lat {10-89}.{100000-999999}, lon {100-179}.{100000-999999}", "ZIP {10000-99999}-{1000-9999}", "RFC {1000-9999} and PMID {10000000-30000000}", "git@github.com:someone/thing.git",
    "the logo@2x.png file", "@someone wrote it, with @dataclass above", "password: must have {8-12} characters", "the token is read from os.environ['TOKEN_{1-9}']", "1.{100-999}.{100-999} Einwohner",
    "id: {1000000000-9999999999}", "timestamp {1000000000-1700000000}", "3/4 cup, 1-2 hours, 350-375 F, {100-300} g", "0.{1000000-9999999}", "{1-9}e-{10-20}", "card 4{100000000000000-999999999999998}x",
]  # fmt: skip


class Maker:
    """Makes labelled texts; every draw from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def texts(self, number: int) -> list[Labelled]:
        """Sentences with one thing each, and as many with none; three to a text."""
        made: list[Labelled] = []
        for _ in range(number):
            text, spans = "", []
            for sentence, found in (self.sentence(kind) for kind in self.random.choices([*SENTENCES, *["none"] * len(SENTENCES)], k=3)):
                spans += [(start + len(text), end + len(text), kind) for start, end, kind in found]
                text += sentence + self.random.choice(["\n", " ", "\n\n"])
            made.append((text, spans))
        return made

    def sentence(self, kind: str) -> Labelled:
        if kind == "none":
            return self.decoy(), []
        thing = getattr(self, kind.replace("-", ""))()
        pieces = self.random.choice(SENTENCES[kind]).split("{}")
        text, spans = pieces[0], []
        for piece in pieces[1:]:
            spans.append((len(text), len(text) + len(thing), kind))
            text += thing + piece
        return text, spans

    def decoy(self) -> str:
        pieces = self.random.choice(DECOYS).split("{")
        text = pieces[0]
        for piece in pieces[1:]:
            bounds, _, rest = piece.partition("}")
            first, _, last = bounds.partition("-")
            text += str(self.random.randint(int(first), int(last))) + rest
        return text

    def fill(self, form: str) -> str:
        return "".join(self.random.choice(string.digits) if c == "#" else self.random.choice("23456789") if c == "N" else c for c in form)

    def phone(self) -> str:
        return self.fill(self.random.choice(PHONES[self.random.choice(sorted(PHONES))]))

    def email(self) -> str:
        name = self.random.choice(["anna", "j.smith", "o.brien-jones", "max_muster", "info", "Peter.Pan", "x1", "marie+news", "b2b.sales", "li"])
        host = self.random.choice(["example", "uni-koeln", "mail.corp", "gmail", "my-firm", "a1", "post.office.gov"])
        return f"{name}@{host}.{self.random.choice(['com', 'de', 'co.uk', 'org', 'museum', 'fr', 'io', 'edu.au'])}"

    def ip(self) -> str:
        if self.random.random() < 0.3:
            return "2a00:" + ":".join(f"{self.random.randrange(1, 65536):x}" for _ in range(3)) + "::" + f"{self.random.randrange(1, 65536):x}"
        return ".".join(map(str, [self.random.choice([8, 23, 51, 62, 77, 93, 130, 145, 185, 195, 212]), *(self.random.randrange(1, 255) for _ in range(3))]))

    def card(self) -> str:
        prefix, length = self.random.choice(CARDS)
        digits = prefix + "".join(self.random.choices(string.digits, k=length - len(prefix) - 1))
        for check in string.digits:
            total = 0
            for place, digit in enumerate(reversed(digits + check)):
                value = int(digit) * (1 + place % 2)
                total += value - 9 * (value > 9)
            if total % 10 == 0:
                digits += check
                break
        blank = self.random.choice(["", "", " ", "-"])
        sizes = {16: [4, 4, 4, 4], 15: [4, 6, 5], 14: [4, 6, 4]}[length]
        return blank.join(digits[sum(sizes[:place]) : sum(sizes[: place + 1])] for place in range(len(sizes)))

    def iban(self) -> str:
        country = self.random.choice(sorted(IBANS))
        account, number = "", ""
        for letter in IBANS[country]:
            if letter.isdigit():
                number += letter
            else:
                account += "".join(self.random.choices(string.digits if letter == "d" else string.ascii_uppercase, k=int(number)))
                number = ""
        value = int("".join(str(int(c, 36)) for c in account + country + "00"))
        whole = f"{country}{98 - value % 97:02d}{account}"
        return whole if self.random.random() < 0.5 else " ".join(whole[place : place + 4] for place in range(0, len(whole), 4))

    def key(self) -> str:
        letters = string.ascii_letters + string.digits
        def some(size: int, of: str = letters) -> str:
            return "".join(self.random.choices(of, k=size))
        return self.random.choice([
            lambda: "AKIA" + some(16, string.ascii_uppercase + "234567"), lambda: "ghp_" + some(36), lambda: "xoxb-" + some(12, string.digits) + "-" + some(24),
            lambda: "sk_live_" + some(24), lambda: "AIza" + some(35), lambda: "glpat-" + some(20), lambda: "hf_" + some(34), lambda: "sk-proj-" + some(20) + "1" + some(20),
        ])()  # fmt: skip

    def ssn(self) -> str:
        return f"{self.random.randint(1, 665):03d}-{self.random.randint(1, 99):02d}-{self.random.randint(1, 9999):04d}"


# --- measuring ------------------------------------------------------------------------------------------------------

PEERS = {
    "presidio": """
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer, UsSsnRecognizer
kinds = {"PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IP_ADDRESS": "ip", "EMAIL_ADDRESS": "e-mail", "US_SSN": "ssn", "IBAN_CODE": "iban"}
recognisers = [each() for each in (CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer, UsSsnRecognizer)]
def find(text):
    found = [one for each in recognisers for one in each.analyze(text=text, entities=each.supported_entities, nlp_artifacts=None) if one.score >= 0.35]
    found.sort(key=lambda one: -one.score)
    kept = []
    for one in found:
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return [(one.start, one.end, kinds[one.entity_type]) for one in kept]
""",
    "scrubadub": """
import scrubadub
kinds = {"phone": "phone", "credit_card": "card", "email": "e-mail", "social_security_number": "ssn"}
scrubber = scrubadub.Scrubber()
def find(text):
    return [(one.beg, one.end, kinds[one.type]) for one in scrubber.iter_filth(text) if one.type in kinds]
""",
    "datatrove": """
from datatrove.pipeline.formatters.pii import PIIFormatter, public_ip_validator
formatter = PIIFormatter()
emails, ips = formatter.emails_replacer.regex, formatter.ip_replacer.regex
def find(text):
    found = [(*one.span(), "e-mail") for one in emails.finditer(text)]
    return found + [(*one.span(), "ip") for one in ips.finditer(text) if public_ip_validator(one.group(0))]
""",
}
RUN = "import json, sys, time\n{}\ntexts = json.load(sys.stdin)\nfind('warm')\nbegun = time.process_time()\nspans = [find(text) for text in texts]\nprint(json.dumps([spans, time.process_time() - begun]))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    finders: dict[str, Callable[[list[str]], tuple[list[list[Span]], float]]] = {"groundup": ours}
    for name, code in PEERS.items():
        for interpreter in given.peers:
            if subprocess.run([str(interpreter), "-c", code], capture_output=True).returncode == 0:
                finders[name] = lambda texts, at=interpreter, code=code: peer(at, code, texts)
    sets = {"presidio sample": presidio(given.data / "labels/pii/presidio_generated_small.json.gz"), "generated": Maker(8).texts(1500)}
    result: dict[str, Any] = {name: {who: score(labelled, find) for who, find in finders.items()} for name, labelled in sets.items()}
    result["mb_per_second_on_prose"] = {who: speed(given.data, find, 8_000_000 if who == "groundup" else 300_000) for who, find in finders.items()}
    print(json.dumps(result, indent=None if given.json else 2))


def ours(texts: list[str]) -> tuple[list[list[Span]], float]:
    step = PersonalDataStep(PersonalData(on=True, kinds=["e-mail", "phone", "ip", "card", "iban", "key", "ssn"]))
    begun = time.process_time()
    return [step.spans(text) for text in texts], time.process_time() - begun


def peer(interpreter: Path, code: str, texts: list[str]) -> tuple[list[list[Span]], float]:
    done = subprocess.run([str(interpreter), "-c", RUN.format(code)], input=json.dumps(texts), capture_output=True, text=True, check=True)
    spans, seconds = json.loads(done.stdout.splitlines()[-1])
    return [[tuple(span) for span in each] for each in spans], seconds


def presidio(path: Path) -> list[Labelled]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [
            (one["full_text"], [(span["start_position"], span["end_position"], PRESIDIO_KINDS[span["entity_type"]]) for span in one["spans"] if span["entity_type"] in PRESIDIO_KINDS])
            for one in json.load(stream)
        ]  # fmt: skip


def score(labelled: list[Labelled], find: Callable[[list[str]], tuple[list[list[Span]], float]]) -> dict[str, Any]:
    """Precision and recall of each kind; of a kind that a finder never names recall is 0, and it is left out of its total."""
    found, _ = find([text for text, _ in labelled])
    kinds: dict[str, list[int]] = {}
    for (_, wanted), got in zip(labelled, found, strict=True):
        for span in wanted:
            counts = kinds.setdefault(span[2], [0, 0, 0, 0, 0])
            counts[0] += 1
            counts[1] += span in got
            counts[2] += any(span[2] == other[2] and span[0] < other[1] and other[0] < span[1] for other in got)
        for span in got:
            counts = kinds.setdefault(span[2], [0, 0, 0, 0, 0])
            counts[3] += 1
            counts[4] += any(span[2] == other[2] and span[0] < other[1] and other[0] < span[1] for other in wanted)
    named = {kind: counts for kind, counts in kinds.items() if counts[3]}
    table = {
        kind: {"labelled": n, "found": m, "precision_exact": ratio(exact, m), "recall_exact": ratio(exact, n), "precision_overlap": ratio(right, m), "recall_overlap": ratio(near, n)}
        for kind, (n, exact, near, m, right) in [*sorted(named.items()), ("all named", [sum(column) for column in zip(*named.values(), strict=True)])]
    }  # fmt: skip
    return table


def ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def speed(data: Path, find: Callable[[list[str]], tuple[list[list[Span]], float]], characters: int) -> dict[str, float]:
    """MB of text a second of one core, on prose with years and prices: textbooks (some not ASCII), and ASCII alone."""
    import io

    import pyarrow as pa

    texts, size = [], 0
    with pa.CompressedInputStream(str(data / "pretrain/openstax.jsonl.zst"), "zstd") as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            texts.append(json.loads(line)["text"])
            size += len(texts[-1])
            if size >= characters:
                break
    ascii_only = [text.encode("ascii", "replace").decode() for text in texts]
    return {name: round(sum(len(text.encode()) for text in some) / 1e6 / find(some)[1], 2) for name, some in (("textbooks", texts), ("textbooks, ASCII", ascii_only))}


if __name__ == "__main__":
    main()
