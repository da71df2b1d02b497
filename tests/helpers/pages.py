"""A page as a browser's parser finds it, and texts that try to be more than text."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script> \" onload=' ]]> \u202egpj.exe \x1b[2J \x00 \ud800 {{ 7 * 7 }} $x$ & {%"
"""What a model, a task or an error could be called."""
SHOWN = "<script>alert(1)</script> \" onload=' ]]> \\u202egpj.exe \\x1b[2J \\x00 \\ud800 {{ 7 * 7 }} $x$ & {%"
INERT = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "footer", "div", "p", "h1",
    "h2", "h3", "h4", "ul", "li", "b", "i", "em", "small", "span", "a", "table", "thead", "tbody", "tr", "th",
    "td", "figure", "figcaption", "details", "summary", "pre", "code", "dl", "dt", "dd",
    "svg", "g", "path", "text", "tspan", "defs", "use", "clippath", "rect",
}  # fmt: skip
"""Tags that run nothing and fetch nothing."""


class Page(HTMLParser):
    """Tags with their attributes, text, and table rows, as a browser's parser would find them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.source = source
        self.feed(self.source)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "rect"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)
