"""User rules: lists block by domain, subdomain and beginning; patterns and functions change texts; wrong ones are refused by name."""

from __future__ import annotations

import gzip
import pickle
import string
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.rules import BlockList, RulesStep, Urls
from groundup.errors import RequestError
from groundup.recipe.cleaning.rules import Rules

LABEL = st.text(string.ascii_lowercase, min_size=1, max_size=6)
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
PATH = st.lists(LABEL, max_size=4).map("/".join)


def judged(step: object, text: str = "text", url: str = "") -> dict[str, object]:
    batch = pa.RecordBatch.from_pylist([Document("s", "p", text, url).row()], SCHEMA)
    return step(batch).to_pylist()[0]  # type: ignore[operator, no-any-return]


@given(HOST, LABEL, PATH, st.sampled_from(["http://", "https://www.", "HTTPS://user@", ""]))
def test_a_domain_blocks_itself_its_subdomains_and_all_their_pages(host: str, sub: str, path: str, scheme: str) -> None:
    blocked = BlockList([host])
    assert blocked.blocks(f"{scheme}{host}") and blocked.blocks(f"{scheme}{host}:8080/{path}?q=1#top")
    assert blocked.blocks(f"{scheme}{sub}.{host}/{path}")
    assert not blocked.blocks(f"{scheme}{sub}{host}/{path}")
    assert not blocked.blocks(f"{scheme}{host}.{sub}9/{host}")


@given(HOST, st.lists(LABEL, min_size=1, max_size=3), LABEL)
def test_an_address_blocks_what_is_under_it_and_nothing_beside(host: str, folders: list[str], more: str) -> None:
    path = "/".join(folders)
    blocked = BlockList([f"https://{host}/{path}/"])
    assert blocked.blocks(f"http://{host}/{path}") and blocked.blocks(f"http://{host}/{path}/{more}") and blocked.blocks(f"http://{host}/{path}?a=1")
    assert not blocked.blocks(f"http://{host}/{path}{more}")
    assert not blocked.blocks(f"http://{host}/") and not blocked.blocks(f"http://{host}")


@given(st.lists(HOST, max_size=30), st.lists(HOST, max_size=10))
def test_the_list_says_what_a_search_by_hand_says(entries: list[str], hosts: list[str]) -> None:
    blocked = BlockList(entries)
    for host in [*hosts, *entries[:3]]:
        assert blocked.blocks(f"http://{host}/x") == any(f".{host}".endswith(f".{entry}") for entry in entries)


def test_lists_are_read_plain_as_hosts_file_and_compressed(tmp_path: Path) -> None:
    plain, hosts, packed = tmp_path / "a.txt", tmp_path / "hosts", tmp_path / "b.gz"
    plain.write_text("# comment\nexample.com  # why\n\nhttps://forum.org/spam/\n! another\n||ads.net^\n")
    hosts.write_text("127.0.0.1 localhost\n0.0.0.0 bad.site worse.site\n::1 localhost\n")
    packed.write_bytes(gzip.compress(b"packed.io\n"))
    step = pickle.loads(pickle.dumps(Urls(Rules(on=True, blocked_urls=[str(plain), str(hosts), str(packed)], blocked_domains=["inline.de"]))))
    for url in ("http://a.example.com", "https://forum.org/spam/1", "http://ads.net/x", "http://bad.site", "http://worse.site/", "http://packed.io", "http://inline.de/"):
        assert judged(step, url=url)["reason"] == "blocked address", url
    for url in ("http://example.org", "https://forum.org/ham", "http://localhost/", "", "not an address", "http://[::1]/x", "file:///home/a.txt"):
        assert judged(step, url=url)["dropped_by"] is None, url


def test_words_in_addresses_stand_alone() -> None:
    step = Urls(Rules(on=True, blocked_url_words=["casino", "free money"]))
    for url in ("http://x.com/Casino-royal", "http://casino.com", "http://x.com/a?b=casino", "http://x.com/free%20money"):
        assert judged(step, url=url)["reason"] == "blocked word in the address", url
    for url in ("http://x.com/casinos", "http://ucasino.com", "http://x.com/"):
        assert judged(step, url=url)["dropped_by"] is None, url


def test_a_list_that_is_not_there_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="blocked_urls"):
        Urls(Rules(on=True, blocked_urls=[str(tmp_path / "none.txt")]))


def test_substitutions_run_in_order_and_are_counted() -> None:
    rules = Rules.model_validate({"on": True, "substitutions": [
        {"pattern": r"(\w+)@(\w+)", "replacement": r"\2 at \1"}, {"pattern": "^at", "replacement": "AT"}, {"pattern": r"\bhome\b"},
    ]})  # fmt: skip
    row = judged(RulesStep(rules), "me@home\nat work me@work")
    assert row["text"] == " at me\nAT work work at me"
    assert dict(row["counts"]) == {r"/(\w+)@(\w+)/": 2, "/^at/": 1, r"/\bhome\b/": 1}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("rule", "said"),
    [({"pattern": "a(b"}, "a(b"), ({"pattern": "x[", "replacement": ""}, "at character 2"), ({"pattern": "a", "replacement": r"\1"}, "replacement"), ({"pattern": "a", "replacment": ""}, "replacement")],
)
def test_wrong_patterns_are_refused_when_the_recipe_is_read(rule: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Rules.model_validate({"substitutions": [rule]})
    assert said in str(error.value)


MODULE = """
def tidy(text):
    return text.replace("a", "b")
def drop_short(text):
    return text if len(text) > 5 else None
def broken(text):
    raise KeyError(text)
def number(text):
    return 3
constant = 1
"""


def test_functions_by_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    step = pickle.loads(pickle.dumps(RulesStep(Rules(on=True, functions=["my_rules.tidy", "my_rules.drop_short"]))))
    row = judged(step, "banana")
    assert row["text"] == "bbnbnb" and dict(row["counts"]) == {"my_rules.tidy": 1}  # type: ignore[call-overload]
    dropped = judged(step, "abc")
    assert (dropped["dropped_by"], dropped["reason"], dropped["text"]) == ("rules", "dropped by my_rules.drop_short", "abc")
    assert judged(RulesStep(Rules(on=True, functions=["my_rules.broken"])), "x")["reason"] == "failed: KeyError"
    assert judged(RulesStep(Rules(on=True, functions=["my_rules.number"])), "x")["reason"] == "my_rules.number returned no text"
    for name in ("my_rules.constant", "my_rules.nothing", "no_such_module.f"):
        with pytest.raises(RequestError, match=name.rpartition(".")[2]):
            RulesStep(Rules(on=True, functions=[name]))
    with pytest.raises(ValidationError, match="dotted"):
        Rules(functions=["tidy"])


@given(st.text(max_size=60))
def test_any_address_is_judged(url: str) -> None:
    assert judged(Urls(Rules(on=True, blocked_domains=["example.com"], blocked_url_words=["x"])), url=url)["reason"] in (None, "blocked address", "blocked word in the address")
