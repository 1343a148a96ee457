"""Accelerators and machines a run can be planned for: peak rate, memory, links, power, price; each row with its sources.

Peaks are dense matrix products in bf16 (fp16 where there is no bf16) with fp32 sums, as the makers' data sheets state them. Rates
of links are of one device in one direction. Prices are what a device-hour was offered for; they move every month: `--price`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from groundup.errors import RequestError

GIB = 2**30
MARKET = "cloud price surveys of May 2026, specialised providers, on demand"
GOOGLE = "Google Cloud's list, on demand, us-central, 2025"
RENTED = "rented by the hour from private owners, 2026"
APPLE = "one's own: no rent"


@dataclass(frozen=True)
class Device:
    """One accelerator, or one CPU machine."""

    name: str
    title: str
    peak_flops: float
    """FLOP/s."""
    memory_gib: float
    bandwidth: float
    """Bytes/s of its memory."""
    link: float
    """Bytes/s to another device of the node."""
    node: int
    """Devices that share such links."""
    network: float
    """Bytes/s to another node."""
    watts: float | None
    price_usd: float
    """An hour."""
    sustained: float
    """Share of the peak that a large layer's forward and backward reach with nothing to wait for; see docs/planning.md."""
    source: str
    priced: str
    """Where the price is from, and when."""
    cpu: bool = False


NVIDIA = "NVIDIA data sheet"
_ROWS = (
    Device("v100-32gb", "NVIDIA V100 SXM2 32 GB", 125e12, 32, 0.9e12, 150e9, 8, 12.5e9, 300, 0.55, 0.45, f"{NVIDIA} 2018; fp16 only, no bf16", MARKET),
    Device("a100-40gb", "NVIDIA A100 SXM 40 GB", 312e12, 40, 1.555e12, 300e9, 8, 25e9, 400, 1.30, 0.62, f"{NVIDIA} 2021", MARKET),
    Device("a100-80gb", "NVIDIA A100 SXM 80 GB", 312e12, 80, 2.039e12, 300e9, 8, 25e9, 400, 1.50, 0.62, f"{NVIDIA} 2021", MARKET),
    Device("h100", "NVIDIA H100 SXM 80 GB", 989.5e12, 80, 3.35e12, 450e9, 8, 50e9, 700, 3.00, 0.52, f"{NVIDIA} 2023, half of the figure with sparsity", MARKET),
    Device("h200", "NVIDIA H200 SXM 141 GB", 989.5e12, 141, 4.8e12, 450e9, 8, 50e9, 700, 4.00, 0.52, f"{NVIDIA} 2024, half of the figure with sparsity", MARKET),
    Device("b200", "NVIDIA B200 SXM 180 GB", 2250e12, 180, 8e12, 900e9, 8, 50e9, 1000, 4.50, 0.50, f"{NVIDIA} DGX B200, 2024, half of the figure with sparsity", MARKET),
    Device("mi300x", "AMD MI300X 192 GB", 1307.4e12, 192, 5.3e12, 448e9, 8, 50e9, 750, 2.50, 0.40, "AMD data sheet 2023", MARKET),
    Device("tpu-v4", "Google TPU v4 32 GiB", 275e12, 32, 1.2e12, 150e9, 4096, 6.25e9, 192, 3.22, 0.62, "Jouppi et al. 2023, arXiv 2304.01433, table 4", GOOGLE),
    Device("tpu-v5p", "Google TPU v5p 95 GB", 459e12, 95, 2.765e12, 300e9, 8960, 6.25e9, None, 4.20, 0.60, "Google Cloud, TPU v5p system page, 2024", GOOGLE),
    Device("rtx-3090", "NVIDIA RTX 3090 24 GB", 71e12, 24, 0.936e12, 12e9, 4, 1.25e9, 350, 0.25, 0.60, "NVIDIA Ampere GA102 white paper, fp32 sums", RENTED),
    Device("rtx-4090", "NVIDIA RTX 4090 24 GB", 165.2e12, 24, 1.008e12, 12e9, 4, 1.25e9, 450, 0.45, 0.55, "NVIDIA Ada white paper, fp32 sums", RENTED),
    Device("rtx-5090", "NVIDIA RTX 5090 32 GB", 209.5e12, 32, 1.792e12, 25e9, 4, 1.25e9, 575, 0.75, 0.55, "NVIDIA Blackwell RTX white paper, fp32 sums", RENTED),
    Device("apple-m1", "Apple M1 16 GB", 2.6e12, 16, 68e9, 1e9, 1, 0.125e9, 20, 0.0, 0.60, "Apple 2020, GPU in fp32", APPLE),
    Device("apple-m2-ultra", "Apple M2 Ultra 192 GB", 27.2e12, 192, 800e9, 1e9, 1, 1.25e9, 215, 0.0, 0.60, "Apple 2023, GPU of 76 cores in fp32", APPLE),
    Device("apple-m3-max", "Apple M3 Max 128 GB", 14.2e12, 128, 400e9, 1e9, 1, 0.125e9, 80, 0.0, 0.60, "Apple 2023, GPU of 40 cores in fp32", APPLE),
    Device("apple-m4-max", "Apple M4 Max 128 GB", 18.4e12, 128, 546e9, 1e9, 1, 0.125e9, 90, 0.0, 0.60, "Apple 2024, GPU of 40 cores in fp32", APPLE),
)  # fmt: skip
DEVICES = {row.name: row for row in _ROWS}
THIS_MACHINE = "this-machine"


def table() -> str:
    """All of them as a Markdown table, for docs/planning.md."""
    head = ["| name | | peak (TFLOP/s) | GiB | memory (TB/s) | link, network (GB/s) | W | USD/h | sustained | source; price |", "|---|---|---|---|---|---|---|---|---|---|"]
    rows = [
        f"| `{row.name}` | {row.title} | {row.peak_flops / 1e12:,.4g} | {row.memory_gib:g} | {row.bandwidth / 1e12:.3g} | {row.link / 1e9:g} x {row.node}, {row.network / 1e9:g} "
        f"| {'unknown' if row.watts is None else f'{row.watts:g}'} | {row.price_usd:.2f} | {row.sustained:g} | {row.source}; {row.priced} |"
        for row in _ROWS
    ]
    return "\n".join([*head, *rows])


def device(name: str) -> Device:
    """The row of a name, or this machine measured on the spot. Raises RequestError with the nearest one."""
    if name == THIS_MACHINE:
        return measured()
    if name not in DEVICES:
        near = difflib.get_close_matches(name, [*DEVICES, THIS_MACHINE], n=1, cutoff=0.0)[0]
        raise RequestError(f"no hardware '{name}'; the nearest is '{near}'", where="--hardware", do=f"Choose one of {', '.join([*DEVICES, THIS_MACHINE])}.")
    return DEVICES[name]


def measured() -> Device:
    """This machine: the better of its matrix-product rates, its memory; processes talk through memory."""
    from groundup.planning import hardware

    found = hardware.measure()
    peak = 1e9 * max(found["fp32_gflops"], found["bf16_gflops"])
    return Device(
        THIS_MACHINE, f"this machine: {found['processor']}, {found['cores']} cores", peak, found["memory_gib"], 20e9, 4e9, 1_000, 0.1e9, None, 0.0, 0.6,
        "measured on the spot", "one's own: no rent", cpu=True,
    )  # fmt: skip
