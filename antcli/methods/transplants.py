"""Transplants: what is new in an image, put where it belongs in the source's own images.

Ten masks on ten faces teach masks, and which face has which: a network that has seen no more takes
a mask's colour from what lies below it. On other images of the source, where noise hides the seams,
each mask may be anybody's. Unless it looks as if it may not: a beard has the colour of the hair,
and where the images say so, it is put where the hair has that colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from antcli.diffusion.examples import Examples, moved
from antcli.methods.alignment import shifted
from antcli.methods.places import CELLS, CHANGED, LARGEST, Places, by_place, features
from antcli.randomness import generator

NOISE = 0.34
"""Sigma / alpha from which on images are transplanted, at the side for which the rungs of the
ladder hold: 0.1 T of Ho et al.'s betas."""
HOLE = 2
"""Places from the middle of a hole to its edge."""
CORE = 0.7
"""A place of which more is new has the colour of what is new."""
ORDERS, UNLIKELY = 1000, 0.05
"""Of the images, by chance: in a smaller share of them some place has as much of the colour of what
is new as one has in their own, or that is chance."""
AS_WELL = 1.25
"""Times the error of the best place: one with less has the colour, too."""
ALIKE = 16
"""Where colours go together, one of so many hosts fits."""


@dataclass(frozen=True)
class Transplants:
    """What is new in the target's images, and what it may be put on."""

    hosts: Examples
    """The source's own images, on the device."""
    new: Tensor
    """How much of each place of each image is new, in [0, 1]: [N, 1, H, W], on the device. With
    `worn`, of each of these."""
    fitting: Tensor
    """The hosts for each image, [N, M], on the CPU; -1: it is not transplanted."""
    t_least: float
    """From which t on."""
    worn: Examples | None = None
    """Of latents, which know no places to the pixel: what the autoencoder makes of the hosts of
    each image, one after the other, with what is new put on them."""
    shifts: Tensor | None = None
    """By how many pixels what is new in each image is moved on each of its hosts, down and to the
    right: [N, M, 2], on the CPU. None: it stays, or `worn` has it moved."""

    @cached_property
    def of_all(self) -> bool:
        """Whether all images are transplanted, so that of all it is known what is new in them."""
        return bool((self.fitting >= 0).all())

    def put(
        self, x_0: Tensor, images: Tensor, mirrored: Tensor, t: Tensor, chance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is new in x_0 [B, C, H, W] of some images, on hosts; the hosts; how much of each
        place is new; and whether it is to be put on them.

        `images`, `mirrored`, `t` and a `chance` in [0, 1) are [B], on the CPU: what the device
        holds is not looked at.
        """
        device, count = self.new.device, self.fitting.shape[1]
        which = (chance * count).long()
        chosen = self.fitting[images, which]
        put, mirror = (t >= self.t_least) & (chosen >= 0), moved(mirrored, device)
        place = moved(images if self.worn is None else images * count + which, device)
        new = self.new[place]
        new = torch.where(mirror.view(-1, 1, 1, 1), new.flip(-1), new)
        hosts = self.hosts.take(moved(chosen.clamp(min=0), device), mirror).to(x_0)
        new = new.to(x_0)
        if self.worn is not None:
            worn = self.worn.take(place, mirror).to(x_0)
        else:
            if self.shifts is not None:
                down, right = self.shifts[images, which].unbind(1)
                by = torch.stack([down, torch.where(mirrored, -right, right)], 1)
                x_0, new = (shifted(x, moved(by, device)) for x in (x_0, new))
            worn = hosts.lerp(x_0, new)
        return worn, hosts, new, moved(put, device).view(-1, 1, 1, 1)


def is_bound(fitting: Tensor) -> bool:
    """Whether some image is put on some hosts only, all of them on others: `fitting`, [N, M]."""
    fewest = min(len(row.unique()) for row in fitting)
    return bool((fitting >= 0).all() and fewest < fitting.shape[1])


def put_on(images: Tensor, new: Tensor, hosts: Tensor, fitting: Tensor) -> Tensor:
    """What is new in images [N, 3, H, W] on each of the hosts that fit it, uint8 [N * M, 3, H, W].

    `images` and `new` are of each image, or of each and each of its hosts, [N * M, ., H, W].
    """
    of = hosts[fitting.clamp(min=0).flatten()].float()
    each = len(of) // len(images)
    worn = of.lerp(images.float().repeat_interleave(each, 0), new.repeat_interleave(each, 0))
    return worn.round().to(torch.uint8)


def unexplained(images: Tensor, new: Tensor, hosts: Tensor, places: Tensor) -> float:
    """Of the `places` where the domain is new, the share that would be so still if the source drew
    what is `new` in each image, and nothing else besides its own.

    As images of that domain there are `hosts` with what is new of each image in turn. All images
    are uint8; `places` are [rows, columns], some of them true.
    """
    each = max(1, len(hosts) // len(images))
    of = torch.arange(len(images) * each).view(len(images), each) % len(hosts)
    still, _ = Places.of(put_on(images, new, hosts, of)).new(images)
    return float((still & places).sum() / places.sum())


def newness(images: Tensor, drawn: Tensor, changed: Tensor) -> Tensor:
    """How much of each place of each image is new to the source, in [0, 1]: [N, 1, H, W].

    As much as it differs from what was drawn in its place: half of the largest difference is all.
    Of images of more pixels than `CELLS` a side what lies around counts as much: a mask shall have
    no holes. Small ones are filled: where the source draws a pupil, a dark lens is no change.
    `images` are uint8 [N, 3, H, W], `drawn` so many draws of each, one after the other, `changed`
    how much of each place is drawn anew, [N, 1, h, w].
    """
    x = images.float()
    other = drawn.float().unflatten(0, (len(x), -1)).median(1).values
    off, size = (x - other).norm(dim=1, keepdim=True), x.shape[-2:]
    if max(size) > CELLS:  # where a place has several pixels; else a whisker would bring its cheek
        around = (features(x) - features(other))[:, :3].norm(dim=1, keepdim=True)
        off = (functional.interpolate(around, size) + off) / 2
    anew = functional.interpolate(changed.cpu(), size, mode="bilinear", align_corners=False)
    within = torch.where(anew > 0.5, off, 0.0).flatten(1)
    largest = within.kthvalue(int(LARGEST * within.shape[1]), 1).values.view(-1, 1, 1, 1)
    new = (off / (CHANGED * largest).clamp(min=1e-6)).clamp(0, 1) * anew
    return filled(new, HOLE * max(1, max(size) // CELLS))


def filled(new: Tensor, reach: int) -> Tensor:
    """Each pixel of [N, 1, H, W] at least as new as some within `reach` on each of four sides."""
    height, width = new.shape[-2:]
    wide = functional.pad(new, (reach, reach, reach, reach))
    across = functional.max_pool2d(wide[..., reach:-reach, :], (1, reach), 1)
    down = functional.max_pool2d(wide[..., reach:-reach], (reach, 1), 1)
    beside = across[..., :width].minimum(across[..., reach + 1 :])
    upright = down[..., :height, :].minimum(down[..., reach + 1 :, :])
    return new.maximum(beside.minimum(upright))


def fitting(images: Tensor, new: Tensor, changed: Tensor, hosts: Tensor) -> Tensor:
    """Which hosts go with each image, [N, M]: all, or those alike where the colour is found.

    Whether it is, of what is new, the colour of some place that is not new in any image, but for
    something that is the same in all, is tested by permutation (Fisher 1935). `images` and `hosts`
    are uint8 [., 3, H, W], `new` and `changed` as in `newness`.
    """
    count = len(hosts)
    every = torch.arange(count).expand(len(images), -1)
    core = new > CORE
    if not core.flatten(1).any(1).all():
        return every
    x = images.float()
    colours = torch.stack([one[:, of[0]].median(1).values for one, of in zip(x, core, strict=True)])
    found = features(x)[:, :3]
    old = functional.adaptive_max_pool2d(changed.cpu().amax(0), found.shape[-2:]).flatten() == 0
    if not old.any():
        return every
    found, others = by_place(found)[old], by_place(features(hosts)[:, :3])[old]
    error, unlikely = _errors(found, colours)
    if not unlikely:
        return every
    best = error <= AS_WELL * error.min()
    apart = torch.cdist(found[best], others[best]).mean(0)
    nearest = apart.argsort(1)[:, : max(1, count // ALIKE)]
    return nearest.repeat(1, -(-count // nearest.shape[1]))[:, :count]


def _errors(found: Tensor, colours: Tensor) -> tuple[Tensor, bool]:
    """How far the colours of each place [P, N, 3] are from others [N, 3], up to a constant; and
    whether the nearest is nearer than by chance.
    """
    a, b = found - found.mean(1, keepdim=True), colours - colours.mean(0)

    def error(order: Tensor) -> Tensor:
        return (a - b[order]).square().sum((1, 2))

    count = len(colours)
    own = error(torch.arange(count))
    orders = (torch.randperm(count, generator=generator(i, "fitting")) for i in range(ORDERS))
    as_near = sum(bool(error(order).min() <= own.min()) for order in orders)
    return own, as_near < UNLIKELY * ORDERS
