"""Whether the links of a page lead somewhere: to a file of the source, and to a heading that it has."""
import functools
import re


@functools.cache
def _prose(page):
    """The lines of a page outside of blocks, with their numbers."""
    lines, fenced = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            lines.append((number, line))
    return lines


@functools.cache
def _headings(page):
    """What links call the headings of a page."""
    titles = (re.match(r"#+ (.*)", line) for _, line in _prose(page))
    texts = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title[1]).lower() for title in titles if title)
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def broken(page):
    """Links that lead nowhere, as 'line: link'."""
    found = []
    for number, line in _prose(page):
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            file, _, heading = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if "://" not in link and not (target.exists() and (not heading or heading in _headings(target))):
                found.append(f"{number}: {link}")
    return found
