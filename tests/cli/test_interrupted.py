"""An interrupt while the commands are still being imported is one line, as it is later."""

import typer.main

from unifusion.cli import main


def test_an_interrupt_while_commands_are_read_ends_with_130_and_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.main, "get_command", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "unifusion: interrupted.\n"
