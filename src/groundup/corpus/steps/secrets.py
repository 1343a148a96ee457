"""Keys and passwords that must not be learned: by the marks that services put on theirs, or named as such and random enough.

Each service's pattern begins with a fixed string, which is looked for first: a text without any costs next to nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

# Fixed beginning -> the whole key. Sources: the services' own documentation, and the lists of detect-secrets and gitleaks.
MARKED = {
    "AKIA": r"AKIA[A-Z2-7]{16}", "ASIA": r"ASIA[A-Z2-7]{16}",  # AWS
    "ghp_": r"ghp_[A-Za-z0-9]{36,}", "gho_": r"gho_[A-Za-z0-9]{36,}", "ghu_": r"ghu_[A-Za-z0-9]{36,}",
    "ghs_": r"ghs_[A-Za-z0-9]{36,}", "ghr_": r"ghr_[A-Za-z0-9]{36,}", "github_pat_": r"github_pat_[A-Za-z0-9_]{50,}",  # GitHub
    "glpat-": r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    "xox": r"xox[abeoprs]-[A-Za-z0-9-]{10,}", "xapp-": r"xapp-[0-9]-[A-Za-z0-9-]{20,}",
    "hooks.slack.com/services/": r"hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{20,}",  # Slack
    "sk_live_": r"sk_live_[A-Za-z0-9]{16,}", "rk_live_": r"rk_live_[A-Za-z0-9]{16,}", "sk_test_": r"sk_test_[A-Za-z0-9]{16,}",  # Stripe
    "sk-": r"sk-(?:proj-|ant-|or-)?(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic
    "AIza": r"AIza[A-Za-z0-9_-]{35}", "ya29.": r"ya29\.[A-Za-z0-9_-]{20,}",  # Google
    "SG.": r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    "hf_": r"hf_[A-Za-z0-9]{30,}", "npm_": r"npm_[A-Za-z0-9]{36}", "pypi-AgE": r"pypi-AgE[A-Za-z0-9_-]{50,}",  # Hugging Face, npm, PyPI
    "dckr_pat_": r"dckr_pat_[A-Za-z0-9_-]{20,}", "shpat_": r"shpat_[a-f0-9]{32}", "dop_v1_": r"dop_v1_[a-f0-9]{64}",
    "eyJ": r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JSON Web Token
    "-----BEGIN": r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|\Z)",
}  # fmt: skip
PATTERNS = {mark: re.compile(rf"(?<![A-Za-z0-9]){pattern}", re.DOTALL) for mark, pattern in MARKED.items()}
IN_URL = re.compile(r"://[^\s/:@'\"<>]{1,64}:([^\s/:@'\"<>]{3,64})@[A-Za-z0-9]")  # password of https://name:password@host
VALUES = {sign: re.compile(sign + r"""[=>]?[ \t]{0,4}["'`]?([A-Za-z0-9_\-/+.~!$%^&*]{8,200}={0,2})(?![A-Za-z0-9(\[])""") for sign in ("=", ":")}
NAME = re.compile(
    r"(?:api|access|secret|private|auth|encryption|signing|account|client|master|storage)[_\- ]?(?:key|token|secret)(?:[_\- ]?(?:id|key|base))?|"
    r"secret|token|bearer|passwo?r?d|passwd|passphrase|pwd|credentials?",
    re.IGNORECASE,
)  # fmt: skip
NAME_END = re.compile(r"""(?:[A-Za-z0-9_.\-]{0,24})["'`\]]{0,2}[ \t]{0,4}$""")
BITS_PER_LETTER = 3.0  # entropy of a key's letters; English words have 2.2 to 2.8 in strings of 16, random hex 3.4, random base 64 3.8
LEAST = 16  # characters of a key that only its name gives away; passwords may have 8, if letters, digits and more are mixed


def find(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each secret; one may lie in another."""
    underscore = "_" in text  # rare in prose, and half the marks have it
    for mark, pattern in PATTERNS.items():
        if (underscore or "_" not in mark) and mark in text:
            for found in pattern.finditer(text):
                yield found.span()
    if "://" in text and "@" in text:
        for found in IN_URL.finditer(text):
            yield found.span(1)
    for sign, pattern in VALUES.items():
        for found in pattern.finditer(text) if sign in text else ():
            if named(text[max(0, found.start() - 64) : found.start()]) and random(found[1]):
                yield found.span(1)


def named(before: str) -> bool:
    """Whether what stands before a sign of assignment is the name of a secret: api_key, "clientSecret", DB_PASSWORD."""
    line = before.rsplit("\n", 1)[-1]
    return any(NAME_END.fullmatch(line, name.end()) for name in NAME.finditer(line))


def random(value: str) -> bool:
    """Whether a value looks drawn by lot: not a word, a path, a call or a name of code."""
    if value.startswith(("os.", "process.", "env.", "self.", "this.", "config.", "settings.", "http", "/", "./", "$", "%")):
        return False
    digit = any(letter.isdigit() for letter in value)
    cases = any(letter.islower() for letter in value) + any(letter.isupper() for letter in value)
    if not digit or not cases:
        return False
    if len(value) < LEAST:
        return cases == 2 or any(not letter.isalnum() and letter not in "_-./" for letter in value)
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values()) >= BITS_PER_LETTER
