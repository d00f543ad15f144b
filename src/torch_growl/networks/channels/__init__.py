"""Whole channels as rows: everything that reads a channel and everything that makes it, penalised together."""

from torch_growl.networks.channels.channel_rows import ChannelRows
from torch_growl.networks.channels.channel_step import ChannelLayers, ChannelStep
from torch_growl.networks.channels.penalised_channels import PenalisedChannels, choose_channels

__all__ = ["ChannelLayers", "ChannelRows", "ChannelStep", "PenalisedChannels", "choose_channels"]
