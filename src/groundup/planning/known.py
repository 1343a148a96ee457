"""Published runs and figures, and what the planner makes of them: `groundup plan --known`, and the table in docs/planning.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from groundup.models.presets import PRESETS
from groundup.planning.devices import GIB, device
from groundup.planning.memory import korthikanti, state_bytes
from groundup.planning.planner import Job, figures, flops, one
from groundup.recipe.parallel import Parallel


@dataclass(frozen=True)
class Known:
    """A figure somebody published, and ours."""

    what: str
    source: str
    how: str
    """The command that gives ours, or the formula."""
    expected: float
    found: float
    unit: str

    @property
    def off(self) -> float:
        """Relative difference."""
        return self.found / self.expected - 1


def run(preset: str, hardware: str, count: int, tokens: float, *, recompute: str = "none", batch_tokens: int | None = None, **given: Any) -> dict[str, Any]:
    """A run's figures, each device with the whole model: what memory says is of no interest here."""
    config = PRESETS[preset].config()
    batch = batch_tokens or count * config.context
    job = Job(preset, config, device(hardware), count, tokens, batch, Parallel(recompute=recompute), rows=1, **given)  # type: ignore[arg-type]
    return figures(job, one(job, job.parallel, 1))


def known() -> Iterator[Known]:
    """Every row, worked out now."""
    gpt3 = PRESETS["gpt3-175b"].config()
    yield Known("GPT-3 175B on 300 B tokens, FLOPs", "Brown et al. 2020, table D.1", "groundup plan gpt3-175b", 3.14e23, flops(gpt3, 300e9)["flops"], "FLOPs")
    slow = run("gpt3-175b", "v100-32gb", 1, 300e9, flops_per_device=28e12, price_usd=1.5)
    yield Known("GPT-3 on one V100 at 28 TFLOP/s", "Lambda 2020; the V100's fp16 peak is 125: 80 years at all of it",
                "groundup plan gpt3-175b --hardware v100-32gb --flops-per-device 28e12", 355, slow["years"], "years")  # fmt: skip
    yield Known("the same, rented", "Lambda 2020; $1.50 an hour is inferred", "... --price 1.5", 4.6e6, slow["cost_usd"], "USD")
    megatron = run("gpt3-175b", "a100-80gb", 1024, 300e9, recompute="full", flops_per_device=140e12)
    yield Known("GPT-3 on 1,024 A100 at 140 TFLOP/s, recomputing", "Narayanan et al. 2021, section 5.1",
                "groundup plan gpt3-175b --hardware a100-80gb --count 1024 --flops-per-device 140e12 parallel.recompute=full", 34, megatron["days"], "days")  # fmt: skip
    trillion = run("megatron-1t", "a100-80gb", 3072, 450e9, recompute="full", flops_per_device=163e12)
    yield Known("1 T parameters, 450 B tokens, 3,072 A100 at 163 TFLOP/s", "Narayanan et al. 2021, section 5.1",
                "groundup plan megatron-1t --hardware a100-80gb --count 3072 --tokens 450B --flops-per-device 163e12 parallel.recompute=full", 84, trillion["days"], "days")  # fmt: skip
    falcon = run("falcon-40b", "a100-40gb", 384, 1e12, mfu=0.4)
    yield Known("Falcon-40B on 384 A100, 1 T tokens at 40 %", "model card: two months", "groundup plan falcon-40b --hardware a100-40gb --count 384 --mfu 0.4", 60, falcon["days"], "days")
    for name, hours, mfu in (("7b", 82_432, 0.437), ("13b", 135_168, 0.514), ("33b", 530_432, 0.459), ("65b", 1_022_362, 0.478)):
        tokens = PRESETS[f"llama-{name}"].training["tokens"]
        llama = run(f"llama-{name}", "a100-80gb", 2048, tokens, mfu=mfu)
        yield Known(f"LLaMA-{name[:-1]}B, {tokens / 1e12:g} T tokens", "Touvron et al. 2023, table 15", f"groundup plan llama-{name} --hardware a100-80gb --count 2048 --mfu {mfu}", hours, llama["device_hours"], "device-hours")
        if name == "65b":
            yield Known("the same on 2,048 A100", "Touvron et al. 2023, section 2.4", "...", 21, llama["days"], "days")
            yield Known("the same, electricity at 400 W a device, PUE 1.1", "Touvron et al. 2023, table 15", "...", 449, llama["energy_mwh"], "MWh")
    palm = run("palm-540b", "tpu-v4", 6144, 780e9, flops_per_device=238.3e3 * 6 * 540.35e9 / 6144)
    yield Known("PaLM-540B at 238,300 tokens/s on 6,144 TPU v4, attention counted", "Chowdhery et al. 2022, table 3 and appendix B",
                "groundup plan palm-540b --hardware tpu-v4 --count 6144 --mfu 0.457", 0.462, palm["mfu_with_attention"], "MFU")  # fmt: skip
    for zero, gigabytes in enumerate((120, 31.4, 16.6, 1.9)):
        yield Known(f"ZeRO {zero}: states of 7.5 B parameters on 64 devices", "Rajbhandari et al. 2020, figure 1", "2 + 2 + 12 bytes a parameter", gigabytes, state_bytes(7.5e9, 64, zero) / 1e9, "GB")
    for what, expected, given in (
        ("nothing shared", 2.672, {}), ("tp 8", 0.5391, {"tp": 8}), ("tp 8, sequence", 0.3340, {"tp": 8, "sequence": True}),
        ("tp 8, sequence, selective", 0.0996, {"tp": 8, "sequence": True, "recompute": "selective"}), ("full recomputation", 0.0469, {"recompute": "full"}),
    ):  # fmt: skip
        arguments: dict[str, Any] = {"tp": 1, **given}
        yield Known(f"a GPT-3 layer's activations, {what}", "Korthikanti et al. 2022, table 2", "sbh (34 + 5 a s / h), ...", expected, korthikanti(1, 2048, 12_288, 96, **arguments) / GIB, "GiB")
    guide = run("llama-7b", "a100-80gb", 8, 140e9, mfu=0.4, price_usd=2.0)
    yield Known("7 B for $25,000: with 140 B tokens (20.8 a parameter)", "the guide", "groundup plan llama-7b --hardware a100-80gb --count 8 --tokens 140B --mfu 0.4 --price 2", 25_000, guide["cost_usd"], "USD")


def table(rows: Callable[[], Iterator[Known]] = known) -> str:
    """The rows as a Markdown table."""
    head = ["| what | published | the planner | off | source | how |", "|---|---|---|---|---|---|"]
    found = [
        f"| {row.what} | {_said(row.expected)} {row.unit} | {_said(row.found)} {row.unit} | {100 * row.off:+.1f} % | {row.source} | `{row.how}` |" for row in rows()
    ]
    return "\n".join([*head, *found])


def _said(value: float) -> str:
    if value >= 1e15:
        return f"{value:.3g}"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
