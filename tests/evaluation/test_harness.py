"""Under lm-eval: its requests answered as its own model answers them; what needs no lm-eval is tested without it.

The comparison with lm-eval needs it, and it is no dependency of the tests: pip install 'lm-eval[hf]==0.4.13'.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plain import PlainScorer

from groundup.errors import RequestError
from groundup.evaluation import harness
from groundup.evaluation.harness import Adapter, settings_of, windows_of
from groundup.evaluation.perplexity import perplexity
from groundup.evaluation.subject import Subject, find, of_model
from groundup.generation import Engine, SamplingSettings
from groundup.models.build import Model, build
from groundup.models.config import ModelConfig
from groundup.tokens.documents import Text
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import train_bpe

CONTEXT = 24
ENGLISH = ["The quick brown fox jumps over the lazy dog, and the other one lies in the sun. It is warm there.\n\n"] * 9


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer(train_bpe(ENGLISH, 320, must_reach=True))


@pytest.fixture(scope="module")
def model(words: Tokenizer) -> Model:
    made = build(ModelConfig(vocabulary=words.size, context=CONTEXT, layers=2, width=32, heads=4, kv_heads=2, feedforward=64), seed=3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    return made


@pytest.fixture
def adapter(model: Model, words: Tokenizer) -> Adapter:
    return Adapter(of_model(model, words, "small", "run"))


def test_likelihoods_are_those_of_whole_requests_read_alone(adapter: Adapter, model: Model, words: Tokenizer) -> None:
    requests = [("The quick", " brown fox"), ("The quick", " lazy dog"), ("", "It is warm"), (ENGLISH[0] * 2 + "It is ", "warm"), ("The ", "other")]
    expected = []
    for context, continuation in requests:
        blanks = len(context) - len(context.rstrip())
        before = words.encode(context.rstrip()) or [words.special["<|end_of_text|>"]]
        after = words.encode(context + continuation)[len(before) :] if context else words.encode(continuation)
        assert words.encode(context.rstrip() + context[len(context) - blanks :] + continuation)
        expected.append((before[-(CONTEXT + 1 - len(after)) :], after))
    plain = PlainScorer(model, CONTEXT).log_likelihoods(expected)
    found = adapter.log_likelihoods(requests)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in plain], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in plain]


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8, 9, 11])
def test_windows_score_each_token_once_and_the_last_one_is_full(n: int) -> None:
    tokens = list(range(100, 100 + n))
    windows = list(windows_of([7], tokens, 4))
    assert list(itertools.chain.from_iterable(after for _, after in windows)) == tokens
    whole = [7, *tokens]
    place = 0
    for number, (before, after) in enumerate(windows):
        place += len(after)
        assert whole[place - len(before) - len(after) + 1 : place + 1] == [*before, *after]
        assert len(before) + len(after) - 1 == (4 if n >= 4 or number else n)


def test_rolling_is_our_own_measure_where_the_windows_agree(adapter: Adapter, model: Model, words: Tokenizer) -> None:
    """A text of whole windows alone: those of `groundup perplexity` with a stride of the whole context are the same."""
    tokens = words.encode(" ".join(ENGLISH))[: 3 * CONTEXT]
    text = words.decode(tokens)
    assert words.encode(text) == tokens
    ours = perplexity(model, words, [Text("1", "", "", text)], CONTEXT, CONTEXT)
    found = adapter.rolling([text, "", "warm"])
    assert -found[0] / math.log(2) / len(text.encode()) == pytest.approx(ours["bits_per_byte"], rel=1e-5)
    assert found[1] == 0.0 and found[2] == pytest.approx(adapter.log_likelihoods([("", "warm")])[0][0])


def test_texts_end_at_stop_strings_and_are_drawn_only_where_asked(adapter: Adapter, model: Model, words: Tokenizer) -> None:
    engine = Engine(model, words)
    greedy = [one[0].text for one in engine.generate_many(["The quick", "It is"], SamplingSettings(temperature=0.0, max_tokens=9))]
    assert adapter.texts([("The quick", {"max_gen_toks": 9}), ("It is", {"max_gen_toks": 9, "do_sample": False, "temperature": 0.9})]) == greedy
    stop = greedy[0][3:6]
    assert adapter.texts([("The quick", {"until": [stop, ""], "max_gen_toks": 9}), ("The quick", {"until": stop, "max_tokens": 9})]) == [greedy[0].partition(stop)[0]] * 2
    drawn = adapter.texts([("The quick", {"do_sample": True, "temperature": 5.0, "max_gen_toks": 9})])
    assert drawn == adapter.texts([("The quick", {"do_sample": True, "temperature": 5.0, "max_gen_toks": 9})]) != greedy[:1]
    long = " ".join(ENGLISH)
    assert adapter.texts([(long, {"max_gen_toks": 4})]) == [engine.generate(words.encode(long)[-20:], SamplingSettings(temperature=0.0, max_tokens=4))[0].text]


def test_settings() -> None:
    assert settings_of({}, 1) == SamplingSettings(temperature=0.0, max_tokens=256, seed=1, min_p=0.0)
    found = settings_of({"until": "\n", "do_sample": True, "temperature": 0.2, "top_p": 0.95, "max_new_tokens": 7, "num_beams": 1}, 1)
    assert found == SamplingSettings(temperature=0.2, top_p=0.95, max_tokens=7, seed=1, min_p=0.0, stop=("\n",))
    with pytest.raises(RequestError, match="top_p"):
        settings_of({"do_sample": True, "temperature": 1.0, "top_p": 3.0}, 1)


def test_a_writer_that_cannot_draw_says_so(model: Model, words: Tokenizer) -> None:
    whole = of_model(model, words, "small", "run")
    served = Subject("served", "URL", whole.scorer, whole.encoder, lambda: SimpleNamespace(write=lambda prompts, until, most: []))  # type: ignore[arg-type, return-value]
    with pytest.raises(RequestError, match="the likeliest text alone"):
        Adapter(served).texts([("a", {"do_sample": True, "temperature": 1.0})])


try:
    import lm_eval
except ImportError:
    lm_eval = None
with_lm_eval = pytest.mark.skipif(lm_eval is None, reason="needs lm-eval: pip install 'groundup[eval]'")


@pytest.mark.skipif(lm_eval is not None, reason="lm-eval is installed")
def test_without_lm_eval_it_says_how_to_get_it() -> None:
    with pytest.raises(RequestError, match="pip install"):
        harness.register()


@pytest.fixture(scope="module")
def folder(words: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with random weights, sharp enough that texts differ."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=words.size, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, initializer_range=0.3, tie_word_embeddings=False, eos_token_id=words.special["<|end_of_text|>"], pad_token_id=words.special["<|pad|>"], bos_token_id=None,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).eval().save_pretrained(path, safe_serialization=True)
    (path / "ours.json").write_text(train_bpe(ENGLISH, 320, must_reach=True))
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(path / "ours.json"), eos_token="<|end_of_text|>", pad_token="<|pad|>").save_pretrained(path)
    return path


@with_lm_eval
def test_every_kind_of_request_gets_what_lm_eval_s_own_model_gives(folder: Path) -> None:
    pytest.importorskip("accelerate")
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(folder), device="cpu", batch_size=2, dtype="float32")
    harness.register()
    harness.register()  # twice is once
    from lm_eval.api.registry import get_model

    ours = get_model("groundup").create_from_arg_string(f"run={folder}", {"batch_size": 4, "device": "cpu", "max_batch_size": None})
    assert get_model("hf") is HFLM
    asked = [("The quick", " brown fox"), ("", "It is warm"), (ENGLISH[0] * 4 + "It is ", "warm"), ("The ", "other one")]
    for kind, requests in (
        ("loglikelihood", asked), ("loglikelihood_rolling", [(ENGLISH[0] * 5,), ("warm there",), (ENGLISH[0],)]),
        ("generate_until", [("The quick", {"until": ["\n\n"], "max_gen_toks": 12}), (ENGLISH[0] * 4, {"until": [" the"], "max_gen_toks": 20}), ("It is", {"until": ["."], "do_sample": False, "max_gen_toks": 8})]),
    ):  # fmt: skip
        instances = [SimpleNamespace(args=one) for one in requests]
        mine, its = getattr(ours, kind)(instances), getattr(theirs, kind)(instances)
        if kind == "generate_until":
            # random weights end in the middle of a character, which only ours shows
            assert [text.rstrip("\ufffd") for text in mine] == [text.rstrip("\ufffd") for text in its] and any(mine)
        elif kind == "loglikelihood":
            assert [log for log, _ in mine] == pytest.approx([log for log, _ in its], abs=1e-3)
            assert [greedy for _, greedy in mine] == [greedy for _, greedy in its]
        else:
            assert mine == pytest.approx(its, abs=1e-3)


@with_lm_eval
def test_a_whole_task_through_lm_eval(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    rows = [{"query": "The quick", "choices": ["brown fox", "lazy dog"], "gold": 0}, {"query": "It is", "choices": ["warm", "dog"], "gold": 1}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task: dict[str, Any] = {
        "task": "mine", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path)}, "test_split": "test",
        "output_type": "multiple_choice", "doc_to_text": "{{query}}", "doc_to_target": "{{gold}}", "doc_to_choice": "{{choices}}", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    harness.register()
    from lm_eval import simple_evaluate

    found = simple_evaluate(model="groundup", model_args={"run": str(folder)}, tasks=[task], bootstrap_iters=0)
    answers = Adapter(find(str(folder), Path())).log_likelihoods([(row["query"], f" {choice}") for row in rows for choice in row["choices"]])
    right = [(answers[0][0] > answers[1][0]), (answers[3][0] > answers[2][0])]
    assert found["results"]["mine"]["acc,none"] == pytest.approx(sum(right) / 2)
