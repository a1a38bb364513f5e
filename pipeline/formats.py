"""Which format a file is in, told from its first bytes and never from its name."""

import codecs
import unicodedata
from pathlib import PurePath

from pipeline.errors import NotAScanError, SourceError

HEAD_BYTES = 4096
ONE_PAGE = frozenset({"jpeg", "png", "webp", "bmp", "jp2"})  # whatever is in them, it is one page
_IMAGE_ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
_JPEG_2000_ENDINGS = {".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"}
_ENDINGS = frozenset(_IMAGE_ENDINGS | _JPEG_2000_ENDINGS | {".pdf", ".zip"})
# formats that we know and don't read: the user is told what it is instead of "no image"
_STRANGERS = (
    (b"GIF8", "is a GIF image", "convert it to PNG"),
    (b"8BPS", "is a Photoshop file", "convert it to TIFF"),
    (b"AT&TFORM", "is a DjVu file", "convert it to PDF"),
    (b"%!PS", "is a PostScript file", "convert it to PDF"),
    (b"\x97JB2", "is a JBIG2 image", "convert it to TIFF"),
    (b"II\xbc\x01", "is a JPEG XR image", "convert it to PNG"),
    (b"\xff\x0a", "is a JPEG XL image", "convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "is a JPEG XL image", "convert it to PNG"),
    (b"Rar!", "is a RAR archive", "unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it"),
    (b"\x1f\x8b", "is a gzip file", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "is an old Office file", "save it as PDF"),
)


def sniff(head: bytes) -> str | None:
    """Return the format that a file's first bytes (HEAD_BYTES, or all there are) tell; None if none of ours.

    One of jpeg, png, webp, bmp, jp2, tiff, pdf and zip.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in {12, 16, 40, 52, 56, 64, 108, 124}:
        return "bmp"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "jp2"
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "tiff"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head[:4] in {b"PK\3\4", b"PK\5\6", b"PK\7\x08"}:
        return "zip"
    return None


def format_of(head: bytes, name: str) -> str:
    """Return the format that the first bytes tell; `name` only serves to judge a file that is in none.

    Raises NotAScanError for what is no scan, and SourceError for what claims by its name to be one
    and whose bytes are damaged: a scan must not get lost among the skipped.
    """
    found = sniff(head)
    if found is not None:
        return found
    claims = PurePath(name).suffix.lower() in _ENDINGS
    if not head:
        raise (
            SourceError("is empty (0 bytes); scan or copy it again") if claims else NotAScanError("is empty")
        )
    for magic, what, advice in _STRANGERS:
        if head.startswith(magic):
            raise NotAScanError(f"{what}, which is not read; {advice}")
    if head[4:8] == b"ftyp":
        raise NotAScanError(
            "is a HEIF, AVIF or video file, which is not read; convert it to PNG, TIFF or PDF"
        )
    if _is_text(head):
        raise NotAScanError("is no image but text")
    if claims:
        raise SourceError("is damaged: its first bytes are those of no image; scan or copy it again")
    raise NotAScanError("is no image")


def _is_text(head: bytes) -> bool:
    """Whether it is UTF-8, or UTF-16 that says so; in doubt it is none, for it may be a damaged scan."""
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8")()
    try:
        text = decoder.decode(head, final=len(head) < HEAD_BYTES)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return not any(unicodedata.category(one) in {"Cc", "Cn"} for one in text if one not in "\t\n\r\f\x1b")
