"""Colours that the source's own images do not have in a place, and what else in an image has them.

To draw a face without its mask the source may draw another face: then skin has changed as well, but
skin of this colour is nothing new. New is what has changed and has a colour that none of the
source's images has there or just beside. With it goes what else has changed and has such a colour:
the part of a hat that could have been hair; and what has a strange colour like it and joins it,
where the domain as a whole seemed nothing new: of ten hats one has a feather.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from antcli.methods.places import by_place, cells, joined

STRANGE = 0.99
"""A colour is strange where it is farther from those of the source's images than this share of all
colours of one of them are from those of the others. Up to this distance two colours are the same.
"""


@dataclass(frozen=True)
class Colours:
    """Those that the source's own images have, place by place."""

    own: Tensor
    """[places, 9 M, 3], in each place and the eight around it."""
    apart: float
    """The distance beyond which a colour is strange, and up to which two are the same."""

    @classmethod
    def of(cls, own: Tensor) -> Colours:
        """Of images of the source, uint8 [M, 3, H, W], at least two."""
        found = cells(own.float())
        around = functional.unfold(functional.pad(found, (1, 1, 1, 1), mode="replicate"), 3)
        # [places, M, 9, 3]
        each = around.unflatten(1, (3, 9)).permute(3, 0, 2, 1)
        nearest = [
            _nearest(one, torch.cat([each[:, :i], each[:, i + 1 :]], 1).flatten(1, 2))
            for i, one in enumerate(by_place(found).unbind(1))
        ]
        return cls(each.flatten(1, 2), float(torch.cat(nearest).quantile(STRANGE)))

    def new(self, images: Tensor, changed: Tensor) -> Tensor:
        """What is new in each image, [N, rows, columns], given what has changed in it.

        Images are uint8 [N, 3, H, W]. Where no change has a strange colour all of them are new.
        """
        colours = by_place(cells(images.float())).unbind(1)
        return torch.stack([self._new(*one) for one in zip(colours, changed, strict=True)])

    def _new(self, colour: Tensor, changed: Tensor) -> Tensor:
        strange = (_nearest(colour, self.own) > self.apart).view_as(changed)
        seeds = (changed & strange).flatten()
        if not seeds.any():
            return changed
        same = (torch.cdist(colour, colour[seeds]).amin(1) <= self.apart).view_as(changed)
        return joined(changed & same, (changed | strange) & same)


def _nearest(colour: Tensor, others: Tensor) -> Tensor:
    """How far a colour of each place, [places, 3], is from the nearest of others,
    [places, K, 3]: [places].
    """
    return (others - colour[:, None]).norm(dim=2).amin(1)
