"""Figures of a training log that have no place of their own."""

from __future__ import annotations

from tutelage.report.curves import other_figures


def test_figures_without_a_place_of_their_own_are_folded() -> None:
    log = [{"step": step, "loss": 0.1, "kl": 0.01 * step, "outcome.right.right": 0.5} for step in range(1, 41)]
    (shown,) = other_figures(log)
    assert "outcome.right.right" in shown
    assert ">kl<" not in shown
    assert other_figures([{"step": 1, "loss": 2.0, "lr": 1.0, "preferences.margin": 1.0}]) == []
