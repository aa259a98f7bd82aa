"""Reads the page of a report, and the pictures beside it, with Python's parsers; prints what is wrong, a line each.

    report_check.py RUN/report.html
    report_check.py PAGE.html --alone     a page without picture files
"""

import html.parser
import os
import re
import sys
import xml.etree.ElementTree as tree

VOID = {"meta", "br", "hr", "img", "input", "link"}
NEEDED = ("title", "h1", "details", "summary")
FORBIDDEN = ("script", "link", "iframe", "object", "img")
LOADING = {"src", "srcset", "action", "data", "poster"}
ELSEWHERE = re.compile(r"https?:|//|url\((?!#)")


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.seen = [], [], [], []

    def handle_starttag(self, tag, attrs, closed=False):
        self.seen.append(tag)
        if tag not in VOID and not closed:
            self.open.append(tag)
        for name, value in attrs:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href"):
                self.references.append(value)
            if name in LOADING or name.startswith("on"):
                print(f"attribute {name} of {tag}")
            if ELSEWHERE.search(value) and not name.startswith("xmlns"):
                print(f"{name} of {tag} leads elsewhere: {value}")
        if tag == "th" and "scope" not in dict(attrs):
            print("th without scope")
        if tag == "svg" and dict(attrs).get("role") != "img":
            print("svg without a role")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, closed=True)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            print(f"{tag} closed inside {self.open[-3:]}")
        else:
            self.open.pop()


def check_page(text):
    page = Page()
    page.feed(text)
    page.close()
    if page.open:
        print(f"never closed: {page.open}")
    if len(set(page.ids)) != len(page.ids):
        print("an id stands twice")
    for reference in page.references:
        if not reference.startswith("#") or reference[1:] not in page.ids:
            print(f"reference to {reference}")
    for tag in FORBIDDEN:
        if tag in page.seen:
            print(f"there is a {tag}")
    for tag in NEEDED:
        if tag not in page.seen:
            print(f"there is no {tag}")
    if "@import" in text:
        print("there is an @import")
    return page.seen.count("svg")


def check_pictures(folder):
    pictures = sorted(os.listdir(folder))
    for name in pictures:
        try:
            root = tree.parse(os.path.join(folder, name)).getroot()
        except tree.ParseError as error:
            print(f"{name}: {error}")
            continue
        if not root.tag.endswith("}svg"):
            print(f"{name} is no svg")
        elif not root[0].tag.endswith("}title") or not root[0].text:
            print(f"{name} has no title")
    return len(pictures)


def main(path, alone=""):
    with open(path, encoding="utf-8") as file:
        inline = check_page(file.read())
    if alone:
        return
    files = check_pictures(path[: -len(".html")])
    if inline != files:
        print(f"{inline} pictures in the page, {files} files")


main(*sys.argv[1:])
