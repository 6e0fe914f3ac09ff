"""`unifusion doctor`: what is broken in this environment, and the remedy."""

from __future__ import annotations

import typer

from unifusion.cli import common

__all__ = ["doctor"]

SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(json: common.Json = False) -> None:
    """Say what is broken here and the remedy. Exit code 1 when something that the main job needs is broken."""
    from unifusion.cli.checks import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not json:
            remedy = f"\n     -> {finding.remedy}" if finding.remedy else ""
            print(f"{SIGNS[finding.state]} {finding.name}: {finding.found}{remedy}", flush=True)
    failed = [f.name for f in findings if f.state == "fail"]
    if json:
        common.print_json({"healthy": not failed, "findings": [vars(f) for f in findings]})
    else:
        print(f"{len(failed)} broken: {', '.join(failed)}" if failed else "nothing that the main job needs is broken")
    if failed:
        raise typer.Exit(1)
