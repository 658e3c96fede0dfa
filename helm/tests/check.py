"""Holds the chart against its promises, without a cluster: python check.py BIN_DIR stories|faults|pods|table

`stories` tells every story; `faults` plants faults and wants each noticed; `pods` prints as JSON what each program of a
full release is given, for the Rust test that loads it; `table` prints the README's table. BIN_DIR has helm3 and helm4.
"""

import concurrent.futures
import json
import sys
import traceback
from pathlib import Path

import chart
import faults
import stories
import table

# helm spends half of its time waiting for the disk.
AT_ONCE = 4


def tell(name, story, helm):
    """The failure, if there is one."""
    try:
        story(helm)
    except Exception:  # a KeyError is as much a broken promise as an assertion
        return f"FAILED {name.replace('_', ' ')}\n{traceback.format_exc(limit=-2)}"
    return None


def tell_all(bin_dir):
    helm = chart.Helm(bin_dir)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as crew:
        told = crew.map(lambda pair: tell(*pair, helm), stories.all_stories().items())
        return [failure for failure in told if failure]


def find_all(bin_dir):
    never = [f"no fault is planted for `{story.__name__}`" for story in faults.stories_never_broken()]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as crew:
        found = crew.map(lambda pair: faults.unnoticed(*pair, bin_dir), faults.pairs())
        return never + [said for said in found if said]


def programs(bin_dir):
    """Name, arguments, settings file and literal variables of each pod's program, and the names of its secret ones."""
    objects = chart.Helm(bin_dir).render(chart.FULL)
    given = []
    for owner, template in chart.pods(objects):
        variables = chart.env(template)
        literal = {name: value for name, value in variables.items() if isinstance(value, str)}
        given.append({
            "name": owner["metadata"]["name"], "args": chart.container(template)["args"],
            "file": chart.config(objects) if "LONGSHORE_CONFIG" in literal else None,
            "variables": literal, "secrets": sorted(set(variables) - set(literal)),
        })
    return given


def main(bin_dir, what):
    if what == "pods":
        return print(json.dumps(programs(bin_dir)))
    if what == "table":
        return print(table.rendered(chart.CHART))
    failures = {"stories": tell_all, "faults": find_all}[what](bin_dir)
    total = len(stories.all_stories()) if what == "stories" else len(faults.pairs())
    print("\n".join(failures + [f"{total} {what}, {len(failures)} failures"]), file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
