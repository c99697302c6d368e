"""Ways to run the backbone on a CPU, beside each other: allocator, folded batch norms, torch.compile, other runtimes.

python -m tests.benchmarks.cpu_paths --images DIR --json FILE

Each way runs in a process of its own, in turns, over the same decoded photographs in batches of 16 at 448 px; the
figure is the median of the rounds, images a second. OpenVINO and ONNX Runtime are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from tests.benchmarks.record import photographs, write_record
from vsalign.allocator import keep_freed_memory
from vsalign.images import decode_image
from vsalign.regions.lite import INPUT_SIZE, lite_network
from vsalign.regions.network import resize
from vsalign.regions.onnx_maps import OnnxMaps
from vsalign.regions.placement import Placement

PICTURES, BATCH = 96, 16
Run = Callable[[Tensor], object]


class MapOf(nn.Module):
    """The network as one function of normalised float32 pixels, as other runtimes take it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.last = network.stem, network.blocks, network.last

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.blocks(self.stem(pixels)))


def normalised(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 as the network's float32."""
    return pixels.float() / 127.5 - 1


def eager() -> Run:
    """torch as it is, channels_last."""
    return Placement().put(lite_network())


def nchw() -> Run:
    """torch without channels_last."""
    network = MapOf(Placement().put(lite_network())).to(memory_format=torch.contiguous_format)
    return lambda pixels: network(normalised(pixels))


def unfolded() -> Run:
    """torch with the batch norms for themselves."""
    with mock.patch("vsalign.regions.network.fold_batch_norms"):
        return Placement().put(lite_network())


def compiled() -> Run:
    """torch.compile of the same, its weights taken as constants."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    network = torch.compile(Placement().put(lite_network()))
    return lambda pixels: network(pixels)


def openvino() -> Run:
    """OpenVINO, for throughput of batches."""
    import openvino as ov

    network = MapOf(lite_network().eval().requires_grad_(False))
    example = torch.zeros(BATCH, 3, INPUT_SIZE, INPUT_SIZE)
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    model = ov.compile_model(ov.convert_model(network, example_input=example), "CPU", options)
    return lambda pixels: model(normalised(pixels).numpy())


def onnxruntime() -> Run:
    """ONNX Runtime as extractors use it, the head by torch."""
    network = Placement().put(lite_network())
    maps = OnnxMaps(network)
    return lambda pixels: network.head(maps(pixels)[-1])


WAYS: dict[str, tuple[Callable[[], Run], bool]] = {
    "eager_own_thresholds": (eager, False),
    "eager": (eager, True),
    "eager_nchw": (nchw, True),
    "eager_unfolded": (unfolded, True),
    "compile": (compiled, True),
    "openvino": (openvino, True),
    "onnxruntime": (onnxruntime, True),
}
"""How each is made, and whether freed memory is kept (else glibc's own thresholds hold)."""


def measured(way: str, images: Path, threads: int) -> float:
    """Images a second of one way, in this process; compiling and a first pass are not counted."""
    make, keep = WAYS[way]
    if keep:
        keep_freed_memory()
    torch.set_num_threads(threads)
    paths = sorted(images.glob("*.jpg"))[:PICTURES]
    pictures = torch.stack([resize(decode_image(path.read_bytes(), path.name), INPUT_SIZE) for path in paths])
    batches = pictures.split(BATCH)
    with torch.inference_mode():
        run = make()
        for batch in batches[:2]:
            run(batch)
        started = time.perf_counter()
        for batch in batches:
            run(batch)
        return len(pictures) / (time.perf_counter() - started)


def installed() -> list[str]:
    """The ways whose package is there."""
    return [way for way in WAYS if way not in ("openvino", "onnxruntime") or importlib.util.find_spec(way)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=Path, required=True, help=f"a folder of at least {PICTURES} photographs (*.jpg)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="measure this one alone, in this process")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    if asked.way:
        print(measured(asked.way, asked.images, asked.threads))
        return
    found: dict[str, list[float]] = {way: [] for way in installed()}
    for _ in range(asked.rounds):
        for way, rates in found.items():
            command = [sys.executable, "-m", "tests.benchmarks.cpu_paths", "--images", str(asked.images)]
            command += ["--threads", str(asked.threads), "--way", way]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise SystemExit(f"{way}: {ended.stderr[-2000:]}")
            rates.append(float(ended.stdout.split()[-1]))
            print(f"{way:<32} {rates[-1]:6.2f} images/s", file=sys.stderr)
    unit = f"images/s (backbone alone, median of {asked.rounds} rounds)"
    split = f"{photographs(PICTURES, asked.images)}, {INPUT_SIZE} px"
    write_record(
        asked.json, {f"extract.cpu.{way}": (statistics.median(rates), unit, split) for way, rates in found.items()}
    )


if __name__ == "__main__":
    main()
