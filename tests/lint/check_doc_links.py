#!/usr/bin/python3
"""Pointers lead somewhere: links of the documents, with their anchors, and what comments and messages name.

- `[text](page.md#anchor)` in a document: the file is there, and so is the heading.
- `docs/page.md`, `docs/adr/0007` in any other file: the page is there; with `, "Heading"` behind it, the heading too.
- `module/file.hpp` in a comment of the code: there is such a file. A header's first line names the header itself.
Usage: check_doc_links.py [REPOSITORY]
"""
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
CODE = (".hpp", ".cpp")
problems = []


def problem(path, line, what):
    problems.append(f"{path}:{line}: {what}")


@functools.cache
def headings(page):
    """The headings of a page as they are written, bold ones of a paragraph too, and the anchors that GitHub makes of them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    written, anchors = set(re.findall(r"(?m)^\*\*(.+?)[.:]?\*\*", text)), set()
    for heading in re.findall(r"(?m)^#{1,6} +(.+?) *$", text):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        numbers = (f"-{number}" for number in range(1, 9))
        anchors.add(anchor if anchor not in anchors else next(anchor + one for one in numbers if anchor + one not in anchors))
        written.add(plain)
    return written, anchors


def check_document(path, text):
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            page = (path.parent / name).resolve() if name else path
            if not page.exists():
                problem(path.relative_to(ROOT), number, f"{target} is not there")
            elif anchor and page.suffix == ".md" and anchor not in headings(page)[1]:
                problem(path.relative_to(ROOT), number, f"{target}: the page has no such heading")


def check_pointers(path, text):
    for found in re.finditer(r"(?<![\w./-])docs/([\w/-]+(?:[.][\w-]+)*)(?:#([\w-]+)|,[\s/*#]+\\?\"([^\"\\]+)\\?\")?", text):
        name, anchor, heading = found.groups()
        number = text.count("\n", 0, found.start()) + 1
        page = ROOT / "docs" / name
        if "." not in name and not name.startswith("adr/"):
            continue  # a name in an example
        if re.fullmatch(r"adr/\d{4}", name):
            page = next(iter(sorted((ROOT / "docs/adr").glob(name[4:] + "-*.md"))), page)
        if not page.exists():
            problem(path.relative_to(ROOT), number, f"docs/{name} is not there")
        elif anchor and anchor not in headings(page)[1] or heading and heading not in headings(page)[0]:
            problem(path.relative_to(ROOT), number, f"docs/{name} has no heading {anchor or heading}")


def check_comments(path, text):
    first = re.match(r"// ([\w/]+\.hpp) - ", text)
    own = path.relative_to(ROOT)
    if path.suffix == ".hpp" and first and first[1] not in (str(own), str(own).removeprefix("src/")):
        problem(own, 1, f"names itself {first[1]}")
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.partition("//")[2] if not re.search(r"https?://", line) else ""
        for name in re.findall(r"(?<![\w./*-])((?:[a-z_]\w*/)+\w+\.(?:hpp|cpp|py|sh|yaml|json))(?!\w)", comment):
            if name.startswith("docs/"):
                continue  # check_pointers
            if not any((ROOT / folder / name).exists() for folder in ("", "src", "tests", path.parent)):
                problem(own, number, f"{name} is not there")


def main():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    checked = 0
    for path in (ROOT / name for name in listed.split("\0") if name):
        if not path.is_file() or path.is_symlink() or path == pathlib.Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        checked += 1
        if path.suffix == ".md":
            check_document(path, text)
        elif "corpus" not in path.parts:
            check_pointers(path, text)
        if path.suffix in CODE:
            check_comments(path, text)
    for line in problems:
        print(line)
    print(f"{checked} files, {len(problems)} problems")
    return 1 if problems or checked < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
