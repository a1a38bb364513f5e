"""Batches across pages: many threads ask one network, and each gets its own answers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batching import Batcher, Images
from models.device import GPU_BATCH, Place, pick_place
from models.loaded import load_classifier, load_detector
from pipeline.errors import DeviceError, MissingError
from pipeline.settings import WEIGHTS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ONE_TURN = Place(torch.device("cpu"), torch.float32, batch=256, n_turns=1)
GPU = Place(torch.device("cuda"), torch.float16, batch=256, n_turns=1)  # nothing is computed there


class Recorder:
    """Answers with twice the sum of each image, and keeps how large the batches were."""

    def __init__(self, pause_s: float = 0.0, room: int = 10**9) -> None:
        self.sizes: list[int] = []
        self.pause_s, self.room = pause_s, room

    def __call__(self, images: Images, about: int | None) -> list[float]:
        self.sizes.append(len(images[0]))
        if len(images[0]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        time.sleep(self.pause_s)
        return [2.0 * float(image.sum()) + (about or 0) for image in images[0]]


def images(n: int, seed: int = 0, side: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, 1, side, side), dtype=np.uint8)


@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 4))
def test_each_thread_gets_its_own_answers(sizes: list[int], most: int) -> None:
    batcher = Batcher(Recorder(), ONE_TURN, most)
    asked = [images(n, seed) for seed, n in enumerate(sizes)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(batcher, asked))
    assert answers == [[2.0 * float(image.sum()) for image in some] for some in asked]


def test_what_waits_while_the_device_is_busy_shares_a_batch() -> None:
    recorder = Recorder(pause_s=0.2)
    batcher = Batcher(recorder, ONE_TURN, 64)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(batcher, [images(4, seed) for seed in range(8)]))
    assert sum(recorder.sizes) == 32
    assert len(recorder.sizes) <= 3 and max(recorder.sizes) > 4


def test_a_batch_holds_images_of_one_shape_asked_alike() -> None:
    recorder = Recorder(pause_s=0.1)
    batcher = Batcher(recorder, ONE_TURN, 64)
    kinds = [(side, about) for side in (3, 5) for about in (1, 2)] * 2
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda kind: batcher(images(2, side=kind[0]), about=kind[1]), kinds))
    for (side, about), found in zip(kinds, answers, strict=True):
        assert found == [2.0 * float(image.sum()) + about for image in images(2, side=side)]
    assert len(recorder.sizes) >= 4


def test_no_batch_is_larger_than_it_may_be() -> None:
    recorder = Recorder(pause_s=0.02)
    batcher = Batcher(recorder, ONE_TURN, 8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(batcher, [images(21, seed) for seed in range(6)]))
    assert max(recorder.sizes) <= 8


def test_out_of_memory_halves_the_batch_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(room=5)
    batcher = Batcher(recorder, ONE_TURN, 32)
    asked = images(32)
    assert batcher(asked) == [2.0 * float(image.sum()) for image in asked]
    assert "out of memory; batches of 4" in caplog.text
    recorder.sizes.clear()
    batcher(asked)
    assert recorder.sizes == [4] * 8


def test_where_not_even_one_image_has_room_the_page_is_told_on_a_cpu_and_the_device_blamed_on_a_gpu() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Batcher(Recorder(room=0), ONE_TURN, 8)(images(3))
    with pytest.raises(DeviceError, match="cuda: CUDA out of memory"):
        Batcher(Recorder(room=0), GPU, 8)(images(3))


def test_a_device_whose_memory_is_full_is_not_taken_for_a_broken_one() -> None:
    def room_for_two(images: Images, about: None) -> list[int]:
        if len(images[0]) > 2:
            raise RuntimeError("CUDA error: out of memory")  # as the driver says it
        return [int(image.max()) for image in images[0]]

    asked = images(7)
    assert Batcher(room_for_two, GPU, 8)(asked) == [int(image.max()) for image in asked]


def test_a_device_that_fails_is_told_to_all_who_wait() -> None:
    def fail(images: Images, about: None) -> list[float]:
        time.sleep(0.1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors …")

    batcher = Batcher(fail, GPU, 64)

    def ask(seed: int) -> str:
        with pytest.raises(DeviceError) as raised:
            batcher(images(2, seed))
        return str(raised.value)

    with ThreadPoolExecutor(4) as threads:
        told = set(threads.map(ask, range(4)))
    assert told == {"device cuda: CUDA error: an illegal memory access was encountered"}
    assert issubclass(DeviceError, MissingError)


def test_what_one_page_meets_is_not_the_fault_of_those_that_shared_its_batch() -> None:
    ready = threading.Event()

    def picky(images: Images, about: None) -> list[int]:
        ready.wait(5)
        if any(image.max() == 255 for image in images[0]):
            raise ValueError("no such page")
        return [int(image.max()) for image in images[0]]

    batcher = Batcher(picky, ONE_TURN, 64)
    pages = [np.full((2, 1, 3, 3), value, np.uint8) for value in (1, 255, 3, 4)]
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(batcher, page) for page in pages]
        time.sleep(0.2)
        ready.set()
    assert [one.exception() is None for one in asked] == [True, False, True, True]
    assert asked[3].result() == [4, 4]


@pytest.mark.parametrize("device", DEVICES)
def test_crops_of_many_pages_are_read_as_those_of_each(device: str) -> None:
    classifier = load_classifier(WEIGHTS / "digit_classifier.safetensors", device)
    pages = [np.random.default_rng(n).integers(0, 255, (n, 2, 40, 40), dtype=np.uint8) for n in range(1, 20)]
    single = [classifier.chances(page) for page in pages]
    together = classifier.chances(np.concatenate(pages))
    assert np.abs(np.concatenate(single) - together).max() < (1e-5 if device == "cpu" else 2e-2)
    with ThreadPoolExecutor(8) as threads:
        for one, other in zip(single, threads.map(classifier.chances, pages), strict=True):
            assert one.shape == other.shape and np.abs(one - other).max() < 2e-2
    assert classifier.chances(np.zeros((0, 2, 40, 40), np.uint8)).shape == (0, 11)


@pytest.mark.parametrize("device", DEVICES)
def test_tiles_of_pages_that_are_read_together_give_the_boxes_of_each(device: str) -> None:
    detector = load_detector(WEIGHTS / "digit_detector.safetensors", device)
    inks = [np.random.default_rng(n).integers(0, 200, (96 + 16 * (n % 2), 160), np.uint8) for n in range(6)]
    single = [detector.boxes(ink, 0.05) for ink in inks]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda ink: detector.boxes(ink, 0.05), inks))
    for one, other in zip(single, together, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=0.5 if device != "cpu" else 1e-3)


def test_a_gpu_gets_large_batches_of_tiles_that_have_one_shape() -> None:
    place = replace(ONE_TURN, batch=GPU_BATCH, tile_multiple=128)
    assert place.n_tiles == 16
    assert place.padded(np.ones((2, 1, 130, 256), np.uint8)).shape == (2, 1, 256, 256)
    assert place.padded(np.ones((2, 1, 130, 256), np.uint8))[:, :, 130:].max() == 0


def test_every_network_of_a_process_shares_one_place() -> None:
    assert pick_place("cpu") is pick_place("cpu")
    assert pick_place("cpu", 7).batch == 7


def test_what_was_asked_beside_a_failure_does_not_stay_behind() -> None:
    asked: list[int] = []

    def fail_once(images: Images, about: None) -> list[int]:
        asked.append(len(images[0]))
        if len(asked) == 1:
            raise ValueError("once")
        return [int(image.max()) for image in images[0]]

    batcher = Batcher(fail_once, ONE_TURN, 4)
    with pytest.raises(ValueError, match="once"):
        batcher(images(12))
    batcher(images(1, seed=5))
    assert asked == [4, 1]
