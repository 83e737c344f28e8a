"""``carl cameras``: whose bands are known."""

from __future__ import annotations

from carl.cli.options import AsJson
from carl.cli.terminal import show_json, show_table


def cameras(json: AsJson = False) -> None:
    """List the cameras whose wavelengths are known, for --camera."""
    from carl import wavelengths

    known = wavelengths.cameras()
    if json:
        show_json(
            [
                {
                    "name": camera.name,
                    "description": camera.description,
                    "wavelengths": camera.wavelengths,
                    "fwhm": camera.fwhm,
                }
                for camera in known
            ]
        )
        return
    show_table(
        ("name", "bands", "range", "description"),
        [
            (
                camera.name,
                camera.n_bands,
                f"{camera.wavelengths.min():.0f}–{camera.wavelengths.max():.0f} nm",
                camera.description,
            )
            for camera in known
        ],
    )
