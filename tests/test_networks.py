"""The networks: shapes, empty batches, learning, and checkpoints that load strictly."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import SHOWN, Metadata, grow_into, load_checkpoint, load_weights, save_checkpoint
from models.classifier import ClassifierConfig, DigitClassifier, classifier_loss
from models.detector import DetectorConfig, DigitDetector, decode_maps, detector_loss
from models.judge import N_CLUES, JudgeConfig, NumberJudge, judge_loss, number_clues
from models.loaded import (
    load_classifier,
    load_detector,
    load_judge,
    load_orienter,
    load_recogniser,
    load_rescorer,
)
from models.orienter import OrienterConfig, PageOrienter, orienter_loss
from models.reader import Readers, read_crops
from models.recogniser import (
    N_ANSWERS,
    N_COLUMNS,
    NOTHING,
    NumberRecogniser,
    RecogniserConfig,
    answers_to,
    best_texts,
    has_room,
    log_chances,
    recogniser_loss,
)
from models.rescorer import (
    N_FEATURES,
    DigitRescorer,
    RescorerConfig,
    box_features,
    rescorer_loss,
    single_boxes,
)
from models.scale import DIGIT_PX, look_at, settle_scale
from models.train_detector import draw_target
from models.whole import find_digits
from pipeline.crops import cut_crops
from pipeline.doubts import number_doubts
from pipeline.drawn import draw_page
from pipeline.errors import MissingError
from pipeline.numbers import group_numbers
from pipeline.page import Box, Detection, PageDetections, Reading
from pipeline.settings import WEIGHTS
from pipeline.strips import STRIP_PX, number_strips
from pipeline.turning import turn_box, turn_page

ORIENTER, DETECTOR = WEIGHTS / "page_orienter.safetensors", WEIGHTS / "digit_detector.safetensors"
SMALL = DetectorConfig(channels=(8, 8, 16, 16), head=8)


def saved(folder: Path, kind: str, build: Callable[[Any], nn.Module], config: Any, seed: int = 0) -> Path:
    """Return the checkpoint of a network that learned nothing."""
    torch.manual_seed(seed)
    file = folder / f"{kind}.safetensors"
    save_checkpoint(file, build(config).state_dict(), Metadata(kind, asdict(config)))
    return file


def saved_detector(folder: Path, seed: int = 0) -> Path:
    return saved(folder, "digit-detector", DigitDetector, SMALL, seed)


def saved_classifier(folder: Path) -> Path:
    return saved(folder, "digit-classifier", DigitClassifier, ClassifierConfig())


def readers(folder: Path) -> Readers:
    rescorer = saved(folder, "digit-rescorer", DigitRescorer, RescorerConfig())
    recogniser = saved(folder, "number-recogniser", NumberRecogniser, RecogniserConfig())
    judge = saved(folder, "number-judge", NumberJudge, JudgeConfig())
    return Readers(
        load_classifier(saved_classifier(folder), "cpu"),
        load_rescorer(rescorer, "cpu"),
        load_recogniser(recogniser, "cpu"),
        load_judge(judge, "cpu"),
    )


def reversed_page(found: PageDetections) -> PageDetections:
    return replace(found, detections=found.detections[::-1])


def apart(*scores: float) -> PageDetections:
    """Detections side by side, with these scores."""
    boxes = [Box(20.0 * k, 0, 20.0 * k + 12, 20) for k in range(len(scores))]
    return PageDetections(tuple(map(Detection, boxes, scores)), 1.0)


def learn(network: nn.Module, loss_of: Callable[[], Tensor], steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_the_detector_gives_five_maps_at_half_the_size() -> None:
    maps = DigitDetector(SMALL)(torch.zeros(2, 1, 64, 96))
    assert maps.shape == (2, 5, 32, 48)


def test_what_is_drawn_as_target_is_decoded_to_the_same_boxes() -> None:
    boxes = np.array([[10, 20, 24, 48], [60.5, 21, 70, 50], [100, 90, 131, 111]], np.float32)
    target = torch.from_numpy(draw_target(boxes, 80))
    target[0] = torch.logit(target[0].clamp(1e-4, 1 - 1e-4))
    found = decode_maps(target, 0.9).numpy()
    found = found[np.argsort(found[:, 0])]
    assert np.abs(found[:, :4] - boxes).max() < 0.01


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=20, deadline=None)
def test_a_peak_is_at_least_as_high_as_all_around_it(seed: int, threshold: float) -> None:
    maps = torch.randn(5, 9, 12, generator=torch.Generator().manual_seed(seed))
    heat = maps[0].sigmoid()
    peaks = [
        float(heat[y, x])
        for y in range(9)
        for x in range(12)
        if heat[y, x] == heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max() >= threshold
    ]
    assert decode_maps(maps, threshold)[:, 4].tolist() == peaks


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_every_box_inside_has_its_centre_marked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 27, (5, 2))], axis=1).astype(np.float32)
    target = draw_target(boxes, 64)
    for x0, y0, x1, y1 in boxes:
        assert target[0, int((y0 + y1) / 4), int((x0 + x1) / 4)] == 1


def test_the_detector_learns_one_batch() -> None:
    torch.manual_seed(0)
    ink = torch.rand(2, 1, 64, 64)
    boxes = [np.array([[10, 20, 22, 40]], np.float32), np.array([[36, 24, 50, 44]], np.float32)]
    target = torch.from_numpy(np.stack([draw_target(box, 32) for box in boxes]))
    network = DigitDetector(SMALL)
    learn(network, lambda: sum(detector_loss(network(ink), target, torch.ones(2, 32, 32))), 300, 1e-2)
    for maps, box in zip(network(ink).detach(), boxes, strict=True):
        found = decode_maps(maps, 0.3).numpy()
        assert len(found) == 1
        assert np.abs(found[0, :4] - box[0]).max() < 2


def test_a_network_grown_from_a_smaller_one_gives_the_same_at_first() -> None:
    torch.manual_seed(0)
    ink, crops = torch.rand(1, 1, 64, 64), torch.rand(3, 2, 40, 40)
    narrow = DigitDetector(DetectorConfig(channels=(8, 8, 16, 16), head=8, blocks=(1, 1, 1)))
    learn(narrow, lambda: narrow(ink).square().mean(), 3, 1e-2)  # so that no layer is as it was made
    wide = DigitDetector(DetectorConfig(channels=(8, 12, 16, 24), head=12, blocks=(1, 2, 1)))
    grow_into(wide, narrow.state_dict(), Path("narrow"))
    assert torch.allclose(wide.eval()(ink), narrow.eval()(ink), atol=1e-5)
    few = DigitClassifier(ClassifierConfig(channels=(8, 8, 16, 16), hidden=32))
    learn(few, lambda: few(crops).square().mean(), 3, 1e-2)
    more = DigitClassifier(ClassifierConfig(channels=(12, 8, 16, 20), hidden=48))
    grow_into(more, few.state_dict(), Path("few"))
    assert torch.allclose(more.eval()(crops), few.eval()(crops), atol=1e-5)
    with pytest.raises(MissingError, match=r"wide: layer .* the network to train has"):
        grow_into(narrow, wide.state_dict(), Path("wide"))


def test_what_is_not_known_teaches_nothing() -> None:
    maps = torch.randn(1, 5, 8, 8, requires_grad=True)
    target = torch.zeros(1, 5, 8, 8)
    heat, sizes = detector_loss(maps, target, torch.zeros(1, 8, 8))
    (heat + sizes).backward()
    assert maps.grad is not None
    assert float(maps.grad.abs().max()) == 0


def test_the_classifier_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = DigitClassifier(ClassifierConfig(channels=(8, 8, 16, 16), hidden=32, dropout=0))
    crops, classes = torch.rand(11, 2, 40, 40), torch.arange(11)
    learn(network, lambda: classifier_loss(network(crops), classes), 60, 5e-3)
    assert network(crops).argmax(1).tolist() == classes.tolist()


def test_no_crops_give_no_readings(tmp_path: Path) -> None:
    read = read_crops(apart(), np.zeros((0, 2, 40, 40), np.uint8), readers(tmp_path))
    assert (read.readings, read.numbers) == ((), ())
    assert (read.odds.shape, read.answers.shape, read.judged.shape) == ((0,), (0, N_ANSWERS), (0,))


def test_a_page_reads_the_same_in_any_order_of_its_boxes(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 255, (9, 2, 40, 40), dtype=np.uint8)
    found = apart(*np.linspace(0.2, 0.95, 9).tolist())
    together = read_crops(found, crops, readers(tmp_path))
    backwards = read_crops(reversed_page(found), crops[::-1].copy(), readers(tmp_path))
    np.testing.assert_allclose(backwards.odds[::-1], together.odds, atol=1e-4)
    np.testing.assert_allclose(backwards.answers, together.answers, atol=1e-4)
    np.testing.assert_allclose(backwards.judged, together.judged, atol=1e-4)
    for one, other in zip(together.readings, backwards.readings[::-1], strict=True):
        assert one.digit == other.digit
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_confidences_are_chances_and_the_runners_up_follow(tmp_path: Path) -> None:
    crops = np.random.default_rng(1).integers(0, 255, (5, 2, 40, 40), dtype=np.uint8)
    read = read_crops(apart(1.0, 0.9, 0.5, 0.2, 0.01), crops, readers(tmp_path))
    for reading in read.readings:
        assert 0 <= reading.confidence <= 1
        assert [digit for digit, _ in reading.runners_up].count(reading.digit) == 0
        chances = [confidence for _, confidence in reading.runners_up]
        assert chances == sorted(chances, reverse=True)


def test_the_shipped_rescorer_believes_a_faint_box_among_digits_and_not_among_letters() -> None:
    rescorer = load_rescorer(WEIGHTS / "digit_rescorer.safetensors", "cpu")

    def odds_in_the_middle(score: float, chance: float) -> float:
        """Return the odds of a faint nought that has such neighbours."""
        chances = np.full((5, 11), 0.01, np.float32)
        chances[:, 0], chances[:, 10] = chance, 0.9 - chance
        chances[2, 0], chances[2, 10] = 0.5, 0.41
        return float(rescorer.odds(chances, apart(score, score, 0.4, score, score))[2])

    assert odds_in_the_middle(0.9, 0.88) > odds_in_the_middle(0.3, 0.05) + 1


def test_the_rescorer_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = DigitRescorer(RescorerConfig(dropout=0))
    features, is_digit = torch.randn(16, N_FEATURES), torch.arange(16) % 2.0
    learn(network, lambda: rescorer_loss(network(features), is_digit), 60, 2e-2)
    assert ((network(features) > 0).float() == is_digit).all()


def test_the_shipped_judge_trusts_numbers_that_lack_a_digit_less() -> None:
    recogniser = load_recogniser(WEIGHTS / "number_recogniser.safetensors", "cpu")
    judge = load_judge(WEIGHTS / "number_judge.safetensors", "cpu")
    page = draw_page(3, "ledger", width=700, height=900, digit_px=24.0)
    grey = page.pixels if page.pixels.ndim == 2 else cv2.cvtColor(page.pixels, cv2.COLOR_RGB2GRAY)
    found = PageDetections(tuple(Detection(digit.box, 0.95) for digit in page.digits), 15 / 24)
    crops, n = cut_crops(np.asarray(grey, np.uint8), found), len(page.digits)
    chances = np.full((n, 11), 0.002, np.float32)
    chances[np.arange(n), [digit.digit for digit in page.digits]] = 0.98

    def judged(lost: set[int]) -> dict[int, float]:
        """Return the odds of each number by its first digit, where some boxes were not drawn."""
        kept = [i for i in range(n) if i not in lost]
        left = replace(found, detections=tuple(found.detections[i] for i in kept))
        readings = [Reading(page.digits[i].digit, 0.98) for i in kept]
        numbers, odds = group_numbers(left.detections, readings), np.full(len(kept), 4.0)
        doubts = number_doubts(numbers, left, readings, odds, crops[kept])
        strips = number_strips(numbers, left, odds, crops[kept])
        answers = answers_to([number.text for number in numbers], recogniser.columns(strips))
        said = judge.odds(strips, number_clues(numbers, left, chances[kept], odds, doubts, answers))
        return {
            kept[number.members[0]]: float(one)
            for number, one in zip(numbers, said, strict=True)
            if len(number.members) > 1
        }

    numbers = group_numbers(found.detections, [Reading(digit.digit, 0.98) for digit in page.digits])
    last = {number.members[-1] for number in numbers if len(number.members) > 2}
    first = {number.members[-1]: number.members[0] for number in numbers}
    whole, all_cut = judged(set()), judged(last)
    both = [(whole[one], all_cut[one]) for one in all_cut if one in whole]
    assert len(both) > 10
    assert np.mean([one - other for one, other in both]) > 4  # 9.0
    falls = [whole[first[one]] - judged({one})[first[one]] for one in sorted(last)[::4]]
    assert len(falls) > 5
    assert np.mean(falls) > 5  # 12


def test_the_judge_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = NumberJudge(JudgeConfig(channels=(8, 8, 16), dropout=0))
    strips, clues, is_right = torch.rand(16, 3, *STRIP_PX), torch.randn(16, N_CLUES), torch.arange(16) % 2.0
    learn(network, lambda: judge_loss(network(strips, clues), is_right), 60, 1e-2)
    assert ((network(strips, clues) > 0).float() == is_right).all()


def test_the_recogniser_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = NumberRecogniser(RecogniserConfig(channels=(8, 8, 16, 16), width=32, dropout=0))
    ink, texts = torch.rand(8, 1, *STRIP_PX), ["", "7", "11", "1899", "42", "000", "5", "31415926"]
    assert network(ink).shape == (8, N_COLUMNS, 11)
    learn(network, lambda: recogniser_loss(network(ink), texts), 150, 1e-2)
    assert best_texts(network(ink).detach().numpy()) == texts


def test_chances_of_all_texts_make_one() -> None:
    columns = torch.log_softmax(torch.randn(1, 3, 11, generator=torch.Generator().manual_seed(1)), dim=2)
    texts = ["", *(f"{n:0{length}}" for length in (1, 2, 3) for n in range(10**length))]
    chances = log_chances(columns.expand(len(texts), -1, -1), texts).exp()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-4)
    assert float(chances[texts.index("111")]) == 0  # it needs five columns


def test_a_path_tells_equal_digits_by_what_is_between_them() -> None:
    path = [NOTHING, 1, 1, NOTHING, 1, 2, 2, NOTHING]
    columns = np.full((1, len(path), 11), -9.0, np.float32)
    columns[0, np.arange(len(path)), path] = 0
    assert best_texts(columns) == ["112"]


def test_the_recogniser_answers_to_what_was_read() -> None:
    columns = np.full((1, N_COLUMNS, 11), -30.0, np.float32)
    columns[:, :, NOTHING] = 0
    for place, digit in ((4, 1), (9, 8), (14, 9)):
        columns[:, place] = -30.0
        columns[:, place, digit] = 0
    said = answers_to(["189", "18", "186", "1" * 40], columns.repeat(4, axis=0))
    assert said.shape == (4, N_ANSWERS) and np.isfinite(said).all()
    of_text, of_own, against, wrong, same, longer = said.T
    assert of_text[0] == pytest.approx(0, abs=1e-3) and wrong[0] < -6 and (of_text[1:] < -6).all()
    np.testing.assert_allclose(of_own, 0, atol=1e-3)
    np.testing.assert_allclose(against, of_text - of_own)
    assert same.tolist() == [1, 0, 0, 0] and longer.tolist() == [0, 1, 0, -3]
    assert has_room("1" * 18) and not has_room("1" * 20)
    assert answers_to([], columns[:0]).shape == (0, N_ANSWERS)


def test_the_shipped_recogniser_reads_numbers_that_lack_a_box() -> None:
    recogniser = load_recogniser(WEIGHTS / "number_recogniser.safetensors", "cpu")
    page = draw_page(3, "ledger", width=700, height=900, digit_px=24.0)
    grey = page.pixels if page.pixels.ndim == 2 else cv2.cvtColor(page.pixels, cv2.COLOR_RGB2GRAY)
    found = PageDetections(tuple(Detection(digit.box, 0.95) for digit in page.digits), 15 / 24)
    crops = cut_crops(np.asarray(grey, np.uint8), found)
    readings = [Reading(digit.digit, 0.98) for digit in page.digits]
    whole = group_numbers(found.detections, readings)
    lost = {number.members[-1]: number.text for number in whole if len(number.members) > 2}
    kept = [i for i in range(len(readings)) if i not in lost]
    left = replace(found, detections=tuple(found.detections[i] for i in kept))
    cut = group_numbers(left.detections, [readings[i] for i in kept])
    strips = number_strips(whole, found, np.zeros(len(readings)), crops)
    said = answers_to([number.text for number in whole], recogniser.columns(strips))
    assert said[:, 4].mean() > 0.9
    strips = number_strips(cut, left, np.zeros(len(kept)), crops[kept])
    said = answers_to([number.text for number in cut], recogniser.columns(strips))
    texts = {number.members[0]: number.text for number in whole}
    lacking = np.array([number.text != texts[kept[number.members[0]]] for number in cut])
    assert lacking.sum() > 10
    assert said[lacking, 4].mean() < 0.2 and said[lacking, 5].mean() > 0.7  # it has one digit more


def test_a_page_full_of_boxes_is_rescored_a_part_at_a_time() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 4000, (3000, 2))
    sizes = rng.uniform(8, 30, (3000, 2))
    boxes = [Box(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners.tolist(), sizes.tolist(), strict=True)]
    found = PageDetections(tuple(Detection(box, 0.5) for box in boxes), 1.0)
    chances = rng.dirichlet(np.ones(11), 3000).astype(np.float32)
    features = box_features(chances, found)
    assert features.shape == (3000, N_FEATURES) and np.isfinite(features).all()
    # what a box sees is near it: a page that ends below it shows the same
    upper = [k for k, box in enumerate(boxes) if box.y1 < 2000]
    half = box_features(chances[upper], PageDetections(tuple(found.detections[k] for k in upper), 1.0))
    far = [place for place, k in enumerate(upper) if boxes[k].y1 < 1950]
    beside = slice(17, None)  # those before it say what is usual on the page, too
    np.testing.assert_array_equal(half[far, beside], features[[upper[place] for place in far], beside])


def test_weights_that_were_shown_other_pictures_are_only_good_to_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved_classifier(tmp_path)
    monkeypatch.setitem(SHOWN, "digit-classifier", {"digit_px": 30.0})
    with pytest.raises(MissingError, match=r"learned from .*views.* train it on"):
        load_classifier(file, "cpu")
    load_checkpoint(file, "digit-classifier", to_train=True)


def test_a_confidence_of_other_features_is_named(tmp_path: Path) -> None:
    weights, metadata = load_checkpoint(saved_classifier(tmp_path), "digit-classifier")
    for confidence in ({"digit": [1.0] * 6, "number": [1.0] * 4}, {"word": [1.0]}, {"box": [1.0] * 5}):
        save_checkpoint(tmp_path / "c.safetensors", weights, replace(metadata, confidence=confidence))
        with pytest.raises(MissingError, match="fit it anew"):
            load_classifier(tmp_path / "c.safetensors", "cpu")
        load_classifier(tmp_path / "c.safetensors", "cpu", with_confidence=False)


def test_of_two_boxes_round_a_digit_the_better_counts() -> None:
    boxes = [Box(0, 0, 12, 20), Box(6, 0, 18, 20), Box(13, 0, 25, 20), Box(14, 1, 24, 19)]
    odds = np.array([2.0, 1.0, 2.0, 1.5])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):  # whatever their order
        found = PageDetections(tuple(Detection(boxes[i], 0.9) for i in order), 1.0)
        stays = single_boxes(found, odds[order], np.ones(4, bool))
        assert [bool(stays[order.index(i)]) for i in range(4)] == [True, False, True, False]
        assert not single_boxes(found, odds[order], np.zeros(4, bool)).any()


def test_a_blank_page_has_no_digits(tmp_path: Path) -> None:
    detector = load_detector(saved_detector(tmp_path), "cpu")
    assert detector.detect(np.full((300, 200), 230, np.uint8)).detections == ()
    assert detector.detect(np.full((1, 1), 0, np.uint8)).detections == ()


def test_a_network_loads_as_it_was_saved(tmp_path: Path) -> None:
    file = saved_detector(tmp_path)
    network = DigitDetector(SMALL)
    weights, metadata = load_checkpoint(file, "digit-detector")
    load_weights(network, weights, file)
    torch.manual_seed(0)
    first = DigitDetector(SMALL)
    ink = torch.rand(1, 1, 64, 64)
    assert torch.equal(network.eval()(ink), first.eval()(ink))
    assert metadata.config["head"] == 8


def test_folding_the_normalisation_changes_no_answer(tmp_path: Path) -> None:
    file = saved_detector(tmp_path)
    plain = DigitDetector(SMALL)
    load_weights(plain, load_checkpoint(file, "digit-detector")[0], file)
    ink = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    with torch.inference_mode():
        maps = plain.eval()(torch.from_numpy(ink)[None, None].float() / 255)[0]
    unfolded = decode_maps(maps, 0.0).numpy()
    folded = load_detector(file, "cpu").batcher(ink[None, None], about=0.0)[0]
    assert len(folded) > 10 and np.allclose(folded, unfolded, atol=1e-3)


def test_tiles_see_what_the_whole_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = load_detector(saved_detector(tmp_path), "cpu")
    ink = np.random.default_rng(0).integers(0, 255, (240, 200), dtype=np.uint8)
    whole = detector.boxes(ink, 0.0)
    monkeypatch.setattr("models.tiles._CORE_PX", 120)
    tiled = detector.boxes(ink, 0.0)
    assert len(whole) > 100
    assert (whole[1:, 4] <= whole[:-1, 4]).all()
    # of two boxes that share half their size the other one may stay
    apart = np.abs(whole[:, None] - tiled[None]).max(axis=2)
    assert (apart.min(axis=1) < 0.01).mean() > 0.98 and (apart.min(axis=0) < 0.01).mean() > 0.98


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, cut: int) -> None:
    file = saved_detector(tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(MissingError, match=r"detector\.safetensors: the weights are damaged"):
        load_detector(file, "cpu")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there are no weights here"):
        load_detector(tmp_path / "none.safetensors", "cpu")


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds a digit-classifier, not a digit-detector"):
        load_detector(saved_classifier(tmp_path), "cpu")


def test_layers_that_differ_are_named(tmp_path: Path) -> None:
    file = saved_detector(tmp_path)
    other = DigitDetector(DetectorConfig(channels=(8, 8, 16, 24), head=8))
    with pytest.raises(MissingError, match=r"layer down16\.\S+ is \(16"):
        load_weights(other, load_checkpoint(file, "digit-detector")[0], file)


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="device 'cuda:77' can't be used"):
        load_detector(saved_detector(tmp_path), "cuda:77")


@pytest.mark.parametrize(
    ("config", "words"),
    [({"channels": [8, 8, 16]}, "makes no digit-detector"), ({"wings": 2}, "makes no digit-detector")],
)
def test_a_configuration_that_makes_no_network_is_named(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    file = tmp_path / "detector.safetensors"
    save_checkpoint(file, DigitDetector(SMALL).state_dict(), Metadata("digit-detector", config))
    with pytest.raises(MissingError, match=words):
        load_detector(file, "cpu")


@pytest.mark.parametrize("written", ["no json", "[]", '{"format_version": 1, "wings": 2}'])
def test_metadata_that_nobody_understands_is_named(tmp_path: Path, written: str) -> None:
    file = tmp_path / "detector.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata={"archive": written})
    with pytest.raises(MissingError, match="its metadata can't be understood"):
        load_detector(file, "cpu")


def test_a_page_is_brought_to_one_scale_whatever_its_size() -> None:
    grey = draw_page(3, "ledger").pixels.mean(axis=2).astype(np.uint8)
    for size in (0.5, 0.7, 1.4, 2.0):
        other = np.asarray(cv2.resize(grey, None, fx=size, fy=size, interpolation=cv2.INTER_AREA), np.uint8)
        assert look_at(other).scale * size == pytest.approx(look_at(grey).scale, rel=0.2)


def test_the_ink_map_of_any_page_is_bounded() -> None:
    specks = np.full((3000, 4000), 255, np.uint8)
    specks[::40, ::40] = 0
    assert look_at(specks).scale ** 2 * specks.size <= 16_000_001
    narrow = look_at(np.full((40_000, 1000), 255, np.uint8))
    assert narrow.ink.size <= 16_100_000


@pytest.mark.parametrize("guess", [0.6, 1.0, 1.7])
def test_the_scale_is_settled_by_the_height_of_the_digits_that_are_found(guess: float) -> None:
    detector = load_detector(DETECTOR, "cpu")
    page = draw_page(3, "ledger")
    grey = page.pixels.mean(axis=2).astype(np.uint8)
    ideal = DIGIT_PX / float(np.median([digit.box.height for digit in page.digits]))
    look = replace(look_at(grey), scale=guess * ideal)
    settled = settle_scale(grey, look, lambda ink: detector.boxes(ink, 0.4))
    assert settled == pytest.approx(ideal, rel=0.2)


def test_a_page_without_digits_keeps_the_scale_of_its_ink() -> None:
    none = np.zeros((0, 5), np.float32)
    grey = np.full((300, 200), 230, np.uint8)
    assert settle_scale(grey, replace(look_at(grey), scale=0.7), lambda ink: none) == 0.7


def test_a_page_that_lies_on_its_side_is_read_as_the_upright_one() -> None:
    orienter, detector = load_orienter(ORIENTER, "cpu"), load_detector(DETECTOR, "cpu")
    grey = draw_page(3, "ledger").pixels.mean(axis=2).astype(np.uint8)
    height, width = grey.shape
    upright = find_digits(grey, orienter, detector)
    assert upright.turned == 0
    for degrees in (90, 180, 270):
        lying = turn_page(grey, (360 - degrees) % 360)
        found = find_digits(lying, orienter, detector)
        assert found.turned == degrees
        assert len(found.detections) == len(upright.detections) > 0
        for one, other in zip(found.detections, upright.detections, strict=True):
            back = turn_box(one.box, degrees, lying.shape[1], lying.shape[0])
            assert (back.x0, back.y0) == pytest.approx((other.box.x0, other.box.y0), abs=0.01)
            assert 0 <= back.x0 < back.x1 <= width
            assert 0 <= back.y0 < back.y1 <= height


def test_the_orienter_learns_one_batch() -> None:
    torch.manual_seed(0)
    network = PageOrienter(OrienterConfig(channels=(4, 8, 8, 16)))
    windows, turns = torch.rand(4, 1, 256, 256), torch.arange(4)
    learn(network, lambda: orienter_loss(network(windows), turns), 60, 1e-2)
    assert network(windows).argmax(1).tolist() == [0, 1, 2, 3]


def test_a_blank_page_is_not_turned() -> None:
    orienter = load_orienter(ORIENTER, "cpu")
    assert orienter.turned(look_at(np.full((300, 200), 230, np.uint8))) == 0
    assert orienter.turned(look_at(np.full((1, 1), 0, np.uint8))) == 0
