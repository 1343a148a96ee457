"""Strings that tokenizers disagree on, made from a seed: scripts, blanks, digits, contractions, code, emoji, controls, marks."""

from __future__ import annotations

import random

PARTS = (
    "the", "The", "THE", "naïve", "straße", "don't", "DON'T", "we'LL", "they'Ve", "it’s", "o'clock", "'tis", "''", "dog's'", "x's",
    "дом", "Ёлка", "国", "國語", "こんにちは", "カタカナ", "안녕하세요", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "ภาษาไทย", "Ελλάδα", "ﬁ", "Ⅷ", "½", "²", "٣٤٥", "४२", "１２",
    "0", "7", "42", "123", "1984", "12345", "1234567890", "3.14", "1,000", "0x1F", "1e-5", "-7", "+1",
    " ", "  ", "   ", "        ", "\t", "\t\t", " \t ", "\n", "\n\n", "\n\n\n", "\r\n", "\r", " \n", "\n ", "  \n  ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\ufeff",
    "def f(x):", "    return x", "if (a&&b) {", "}", "x+=1;", "//", "/*", "*/", "#!", "<div>", "</div>", "a.b.c", "__init__", "camelCase", "snake_case", "$x", "@y", "%d", "\\n", "```",
    "😀", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️", "…", "—", "“", "”", "«»", "?!", "...", "!!!", "::", "->", "=>", "==", "&amp;", "~~", "||", "^", "_", "__",
    "\x00", "\x01", "\x07", "\x0b", "\x0c", "\x1b[31m", "\x7f", "\x85", "\ufffd", "é", "e\u0301", "å", "a\u030a", "\u0301", "\u0300\u0301", "\U0001d54f", "\U00010348", "\ue000",
    "<0x41>", "▁", "Ġ", "Ċ", "##", "[UNK]", "<unk>", "aaaaaaaaaaaaaaaa", "abababababab", "================", "----------------", "ſ", "ı", "İ", "ǆ",
)  # fmt: skip


def hard_strings(count: int, seed: int = 0) -> list[str]:
    """So many texts, the parts by themselves first, then parts put together at random, and random characters."""
    draw = random.Random(seed)
    found = list(PARTS[:count])
    while len(found) < count:
        if draw.random() < 0.15:
            planes = ((32, 127), (32, 0x250), (0x250, 0x1000), (0x3000, 0xD7FF), (0x1F300, 0x1FAFF))
            text = "".join(chr(draw.randint(*draw.choice(planes))) for _ in range(draw.randint(1, 12)))
        else:
            glue = draw.choice(("", "", " ", " "))
            text = glue.join(draw.choice(PARTS) for _ in range(draw.randint(2, 9)))
        found.append(text)
    return found
