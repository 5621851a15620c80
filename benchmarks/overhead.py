"""What painting costs beside the network: the bare calls, diffusers' own pipeline, and ours.

    python benchmarks/overhead.py [--frames 8] [--steps 8] [--guidance 6] [--size 64] [--rounds 7] [--json FILE]

A tiny SDXL with random weights, whose network takes so little time that what is around it shows. In each round

    bare       VAE encode, N calls of the UNet, VAE decode; nothing else
    diffusers  StableDiffusionXLImg2ImgPipeline with TCD's scheduler, the published recipe
    ours       Painter.apart with color 0 and style_guidance 0, the same times

paint the same frames in one batch, with prompts embedded before; rounds are interleaved, their order turns, and the
medians of ratios and differences within a round count. With guidance above 1 diffusers sends both halves through the
UNet in one batch, and ours does as the code says; so the calls are recorded while each paints, and the bare time of
each is that of its very same calls: `bare(X)`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

CPU = torch.device("cpu")
REFERENCE_SIDE_PX = 64


class Recorded:
    """The calls of a module, with their arguments: to be made again, and nothing else."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name, self.function = owner, name, getattr(owner, name)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Recorded:
        def recording(*given: Any, **options: Any) -> Any:
            self.calls.append((given, options))
            return self.function(*given, **options)

        setattr(self.owner, self.name, recording)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.owner, self.name, self.function)

    def again(self) -> None:
        """Make the calls."""
        for given, options in self.calls:
            self.function(*given, **options)


def bare(paint: Callable[[], Any], unet: Any, vae: Any) -> Callable[[], None]:
    """The calls of UNet and VAE that painting makes, alone."""
    with Recorded(unet, "forward") as calls, Recorded(vae, "encode") as encoded, Recorded(vae, "decode") as decoded:
        paint()
    sizes = sorted({len(given[0]) for given, _ in calls.calls})
    print(
        f"  {len(calls.calls)} calls of the UNet with {sizes} frames, {len(encoded.calls)} + {len(decoded.calls)} VAE"
    )

    @torch.no_grad()
    def run() -> None:
        encoded.again()
        for given, options in calls.calls:
            unet(*given, **options)
        decoded.again()

    return run


def ours(folder: Path, frames: np.ndarray[Any, Any], arguments: argparse.Namespace) -> tuple[Callable[[], Any], Any]:
    """Our painting of the frames, and the pipeline that it works with."""
    from stdvid.config import IPAdapterConfig, ModelConfig, StylizeConfig
    from stdvid.diffusion.schedule import published_times
    from stdvid.models.diffusers_adapter import HubModel
    from stdvid.painter import Painter
    from stdvid.schema import merge

    adapter = IPAdapterConfig(str(folder / "sdxl-ip"), "ip.safetensors")
    model = HubModel.find(ModelConfig(base=str(folder / "sdxl"), ip_adapter=adapter), "the ink", "bad")
    stylizer = model.load(model.networks[0], CPU)
    stylizer.frames = stylizer._at_once = len(frames)
    sampling = {"guidance": arguments.guidance, "color": 0.0, "style_guidance": 0, "style_scale": 1.0}
    config = merge(StylizeConfig(), {"sampling": sampling, "video": {"consistency": "none"}})
    times = tuple(published_times(1.0, arguments.steps))
    style = stylizer.read_style([frames[0]])
    height, width = frames.shape[1:3]
    painter = Painter(stylizer, style, times, config, (width, height), threading.Event())
    look = painter.look(frames)
    return lambda: painter.apart(frames, 0, look), stylizer.pipeline


def theirs(folder: Path, frames: np.ndarray[Any, Any], arguments: argparse.Namespace) -> tuple[Callable[[], Any], Any]:
    """diffusers' painting of the frames, told all that can be known before; and its pipeline."""
    from diffusers import StableDiffusionXLImg2ImgPipeline, TCDScheduler
    from PIL import Image
    from transformers import CLIPVisionModelWithProjection

    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "sdxl-ip" / "image_encoder")
    cls: Any = StableDiffusionXLImg2ImgPipeline
    pipeline = cls.from_pretrained(folder / "sdxl", image_encoder=encoder)
    scheduler: Any = TCDScheduler
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    pipeline.load_ip_adapter(str(folder / "sdxl-ip"), subfolder="", weight_name="ip.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    guided = arguments.guidance > 1
    prompt, negative, pooled, negative_pooled = pipeline.encode_prompt(
        "the ink", device=CPU, do_classifier_free_guidance=guided, negative_prompt="bad"
    )
    reference = Image.fromarray(frames[0])
    seen = pipeline.prepare_ip_adapter_image_embeds([reference], None, CPU, 1, guided)
    count, pictures = len(frames), [Image.fromarray(frame) for frame in frames]

    def repeated(embedding: Any) -> Any:
        return embedding.repeat(count, *[1] * (embedding.ndim - 1)) if embedding is not None else None

    def images() -> list[Any]:
        halves = [embedding.chunk(2) if guided else (embedding,) for embedding in seen]
        return [torch.cat([repeated(half) for half in half_pair]) for half_pair in halves]

    known = {
        "prompt_embeds": repeated(prompt),
        "negative_prompt_embeds": repeated(negative) if guided else None,
        "pooled_prompt_embeds": repeated(pooled),
        "negative_pooled_prompt_embeds": repeated(negative_pooled) if guided else None,
        "ip_adapter_image_embeds": images(),
    }

    def paint() -> Any:
        return pipeline(
            image=pictures,
            strength=1.0,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance,
            eta=0.0,
            output_type="np",
            **known,
        ).images

    return paint, pipeline


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, in rounds whose order turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            ways[name]()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=6.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="say where our time goes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    import tiny_models  # type: ignore[import-not-found]

    frames = np.random.default_rng(0).integers(0, 256, (arguments.frames, arguments.size, arguments.size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        tiny_models.build_all(Path(name))
        paint, pipeline = ours(Path(name), frames, arguments)
        other, other_pipeline = theirs(Path(name), frames, arguments)
    ways: dict[str, Callable[[], Any]] = {"ours": paint, "diffusers": other}
    for key, way, parts in (("ours", paint, pipeline), ("diffusers", other, other_pipeline)):
        print(f"{key}:")
        ways[f"bare({key})"] = bare(way, parts.unet, parts.vae)
    if arguments.profile:
        profile(paint)
    seconds = measure(ways, arguments.rounds)
    a_frame = {key: 1000 * median(values) / arguments.frames for key, values in seconds.items()}
    ratios = {key: float(np.median(np.divide(seconds[key], seconds[f"bare({key})"]))) for key in ("diffusers", "ours")}
    extra = {
        key: 1000 * float(np.median(np.subtract(seconds[key], seconds[f"bare({key})"]))) / arguments.frames
        for key in ratios
    }
    for key, value in a_frame.items():
        print(f"{key:16} {value:8.2f} ms a frame")
    for key in ratios:
        print(f"{key:16} {ratios[key]:8.3f} times its bare calls, {extra[key]:+.2f} ms a frame")
    print(f"ours / diffusers {a_frame['ours'] / a_frame['diffusers']:8.3f}")
    if arguments.json:
        result = {
            "ms_a_frame": a_frame,
            "ratio": ratios,
            "extra_ms": extra,
            "settings": vars(arguments) | {"json": None},
        }
        arguments.json.write_text(json.dumps(result, indent=1))


def profile(paint: Callable[[], Any]) -> None:
    """Print what our painting spends its time on."""
    import cProfile
    import pstats

    with cProfile.Profile() as profiled:
        for _ in range(3):
            paint()
    pstats.Stats(profiled).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
