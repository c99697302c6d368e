"""The detector of `rcnn-lite`: Faster R-CNN (Ren et al., 2015) on a frozen backbone, EfficientNet-Lite0 by default.

    maps at strides 8, 16, 32  ->  neck  ->  region proposals  ->  RoIAlign  ->  score and box of each proposal

What people speak of is what it looks for. A box's score is the share of the captions that name something there: over
true phrases p with union boxes u_p, the target of a box b is min(1, |{p: IoU(b, u_p) >= 0.5}| / sure), where `sure` is
the number of captions a picture. So the top boxes after non-maximum suppression are those that cover most phrases,
which is what recall counts. With kinds there is such a share for each, over the phrases of that kind alone, and a box's
score is the sum of its shares, at most 1.

Proposals, anchors and box coding are torchvision's; the neck is separable, since a 3 x 3 convolution of 128 channels
would cost as much as the backbone, and RoIAlign is vsalign.regions.pooling's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vsalign.errors import ConfigurationError
from vsalign.regions.network import MAP_CHANNELS
from vsalign.regions.pooling import pool_grid

MATCH = 0.5
"""IoU from which a box counts as on a true one: the protocol of Flickr30k Entities."""

LIKE_WHOLE = 0.8
"""IoU with the whole picture, which is region 0 of every table, from which a detection tells nothing new (a guess)."""

SAMPLES = 64
"""Proposals a picture that the second stage learns from, at most half of them on a true box."""

THINNEST = 1.0
"""px of the squashed picture below which a box is no region."""

CANDIDATES = 200
"""Anchors a map that go into the first stage's NMS in extraction; recall on Flickr8k's tune split is that of 1,000."""

PROPOSALS = 200
"""Of the first stage, a picture, in training."""

ANCHOR_SIDES = ((40, 72), (112, 176), (256, 360))
"""px at 448 px, of the anchors at strides 16, 32 and 64; they scale with the input."""

ANCHOR_SHAPES = (0.5, 1.0, 2.0)
"""Height over width."""

OTHER = "other"
"""The kind that stands for those that a detector does not tell apart."""


@dataclass(frozen=True)
class DetectorSizes:
    """Sizes of the detector, and what it tells apart."""

    input_size: int = 448
    """px, the side of the square that pictures are squashed to, a multiple of 64."""
    channels: int = 128
    """Of the neck's maps."""
    bins: int = 5
    """Cells a side that RoIAlign gives the second stage."""
    hidden: int = 256
    """Units of the second stage's two layers."""
    dropout: float = 0.1
    """In the second stage."""
    kinds: tuple[str, ...] = ()
    """Kinds of phrases that are scored apart, as the truth calls them, such as people clothing animals; left out: none
    is. A phrase of another kind is of the kind `other` where that is among them; where not, it is not learned from."""

    def __post_init__(self) -> None:
        if self.input_size < 64 or self.input_size % 64:
            raise ConfigurationError(f"input_size {self.input_size}: give a multiple of 64 px")
        if min(self.channels, self.bins, self.hidden) < 1 or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"channels {self.channels}, bins {self.bins}, hidden {self.hidden}, dropout {self.dropout}: the first "
                "three are at least 1, dropout lies in [0, 1)"
            )
        if len({*self.kinds}) < len(self.kinds) or not all(kind.strip() for kind in self.kinds):
            raise ConfigurationError(f"kinds {' '.join(self.kinds)!r}: name each kind once, and none of blanks alone")


@dataclass(frozen=True)
class DetectorConfig(DetectorSizes):
    """What a detector is made of."""

    maps: tuple[int, int, int] = MAP_CHANNELS
    """Channels of its backbone's maps at strides 8, 16 and 32."""


@dataclass(frozen=True)
class Target:
    """What a picture's detections are learned from."""

    boxes: Tensor
    """(n, 4) xyxy px of the squashed picture: the distinct boxes that people drew, and the unions of a phrase's."""
    phrases: Tensor
    """(p, 4): the union box of every phrase, one named in three captions three times."""
    kinds: Tensor
    """(p, K): 1 for each kind that a phrase is of, else 0; (p, 1) of ones for a detector without kinds."""
    sure: int
    """Phrases at one place from which on a box there is sure to be named: the captions a picture, or 1."""


class Detector(nn.Module):
    """Boxes and scores from the backbone's maps (B, C, H, W) for each C of config.maps."""

    def __init__(self, config: DetectorConfig) -> None:
        from torchvision.models.detection._utils import BoxCoder
        from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork

        super().__init__()
        self.config = config
        self.neck = Neck(config.channels, config.maps)
        sides = tuple(tuple(side * config.input_size // 448 for side in level) for level in ANCHOR_SIDES)
        anchors = AnchorGenerator(sides, (ANCHOR_SHAPES,) * len(sides))
        head = ProposalHead(config.channels, len(ANCHOR_SHAPES) * len(ANCHOR_SIDES[0]))
        # Positive from IoU 0.6, negative below 0.35; 128 anchors a picture are learned from, half of them positive.
        self.proposals = RegionProposalNetwork(
            anchors, head, 0.6, 0.35, 128, 0.5, {"training": 1000, "testing": CANDIDATES},
            {"training": PROPOSALS, "testing": PROPOSALS // 2}, 0.7,
        )  # fmt: skip
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))  # torchvision's weights of Faster R-CNN
        self.layers = nn.Sequential(
            nn.Linear(config.channels * config.bins**2 + 4, config.hidden),
            nn.ReLU(True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(True),
        )
        self.score, self.shift = nn.Linear(config.hidden, max(1, len(config.kinds))), nn.Linear(config.hidden, 4)
        nn.init.constant_(self.score.bias, -2.0)
        nn.init.normal_(self.shift.weight, std=0.001)
        nn.init.zeros_(self.shift.bias)

    def forward(self, maps: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """The cost of a batch: proposals' objectness and boxes, then scores and boxes (each a mean over samples).

        Scores of several kinds are added up.
        """
        levels = self.neck(maps)
        truths = [{"boxes": target.boxes} for target in targets]
        proposed, first = self.proposals(self._images(len(targets), maps[0]), levels, truths)
        chosen = [sample(boxes, target) for boxes, target in zip(proposed, targets, strict=True)]
        logits, shifts = self._second_stage(levels, [boxes for boxes, _, _ in chosen])
        matched = [nearest for _, nearest, _ in chosen]
        aims = torch.cat(self.coder.encode(matched, [boxes for boxes, _, _ in chosen]))
        named = torch.cat([shares for _, _, shares in chosen])
        # Only a box that lies on a true one has somewhere to go.
        on_truth = torch.cat([_overlap(boxes, nearest) >= MATCH for boxes, nearest, _ in chosen])
        second = functional.binary_cross_entropy_with_logits(logits, named, reduction="sum")
        second = second + functional.smooth_l1_loss(shifts[on_truth], aims[on_truth], beta=1 / 9, reduction="sum")
        return second / max(1, len(named)) + sum(first.values())

    @torch.no_grad()
    def detect(
        self, maps: Sequence[Tensor], top_k: int = 19, nms: float = 0.5, min_score: float = 0.0
    ) -> list[tuple[Tensor, Tensor]]:
        """At most `top_k` boxes (n, 4) xyxy px of the squashed picture, and their scores (n,) in 0..1, of each picture.

        The best first; of two whose IoU is above `nms` the lower goes, and none is like the whole picture.
        """
        from torchvision.ops import clip_boxes_to_image
        from torchvision.ops import nms as suppress

        side = self.config.input_size
        levels = self.neck(maps)
        proposed, _ = self.proposals(self._images(len(maps[0]), maps[0]), levels)
        logits, shifts = self._second_stage(levels, proposed)
        counts = [len(boxes) for boxes in proposed]
        moved = self.coder.decode(shifts, proposed).reshape(-1, 4)
        found = []
        for boxes, score in zip(moved.split(counts), logits.sigmoid().sum(1).split(counts), strict=True):
            boxes = clip_boxes_to_image(boxes, (side, side))
            whole = boxes.new_tensor([[0, 0, side, side]]).expand(len(boxes), 4)
            thick = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= THINNEST
            wanted = thick & (score >= min_score) & (_overlap(boxes, whole) < LIKE_WHOLE)
            boxes, score = boxes[wanted], score[wanted]
            keep = suppress(boxes, score, nms)[:top_k]
            found.append((boxes[keep], score[keep].clamp(max=1)))
        return found

    def _images(self, count: int, map8: Tensor) -> Any:
        """What torchvision's first stage wants to know of the pictures: their number and size."""
        from torchvision.models.detection.image_list import ImageList

        side = self.config.input_size
        return ImageList(map8.new_empty((count, 3, side, side)), [(side, side)] * count)

    def _second_stage(self, levels: Mapping[str, Tensor], proposed: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and shifts (N, 4) of the proposals of all pictures, from the finest map and their places."""
        fine, side = levels["16"], self.config.input_size
        scale = fine.shape[-1] / side
        pooled = [pool_grid(one, boxes * scale, self.config.bins) for one, boxes in zip(fine, proposed, strict=True)]
        places = torch.cat(list(proposed)) / side
        hidden = self.layers(torch.cat([torch.cat(pooled).flatten(1), places], dim=1))
        return self.score(hidden), self.shift(hidden)


class Neck(nn.Module):
    """The backbone's maps as three of `channels` at strides 16, 32 and 64; stride 8 is folded into 16."""

    def __init__(self, channels: int, maps: tuple[int, int, int]) -> None:
        super().__init__()
        at8, at16, at32 = maps
        self.lateral16, self.lateral32 = _pointwise(at16 + 4 * at8, channels), _pointwise(at32, channels)
        self.smooth16 = nn.Sequential(_separable(channels), _separable(channels))
        self.smooth32, self.smooth64 = _separable(channels), _separable(channels)

    def forward(self, maps: Sequence[Tensor]) -> OrderedDict[str, Tensor]:
        at8, at16, at32 = maps
        coarse = self.lateral32(at32)
        fine = self.lateral16(torch.cat([at16, functional.pixel_unshuffle(at8, 2)], dim=1))
        fine = self.smooth16(functional.relu(fine + functional.interpolate(coarse, scale_factor=2.0)))
        coarse = self.smooth32(functional.relu(coarse) + functional.max_pool2d(fine, 2))
        coarsest = self.smooth64(functional.max_pool2d(coarse, 2))
        return OrderedDict((("16", fine), ("32", coarse), ("64", coarsest)))


class ProposalHead(nn.Module):
    """Objectness and shift of `anchors` boxes at each cell of each map; one head for all maps."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.smooth = _separable(channels)
        self.objectness, self.shift = nn.Conv2d(channels, anchors, 1), nn.Conv2d(channels, 4 * anchors, 1)
        for layer in (self.objectness, self.shift):
            nn.init.normal_(layer.weight, std=0.01)
        assert self.objectness.bias is not None
        nn.init.constant_(self.objectness.bias, -3.0)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        smooth = [self.smooth(one) for one in maps]
        return [self.objectness(one) for one in smooth], [self.shift(one) for one in smooth]


def sample(proposed: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Proposals (and true boxes) to learn from: boxes (m, 4), the nearest true box of each (m, 4), for each kind the
    share of the captions that name something of it there (m, K); m <= SAMPLES."""
    from torchvision.ops import box_iou

    boxes = torch.cat([proposed, target.boxes])
    overlap, nearest = box_iou(boxes, target.boxes).max(1)
    positive, negative = torch.nonzero(overlap >= MATCH)[:, 0], torch.nonzero(overlap < MATCH)[:, 0]
    positive = positive[torch.randperm(len(positive), device=boxes.device)[: SAMPLES // 2]]
    negative = negative[torch.randperm(len(negative), device=boxes.device)[: SAMPLES - len(positive)]]
    chosen = torch.cat([positive, negative])
    there = (box_iou(boxes[chosen], target.phrases) >= MATCH).to(target.kinds.dtype)
    named = (there @ target.kinds / target.sure).clamp(max=1)
    return boxes[chosen], target.boxes[nearest[chosen]], named


def kinds_of(kind: str, kinds: Sequence[str]) -> list[float]:
    """1 for each of a detector's `kinds` that a phrase of `kind` is of, else 0; [1] where the detector has none.

    people/scene is of both its parts; what is of none of the kinds is OTHER, where that is among them.
    """
    if not kinds:
        return [1.0]
    parts = {kind, *kind.split("/")}
    own = parts & {*kinds} or {OTHER}
    return [float(each in own) for each in kinds]


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU (n,) of the boxes a (n, 4) and b (n, 4) pairwise."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    return common / (areas - common).clamp(min=1e-6)


def _pointwise(given: int, made: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, made, 1, bias=False), nn.BatchNorm2d(made))


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(True),
    )
