"""Writes the table of permissions in docs/operations.md from template.yaml. `--check` only says whether it would change.

What each statement allows, and on what, is as docs/parameters.md has it; why it is needed is the comment beside the statement.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_parameters import POLICIES, ROOT, reference

TARGET = Path(__file__).with_name("operations.md")
BEGIN = "<!-- permissions: written by `make docs` from template.yaml, do not edit -->\n"
END = "<!-- end of permissions -->\n"

PLAIN = {
    ("BackfillPolicy", "ReadTables"): "the rows, and the settings from which the table can be made again",
    ("BackfillPolicy", "WriteVersions"): "puts rows where nothing newer is, and records the run",
    ("BackfillPolicy", "EncryptAndDecrypt"): "the archive is encrypted by your key",
    ("RestorerPolicy", "SeeBucket"): "a bucket that keeps no versions holds no history, and is refused",
    ("RestorerPolicy", "ListVersions"): "a restore is computed from the listing of versions",
    ("RestorerPolicy", "FindStack"): "where the archive is not named on the command line, this stack's outputs name it",
    ("RestorerPolicy", "Decrypt"): "the archive is encrypted by your key",
}
"""Reasons of statements that have no comment in the template."""


def permissions() -> str:
    """Markdown: one table for each policy."""
    template = (ROOT / "template.yaml").read_text()
    _, _, tables = reference().partition("## Who may do what")
    parts = []
    for policy, title in POLICIES.items():
        rows = tables.partition(f"### {title}\n")[2].partition("\n###")[0]
        statements = [line for line in rows.splitlines() if line.startswith("| ") and not line.startswith("| statement")]
        why = dict(_reasons(template, policy))
        parts += ["", f"### {title}", "", "| statement | actions | on | why |", "|---|---|---|---|"]
        parts += [f"{line} {_sentence(why, policy, line)} |" for line in statements]
    return "\n".join([*parts, "", ""])


def _reasons(template: str, policy: str) -> Iterator[tuple[str, str]]:
    """Statement → the comment beside its name."""
    _, _, resource = template.partition(f"\n  {policy}:\n")
    resource, *_ = re.split(r"\n  [A-Z#]", resource)
    yield from re.findall(r"- Sid: (\w+)(?: +# (.+))?", resource)


def _sentence(why: dict[str, str], policy: str, line: str) -> str:
    sid = line.split()[1]
    return why[sid] or PLAIN[policy, sid]


def document(text: str) -> str:
    """docs/operations.md with its table as the template wants it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + permissions() + END + after


if __name__ == "__main__":
    before = TARGET.read_text()
    after = document(before)
    if "--check" in sys.argv:
        sys.exit(0 if before == after else "docs/operations.md is stale: run make docs")
    TARGET.write_text(after)
