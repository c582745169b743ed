#!/usr/bin/env python3
"""Makes a folder that tells dpkg and apt of a machine with Debian's essential packages installed, and those named.

  fresh_machine.py DIR [PACKAGE...]   then: DPKG_ADMINDIR=DIR APT_CONFIG=DIR/apt.conf

The package lists and mirrors stay the machine's own. What is essential is taken with all that it depends on.
"""
import os
import re
import sys


def main():
    folder = sys.argv[1]
    with open("/var/lib/dpkg/status") as status:
        stanzas = [s for s in status.read().split("\n\n") if s.strip()]
    packages, providers = {}, {}
    for stanza in stanzas:
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+): *(.*)$", stanza))
        if fields["Status"] != "install ok installed":
            continue
        packages[fields["Package"]] = (fields, stanza)
        for name in [fields["Package"], *names(fields.get("Provides", ""))]:
            providers.setdefault(name, fields["Package"])
    kept, todo = set(), [name for name, (fields, _) in packages.items() if fields.get("Essential") == "yes" or fields.get("Priority") == "required"]
    todo += [name for name in sys.argv[2:] if name in packages]
    while todo:
        name = todo.pop()
        if name in kept:
            continue
        kept.add(name)
        fields = packages[name][0]
        for group in (fields.get("Depends", "") + "," + fields.get("Pre-Depends", "")).split(","):
            todo += [providers[choice] for choice in names(group, "|") if choice in providers][:1]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "status"), "w") as out:
        out.write("\n\n".join(packages[name][1] for name in sorted(kept)) + "\n")
    os.symlink("/var/lib/dpkg/info", os.path.join(folder, "info"))
    with open(os.path.join(folder, "apt.conf"), "w") as out:
        out.write(f'Dir::State::status "{folder}/status";\n')


def names(text, separator=","):
    return [word.strip().split(" ")[0].split(":")[0] for word in text.split(separator) if word.strip()]


main()
