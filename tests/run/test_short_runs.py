"""What a run says that is too short to learn, and about its environments."""

from reverie.run import launch


def test_a_run_without_an_update_says_so_and_evaluates_nothing(make_config, tmp_path, capfd):
    words = ["--run.steps", "10", "--run.final_eval_eps", "3", "--logger.outputs", "terminal"]
    outcome = launch(make_config(tmp_path, *words, "--run.envs", "1"))
    assert (outcome.updates, outcome.evaluation) == (0, None)
    assert not (tmp_path / "evaluation.json").exists()
    notes = capfd.readouterr().out
    assert "the first update needs 18 steps in replay, and run.steps is 10." in notes
    assert "there is nothing to evaluate" in notes
    assert "1 environment, backend sync: as configured. It was set by block debug." in notes
    assert "Compiling: about 20 seconds" in notes
    # With more steps the same run learns and is evaluated.
    again = launch(make_config(tmp_path, *words[2:], "--run.envs", "1", "--run.steps", "30"))
    assert again.updates
    assert again.evaluation
    assert "will learn nothing" not in capfd.readouterr().out
