"""Style sheet and colours of the dock, derived from napari's theme."""

from __future__ import annotations

from dataclasses import dataclass

from napari.utils.theme import get_theme


@dataclass(frozen=True)
class Colours:
    """The colours of the dock and its plots, as CSS ``rgb(r, g, b)``.

    Attributes:
        background: background of the dock and its plots.
        text: main text.
        muted: captions and explanations.
        line: lines between steps, axes of plots.
        field: background of buttons and fields.
        accent: the main action, pressed buttons, progress.
        warning: warnings about a result.
        error: errors beside a field.
    """

    background: str
    text: str
    muted: str
    line: str
    field: str
    accent: str
    warning: str
    error: str


def theme_colours(name: str) -> Colours:
    """Return the colours of one of napari's themes."""
    theme = get_theme(name)
    text = theme.text.as_rgb_tuple()[:3]
    muted = _mixed(text, theme.background.as_rgb_tuple()[:3], 0.62)
    # napari's yellow is legible on dark backgrounds only, and its red on neither: mix in the text.
    warning = _mixed(theme.warning.as_rgb_tuple()[:3], text, 1.0 if theme.type == "dark" else 0.6)
    error = _mixed(theme.error.as_rgb_tuple()[:3], text, 0.6)
    return Colours(
        background=theme.background.as_rgb(),
        text=theme.text.as_rgb(),
        muted=muted,
        line=theme.foreground.as_rgb(),
        field=theme.primary.as_rgb(),
        accent=theme.current.as_rgb(),
        warning=warning,
        error=error,
    )


def _mixed(colour: tuple[int, ...], other: tuple[int, ...], weight: float) -> str:
    """Return ``weight`` of one colour mixed with ``1 - weight`` of another."""
    mixed = (round(weight * c + (1 - weight) * o) for c, o in zip(colour, other, strict=True))
    return "rgb({}, {}, {})".format(*mixed)


def stylesheet(colours: Colours) -> str:
    """Return the style sheet of the dock; ``role`` is a dynamic property of its widgets."""
    return f"""
    QScrollArea, QScrollArea > QWidget > QWidget {{ border: none; }}
    QLabel {{ padding: 0px; }}
    QLabel[role="title"] {{ font-size: 11pt; font-weight: 600; }}
    QLabel[role="title"][ready="false"] {{ color: {colours.muted}; }}
    QLabel[role="muted"] {{ font-size: 9pt; color: {colours.muted}; }}
    QLabel[role="warning"] {{ font-size: 9pt; color: {colours.warning}; }}
    QLabel[role="error"] {{ font-size: 9pt; color: {colours.error}; }}
    QLabel[role="value"] {{ font-size: 9pt; }}
    QLabel[role="number"] {{
        font-size: 9pt; font-weight: 600; color: {colours.muted};
        background-color: {colours.field}; border-radius: 10px;
    }}
    QLabel[role="number"][ready="true"] {{
        color: {colours.text}; background-color: {colours.accent};
    }}
    QLabel[role="key"] {{
        font-size: 8pt; color: {colours.muted};
        border: 1px solid {colours.field}; border-radius: 3px;
    }}
    QFrame[role="line"] {{ background-color: {colours.line}; }}
    QFrame[role="box"] {{ background-color: {colours.line}; border-radius: 4px; }}
    QFrame[role="box"] QLabel {{ background-color: transparent; }}
    QFrame[role="row"] {{ border-radius: 3px; }}
    QFrame[role="row"][current="true"] {{ background-color: {colours.line}; }}
    QFrame[role="row"] QLineEdit {{ background-color: transparent; min-height: 18px; }}
    QFrame[role="row"] QLineEdit:focus {{ background-color: {colours.field}; }}
    QPushButton {{ font-size: 9pt; padding: 4px 10px; min-height: 16px; }}
    QPushButton[role="primary"]:enabled {{
        background-color: {colours.accent}; color: {colours.text}; font-weight: 600;
    }}
    QPushButton[role="quiet"] {{
        background-color: transparent; color: {colours.muted}; padding: 2px 4px;
    }}
    QPushButton[role="quiet"]:hover {{ background-color: {colours.field}; }}
    ColourButton, QPushButton[role="icon"] {{ padding: 0px; min-height: 0px; }}
    QPushButton[role="icon"] {{ background-color: transparent; color: {colours.muted}; }}
    QPushButton[role="icon"]:hover {{ background-color: {colours.field}; }}
    QPushButton[role="segment"] {{ border-radius: 0px; padding: 4px 4px; border: none; }}
    QScrollBar:vertical {{ margin: 0px; max-width: 8px; background: transparent; }}
    QScrollBar::handle:vertical {{ border-radius: 4px; background: {colours.field}; }}
    QScrollBar::add-line:vertical, QScrollBar::sub-line:vertical {{ height: 0px; }}
    QScrollBar::up-arrow:vertical, QScrollBar::down-arrow:vertical {{
        min-height: 0px; max-height: 0px; padding: 0px;
    }}
    QComboBox, QCheckBox, QLineEdit, QAbstractSpinBox {{ font-size: 9pt; }}
    QProgressBar {{ border: none; border-radius: 2px; background-color: {colours.field}; }}
    QProgressBar::chunk {{ background-color: {colours.accent}; border-radius: 2px; }}
    """
