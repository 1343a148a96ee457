"""Personal data: what carries a check digit is found exactly when it is right, forms of telephone numbers but not what looks like them."""

from __future__ import annotations

import gzip
import json
import pickle
import string
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.identifiers import IBAN_LENGTHS, is_bitcoin, is_card, is_iban, is_ip, luhn
from groundup.corpus.steps.personal_data import NAMES, PersonalDataStep
from groundup.recipe.cleaning.personal_data import PersonalData

ALL = ["e-mail", "phone", "ip", "card", "iban", "key", "ssn", "crypto", "mac"]
EVERY = PersonalDataStep(PersonalData(on=True, kinds=ALL))
DIGITS = st.text(string.digits, min_size=1)


def kinds(text: str) -> list[tuple[str, str]]:
    """What is found in a text: (kind, the text found)."""
    return [(kind, text[start:end]) for start, end, kind in EVERY.spans(text)]


def only(kind: str, text: str) -> list[str]:
    return [found for name, found in kinds(text) if name == kind]


def with_check(digits: str) -> str:
    """Digits and the one that makes them pass Luhn, by trying all ten against the definition by place values."""
    for check in string.digits:
        places = [int(digit) for digit in reversed(digits + check)]
        if sum(places[::2]) % 10 == -sum(2 * value - 9 * (value > 4) for value in places[1::2]) % 10:
            return digits + check
    raise AssertionError("one of ten always passes")


@given(st.sampled_from(["4", "51", "2221"]), st.text(string.digits, min_size=14, max_size=14), st.sampled_from(["", " ", "-"]))
def test_a_card_is_found_with_its_check_digit_and_with_no_other(prefix: str, rest: str, blank: str) -> None:
    card = with_check((prefix + rest)[:15])
    for check in string.digits:
        number = card[:15] + check
        shown = blank.join(number[place : place + 4] for place in range(0, 16, 4))
        assert (only("card", f"The card is {shown}, he said.") == [shown]) == (number == card)


@given(DIGITS)
def test_exactly_one_check_digit_passes(digits: str) -> None:
    assert [digits + check for check in string.digits if luhn(digits + check)] == [with_check(digits)]


def test_cards_of_no_issuer_or_of_a_wrong_length_are_none() -> None:
    assert is_card("4111111111111111") and is_card("378282246310005")
    assert not is_card(with_check("411111111111111111"[:17]))
    assert not is_card(with_check("9" * 6 + "123456789"))


@given(st.sampled_from(["DE", "NL", "GB", "FR", "SE", "MT"]), st.data())
def test_an_iban_is_found_with_its_check_digits_only(country: str, data: st.DataObject) -> None:
    account = data.draw(st.text(string.digits + "ABCXYZ", min_size=IBAN_LENGTHS[country] - 4, max_size=IBAN_LENGTHS[country] - 4))
    value = int("".join(str(int(character, 36)) for character in account + country + "00"))
    check = 98 - value % 97
    right, wrong = f"{country}{check:02d}{account}", f"{country}{(check + 1) % 97:02d}{account}"
    groups = " ".join(right[place : place + 4] for place in range(0, len(right), 4))
    assert is_iban(right) and not is_iban(wrong)
    assert only("iban", f"Pay to {right} today.") == [right]
    assert only("iban", f"Pay to {groups}.") == [groups]
    assert only("iban", f"Pay to {wrong} today.") == []


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_ip_addresses_are_masked_if_public(a: int, b: int, c: int, d: int) -> None:
    address = f"{a}.{b}.{c}.{d}"
    assert (only("ip", f"the server at {address} is down") == [address]) == is_ip(address, private=False)


@pytest.mark.parametrize("text", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "256.1.1.300", "at 1.2.3.4.5", "version 10.0.19041.1", "section 3.2.1.4", "12:34:56", "std::map::end", "a::b"])
def test_what_is_no_public_address(text: str) -> None:
    assert only("ip", f"see {text} there") == []


def test_private_addresses_are_masked_on_request() -> None:
    step = PersonalDataStep(PersonalData(on=True, private_ips=True))
    assert step.mask("at 192.168.0.7, 2001:4860:4860::8888")[0] == "at <IP>, <IP>"


PHONES = """+44 20 7946 0958|+1 (555) 201-9999|+49 (0)89 1234567|+33 6 12 34 56 78|0033 6 12 34 56 78|(212) 555-0187|212-555-0187|212.555.0187
1-800-555-0187|020 7946 0958|01632 960983|06 12 34 56 78|0221/4710123|+81 3-1234-5678|(02) 9876 5432|06-12345678|+4915112345678""".replace("\n", "|").split("|")


@pytest.mark.parametrize("number", PHONES)
def test_telephone_numbers_in_the_forms_of_countries(number: str) -> None:
    assert only("phone", f"He lives there. {number} is his.") == [number]
    assert only("phone", f"Phone {number}; write soon.") == [number]


def test_two_numbers_and_extensions() -> None:
    assert only("phone", "020 7946 0958 / 020 7946 0959") == ["020 7946 0958", "020 7946 0959"]
    assert only("phone", "call 986.291.2294x751 now") == ["986.291.2294x751"]


LOOKALIKES = """2023-10-05 12:30:45|12.05.2021|1990/12/31|1,234,567.89|10 000 000|100.000.000|ISBN 978-3-16-148410-0|ISBN 0-306-40615-2|1914-1918
order 212-555-0187|$1234567|1000 2000 3000 4000|3.14159265358979|10.1038/s41586-020-2649-2|1609459200|365.2422|192.168.0.256|v1.2.3456789
2499586|commit 1234567e89|0.1234567|90210-1234|50.123456, 8.654321|#1234567890|case no. 212-555-0187|12 345 678 km|+12345678901234567""".replace("\n", "|").split("|")


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_a_telephone_number(text: str) -> None:
    assert only("phone", f"He wrote {text} there.") == []


@given(st.dates())
def test_dates_are_no_telephone_numbers(date: object) -> None:
    for form in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%Y-%m-%d 12:30:45"):
        assert only("phone", f"It was on {date:{form}} that he left.") == []


EMAILS = "john.doe@example.com|o'brien+x@mail.example.co.uk|müller@beispiel.de|user@sub.例え.jp|x1@a.io|john (at) example.org|jane [at] mail [dot] example [dot] com"


@pytest.mark.parametrize("address", EMAILS.split("|"))
def test_e_mail_addresses(address: str) -> None:
    masked, counts = EVERY.mask(f"Write to {address}, please; {address}.")
    assert "@" not in masked and masked.count("<EMAIL>") == 2 == counts["e-mail"]


@pytest.mark.parametrize("text", ["@someone said", "logo@2x.png", "a @ b.c", "git@github.com:a/b.git", "x@localhost", "foo@bar"])
def test_what_is_no_e_mail_address(text: str) -> None:
    assert only("e-mail", text) == []


KEYS = """AKIAIOSFODNN7EXAMPLE|ghp_16C7e42F292c6912E7710c838347Ae178B4a|xoxb-123456789012-abcDEF123456|sk_live_4eC39HqLyjWDarjtT1zdp7dc
AIzaSyA1234567890abcdefghijklmnopqrstuv|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N|glpat-abcdefghij0123456789""".replace("\n", "|").split("|")


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_services(key: str) -> None:
    assert only("key", f"the key {key} was committed") == [key]


def test_keys_by_their_names_and_private_keys() -> None:
    assert EVERY.mask('"api_key": "a8f5f167f44f4964e6c998dee827110c"')[0] == '"api_key": "<KEY>"'
    assert EVERY.mask("postgres://admin:hunter2@db.example.com/x")[0] == "postgres://admin:<KEY>@db.example.com/x"
    block = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
    assert EVERY.mask(f"a\n{block}\nb")[0] == "a\n<KEY>\nb"


@pytest.mark.parametrize("text", ["password: letmein", "secret_key = settings.SECRET_KEY_2", "the token is 12 characters", "token = get_token(user2)", "key: value", "the password = password"])
def test_what_is_named_a_secret_and_is_none(text: str) -> None:
    assert only("key", text) == []


def test_addresses_of_coins_are_proved() -> None:
    good = ["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"]
    for address in good:
        assert is_bitcoin(address)
        assert not is_bitcoin(address[:-1] + ("3" if address[-1] != "3" else "4"))
        assert only("crypto", f"send to {address}.") == [address]


MIXED = st.lists(
    st.one_of(
        st.sampled_from([*PHONES, *LOOKALIKES, *EMAILS.split("|"), *KEYS, "tel.", "call", "password=", "IBAN", "@", "(at)", "//", ": ", "+", "x123", "\n"]),
        st.text(string.digits + " -./()+:@=", max_size=12), st.text(max_size=6),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300)
@given(MIXED, st.sampled_from(["", " ", ", "]))
def test_masking_twice_is_masking_once_and_spans_do_not_overlap(pieces: list[str], blank: str) -> None:
    text = blank.join(pieces)
    spans = EVERY.spans(text)
    assert all(0 <= start < end <= len(text) for start, end, _ in spans)
    assert all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))
    once, counts = EVERY.mask(text)
    assert EVERY.mask(once) == (once, {})
    assert sum(once.count(f"<{name}>") - text.count(f"<{name}>") for name in NAMES.values()) <= sum(counts.values())


def test_kinds_that_are_not_asked_for_stay() -> None:
    step = PersonalDataStep(PersonalData(on=True, kinds=["ip"], placeholder="[{kind}]"))
    assert step.mask("a@example.com at 8.8.4.14 or 212-555-0187")[0] == "a@example.com at [IP] or 212-555-0187"


@pytest.mark.parametrize("placeholder", ["x@y.de", "<{kind}1>", "key={kind}"])
def test_a_placeholder_that_would_be_found_again_is_refused(placeholder: str) -> None:
    with pytest.raises(ValueError, match="placeholder"):
        PersonalData(placeholder=placeholder)


def test_as_a_step_it_drops_nothing_and_counts() -> None:
    rows = [Document("s", "p", text, "").row() for text in ("mail a@example.com", "nothing here in 1999")]
    batch = pickle.loads(pickle.dumps(EVERY))(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    assert [row["text"] for row in batch] == ["mail <EMAIL>", "nothing here in 1999"]
    assert [row["dropped_by"] for row in batch] == [None, None]
    assert [dict(row["counts"] or []) for row in batch] == [{"e-mail": 1}, {}]


def test_presidio_sample_is_found_as_labelled() -> None:
    """Precision and recall of spans with both ends right, over the kinds that the step knows: 27 spans in 100 texts."""
    path = Path(__file__).resolve().parents[2].parent / "shared/data/labels/pii/presidio_generated_small.json.gz"
    if not path.exists():
        pytest.skip("no ../shared/data beside this clone")
    names = {"PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IP_ADDRESS": "ip", "EMAIL_ADDRESS": "e-mail", "US_SSN": "ssn"}
    right = found = wanted = 0
    for one in json.loads(gzip.decompress(path.read_bytes())):
        spans = {(span["start_position"], span["end_position"], names[span["entity_type"]]) for span in one["spans"] if span["entity_type"] in names}
        got = set(EVERY.spans(one["full_text"]))
        right, found, wanted = right + len(spans & got), found + len(got), wanted + len(spans)
    assert right / found >= 0.95 and right / wanted >= 0.95
