"""A page as PAGE XML of 2019-07-15 (https://github.com/PRImA-Research-Lab/PAGE-XML).

Numbers are lines of one word, digits its glyphs.  PAGE wants whole pixels: boxes of digits are rounded
outwards.  `pipeline/transcriptions.py` reads such files.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from math import ceil, floor

from pipeline.export_xml import SCHEMA_LOCATION, ReadBy, add, plain, shown, when, xml_bytes
from pipeline.exported_pages import ArchivedPage
from pipeline.page import Box
from pipeline.text_lines import Point, TextLine, text_lines

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
REGIONS = {True: "numbers", False: "digits-outside-numbers"}


def page_page(page: ArchivedPage, by: ReadBy) -> bytes:
    """Return a page as a PAGE file."""
    schema = f"{NAMESPACE} {NAMESPACE}/pagecontent.xsd"
    root = ET.Element("PcGts", {"xmlns": NAMESPACE, SCHEMA_LOCATION: schema})
    _describe(add(root, "Metadata"), page, by)
    size = {"imageWidth": str(page.width), "imageHeight": str(page.height)}
    element = add(root, "Page", imageFilename=shown(page.image), **size)
    element.set("custom", f"page:{page.page}")
    if page.turned:
        # by how much it is to be turned by the clock, from -180 up to and with 180
        element.set("orientation", str(page.turned - 360 if page.turned > 180 else page.turned))
    lines = text_lines(page)
    for is_number, name in REGIONS.items():
        its = [line for line in lines if line.is_number == is_number]
        if its:
            region = add(element, "TextRegion", id=name)
            x = [x for line in its for x, _ in line.polygon]
            y = [y for line in its for _, y in line.polygon]
            add(region, "Coords", points=_box_points(Box(min(x), min(y), max(x), max(y))))
            for line in its:
                _add_line(region, line)
    return xml_bytes(root)


def _describe(metadata: ET.Element, page: ArchivedPage, by: ReadBy) -> None:
    add(metadata, "Creator", f"archive {by.version}")
    for tag in ("Created", "LastChange"):
        add(metadata, tag, when(page.finished_at))
    item = add(metadata, "MetadataItem", type="processingStep", name="reading", value=f"archive {by.version}")
    labels = add(item, "Labels")
    facts = {**by.networks, "run": str(page.run_id), "path": shown(page.path)}
    if page.kind is not None:
        facts["page kind"] = shown(page.kind)
    for name, value in facts.items():
        add(labels, "Label", type=name, value=value)


def _add_line(region: ET.Element, line: TextLine) -> None:
    element = add(region, "TextLine", id=line.name)
    add(element, "Coords", points=_points(line.polygon))
    add(element, "Baseline", points=_points(line.baseline))
    word = add(element, "Word", id=f"{line.name}-text")
    add(word, "Coords", points=_points(line.polygon))
    for digit in line.digits:
        glyph = add(word, "Glyph", id=f"digit-{digit.position}")
        add(glyph, "Coords", points=_box_points(digit.box))
        _add_text(glyph, str(digit.digit), digit.confidence)
    for whole in (word, element):
        _add_text(whole, line.text, line.confidence)


def _add_text(parent: ET.Element, text: str, confidence: float) -> None:
    add(add(parent, "TextEquiv", conf=plain(confidence, 6)), "Unicode", text)


def _box_points(box: Box) -> str:
    # rounded first: 20.0000001 is no 21
    x0, y0 = (max(floor(round(edge, 2)), 0) for edge in (box.x0, box.y0))
    x1, y1 = (max(ceil(round(edge, 2)), 0) for edge in (box.x1, box.y1))
    return _points(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
