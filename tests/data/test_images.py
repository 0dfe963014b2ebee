from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxcomp.data.images import decode, fit, read_header
from onnxcomp.errors import DataError
from tests.data.pictures import encoded, noise

KINDS = ["JPEG", "PNG", "BMP", "WEBP"]


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"")
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, pixels, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_kinds_come_back(kind):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(decode(saved(Image.fromarray(pixels), kind), "a")), pixels)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (saved(Image.new("L", (4, 4), 99)), [99, 99, 99]),
        (saved(Image.new("1", (4, 4), 1)), [255, 255, 255]),
        (saved(Image.new("RGBA", (4, 4), (1, 2, 3, 0))), [1, 2, 3]),
        (saved(Image.new("P", (4, 4), 0), transparency=b"\x10\x20"), [0, 0, 0]),
        (saved(Image.new("LA", (4, 4), (7, 9))), [7, 7, 7]),
        (saved(Image.new("CMYK", (4, 4)), "JPEG"), [255, 255, 255]),
    ],
    ids=["grey", "bits", "transparent", "palette", "grey-alpha", "cmyk"],
)
def test_other_modes_become_rgb(data, colour):
    image = decode(data, "a")
    assert image.mode == "RGB"
    assert np.asarray(image)[2, 2].tolist() == colour


def test_sixteen_bits_are_refused():
    data = saved(Image.fromarray(np.full((4, 4), 40000, np.uint16)))
    with pytest.raises(DataError, match=r"x.png: an image of mode I;16, not 8 bits a channel; convert it"):
        decode(data, "x.png")


@pytest.mark.parametrize("size", [(8001, 8000), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_huge_images_are_refused_before_decoding(size):
    with pytest.raises(DataError, match=f"x.png: an image of {size[0]}x{size[1]}, more than 64 Mpixel"):
        read_header(png_of_size(*size), "x.png")


def test_huge_webp_is_refused():
    data = bytearray(saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    data[21:25] = struct.pack("<I", (struct.unpack("<I", data[21:25])[0] & ~0xFFFFFFF) | 16382 | 16382 << 14)
    with pytest.raises(DataError, match=r"x.webp: (a broken image|an image of 16383x16383)"):
        decode(bytes(data), "x.webp")


@pytest.mark.parametrize("data", [b"", b"text", b"GIF89a" + bytes(20), b"RIFF\0\0\0\0WAVE"])
def test_not_an_image(data):
    with pytest.raises(DataError, match="x: not a JPEG, PNG, BMP or WebP image; replace or remove it"):
        decode(data, "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated(kind, part):
    data = noise(1, 64, kind)
    with pytest.raises(DataError, match="x: a broken image"):
        decode(data[: int(len(data) * part)], "x")


@settings(max_examples=400)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damage_is_refused_or_harmless(kind, changes):
    data = bytearray(noise(2, 12, kind))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        image = decode(bytes(data), "x")
    except DataError as error:
        message = str(error)
    else:
        message = "x: "
        assert image.mode == "RGB"
    assert message.startswith("x: ")


def test_fit_keeps_an_image_of_the_right_size():
    image = decode(noise(3), "a")
    assert np.array_equal(fit(image, (16, 16)), np.asarray(image))


def test_fit_crops_the_centre():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert (fit(Image.fromarray(wide), (8, 8)) == 200).all()
    assert (fit(Image.fromarray(wide.transpose(1, 0, 2)), (8, 8)) == 200).all()
    # Scaled by two, only the bilinear edges (a pixel on each side) mix with black.
    scaled = fit(Image.fromarray(wide), (16, 16))
    assert scaled.shape == (16, 16, 3)
    assert (scaled[:, 1:-1] == 200).all()


def test_fit_takes_height_before_width():
    assert fit(decode(encoded(), "a"), (4, 10)).shape == (4, 10, 3)
