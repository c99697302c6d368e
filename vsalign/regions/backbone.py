"""What a detector stands on: the frozen network whose maps it reads, and whose features its regions get."""

from __future__ import annotations

from pathlib import Path

from vsalign.checkpoint import Backbone
from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.regions.config import TIMM
from vsalign.regions.lite import Lite
from vsalign.regions.network import MAP_CHANNELS, Network
from vsalign.regions.placement import Placement
from vsalign.regions.pooled import PooledRegions
from vsalign.regions.timm_network import PRETRAINED, TimmMaps

LITE = "lite"


def build_backbone(name: str, weights: str, side: int) -> PooledRegions:
    """The backbone `lite` or `timm:NAME` for pictures of `side` px, on the CPU.

    weights: of timm's, a local state dict or `pretrained`. Raises ConfigurationError where it has not the maps that a
    detector reads, MissingInputError or ModelError where its weights cannot be had.
    """
    if name == LITE:
        if weights:
            raise ConfigurationError(f"--backbone-weights {weights} is for {TIMM}NAME: {LITE} has its own")
        return Lite(input_size=side)
    if not name.startswith(TIMM):
        raise ConfigurationError(f"there is no backbone {name!r}: give {LITE}, or {TIMM}NAME such as {TIMM}resnet18")
    if not weights:
        raise ConfigurationError(f"--backbone {name} needs --backbone-weights: a local state dict, or {PRETRAINED}")
    if weights != PRETRAINED and not Path(weights).is_file():
        raise MissingInputError(f"there is no weights file {weights}: correct --backbone-weights")
    return PooledRegions(name, TimmMaps(name.removeprefix(TIMM), weights, side), side, placement=Placement())


def map_channels(network: Network) -> tuple[int, int, int]:
    """Channels of a backbone's maps at strides 8, 16 and 32."""
    return network.channels if isinstance(network, TimmMaps) else MAP_CHANNELS


def carried(network: Network) -> Backbone | None:
    """What a detector's folder must hold of its backbone: nothing of `lite`'s, which a package brings."""
    if not isinstance(network, TimmMaps):
        return None
    return Backbone({name: tensor.cpu() for name, tensor in network.model.state_dict().items()}, network.licence)


def network_of(name: str, backbone: Backbone, side: int) -> TimmMaps:
    """The network that a detector's folder brought along; raises ModelError where it does not fit `name`."""
    network = TimmMaps(name.removeprefix(TIMM), backbone.tensors, side)
    network.licence = backbone.terms
    return network
