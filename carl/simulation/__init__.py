"""Simulation of spectral scenes with ground truth for any camera, in NumPy and SciPy."""

from carl.simulation.acquisition import (
    Acquisition,
    capture,
    perfect_acquisition,
    random_acquisition,
)
from carl.simulation.camera import (
    SimulatedCamera,
    gaussian_camera,
    known_camera,
    random_camera,
    tabulated_camera,
)
from carl.simulation.resampled import covered_bands, simulate
from carl.simulation.scene import KINDS, PARAMETERS, REGIONS, Scene, render, simulate_scene

__all__ = [
    "KINDS",
    "PARAMETERS",
    "REGIONS",
    "Acquisition",
    "Scene",
    "SimulatedCamera",
    "capture",
    "covered_bands",
    "gaussian_camera",
    "known_camera",
    "perfect_acquisition",
    "random_acquisition",
    "random_camera",
    "render",
    "simulate",
    "simulate_scene",
    "tabulated_camera",
]
