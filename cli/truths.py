"""Reading the pages of a folder whose truth is known, one after the other, and how far that is."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from cli.progress import make_progress
from pipeline.errors import SourceError
from pipeline.exported_pages import ExportedDigit, ExportedPage
from pipeline.paths import path_to_text, printable
from pipeline.settings import Settings
from pipeline.sources import probe, read_page

if TYPE_CHECKING:
    from models.evaluation import DigitsRead

Read = TypeVar("Read")


def read_truths(
    items: Sequence[tuple[Path, Any]],
    settings: Settings,
    read: Callable[[Path, npt.NDArray[np.uint8], Any], Read],
) -> Iterator[Read | None]:
    """Yield what `read` makes of each image, its pixels grey uint8 (H, W), and what belongs to it.

    An image that can't be read, or for which `read` raises SourceError, is named on stderr and gives None.
    """
    with make_progress() as progress:
        for n_done, (image, truth) in enumerate(items):
            progress.update(n_done, len(items), complete=True)
            try:
                yield read(image, _grey(image, settings), truth)
            except SourceError as error:
                progress.tell(f"{printable(path_to_text(image))}: {error}")
                yield None


def exported(image: Path, read: "DigitsRead") -> ExportedPage:
    """Return the digits of a page as `archive export digits` gives them."""
    places = {
        member: (k, place)
        for k, number in enumerate(read.numbers)
        for place, member in enumerate(number.members)
    }
    digits = tuple(
        ExportedDigit(
            position, box, digit, float(confidence), float(score), *places.get(position, (None, None))
        )
        for position, (box, digit, confidence, score) in enumerate(
            zip(read.boxes, read.digits, read.confidence, read.scores, strict=True)
        )
    )
    path = path_to_text(image)
    return ExportedPage(printable(image.name), path, 0, read.width, read.height, read.turned, digits)


def _grey(image: Path, settings: Settings) -> npt.NDArray[np.uint8]:
    format = probe(image, max_pixels=settings.max_pixels).format
    return read_page(image, format, None, 0, max_pixels=settings.max_pixels, render_dpi=settings.render_dpi)
