"""What a page of feedback shows of a student's notebook: nothing in it runs, and nothing in it repeats a hidden test."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade

TAGS = {
    *(
        "a",
        "abbr",
        "audio",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
    ),
    *(
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
    ),
    *("mark", "ol", "p", "pre", "s", "samp", "small", "source", "span", "strong", "sub", "summary", "sup", "table"),
    *("tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"),
}
ATTRIBUTES = {
    *("align", "alt", "border", "class", "colspan", "controls", "height", "id", "open", "preload", "rowspan", "scope"),
    *("start", "style", "title", "width"),
}
LINK = re.compile(r"https?://|mailto:|#")
SOUND_OR_PICTURE = re.compile(r"data:(audio/\w+|image/(png|jpeg|gif|webp));base64,[\w+/=\s]*\Z")
SHOWN = ("text/html", "text/markdown", "text/latex", "text/plain", "image/png", "image/jpeg")  # kinds of outputs
EXPORTER = HTMLExporter()
CUT = "(This output repeats a test, and was left out.)"
# The browser runs the page's own scripts, which set formulas, and no others; and loads nothing for what is shown.
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "font-src data: https://cdnjs.cloudflare.com; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)


class CutHiddenTests(NbGraderPreprocessor):
    """Leaves out what a student's code has put out when it holds a line of a hidden test."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Look through all outputs but the messages of the tests themselves."""
        hidden = hidden_lines(nb)
        for cell in nb.cells:
            for place, output in enumerate(cell.get("outputs", [])):
                if is_grade(cell) and output.output_type == "error":
                    continue
                words = squeezed(json.dumps(output, ensure_ascii=False))
                if any(line in words for line in hidden):
                    cell.outputs[place] = nbformat.v4.new_output("stream", text=CUT)
        return nb, resources


def hidden_lines(nb: NotebookNode) -> set[str]:
    """Return the lines of hidden tests that are long enough to be told from others, and that no student has written."""
    cells = [cell.source for cell in nb.cells if is_grade(cell) and cell.cell_type == "code"]
    inside = [part for cell in cells for part in re.findall("BEGIN HIDDEN TESTS(.*?)### END", cell, flags=re.S)]
    written = squeezed("".join(cell.source for cell in nb.cells if not is_grade(cell)))
    lines = {squeezed(line) for part in inside for line in part.splitlines()}
    return {line for line in lines if len(line) >= 20 and line not in written}


def squeezed(text: str) -> str:
    """Return a text without what differs between a line of code, its `repr`, and how a page shows it."""
    return re.sub(r"<[^<>]*>|&\w+;|\\[nrt]|[\s\\'\"&<>]", "", text)


class CleanOutputs(NbGraderPreprocessor):
    """Keeps text, tables, pictures and players of what a student's code has put out."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Look through the outputs of one cell."""
        for output in cell.get("outputs", []):
            if "data" in output:
                output.metadata = NotebookNode()
                output.data = NotebookNode({kind: output.data[kind] for kind in SHOWN if kind in output.data})
                if "text/html" in output.data:
                    output.data["text/html"] = clean(output.data["text/html"])
        return cell, resources


def clean(html: str) -> str:
    """Return HTML without anything that runs or that is loaded from elsewhere."""
    html = re.sub(r"<(style|script)\b.*?</\1\s*>", "", html, flags=re.DOTALL | re.IGNORECASE)  # with what is in them
    protocols = ("http", "https", "mailto", "data")
    return bleach.clean(html, TAGS, is_harmless, protocols, strip=True, css_sanitizer=CSSSanitizer())


def is_harmless(tag: str, name: str, value: str) -> bool:
    """Say whether an attribute may stay."""
    if name in ("href", "src"):
        return bool((LINK if name == "href" else SOUND_OR_PICTURE).match(value))
    return name in ATTRIBUTES


@pass_context
def markdown(context: Context, source: str) -> str:
    """Return text in Markdown as HTML without anything that runs: the filter of that name in templates."""
    return clean(EXPORTER.markdown2html(context, source))


def locked(page: str) -> str:
    """Return a page whose scripts run only where they are in its head."""
    nonce = secrets.token_urlsafe(16)
    head, end, body = page.partition("</head>")
    head = head.replace("<script", f'<script nonce="{nonce}"')
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(nonce=nonce)}">'
    return head.replace("<head>", f"<head>\n{policy}", 1) + end + body
