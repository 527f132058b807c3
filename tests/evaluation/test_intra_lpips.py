"""Intra-LPIPS against pairwise calls of the lpips package, under both protocols."""

from __future__ import annotations

import copy
import itertools
import json
import statistics
from collections.abc import Sequence

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from antcli.evaluation import centres as target_images
from antcli.evaluation import intra_lpips as module
from antcli.evaluation.centres import CHUNK, Centres
from antcli.evaluation.intra_lpips import IntraLpips, intra_lpips
from antcli.evaluation.lpips import LpipsFeatures
from antcli.randomness import generator

EXACT = 1e-9
"""Far above what float64 leaves of sums of a million numbers, far below float32."""
NAMES = ["a.png", "b.png", "c.png", "d.png"]
MEMBERS = [4, 3, 1, 0]  # of the clusters a, b, c, d
CENTRES = [(230, 40, 40), (30, 190, 60), (40, 60, 220), (250, 250, 250)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate at 64x64, a sixteenth of the work."""
    monkeypatch.setattr(target_images, "SIZE", 64)


@pytest.fixture(scope="module")
def features(exact_features: LpipsFeatures) -> LpipsFeatures:
    """In float64, so that all here is exact on every machine."""
    return exact_features


def picture(colour: Sequence[int], noise: float, seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    pixels = np.array(colour) + noise * draw.standard_normal((32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def centres() -> list[Image.Image]:
    return [picture(colour, 10, seed) for seed, colour in enumerate(CENTRES)]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Variations of the centres' colours, mixed: 0 1 0 1 0 1 0 2 by their cluster."""
    clusters = [0, 1, 0, 1, 0, 1, 0, 2]
    return [picture(CENTRES[c], 12 + 3 * i, 100 + i) for i, c in enumerate(clusters)]


def double(images: Sequence[Image.Image], low: float) -> Tensor:
    """The images as the metric takes them: resized by torchvision, in [low, 1] of float32."""
    resize = transforms.Resize((64, 64))
    pixels = np.stack([np.array(resize(image)) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).div(255).mul(1 - low).add(low).double()


def slow(
    metric: lpips.LPIPS,
    images: Sequence[Image.Image],
    centres: Sequence[Image.Image],
    *,
    low: float = -1.0,
    cap: int = 50,
) -> tuple[list[int], list[float | None]]:
    """Sizes and means of the clusters, a call of the metric for every distance, in float64."""
    exact = copy.deepcopy(metric).double()
    x, c = double(images, low), double(centres, -1.0)
    members: list[list[int]] = [[] for _ in centres]
    with torch.no_grad():
        for i in range(len(x)):
            members[int(torch.cat([exact(x[i : i + 1], y[None]) for y in c]).argmin())].append(i)
        means: list[float | None] = []
        for cluster in members:
            pairs = itertools.combinations(cluster[:cap], 2)
            found = [exact(x[i : i + 1], x[j : j + 1]).item() for i, j in pairs]
            means.append(statistics.fmean(found) if found else None)
    return [len(cluster) for cluster in members], means


def means_of(result: IntraLpips) -> list[float | None]:
    return [cluster.mean for cluster in result.clusters]


def assert_means(result: IntraLpips, expected: Sequence[float | None]) -> None:
    """Equal in float64, and dropped where they should be."""
    nan = [
        [float("nan") if m is None else m for m in means] for means in (means_of(result), expected)
    ]
    assert nan[0] == pytest.approx(nan[1], rel=EXACT, nan_ok=True)


def test_cdc_is_the_mean_over_pairwise_calls(
    metric: lpips.LPIPS,
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
) -> None:
    sizes, means = slow(metric, images, centres)
    assert sizes == MEMBERS, "the example must have a full, a single and an empty cluster"
    result = intra_lpips(images, centres, NAMES, features)
    assert [cluster.centre for cluster in result.clusters] == NAMES
    assert [cluster.size for cluster in result.clusters] == MEMBERS
    assert [cluster.used for cluster in result.clusters] == MEMBERS
    assert_means(result, means)
    assert means[2:] == [None, None]
    kept = [mean for mean in means if mean is not None]
    assert result.value == pytest.approx(statistics.fmean(kept), rel=EXACT)
    assert result.std == pytest.approx(statistics.stdev(kept), rel=EXACT)
    assert result.dropped == 2


def test_crdi_counts_zeros_and_measures_in_its_own_range(
    metric: lpips.LPIPS,
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
) -> None:
    sizes, means = slow(metric, images, centres, low=0.0)
    expected = [mean or 0.0 for mean in means]
    result = intra_lpips(images, centres, NAMES, features, protocol="crdi")
    assert [cluster.size for cluster in result.clusters] == sizes
    assert_means(result, expected)
    assert expected.count(0.0) >= 1
    assert result.value == pytest.approx(statistics.fmean(expected), rel=EXACT)
    assert result.std == pytest.approx(statistics.stdev(expected), rel=EXACT)
    assert result.dropped == 0
    cdc = intra_lpips(images, centres, NAMES, features)
    assert abs(means_of(cdc)[0] - expected[0]) > 1e-3 * expected[0], "the range must matter"


@pytest.mark.parametrize("protocol", ["cdc", "crdi"])
def test_clusters_are_cut_to_the_cap(
    protocol: module.Protocol,
    metric: lpips.LPIPS,
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CAP", 2)
    order, low = range(len(images)), 0.0
    if protocol == "cdc":
        draw = generator(3, "intra-lpips")
        order, low = torch.randperm(len(images), generator=draw).tolist(), -1.0
    visited = [images[i] for i in order]
    sizes, means = slow(metric, visited, centres, low=low, cap=2)
    result = intra_lpips(images, centres, NAMES, features, protocol=protocol, seed=3)
    assert [cluster.size for cluster in result.clusters] == sizes
    assert [cluster.used for cluster in result.clusters] == [min(size, 2) for size in sizes]
    small = 0.0 if protocol == "crdi" else None
    expected = [small if mean is None else mean for mean in means]
    assert_means(result, expected)
    assert result.definition["cap"] == 2


def test_the_seed_chooses_the_members_and_batches_do_not(
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CAP", 2)
    whole = intra_lpips(images, centres, NAMES, features, seed=1, batch_size=8)
    for batch_size in (1, 3):
        parts = intra_lpips(images, centres, NAMES, features, seed=1, batch_size=batch_size)
        assert_means(parts, means_of(whole))
        assert [c.size for c in parts.clusters] == [c.size for c in whole.clusters]
    seeds = [intra_lpips(images, centres, NAMES, features, seed=seed) for seed in range(5)]
    assert len({result.value for result in seeds}) > 1
    crdi = [
        intra_lpips(images, centres, NAMES, features, protocol="crdi", seed=seed).value
        for seed in range(5)
    ]
    assert len(set(crdi)) == 1


@pytest.mark.parametrize("protocol", ["cdc", "crdi"])
def test_each_image_is_opened_once_and_passes_the_trunk_once(
    protocol: module.Protocol,
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
) -> None:
    opened, passed, done = [], [], []

    class Folder:
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int, /) -> Image.Image:
            opened.append(index)
            return images[index]

    hook = features.layers.register_forward_pre_hook(lambda _, args: passed.append(len(args[0])))
    try:
        intra_lpips(
            Folder(), centres, NAMES, features, protocol=protocol, batch_size=3, advance=done.append
        )
    finally:
        hook.remove()
    assert sorted(opened) == list(range(len(images)))
    assert sum(passed) == len(images) + len(centres)
    assert done == [3, 3, 2]


def test_one_cluster_has_no_deviation_and_one_image_no_value(
    features: LpipsFeatures, images: list[Image.Image], centres: list[Image.Image]
) -> None:
    reds = [images[0], images[2]]
    result = intra_lpips(reds, centres, NAMES, features)
    assert result.value == means_of(result)[0] != 0
    assert (result.std, result.dropped) == (None, 3)
    result = intra_lpips(reds[:1], centres, NAMES, features)
    assert (result.value, result.std, result.dropped) == (None, None, 4)


def test_a_copied_image_has_no_diversity(
    features: LpipsFeatures, images: list[Image.Image], centres: list[Image.Image]
) -> None:
    result = intra_lpips([images[0]] * 7, centres, NAMES, features)
    assert 0 <= means_of(result)[0] < 1e-9


class Given(Centres):
    """Vectors that no trunk made."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors


@pytest.mark.parametrize("apart", [1.0, 1e-3])
def test_the_sums_are_exact_for_vectors_that_hardly_differ(apart: float) -> None:
    draw = torch.Generator().manual_seed(0)
    width = 2 * CHUNK + 17
    place = torch.randn(width, generator=draw)
    vectors = place + apart * torch.randn(6, width, generator=draw)
    clusters = module._Clusters(Given(torch.stack([place, place + 10])), cap=5)
    for part in (vectors[:4], vectors[4:]):
        clusters.add(clusters.centres.distances(part), part)
    assert (clusters.size, clusters.used) == ([6, 0], [5, 0])
    pairs = itertools.combinations(vectors[:5].double(), 2)
    expected = torch.stack([(a - b).square().sum() for a, b in pairs]).mean().item()
    assert clusters.means(None) == [pytest.approx(expected, rel=1e-8), None]


def test_the_result_is_json_with_its_definition(
    features: LpipsFeatures, images: list[Image.Image], centres: list[Image.Image]
) -> None:
    result = intra_lpips(images, centres, NAMES, features, seed=9)
    found = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert list(found) == ["metric", "value", "std", "clusters", "dropped", "definition"]
    assert found["metric"] == "intra-lpips"
    assert found["value"] == result.value
    assert found["clusters"][3] == {"centre": "d.png", "size": 0, "used": 0, "mean": None}
    assert found["definition"] == {
        "protocol": "cdc",
        "net": "squeeze",
        "version": "0.1",
        "trunk": "random",
        "range": "[-1, 1]",
        "range_of_centres": "[-1, 1]",
        "size": 256,
        "resize": "bilinear, antialiased (Pillow)",
        "cap": 50,
        "order": "shuffled by the seed",
        "seed": 9,
        "small_clusters": "dropped",
        "images": 8,
    }
    other = intra_lpips(images[:1], centres, NAMES, features, protocol="crdi").definition
    assert other == found["definition"] | {
        "protocol": "crdi",
        "range": "[0, 1]",
        "order": "as given",
        "seed": None,
        "small_clusters": "count as 0",
        "images": 1,
    }


@pytest.mark.parametrize("protocol", ["cdc", "crdi"])
def test_the_one_pass_gives_the_distances_to_the_target_images_too(
    protocol: module.Protocol,
    metric: lpips.LPIPS,
    features: LpipsFeatures,
    images: list[Image.Image],
    centres: list[Image.Image],
) -> None:
    found = torch.full((len(images), len(centres)), torch.nan, dtype=torch.float64)
    intra_lpips(images, centres, NAMES, features, protocol=protocol, batch_size=3, to_centres=found)
    x, c = double(images, 0.0 if protocol == "crdi" else -1.0), double(centres, -1.0)
    exact = copy.deepcopy(metric).double()
    with torch.no_grad():
        pairwise = [[exact(a[None], b[None]).item() for b in c] for a in x]
    expected = torch.tensor(pairwise, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=EXACT, atol=0)
