"""Training of a sorter: pages in a folder for each kind, their features once, and a head on them.

Features are kept in a cache folder, by the page's bytes, the backbone's weights and what it is shown: a
second training decodes no image.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.changed_views import changed_views
from models.head import (
    Copies,
    Features,
    FittedHead,
    Head,
    Kinds,
    fit_head,
    fit_temperature,
    folds_of,
    head_logits,
    learn_head,
)
from models.sorter import Backbone, PageSorter, SorterConfig, sorter_loss
from models.training import Losses, Recipe, Training
from pipeline.errors import OutputError, SourceError, UsageError
from pipeline.folders import Unreadable, is_litter, natural_key
from pipeline.paths import printable
from pipeline.sorting_view import VIEW_PX, sorting_view
from pipeline.sources import PageRef, find_files, probe, read_page

FEWEST, MOST = 5, 2000  # pages that a sorter learns from
# of no more pages than this changed copies are learned from too: many pages differ enough by themselves
FEW, N_COPIES = 300, 4
_VIEW_VERSION = 3  # another one where the same page is shown otherwise: features of before don't count
_DECODING, _AHEAD = 2, 64  # threads that decode scans, and how many pages they may be ahead
_THAWED_EPOCHS, _THAWED_BATCH, _THAWED_RATE = 6, 8, 1e-4

Views = npt.NDArray[np.uint8]  # (N, 2, 512, 512)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SortedPage:
    """A page whose kind is known: where it is, by which hash of its file, and the place of its kind."""

    path: Path
    sha256: str
    format: str
    ref: PageRef
    kind: int

    @property
    def name(self) -> str:
        """What it is called to people."""
        return printable(str(self.path)) + (f" page {self.ref.page_index + 1}" if self.ref.page_index else "")


@dataclass(frozen=True, slots=True)
class Reading:
    """How scans are read: the largest page, and PDF pages that are no plain scan."""

    max_pixels: int
    render_dpi: int

    def view(self, page: SortedPage) -> npt.NDArray[np.uint8]:
        """Return what a sorter sees of a page, uint8 (2, 512, 512); raises SourceError."""
        ref = page.ref
        grey = read_page(
            page.path,
            page.format,
            ref.member,
            ref.frame,
            max_pixels=self.max_pixels,
            render_dpi=self.render_dpi,
            at_least_px=VIEW_PX,
        )
        return sorting_view(grey)


@dataclass(frozen=True, slots=True)
class SortedSet:
    """Pages of known kinds, with their features float32 (N, F), `n_cached` of which were kept from before.

    `copies` are the features of changed copies of the pages, float32 (C, N, F).
    """

    classes: tuple[str, ...]
    pages: tuple[SortedPage, ...]
    features: Features
    copies: Copies
    n_cached: int

    @property
    def kinds(self) -> Kinds:
        """The place of each page's kind among the classes, int64 (N,)."""
        return np.array([page.kind for page in self.pages], np.int64)


@dataclass(frozen=True, slots=True)
class Thawed:
    """A sorter whose last blocks learned too, and how it reads pages held out beside one with frozen ones."""

    network: PageSorter
    temperature: float
    n_held: int
    n_right: int
    n_right_frozen: int


def find_pages(folder: Path, max_pixels: int, say: Say) -> tuple[tuple[str, ...], list[SortedPage]]:
    """Return the names of the kinds, which are those of the sub-folders, and the pages that lie in them.

    What is no scan, can't be read, or was met before is left out and said.  Raises UsageError where there
    are not two kinds, SourceError where the same file is said to be of two.
    """
    folders = sorted(
        (inside for inside in folder.iterdir() if inside.is_dir() and not is_litter(inside.name)),
        key=lambda inside: natural_key(inside.name),
    )
    classes = tuple(inside.name for inside in folders)
    if len(classes) < 2:
        raise UsageError(f"{folder}: has {len(classes)} sub-folders; give one for each kind, two or more")
    known: dict[str, str] = {}
    for name in classes:
        if not name.isprintable():
            raise UsageError(f"{folder}: {printable(name)} is no name for a kind; rename the sub-folder")
        if other := known.get(name.casefold()):
            raise UsageError(f"{folder}: {other} and {name} differ in capitals alone; put them together")
        known[name.casefold()] = name
    pages: list[SortedPage] = []
    met: dict[str, SortedPage] = {}
    for kind, inside in enumerate(folders):
        for page in _pages_below(inside, kind, max_pixels, say):
            before = met.setdefault(page.sha256, page)
            if before.kind != kind:
                raise SourceError(f"{page.path}: is the same as {before.path}; a page is of one kind")
            if before.path != page.path:
                say(f"{page.name}: left out, the same as {before.name}")
            else:
                pages.append(page)
    return classes, pages


def _pages_below(folder: Path, kind: int, max_pixels: int, say: Say) -> Iterator[SortedPage]:
    for path in find_files([folder]):
        if isinstance(path, Unreadable):
            say(f"{printable(str(path.path))}: left out, it {path.reason}")
            continue
        try:
            document = probe(path, max_pixels=max_pixels)
        except SourceError as error:
            say(f"{printable(str(path))}: left out, it {error}")
            continue
        for ref in document.pages:
            yield SortedPage(path, document.sha256, document.format, ref, kind)


def read_set(
    folder: Path, backbone: Backbone, cache: Path, reading: Reading, device: torch.device, say: Say
) -> SortedSet:
    """Return the pages of a folder with their features, those of pages met before from the cache.

    Raises as `find_pages`, SourceError for a kind with fewer than two pages that can be read and for fewer
    than 5 or more than 2000 pages in all, OutputError where the cache can't be written.
    """
    classes, found = find_pages(folder, reading.max_pixels, say)
    if len(found) > MOST:
        raise SourceError(f"{folder}: has {len(found):,} pages; a sorter learns from {MOST:,} at most")
    by = backbone_hash(backbone)
    backbone = backbone.to(device)
    n_copies = N_COPIES if len(found) <= FEW else 0
    shape = (1 + n_copies, backbone.n_features)
    kept = {page: cache / _kept_as(page, by, reading, n_copies) for page in found}
    known = {page: seen for page, file in kept.items() if (seen := _read_kept(file, shape)) is not None}
    n_cached = len(known)
    for page, view in _each_view([page for page in found if page not in known], reading):
        if isinstance(view, SourceError):
            say(f"{page.name}: left out, it {view}")
            continue
        rng = np.random.default_rng(int(page.sha256[:15], 16))  # the same copies each time
        views = [view, *changed_views(view, n_copies, rng)]
        known[page] = np.stack([features_of(backbone, one, device) for one in views])
        _keep(kept[page], known[page])
    pages = [page for page in found if page in known]
    counts = np.bincount([page.kind for page in pages], minlength=len(classes))
    for name, n in zip(classes, counts.tolist(), strict=True):
        if n < 2:
            raise SourceError(f"{folder / name}: has {n} pages that can be read; a kind needs 2 or more")
    if len(pages) < FEWEST:
        raise SourceError(f"{folder}: has {len(pages)} pages that can be read; {FEWEST} are needed")
    features = np.stack([known[page] for page in pages], axis=1)  # (1 + C, N, F)
    return SortedSet(classes, tuple(pages), features[0], features[1:], n_cached)


def _each_view(
    pages: Sequence[SortedPage], reading: Reading
) -> Iterator[tuple[SortedPage, npt.NDArray[np.uint8] | SourceError]]:
    """Yield each page with its view, or why it has none; scans are decoded while the network computes."""

    def view(page: SortedPage) -> npt.NDArray[np.uint8] | SourceError:
        try:
            return reading.view(page)
        except SourceError as error:
            return error

    with ThreadPoolExecutor(_DECODING) as pool:
        for start in range(0, len(pages), _AHEAD):
            some = pages[start : start + _AHEAD]
            yield from zip(some, pool.map(view, some), strict=True)


def features_of(backbone: Backbone, view: npt.NDArray[np.uint8], device: torch.device) -> Features:
    """Return the features of one view, uint8 (2, 512, 512), float32 (F,)."""
    with torch.inference_mode():
        seen: Tensor = backbone(_as_tensor(view[None], device))
        return np.asarray(seen[0].cpu().numpy(), np.float32)


def backbone_hash(backbone: nn.Module) -> str:
    """Return the SHA-256 of a network's weights by their names."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} ".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_head(pages: SortedSet, seed: int) -> FittedHead:
    """Return the head that the pages' features make."""
    return fit_head(pages.features, pages.kinds, len(pages.classes), seed, copies=pages.copies)


def put_together(backbone: Backbone, head: Head, config: SorterConfig) -> PageSorter:
    """Return the sorter of a backbone and a head that learned on its features."""
    sorter = PageSorter(config)
    sorter.backbone.load_state_dict(backbone.state_dict())
    sorter.head.load_state_dict(head.state_dict())
    return sorter.eval()


def thaw(
    backbone: Backbone,
    pages: SortedSet,
    fitted: FittedHead,
    config: SorterConfig,
    n_blocks: int,
    reading: Reading,
    seed: int,
    device: torch.device,
    say: Say,
) -> Thawed:
    """Let the last blocks of a backbone learn a little more, with the head.

    First on four fifths of the pages, to measure on the others and to fit the temperature on them; then on
    all.
    """
    views = np.stack([reading.view(page) for page in pages.pages])  # (N, 2, 512, 512)
    kinds = pages.kinds
    held = folds_of(kinds, np.random.default_rng(seed)) == 0
    few = learn_head(
        pages.features[~held], kinds[~held], len(pages.classes), seed, copies=pages.copies[:, ~held]
    )
    say(f"thaws on {int((~held).sum())} pages, to measure on {int(held.sum())} others")
    sorter = put_together(backbone, few, config)
    measured = _thawed(sorter, views[~held], kinds[~held], n_blocks, seed, device)
    with torch.inference_mode():
        logits = [measured(_as_tensor(view[None], device))[0].cpu().numpy() for view in views[held]]
    read = np.asarray(np.stack(logits), np.float32)
    frozen = head_logits(few, pages.features[held])
    say(f"thaws on all {len(pages.pages)} pages")
    network = _thawed(put_together(backbone, fitted.head, config), views, kinds, n_blocks, seed, device)
    return Thawed(
        network.cpu(),
        fit_temperature(read, kinds[held]),
        int(held.sum()),
        int((read.argmax(axis=1) == kinds[held]).sum()),
        int((frozen.argmax(axis=1) == kinds[held]).sum()),
    )


def check_thaw(backbone: Backbone, n_blocks: int) -> None:
    """Raise UsageError where a backbone has fewer blocks than are to be thawed."""
    if n_blocks > backbone.n_blocks:
        raise UsageError(f"--thaw {n_blocks}: this backbone has {backbone.n_blocks} blocks")


def _thawed(
    sorter: PageSorter, views: Views, kinds: Kinds, n_blocks: int, seed: int, device: torch.device
) -> PageSorter:
    """Return the sorter after some epochs in which its last blocks learn too, at a small rate.

    Batch normalisation keeps its weights and its averages: a few pages would spoil them.
    """
    sorter.backbone.requires_grad_(False)
    for block in sorter.backbone.last_blocks(n_blocks):
        block.requires_grad_(True)
    for module in sorter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    n_steps = _THAWED_EPOCHS * -(-len(kinds) // _THAWED_BATCH)
    # plain: in full precision, whatever is faster on this machine
    recipe = Recipe(0.0, _THAWED_RATE, 0.0, seed, n_steps=n_steps, optimizer="adam", plain=True)
    training = Training(sorter, recipe, device)

    def losses(network: nn.Module, some: Kinds) -> Losses:
        logits = network(_as_tensor(views[some], device))
        return {"kinds": sorter_loss(logits, torch.from_numpy(kinds[some]).to(device))}

    batches = _orders(len(kinds), np.random.default_rng(seed))
    training.run(batches, losses, lambda at: None, lambda: None)
    return sorter.requires_grad_(False).eval()


def _orders(n: int, rng: np.random.Generator) -> Iterator[Kinds]:
    """Yield batches of places without end, each of n once an epoch."""
    while True:
        order = rng.permutation(n)
        for start in range(0, n, _THAWED_BATCH):
            yield order[start : start + _THAWED_BATCH]


def _as_tensor(views: Views, device: torch.device) -> Tensor:
    """Return views, uint8 (N, 2, 512, 512), as a network sees them: float, 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(views)).to(device).float().div(255)


def _kept_as(page: SortedPage, by: str, reading: Reading, n_copies: int) -> str:
    """Return the name of the file that a page's features are kept in."""
    ref = page.ref
    said = (page.sha256, ref.member, ref.frame, by, _VIEW_VERSION, n_copies, reading.render_dpi)
    return hashlib.sha256(repr(said).encode()).hexdigest() + ".npy"


def _read_kept(file: Path, shape: tuple[int, int]) -> Features | None:
    """Return features that were kept, float32 (1 + C, F); None where there are none, or a cut file."""
    try:
        seen = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = isinstance(seen, np.ndarray) and seen.shape == shape and seen.dtype == np.float32
    return seen if whole else None


def _keep(file: Path, seen: Features) -> None:
    """Write features whole or not at all; OutputError."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.save(opened, seen)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{file.parent}: features can't be kept here: {error.strerror}") from error
