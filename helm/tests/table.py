"""The README's table of values, made from the @param lines of values.yaml, and the README's example.

It writes no file: `check.py table` prints, and a story compares. Read values.yaml for the lines themselves.
"""

import json
import re

import yaml

from chart import defaults, documented


def leaves(values, path=""):
    """Values by dotted key; an empty map is a value, and so is a map of quantities."""
    found = {}
    for key, value in values.items():
        place = f"{path}{key}"
        whole = not isinstance(value, dict) or not value or key == "resources"
        found |= {place: value} if whole else leaves(value, f"{place}.")
    return found


def rendered(chart):
    values = leaves(defaults(chart))
    lines = ["| value | default | |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| `{key}` | `{json.dumps(values[key])}` | {what} |" for key, what in documented(chart)])


def example(chart):
    """The first YAML block of the README."""
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", (chart / "README.md").read_text(), re.S).group(1))
