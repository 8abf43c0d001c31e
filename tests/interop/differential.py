#!/usr/bin/env python3
"""Compares what mqadmin printed of Apache's server and of apogee, command by command: tests/interop/run --differential.

    tests/interop/differential.py FOLDER     compares FOLDER/apache with FOLDER/apogee once more

All lines must be equal, but for what differences.py and differences_lite.py name.
"""
import difflib
import itertools
import pathlib
import re
import sys

import differences
import differences_lite

SERVERS = ["apache", "apogee"]
# What a test cannot wait for, and what makes records equally long: the same for both servers.
SETTINGS = ["enabledAppendPropCRC=true", "registerNameServerPeriod=10000", "enableLmq=true", "enableMultiDispatch=true", "minLiteTTl=1000",
            "liteTtlCheckInterval=1000"]
# Apache's keeps users and policies only where it is told how; ours always does. It looks from time to time who is to be told of messages.
APACHE_SETTINGS = [
    "liteEventCheckInterval=200",
    "authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
    "authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider",
]
EVIDENCE_LINES = 40
RULES = differences.RULES + differences_lite.RULES
# Which Java method of the tool failed where, and on which line of the runner.
STACK = re.compile(r"\s+(at \S+\(.*\)|\.\.\. \d+ more)$")


def masked(rule, line):
    """A line with what a rule names made equal: the groups of its expression, and how wide they are."""
    for found in reversed(list(re.finditer(rule.what, line))):
        for group in range(len(found.groups()), 0, -1):
            if found[group] is not None:
                line = line[:found.start(group)] + "…" + line[found.end(group):]
    return re.sub(" +", " ", line) if "…" in line else line


def normalized(text, rules, server, used):
    """The lines of one output with what may differ made equal."""
    command, *lines = (line for line in text.splitlines() if not STACK.match(line))
    for rule in rules:
        before = lines
        if rule.kind == "value":
            lines = [masked(rule, line) for line in lines]
        elif rule.kind in (server, "both"):
            lines = [line for line in lines if not re.search(rule.what, line)]
        elif rule.kind == "rest":
            lines = list(itertools.takewhile(lambda line: not re.search(rule.what, line), lines))
        if rule.kind == "unordered" or lines != before:
            used.add(rule)
    # What is sorted has its final text.
    return [command, *(sorted(lines) if any(rule.kind == "unordered" for rule in rules) else lines)]


def compare(folder, results):
    """Adds one result for each row, and one for each rule that was of no use."""
    folder, used = pathlib.Path(folder), set()
    rows = sorted({path.name for server in SERVERS for path in (folder / server).glob("*.txt")})
    for row in rows:
        name = row.removesuffix(".txt")
        sides = [folder / server / row for server in SERVERS]
        if not all(side.exists() for side in sides):
            results.add("diff", False, name, 0, "is not there for both servers")
            continue
        texts = [side.read_text() for side in sides]
        rules = [rule for rule in RULES if rule.matches(texts[1].partition("\n")[0])]
        apache, apogee = (normalized(text, rules, server, used) for text, server in zip(texts, SERVERS))
        # The command line names ids and addresses of its own server.
        difference = list(difflib.unified_diff(apache[1:], apogee[1:], "apache", "apogee", lineterm="", n=0))
        results.add("diff", not difference, name, 0, "" if not difference else f"{apogee[0]}: {len(difference)} lines of difference")
        print(*difference[:EVIDENCE_LINES], sep="\n", end="\n" if difference else "")
    if not rows:
        results.add("diff", False, "rows", 0, "there are none")
    for rule in RULES:
        if rule not in used:
            results.add("diff", False, "rule", 0, f"explains nothing any more: {rule}")


def main():
    class Results:
        failed = 0

        def add(self, _language, ok, name, _seconds, cause=""):
            self.failed += not ok
            if not ok:
                print(f"FAILED {name} {cause}")

    results = Results()
    compare(sys.argv[1], results)
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
