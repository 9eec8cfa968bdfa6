"""The README's moving picture is what `make picture` makes of the README's cells."""

from __future__ import annotations

import io

from PIL import Image
from support import picture


def test_the_picture_shows_the_cells_that_stand_in_the_readme():
    with Image.open(picture.PICTURE) as image:
        comment = image.info["comment"].decode()
    assert comment == picture.mark(), "the README's cells have changed: make picture"


def test_the_picture_is_small_endless_and_neither_short_nor_long():
    assert picture.PICTURE.stat().st_size < picture.MOST_BYTES
    with Image.open(picture.PICTURE) as image:
        assert image.size == (picture.SIZE["width"], picture.SIZE["height"])
        assert image.info["loop"] == 0
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            times.append(image.info["duration"])
    assert len(times) > 50
    assert 10_000 <= sum(times) <= 16_000


def test_a_frame_that_looks_like_the_last_is_that_frame_for_longer():
    film = picture.Film(_Page())
    assert [film.take(40), film.take(160), film.take(20)] == [True, False, True]
    film.hold(500)
    assert film.times == [160, 20, 500]


class _Page:
    """A page whose second picture looks like its first; the others are new."""

    def __init__(self) -> None:
        self._shown = 0

    def screenshot(self, **_options) -> bytes:
        colour = ("#ff0000", "#fc0202", "#00ff00", "#0000ff")[self._shown]
        self._shown += 1
        made = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(made, "png")
        return made.getvalue()
