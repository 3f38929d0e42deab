"""The node: what carries events, runs handlers and guards, and has sources and sinks."""

from __future__ import annotations

from chronofabric.fabric.guards import Guard
from chronofabric.fabric.node import Fabric
from chronofabric.fabric.report import Report

__all__ = ["Fabric", "Guard", "Report"]
