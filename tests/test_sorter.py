"""The sorter: a folder of a few pages a kind becomes a network that sorts pages it never saw."""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cli.train_sorter import BACKBONES as OFFERED
from models.changed_views import changed_views
from models.checkpoint import Metadata, load_checkpoint, save_checkpoint
from models.head import calibrated, fit_head, fit_temperature, head_logits
from models.sorter import (
    BACKBONES,
    DetectorFeatures,
    PageSorter,
    PublishedFeatures,
    SorterConfig,
    load_backbone,
    read_pth,
)
from models.sorting import load_sorter
from models.train_sorter import features_of, find_pages
from pipeline.drawn import draw_page, draw_strip
from pipeline.errors import MissingError, SourceError, UsageError
from pipeline.intervals import share_interval
from pipeline.network_store import network_file
from pipeline.plots import draw_confusions
from pipeline.settings import WEIGHTS
from pipeline.sorting_view import VIEW_PX, sorting_view
from pipeline.sources import read_page
from pipeline.styles import PageStyle

DETECTOR = WEIGHTS / "digit_detector.safetensors"
CPU = torch.device("cpu")
STORE = Path("archive-networks")
N_EACH = 5

Said = Callable[..., tuple[str, str]]


def drawn(kind: str, seed: int) -> np.ndarray:
    """A drawn page of a kind, uint8 (H, W): a register's table, a letter's text, a cover with its number."""
    if kind == "cover":
        page = np.full((700, 520), 238, np.uint8)
        strip = grey_of(draw_strip(seed).pixels)[:90, :440]
        page[240 : 240 + strip.shape[0], 40 : 40 + strip.shape[1]] = strip
        return page
    style = PageStyle(width=560, height=700, digit_px=20.0)
    if kind == "letter":
        style = PageStyle(
            width=560,
            height=700,
            digit_px=20.0,
            columns=("text",),
            rules="none",
            row_rules=False,
            header=False,
        )
    return grey_of(draw_page(seed, style).pixels)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn pages of two kinds, one of them a file of several pages."""
    folder = tmp_path_factory.mktemp("sorted")
    for kind in ("letter", "register"):
        (folder / "kinds" / kind).mkdir(parents=True)
        for seed in range(N_EACH - 2):
            Image.fromarray(drawn(kind, seed)).save(folder / "kinds" / kind / f"{seed}.jpg", quality=90)
        first, *others = [Image.fromarray(drawn(kind, seed)) for seed in range(N_EACH - 2, N_EACH)]
        first.save(folder / "kinds" / kind / "more.tif", save_all=True, append_images=others)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the pages and with a cache of its own."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARCHIVE_DEVICE", "cpu")
    return tmp_path


def test_a_folder_of_a_few_pages_a_kind_becomes_a_sorter_of_pages_it_never_saw(
    folder: Path, said: Said
) -> None:
    (folder / "kinds/letter/torn.jpg").write_bytes((folder / "kinds/letter/0.jpg").read_bytes()[:3000])
    (folder / "kinds/letter/note.txt").write_text("these are letters")
    shutil.copy(folder / "kinds/letter/1.jpg", folder / "kinds/letter/twice.jpg")
    out, err = said(
        "train", "sorter", "--data", "kinds", "--name", "first", "--json", "-o", "mine.safetensors"
    )
    found = json.loads(out)
    assert (found["schema_version"], found["name"], found["n_pages"]) == (1, "first", 2 * N_EACH)
    assert found["kinds"] == {kind: {"n": N_EACH, "n_right": N_EACH} for kind in ("letter", "register")}
    assert found["accuracy"] == 1.0 and found["accuracy_interval"][0] < 0.8, "ten pages prove little"
    for name in ("torn.jpg", "note.txt", "twice.jpg"):
        assert f"{name}: left out" in err
    kept = network_file(STORE, "sorter", found["sha256"])
    assert found["checkpoint"] == str(kept) and kept.read_bytes() == Path("mine.safetensors").read_bytes()
    for picture in found["pictures"]:
        assert picture in err and cv2.imread(picture).std() > 5
    sorter = load_sorter(kept, "cpu")
    assert sorter.classes == ("letter", "register") and sorter.sha256 == found["sha256"]
    for kind, seed in ((kind, seed) for kind in sorter.classes for seed in (31, 32)):
        chances = sorter.sort(drawn(kind, seed))
        assert chances.dtype == np.float32 and chances.sum() == pytest.approx(1)
        assert sorter.classes[chances.argmax()] == kind and chances.max() > 0.7

    # a second training has every feature from the cache
    out, err = said("train", "sorter", "--data", "kinds", "--name", "second", "--seed", "1")
    assert "10 of them seen before" in err and out.startswith("second ")
    again = {line.split()[0]: line.split()[1:] for line in out.splitlines()[-2:]}
    assert again == {"letter": ["5", "100.0%"], "register": ["5", "100.0%"]}

    # the store knows it
    listed = {n["name"]: n for n in json.loads(said("models", "list", "--json")[0])["networks"]}
    assert (listed["first"]["kind"], listed["first"]["state"]) == ("sorter", "added")
    shown, _ = said("models", "show", "first")
    assert str(folder / "kinds") in shown and "accuracy 1.0" in shown
    assert said("models", "verify")[0].count("ok    sorter") == 2
    _, err = said("models", "promote", "first", "--on", "kinds", code=2)
    assert err.count("\n") == 1 and "--sorter first" in err
    _, err = said("train", "sorter", "--data", "kinds", "--name", "first", code=2)
    assert err.count("\n") == 1 and "first is a sorter already" in err
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1000])
    assert "has other bytes" in said("models", "verify", code=3)[0]
    kept.unlink()
    _, err = said("models", "add", "mine.safetensors", "--name", "first")
    assert kept.read_bytes() == whole


def test_the_second_training_decodes_only_what_is_not_in_the_cache(folder: Path, said: Said) -> None:
    words = ("train", "sorter", "--data", "kinds", "--json", "--name")
    assert json.loads(said(*words, "a")[0])["n_cached"] == 0
    kept = sorted((folder / "cache/features").iterdir())
    assert len(kept) == 2 * N_EACH
    kept[0].unlink()
    kept[1].write_bytes(kept[1].read_bytes()[:-4])
    np.save(kept[2], features := np.load(kept[2]) * 2)
    second = json.loads(said(*words, "b")[0])
    assert second["n_cached"] == 2 * N_EACH - 2
    assert (np.load(kept[2]) == features).all(), "what is there is taken as it is"
    assert np.load(kept[0]).shape == np.load(kept[1]).shape == features.shape


def test_thawing_teaches_the_last_blocks_and_leaves_batch_normalisation(folder: Path, said: Said) -> None:
    words = ("train", "sorter", "--data", "kinds", "--json", "--name")
    said(*words, "frozen", "-o", "frozen.safetensors")
    found = json.loads(said(*words, "thawed", "--thaw", "1", "-o", "thawed.safetensors")[0])
    assert found["thawed"]["n_held"] == 2 and found["thawed"]["n_right"] <= 2
    frozen, _ = load_checkpoint(Path("frozen.safetensors"), "page-sorter")
    thawed, _ = load_checkpoint(Path("thawed.safetensors"), "page-sorter")
    shipped, _ = load_checkpoint(DETECTOR, "digit-detector")
    of_norms = {
        f"backbone.{name}.{part}"
        for name, module in PageSorter(SorterConfig(("detector",), ("a", "b"))).backbone.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
        for part in module.state_dict()
    }
    changed = {name for name, value in frozen.items() if not torch.equal(value, thawed[name])}
    learned = {name for name in changed if name.startswith("backbone.")}
    assert learned and all(name.startswith("backbone.parts.0.down16.") for name in learned)
    assert not changed & of_norms and any(name.startswith("head.") for name in changed)
    for name, value in frozen.items():
        if name.startswith("backbone."):
            assert torch.equal(value, shipped[name.removeprefix("backbone.parts.0.")])
    sorter = load_sorter(Path("thawed.safetensors"), "cpu")
    assert sorter.classes[sorter.sort(drawn("letter", 41)).argmax()] == "letter"
    _, err = said(*words, "more", "--thaw", "5", code=2)
    assert "has 4 blocks" in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights files of published networks, drawn by chance; those of the layers left out are not in all."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    for name in ("alexnet", "vgg16"):
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None)
        weights = {
            layer: torch.randn(value.shape) * 0.03
            for layer, value in network.state_dict().items()
            if layer.startswith("features.")
        }
        torch.save(weights, folder / f"{name}.pth")
    whole = torchvision.models.mobilenet_v3_small(weights=None)
    torch.save(whole.state_dict(), folder / "mobilenet_v3_small.pth")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), folder / "mobilenet_v2.pth")
    return folder


@pytest.mark.parametrize(
    ("name", "n_channels", "side_px"),
    [
        ("vgg16", 512, 224),
        ("alexnet", 256, 224),
        ("resnet18", 512, 448),
        ("mobilenet_v2", 320, 448),
        ("mobilenet_v3_small", 96, 448),
    ],
)
def test_a_published_network_gives_features_of_its_own_weights(
    published: Path, name: str, n_channels: int, side_px: int
) -> None:
    file = published / f"{name}.pth"
    backbone, _ = load_backbone((name,), file, DETECTOR)
    view = sorting_view(drawn("letter", 0))
    seen = features_of(backbone, view, CPU)
    assert seen.shape == (n_channels * 17,) == (backbone.n_features,) and seen.dtype == np.float32
    # by hand: three equal channels of the scan, paper white, as ImageNet's photographs are normalised
    network = (
        torchvision.models.get_model(name, weights=None, init_weights=False) if name == "vgg16" else None
    )
    network = network or torchvision.models.get_model(name, weights=None)
    network.load_state_dict(read_pth(file), strict=False)
    network.eval()
    paper = torch.from_numpy(255 - view[1])[None, None].float() / 255
    paper = torch.nn.functional.interpolate(paper, (side_px, side_px), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (paper.repeat(1, 3, 1, 1) - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        if name == "resnet18":
            maps = before_pooling(network, x)
        else:  # without what MobileNet's classes of photographs are made of
            maps = (network.features[:-1] if "mobile" in name else network.features)(x)
    assert np.allclose(
        seen[-n_channels:] ** 2, maps.var(dim=(2, 3), correction=0)[0] + 1e-6, rtol=1e-3, atol=1e-5
    )
    upper_left = torch.nn.functional.adaptive_max_pool2d(maps, 4)[0, :, 0, 0]
    assert np.allclose(seen[: n_channels * 16 : 16], upper_left, rtol=1e-3, atol=1e-5)


def before_pooling(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    kept = []
    network.layer4.register_forward_hook(lambda module, given, maps: kept.append(maps))
    network(x)
    return kept[0]


def test_a_sorter_on_alexnet_is_trained_from_a_file_and_reads_without_it(
    published: Path, folder: Path, said: Said
) -> None:
    weights = shutil.copy(published / "alexnet.pth", folder / "alexnet.pth")
    words = ("train", "sorter", "--data", "kinds", "--backbone", "alexnet", "--backbone-weights")
    found = json.loads(said(*words, str(weights), "--name", "alex", "--thaw", "1", "--json")[0])
    Path(weights).unlink()
    sorter = load_sorter(Path(found["checkpoint"]), "cpu")
    chances = sorter.sort(drawn("register", 51))
    assert chances.shape == (2,) and chances.sum() == pytest.approx(1)
    _, err = said(*words, str(weights), "--name", "alex-2", code=3)
    assert err.count("\n") == 1 and "there are no weights here" in err


def test_a_published_network_stands_beside_ours(published: Path, folder: Path, said: Said) -> None:
    file = published / "mobilenet_v2.pth"
    both, _ = load_backbone(("detector", "mobilenet_v2"), file, DETECTOR)
    view = sorting_view(drawn("letter", 0))
    seen = features_of(both, view, CPU)
    alone = [
        features_of(load_backbone((name,), own, DETECTOR)[0], view, CPU)
        for name, own in (("detector", None), ("mobilenet_v2", file))
    ]
    assert np.allclose(seen, np.concatenate(alone), atol=1e-5)
    words = ("train", "sorter", "--data", "kinds", "--backbone", "detector", "--backbone")
    found = json.loads(
        said(*words, "mobilenet_v2", "--backbone-weights", str(file), "--name", "both", "--json")[0]
    )
    assert found["backbones"] == ["detector", "mobilenet_v2"] and found["accuracy"] >= 0.8
    sorter = load_sorter(Path(found["checkpoint"]), "cpu")
    assert sorter.classes[sorter.sort(drawn("register", 51)).argmax()] == "register"
    _, err = said(*words, "detector", "--name", "again", code=2)
    assert err.count("\n") == 1 and "give each --backbone once" in err
    _, err = said(*words, "alexnet", "--backbone", "vgg16", "--name", "three", code=2)
    assert err.count("\n") == 1 and "one published network at most" in err
    _, err = said(
        *words, "mobilenet_v2", "--backbone-weights", str(file), "--name", "t", "--thaw", "5", code=2
    )
    assert "has 4 blocks" in err


def test_the_layers_of_a_view_change_together() -> None:
    view = sorting_view(drawn("register", 7))
    same = np.stack([view[0], view[0]])
    for changed in changed_views(same, 3, np.random.default_rng(0)):
        assert changed.shape == same.shape and (changed[0] == changed[1]).all()
        assert np.abs(changed.astype(int) - same).mean() > 1


def test_a_file_that_holds_other_weights_is_named_with_the_layer(published: Path, tmp_path: Path) -> None:
    wrong = r"alexnet\.pth: layer features\.0\.bias is \(64,\) in the file"
    with pytest.raises(MissingError, match=r"alexnet\.pth: layer features\.\S+ is .* in the file"):
        load_backbone(("vgg16",), published / "alexnet.pth", DETECTOR)
    weights = read_pth(published / "alexnet.pth")
    weights["features.0.bias"] = torch.zeros(63)
    torch.save(weights, tmp_path / "alexnet.pth")
    with pytest.raises(MissingError, match=wrong.replace("64", "63")):
        load_backbone(("alexnet",), tmp_path / "alexnet.pth", DETECTOR)
    whole = (published / "alexnet.pth").read_bytes()
    for name, data in (("cut.pth", whole[:5_000_000]), ("empty.pth", b""), ("text.pth", b"hello " * 99)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MissingError, match=rf"{name}: is no whole \.pth file"):
            load_backbone(("alexnet",), tmp_path / name, DETECTOR)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MissingError, match=r"list\.pth: holds no weights"):
        load_backbone(("alexnet",), tmp_path / "list.pth", DETECTOR)
    with pytest.raises(MissingError, match="holds a digit-classifier"):
        load_backbone(("detector",), WEIGHTS / "digit_classifier.safetensors", DETECTOR)


def test_a_download_that_fails_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(MissingError, match=r"^the weights of resnet18 .*: give --backbone-weights FILE$"):
        load_backbone(("resnet18",), None, DETECTOR)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PageSorter, SorterConfig]:
    """A sorter of three kinds that learned nothing, as a checkpoint and as a network."""
    torch.manual_seed(3)
    config = SorterConfig(("detector",), ("a", "b", "c"), hidden=8, temperature=0.25)
    network = PageSorter(config).eval()
    file = tmp_path_factory.mktemp("small") / "s.safetensors"
    save_checkpoint(file, network.state_dict(), Metadata("page-sorter", asdict(config)))
    return file, network, config


def test_a_sorter_that_is_kept_says_the_same_in_a_batch_and_among_threads(
    small: tuple[Path, PageSorter, SorterConfig],
) -> None:
    file, network, config = small
    sorter = load_sorter(file, "cpu")
    pages = [drawn("letter", 1), drawn("register", 2), drawn("cover", 3)]
    views = torch.from_numpy(np.stack([sorting_view(page) for page in pages])).float() / 255
    with torch.inference_mode():
        together = calibrated(network(views).numpy(), config.temperature)
    alone = np.stack([sorter.sort(page) for page in pages])
    assert np.allclose(alone, together, atol=1e-5) and np.ptp(alone, axis=0).max() > 1e-4
    answers: list[tuple[int, np.ndarray]] = []
    threads = [
        threading.Thread(target=lambda k=k: answers.append((k, sorter.sort(pages[k])))) for k in (0, 1, 2) * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 9
    for k, chances in answers:
        assert (chances == alone[k]).all()


def test_a_damaged_checkpoint_is_named(small: tuple[Path, PageSorter, SorterConfig], tmp_path: Path) -> None:
    file, network, config = small
    weights = network.state_dict()

    def with_config(**changes: object) -> Path:
        save_checkpoint(
            tmp_path / "s.safetensors", weights, Metadata("page-sorter", asdict(config) | changes)
        )
        return tmp_path / "s.safetensors"

    for changes in (
        {"backbones": ["vgg17"]},
        {"backbones": []},
        {"backbones": ["detector"] * 2},
        {"classes": ["a"]},
        {"temperature": 0},
        {"depth": 3},
    ):
        with pytest.raises(MissingError, match=r"s\.safetensors: its configuration makes no page-sorter"):
            load_sorter(with_config(**changes), "cpu")
    with pytest.raises(MissingError, match=r"layer head\.classes\.bias is \(3,\) in the file"):
        load_sorter(with_config(classes=["a", "b"]), "cpu")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:9000])
    with pytest.raises(MissingError, match=r"cut\.safetensors: the weights are damaged"):
        load_sorter(tmp_path / "cut.safetensors", "cpu")
    with pytest.raises(MissingError, match="holds a digit-detector, not a page-sorter"):
        load_sorter(DETECTOR, "cpu")


def test_neither_size_nor_shape_tells_a_page(folder: Path) -> None:
    page = drawn("register", 5)
    wide = cv2.resize(page, (page.shape[1] * 3, page.shape[0] * 2), interpolation=cv2.INTER_CUBIC)
    views = [sorting_view(page).astype(int), sorting_view(np.asarray(wide, np.uint8)).astype(int)]
    assert views[0].shape == (2, VIEW_PX, VIEW_PX)
    assert np.abs(views[0] - views[1]).mean() < 12 < views[0].std()
    ink, darkness = sorting_view(np.full((1, 1), 200, np.uint8))
    assert ink.max() == 0 and (darkness == 55).all()


def test_a_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path: Path) -> None:
    page = np.asarray(cv2.resize(drawn("register", 6), (2600, 3300), interpolation=cv2.INTER_CUBIC), np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.fromarray(np.rot90(page)).save(tmp_path / "p.jpg", quality=92, exif=exif)

    def read(at_least_px: int, *, colour: bool = False) -> np.ndarray:
        path = tmp_path / "p.jpg"
        limits = {"max_pixels": 10**7, "render_dpi": 300}
        return read_page(path, "jpeg", None, 0, **limits, colour=colour, at_least_px=at_least_px)

    full, reduced = read(0), read(VIEW_PX)
    assert full.shape == (3300, 2600) and reduced.shape == (825, 650)
    assert read(VIEW_PX, colour=True).shape == (825, 650, 3)
    assert read(651).shape == (1650, 1300) and read(5000).shape == (3300, 2600)
    views = [sorting_view(full).astype(int), sorting_view(reduced).astype(int)]
    assert (
        np.abs(views[0] - views[1]).mean() < 3
        and np.corrcoef(views[0].ravel(), views[1].ravel())[0, 1] > 0.99
    )
    backbone, _ = load_backbone(("detector",), None, DETECTOR)
    seen = [features_of(backbone, view.astype(np.uint8), CPU) for view in views]
    assert np.corrcoef(*seen)[0, 1] > 0.999
    with pytest.raises(SourceError, match="megapixels"):
        read_page(
            tmp_path / "p.jpg", "jpeg", None, 0, max_pixels=8_000_000, render_dpi=300, at_least_px=VIEW_PX
        )


def test_what_is_no_set_of_kinds_is_one_line(folder: Path, said: Said) -> None:
    words = ("train", "sorter", "--name", "x", "--data")
    Path("one/letter").mkdir(parents=True)
    for name, code, told in (
        ("one", 2, "has 1 sub-folders"),
        ("nowhere", 2, "does not exist"),
    ):
        _, err = said(*words, name, code=code)
        assert told in err and err.count("\n") == 1
    Path("one/cover").mkdir()
    shutil.copy("kinds/letter/0.jpg", "one/letter")
    shutil.copy("kinds/letter/1.jpg", "one/letter")
    shutil.copy("kinds/register/0.jpg", "one/cover")
    assert "one/cover: has 1 pages that can be read; a kind needs 2" in said(*words, "one", code=5)[1]
    shutil.copy("kinds/register/1.jpg", "one/cover")
    assert "one: has 4 pages that can be read; 5 are needed" in said(*words, "one", code=5)[1]
    shutil.copy("kinds/letter/1.jpg", "one/cover/same.jpg")
    with pytest.raises(SourceError, match=r"letter/1\.jpg: is the same as .*cover/same\.jpg"):
        find_pages(Path("one").resolve(), 10**8, print)
    Path("one/Cover").mkdir()
    with pytest.raises(UsageError, match="differ in capitals alone"):
        find_pages(Path("one"), 10**8, print)
    assert "give a word or a few" in said("train", "sorter", "--name", "judge", "--data", "kinds", code=2)[1]
    assert not STORE.exists()


def labelled(n: int, n_classes: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(n_classes, 300)) * apart
    kinds = np.arange(n) % n_classes
    noise = np.random.default_rng(seed).normal(size=(n, 300))
    return (7 + 3 * (middles[kinds] + noise)).astype(np.float32), kinds


def test_a_head_learns_kinds_and_says_how_sure_it_is() -> None:
    features, kinds = labelled(90, 3, 0.18, seed=1)
    fitted = fit_head(features, kinds, 3, seed=4)
    right = fitted.chances.argmax(axis=1) == kinds
    assert fitted.chances.shape == (90, 3) and np.allclose(fitted.chances.sum(axis=1), 1, atol=1e-5)
    assert 0.6 < right.mean() < 1.0, "hard enough to be wrong at times"
    others, truth = labelled(600, 3, 0.18, seed=2)
    chances = calibrated(head_logits(fitted.head, others), fitted.temperature)
    found = chances.argmax(axis=1) == truth
    assert abs(found.mean() - right.mean()) < 0.12, "the cross-validation is honest"
    assert abs(chances.max(axis=1).mean() - found.mean()) < 0.1, "and so is the confidence"
    first, last = fitted.curve[0][1], fitted.curve[-1][1]
    assert last["training"] < first["training"] and last["held out"] > last["training"]
    assert [n for n, _ in fitted.by_labels] == sorted(n for n, _ in fitted.by_labels)
    assert fitted.by_labels[-1] == (72, pytest.approx(right.mean()))
    again = fit_head(features, kinds, 3, seed=4)
    assert (again.chances == fitted.chances).all() and again.temperature == fitted.temperature
    assert all(
        torch.equal(a, b) for a, b in zip(fitted.head.parameters(), again.head.parameters(), strict=True)
    )


def test_two_images_of_a_kind_are_enough_for_a_head_that_is_not_sure_of_itself() -> None:
    features, kinds = labelled(6, 3, 2.0, seed=1)
    features[:, 5] = 1.0  # says nothing
    fitted = fit_head(features, kinds, 3, seed=0)
    others, truth = labelled(30, 3, 2.0, seed=2)
    others[:, 5] = 9.0
    chances = calibrated(head_logits(fitted.head, others), fitted.temperature)
    assert (chances.argmax(axis=1) == truth).mean() > 0.9 and chances.max() < 0.97


def test_the_temperature_brings_confidence_to_what_is_right() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 4000)
    logits = rng.normal(size=(4000, 4)).astype(np.float32)
    logits[np.arange(4000), kinds] += 1.5
    assert fit_temperature(logits * 6, kinds) / fit_temperature(logits, kinds) == pytest.approx(6, rel=0.05)
    chances = calibrated(logits * 6, fit_temperature(logits * 6, kinds))
    assert abs(chances.max(axis=1).mean() - (chances.argmax(axis=1) == kinds).mean()) < 0.02


def test_the_picture_of_a_sorter_without_errors_is_pale(tmp_path: Path) -> None:
    counts = np.diag([5, 7]).astype(np.int64)
    draw_confusions(tmp_path / "right.png", counts, "all right", ("cover", "letter"))
    counts[0, 1] = 5
    draw_confusions(tmp_path / "wrong.png", counts, "half of one wrong", ("cover", "letter"))
    right, wrong = (cv2.imread(str(tmp_path / name)).mean() for name in ("right.png", "wrong.png"))
    assert right > 225 > wrong


def test_a_share_of_a_few_has_a_wide_interval() -> None:
    low, high = share_interval(10, 10)
    assert high == 1.0 and low == pytest.approx(0.7225, abs=1e-3)
    assert share_interval(50, 100) == (pytest.approx(0.4038, abs=1e-3), pytest.approx(0.5962, abs=1e-3))
    assert share_interval(0, 0) == (0.0, 1.0)


def test_the_command_offers_every_backbone_and_each_has_blocks_to_thaw() -> None:
    assert OFFERED == BACKBONES
    assert len(DetectorFeatures((4, 4, 4, 4), (1, 1, 1)).blocks()) == 4
    assert len(PublishedFeatures("resnet18").blocks()) == 5
