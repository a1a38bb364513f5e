"""Paper, ink and the camera: what turns a sheet's layers into the pixels of a scan."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.inking import Grey

Floats = NDArray[np.float32]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """How a sheet looks once scanned.  Colours are RGB from 0 to 255, shares from 0 to 1, σ in pixels.

    `grey` gives one channel.  `fading` is how pale the ink gets in places, `bleed` how strong the
    ink of the other side shines through, `border` how wide the dark outside of the paper is as a
    share of the page, `jpeg` the quality that it is stored with (None: not compressed).
    """

    grey: bool = False
    paper: Colour = (236, 228, 208)
    ink: Colour = (48, 42, 50)
    print: Colour = (60, 56, 54)
    rules: Colour = (120, 110, 120)
    unevenness: float = 0.06
    grain: float = 2.0
    fading: float = 0.15
    bleed: float = 0.0
    stains: int = 0
    specks: int = 0
    border: float = 0.0
    blur: float = 0.5
    noise: float = 2.0
    jpeg: int | None = None


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Floats:
    """Return slow noise float32 (H, W) between -1 and 1 with about `cells` waves across the page."""
    coarse = rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
    smooth = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(smooth, np.float32), -1, 1)


def develop(rng: np.random.Generator, look: Look, ink: Grey, printed: Grey, rules: Grey) -> NDArray[np.uint8]:
    """Return the scan of a sheet: uint8 (H, W) grey or (H, W, 3) RGB, from its layers uint8 (H, W)."""
    shape = (ink.shape[0], ink.shape[1])
    light = _light(rng, look, shape)
    written = _share(ink)
    if look.fading:
        written *= 1 - np.float32(look.fading) * (0.5 + 0.5 * clouds(rng, shape, 24))
    if look.bleed:
        light *= 1 - _bleed(rng, look, ink)
    inks = [(_share(rules), look.rules), (_share(printed), look.print), (written, look.ink)]
    channels = []
    for paper, *tones in zip(
        *(_tones(look, colour) for colour in (look.paper, *(c for _, c in inks))), strict=True
    ):
        channel = light * np.float32(paper)
        for (share, _), tone in zip(inks, tones, strict=True):
            channel *= 1 - share * np.float32(1 - tone / paper)
        channels.append(channel)
    return _expose(rng, look, np.dstack(channels) if len(channels) > 1 else channels[0])


def _share(layer: Grey) -> Floats:
    return layer.astype(np.float32) * np.float32(1 / 255)


def _tones(look: Look, colour: Colour) -> Colour | tuple[float]:
    return (sum(colour) / 3,) if look.grey else colour


def _light(rng: np.random.Generator, look: Look, shape: tuple[int, int]) -> Floats:
    """Return how bright each pixel of the empty page is, float32 (H, W) around 1."""
    h, w = shape
    light: Floats = 1 + np.float32(look.unevenness) * clouds(rng, shape, 3)
    if look.grain:
        fibres = rng.standard_normal((h // 2 + 1, w // 2 + 1), dtype=np.float32) * (look.grain / 100)
        light += cv2.resize(fibres, (w, h), interpolation=cv2.INTER_LINEAR)
    if look.stains or look.specks:
        light *= 1 - _stains(rng, look, shape)
    if look.border:
        light *= _border(rng, look, shape)
    return light


def _stains(rng: np.random.Generator, look: Look, shape: tuple[int, int]) -> Floats:
    h, w = shape
    coarse = np.zeros((h // 8 + 1, w // 8 + 1), np.float32)
    for _ in range(look.stains):
        one = np.zeros_like(coarse)
        centre = (int(rng.integers(coarse.shape[1])), int(rng.integers(coarse.shape[0])))
        axes = (int(rng.integers(2, 22)), int(rng.integers(2, 22)))
        rim = -1 if rng.uniform() < 0.6 else int(rng.integers(1, 3))
        cv2.ellipse(one, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.05, 0.3)), rim)
        coarse = np.maximum(coarse, cv2.GaussianBlur(one, (0, 0), float(rng.uniform(0.6, 4))))
    # stains are soft, so an eighth of the size was enough for them
    stains = np.asarray(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    for _ in range(look.specks):
        at = (int(rng.integers(w)), int(rng.integers(h)))
        cv2.circle(stains, at, int(rng.integers(1, 3)), float(rng.uniform(0.2, 0.8)), -1, cv2.LINE_AA)
    return stains


def _border(rng: np.random.Generator, look: Look, shape: tuple[int, int]) -> Floats:
    """Darken what lies outside of the paper, on some of its sides, with a soft edge."""
    h, w = shape
    y, x = np.ogrid[:h, :w]
    softness = 2 + 0.002 * w
    light = np.ones(shape, np.float32)
    dark = rng.uniform(0.05, 0.4)
    for distance, length in ((x, w), (w - 1 - x, w), (y, h), (h - 1 - y, h)):
        if rng.uniform() < 0.6:
            edge = look.border * length * rng.uniform(0.3, 1.0)
            light *= (dark + (1 - dark) / (1 + np.exp(-(distance - edge) / softness))).astype(np.float32)
    return light


def _bleed(rng: np.random.Generator, look: Look, ink: Grey) -> Floats:
    """Return the other side's writing: ours mirrored and moved, blurred and faint."""
    other = np.roll(ink[:, ::-1], (int(rng.integers(10, 200)), int(rng.integers(-80, 80))), axis=(0, 1))
    soft = cv2.GaussianBlur(other, (0, 0), float(rng.uniform(0.8, 2.2)))
    return soft.astype(np.float32) * (look.bleed / 255)


def _expose(rng: np.random.Generator, look: Look, page: Floats) -> NDArray[np.uint8]:
    if look.blur > 0.2:
        page = np.asarray(cv2.GaussianBlur(page, (0, 0), look.blur), np.float32)
    if look.noise:
        page += look.noise * rng.standard_normal(page.shape[:2] + (1,) * (page.ndim - 2), dtype=np.float32)
    scan = np.clip(page, 0, 255).astype(np.uint8)
    if look.jpeg is None:
        return scan
    _, data = cv2.imencode(".jpg", scan, [cv2.IMWRITE_JPEG_QUALITY, look.jpeg])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)
