"""A page as ALTO 4.2 (https://www.loc.gov/standards/alto).

Numbers are lines of one string, digits its glyphs.  Coordinates are pixels of the page as it is shown.
`pipeline/transcriptions.py` reads such files.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from pipeline.export_xml import SCHEMA_LOCATION, ReadBy, add, plain, shown, when, xml_bytes
from pipeline.exported_pages import ArchivedPage
from pipeline.page import Box
from pipeline.text_lines import Point, TextLine, text_lines

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
SCHEMA = "https://www.loc.gov/standards/alto/v4/alto-4-2.xsd"
BLOCKS = {True: "numbers", False: "digits-outside-numbers"}


def alto_page(page: ArchivedPage, by: ReadBy) -> bytes:
    """Return a page as an ALTO file."""
    root = ET.Element("alto", {"xmlns": NAMESPACE, SCHEMA_LOCATION: f"{NAMESPACE} {SCHEMA}"})
    root.set("SCHEMAVERSION", "4.2")
    _describe(add(root, "Description"), page, by)
    size = {"HEIGHT": str(page.height), "WIDTH": str(page.width)}
    layout = add(add(root, "Layout"), "Page", ID="page", PHYSICAL_IMG_NR=str(page.page), **size)
    space = add(layout, "PrintSpace", HPOS="0", VPOS="0", **size)
    lines = text_lines(page)
    for is_number, name in BLOCKS.items():
        its = [line for line in lines if line.is_number == is_number]
        if its:
            around = _box_attributes(_around([point for line in its for point in line.polygon]))
            # counted against the clock, where ours is by it: how far text is turned, and how far back
            turned = {"ROTATION": str(page.turned)} if page.turned else {}
            block = add(space, "TextBlock", ID=name, **around, **turned)
            for line in its:
                _add_line(block, line)
    return xml_bytes(root)


def _describe(description: ET.Element, page: ArchivedPage, by: ReadBy) -> None:
    add(description, "MeasurementUnit", "pixel")
    source = add(description, "sourceImageInformation")
    add(source, "fileName", shown(page.image))
    add(source, "fileIdentifier", shown(page.path))
    reading = add(description, "Processing", ID="reading")
    add(reading, "processingCategory", "contentGeneration")
    add(reading, "processingDateTime", when(page.finished_at))
    for kind, sha256 in by.networks.items():
        add(reading, "processingStepDescription", f"{kind} {sha256}")
    of_kind = "" if page.kind is None else f", page kind {shown(page.kind)}"
    add(reading, "processingStepSettings", f"run {page.run_id}{of_kind}")
    software = add(reading, "processingSoftware")
    add(software, "softwareName", "archive")
    add(software, "softwareVersion", by.version)


def _add_line(block: ET.Element, line: TextLine) -> None:
    around = _box_attributes(_around(line.polygon))
    element = add(block, "TextLine", ID=line.name, BASELINE=_points(line.baseline), **around)
    add(add(element, "Shape"), "Polygon", POINTS=_points(line.polygon))
    string = add(element, "String", ID=f"{line.name}-text", **around)
    string.attrib |= {"CONTENT": line.text, "WC": plain(line.confidence, 6)}
    for digit in line.digits:
        glyph = add(string, "Glyph", ID=f"digit-{digit.position}", **_box_attributes(digit.box))
        glyph.attrib |= {"CONTENT": str(digit.digit), "GC": plain(digit.confidence, 6)}


def _box_attributes(box: Box) -> dict[str, str]:
    return {
        "HPOS": plain(box.x0),
        "VPOS": plain(box.y0),
        "WIDTH": plain(round(box.x1, 2) - round(box.x0, 2)),
        "HEIGHT": plain(round(box.y1, 2) - round(box.y0, 2)),
    }


def _around(points: Sequence[Point]) -> Box:
    x, y = [x for x, _ in points], [y for _, y in points]
    return Box(min(x), min(y), max(x), max(y))


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
