"""Numbers that carry their own proof: cards, IBANs, addresses of machines and of coins. Each function says whether a string is one."""

from __future__ import annotations

import hashlib
import ipaddress

# ISO 13616, the registry of SWIFT, release 99 of 2024: characters of an IBAN by country.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28,
    "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip

# Issuers' number ranges (ISO/IEC 7812 as the networks publish them): first and last prefix, lengths in digits.
CARD_RANGES = [
    ("4", "4", (13, 16, 19)),  # Visa
    ("51", "55", (16,)), ("2221", "2720", (16,)),  # Mastercard
    ("34", "34", (15,)), ("37", "37", (15,)),  # American Express
    ("6011", "6011", (16, 19)), ("644", "659", (16, 19)), ("622126", "622925", (16, 19)),  # Discover
    ("300", "305", (14,)), ("36", "36", (14,)), ("38", "39", (14, 16)),  # Diners Club
    ("3528", "3589", (16, 19)),  # JCB
    ("62", "62", (16, 17, 18, 19)), ("81", "81", (16,)),  # UnionPay
    ("5018", "5018", (12, 13, 14, 15, 16, 19)), ("5020", "5020", (16,)), ("5038", "5038", (12, 13, 14, 15, 16, 19)),  # Maestro
    ("5893", "5893", (16,)), ("6304", "6304", (12, 13, 14, 15, 16, 19)), ("6759", "6759", (16, 18, 19)), ("6761", "6763", (12, 13, 14, 15, 16, 19)),
    ("2200", "2204", (16, 19)),  # Mir
]  # fmt: skip

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B: from the right every other digit doubled, digit sums added, a multiple of ten."""
    total = sum(int(digit) for digit in digits[::-2]) + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A payment card: an issuer's prefix and length, and the check digit. Digits only."""
    issued = any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in CARD_RANGES
    )
    return issued and len(set(digits)) > 1 and luhn(digits)


def is_iban(characters: str) -> bool:
    """An IBAN: capitals and digits without blanks, the country's length, remainder 1 by 97 (ISO 7064 MOD 97-10)."""
    if len(characters) != IBAN_LENGTHS.get(characters[:2]) or not (characters.isascii() and characters.isalnum()):
        return False
    turned = characters[4:] + characters[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def is_ip(address: str, *, private: bool) -> bool:
    """An IPv4 or IPv6 address; with `private` those too that are not reachable from the internet."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if private:
        return not (parsed.is_unspecified or parsed.is_loopback)
    return parsed.is_global and not parsed.is_multicast


def is_bitcoin(address: str) -> bool:
    """A Bitcoin address: Base58Check (first versions) or bech32 and bech32m (BIP 173, BIP 350)."""
    if address[:3].lower() == "bc1":
        return _bech32(address.lower())
    value = 0
    for character in address:
        place = BASE58.find(character)
        if place < 0:
            return False
        value = value * 58 + place
    try:
        raw = value.to_bytes(25, "big")
    except OverflowError:
        return False
    check = hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()
    return raw[0] in (0, 5) and check[:4] == raw[-4:]


def _bech32(address: str) -> bool:
    prefix, _, data = address.rpartition("1")
    if prefix != "bc" or any(character not in BECH32 for character in data):
        return False
    values = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    values += [BECH32.index(character) for character in data]
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> bit & 1 else 0
    return state in (1, 0x2BC830A3)
