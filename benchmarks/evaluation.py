"""What `ant evaluate` costs, as ratios within one run.

    python benchmarks/evaluation.py --trunk-weights squeezenet1_1.safetensors [--images 1000]

Writes benchmarks/results/evaluation.md. The published scripts call LPIPS once for every pair; of
these calls, `--calls` are timed and multiplied by their number, as all of them would take hours
with a larger trunk. On `--exact` images all of them are made, and the values compared.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import lpips
import torch
from ablation import versions
from PIL import Image
from torch import Tensor

from antcli.drawn_faces.domains import avatar
from antcli.evaluation.centres import Centres, colours
from antcli.evaluation.features import extract
from antcli.evaluation.features.source import SourceSpace
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.evaluation.intra_lpips import CAP, intra_lpips
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.evaluation.manifold import prdc
from antcli.evaluation.memorization import memorization
from antcli.sources.source import find_source

RESULT = Path(__file__).parent / "results" / "evaluation.md"
NAMES = [str(i) for i in range(10)]


def drawings(count: int, domain: str = "avatars", first: int = 0) -> list[Image.Image]:
    """So many 32x32 drawings."""
    return [avatar(first + i, 32, domain)[0] for i in range(count)]


def timed(work: Callable[[], object], repeats: int = 1) -> float:
    """Seconds; the median of `repeats`."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def pairwise(images: list[Image.Image], targets: list[Image.Image], metric: lpips.LPIPS) -> float:
    """Intra-LPIPS as the published scripts have it, a call for each pair; no cluster above 50."""
    x, c = pixels(images), pixels(targets)
    to_centres = torch.tensor([[metric(a[None], b[None]).item() for b in c] for a in x])
    nearest = to_centres.argmin(1)
    means = []
    for k in range(len(c)):
        members = x[nearest == k]
        assert len(members) <= CAP
        pairs = [metric(a[None], b[None]).item() for a, b in itertools.combinations(members, 2)]
        means += [statistics.fmean(pairs)] if pairs else []
    return statistics.fmean(means)


def pixels(images: list[Image.Image]) -> Tensor:
    """[N, 3, 256, 256] in [-1, 1]."""
    return torch.stack([colours(images, [i], -1.0, ON_CPU)[0] for i in range(len(images))])


def calls_of(sizes: list[int], centres: int) -> int:
    """LPIPS calls of a pairwise script: to all centres, and over the pairs of capped clusters."""
    capped = [min(size, CAP) for size in sizes]
    return sum(sizes) * centres + sum(n * (n - 1) // 2 for n in capped)


class _OnCpu:
    device = torch.device("cpu")


ON_CPU: LpipsFeatures = _OnCpu()  # type: ignore[assignment]


def floor(images: list[Image.Image], features: LpipsFeatures) -> None:
    """One trunk pass for each image, target images included, and nothing else."""
    out = None
    for rows in torch.arange(len(images)).split(4):
        x = colours(images, rows.tolist(), -1.0, features)
        out = features(x, out=None if out is None else out[: len(x)])


def main() -> None:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trunk-weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--exact", type=int, default=30)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--vgg", type=int, default=300)
    chosen = parser.parse_args()
    features = load_lpips("squeeze", chosen.trunk_weights)
    metric = reference_metric(features, chosen.trunk_weights)
    images, targets = drawings(chosen.images), drawings(10, "sunglasses", 10_000)
    lines = lpips_lines(images, targets, features, metric, chosen)
    lines += vgg_lines(images[: chosen.vgg], targets)
    lines += all_lines(images, targets, features)
    text = HEADING.format(
        count=chosen.images,
        exact=chosen.exact,
        calls=chosen.calls,
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
    )
    RESULT.write_text(text + "".join(f"| {name} | {value} |\n" for name, value in lines))
    print(RESULT.read_text())


HEADING = """# What evaluation costs

`python benchmarks/evaluation.py --trunk-weights squeezenet1_1.safetensors`: {count} drawings of
32x32, ten target images, SqueezeNet. {calls} of the pairwise calls were timed and multiplied by
their number; on {exact} images all were made. {machine};
{versions}.

| | |
|---|---|
"""


def reference_metric(features: LpipsFeatures, trunk: Path) -> lpips.LPIPS:
    """The `lpips` package's own, with the same trunk."""
    from antcli.artifacts import load_tensors

    metric = lpips.LPIPS(net="squeeze", pretrained=True, pnet_rand=True, verbose=False).eval()
    state = {
        f"net.slice{part}.{layer}": tensor
        for name, tensor in load_tensors(trunk).items()
        if name.startswith("features.")
        for layer in [name.removeprefix("features.")]
        for part in range(1, 8)
    }
    own = metric.state_dict()
    own.update({name: tensor for name, tensor in state.items() if name in own})
    metric.load_state_dict(own)
    return metric.requires_grad_(False)


def lpips_lines(
    images: list[Image.Image],
    targets: list[Image.Image],
    features: LpipsFeatures,
    metric: lpips.LPIPS,
    chosen: argparse.Namespace,
) -> list[tuple[str, str]]:
    """Intra-LPIPS against the pairwise loop and against its floor."""
    few = images[: chosen.exact]
    expected = pairwise(few, targets, metric)
    found = intra_lpips(few, targets, NAMES, features).value
    assert found is not None and abs(found - expected) < 1e-5, (found, expected)
    x = pixels(images[:2])
    call = timed(lambda: [metric(x[:1], x[1:]) for _ in range(chosen.calls)]) / chosen.calls
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = []
    ours = timed(lambda: results.append(intra_lpips(images, targets, NAMES, features)))
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    calls = calls_of([cluster.size for cluster in results[0].clusters], len(targets))
    passes = timed(lambda: floor([*images, *targets], features))
    return [
        ("Intra-LPIPS", f"{ours:.1f} s"),
        (f"pairwise, {calls:,} calls of {call * 1e3:.1f} ms", f"{calls * call:.0f} s"),
        ("pairwise / ours", f"{calls * call / ours:.0f}"),
        (f"difference in value on {chosen.exact} images", f"{abs(found - expected):.1e}"),
        ("floor, a trunk pass for each image", f"{passes:.1f} s"),
        ("ours / floor", f"{ours / passes:.2f}"),
        (f"peak memory, more than for {chosen.exact} images", f"{growth / 2**10:.0f} MiB"),
    ]


def vgg_lines(images: list[Image.Image], targets: list[Image.Image]) -> list[tuple[str, str]]:
    """Against the floor with the default trunk; its cost does not depend on its weights."""
    metric = lpips.LPIPS(net="vgg", pretrained=True, pnet_rand=True, verbose=False).eval()
    features = LpipsFeatures(metric, "random weights")
    floor(images[:4], features)
    ours = timed(lambda: intra_lpips(images, targets, NAMES, features))
    passes = timed(lambda: floor([*images, *targets], features))
    return [(f"the same with VGG, {len(images)} images", f"{ours / passes:.2f}")]


def all_lines(
    images: list[Image.Image], targets: list[Image.Image], features: LpipsFeatures
) -> list[tuple[str, str]]:
    """Every metric of one set of images, features and LPIPS taken once."""
    space = SourceSpace(find_source("avatars"))
    real = extract(space, drawings(1000, "sunglasses", 20_000), batch_size=64)
    parts: dict[str, float] = {}
    to_target = torch.empty(len(images), len(targets))
    fake: list[Tensor] = []

    def lpips_pass() -> None:
        intra_lpips(images, targets, NAMES, features, to_centres=to_target)

    parts["Intra-LPIPS, with distances to the target"] = timed(lpips_pass)
    parts["memorization, from these"] = timed(
        lambda: memorization(to_target, Centres(targets, features).apart)
    )
    parts["features of the source"] = timed(lambda: fake.append(extract(space, images)))
    parts["Frechet distance"] = timed(
        lambda: frechet_distance(Gaussian.fit(real), Gaussian.fit(fake[0]))
    )
    parts["kernel distance and its interval"] = timed(lambda: kernel_distance(real, fake[0]))
    parts["precision, recall, density, coverage"] = timed(lambda: prdc(real, fake[0]))
    lines = [(name, f"{seconds:.1f} s") for name, seconds in parts.items()]
    return [*lines, ("all metrics together", f"{sum(parts.values()):.1f} s")]


if __name__ == "__main__":
    main()
