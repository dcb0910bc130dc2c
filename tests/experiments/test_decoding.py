"""Other ways to find a run's lists, through the verbs that a user has, and the runs that they are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import CONFIG
from torch.testing import assert_close

from rclrec_mini.cli import main
from rclrec_mini.evaluation.heuristics import CoOccurrence, padded_lists
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.experiments.decoding import DecodingConfig, co_occurring, search_of
from rclrec_mini.experiments.run import evaluate_run, load_run, run_experiment
from rclrec_mini.files import InputError
from rclrec_mini.models.baselines.sasrec import SASRecConfig
from rclrec_mini.models.language_model import LanguageModelConfig

D3 = DecodingConfig(method="d3", alpha=0.3)
BIGREC = DecodingConfig(method="bigrec", related=2.0)


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """The folders of a language model and of SASRec, a few steps each."""
    data, ids, _ = folders
    root = tmp_path_factory.mktemp("decoding")
    models = {
        "llm": LanguageModelConfig(d=26, layers=1, heads=1, ffn=31, events=11),
        "sasrec": SASRecConfig(d=26, heads=2, layers=1, ffn=31, max_history=11),
    }
    for name, model in models.items():
        run_experiment(replace(CONFIG, model=model), data, ids, root / name, progress=False)
    return root / "llm", root / "sasrec"


def test_lists_are_evaluated_and_recommended(folders, runs, capsys):
    data, (llm, sasrec) = folders[0], runs
    found = {
        name: evaluate_run(llm, data, decoding=config, assistant=helper, progress=False)
        for name, config, helper in (("trie", None, None), ("d3", D3, sasrec), ("bigrec", BIGREC, None))
    }
    assert {name: result["decoding"]["method"] for name, result in found.items()} == {n: n for n in found}
    assert len({json.dumps(result["metrics"]) for result in found.values()}) == 3
    flags = ["--run", str(llm), "--data", str(data)]
    d3 = ["--decoding.method", "d3", "--decoding.alpha", "0.3", "--assistant", str(sasrec)]
    assert main(["evaluate", *flags, *d3, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == found["d3"]["metrics"]
    for asked in (d3, ["--decoding.method", "bigrec"]):
        assert main(["recommend", *flags, "--users", "1", "--exclude-seen", *asked]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 11
    assert main(["evaluate", *flags, "--decoding.alpha", "1.3"]) == 2
    assert "--decoding.alpha: found 1.3, expected 0..1" in capsys.readouterr().err


def test_any_generative_model_may_be_steered(folders, runs):
    data, _, rclrec = folders
    model, _, materials = load_run(rclrec, data)
    assistant = load_run(runs[1], data)[0]
    rows = materials.split.test[:23]
    lists = {
        alpha: rank(
            model, materials.sequences, materials.catalog, rows, beams=400,
            search=search_of(replace(D3, alpha=alpha), model, materials, assistant=assistant),
        )
        for alpha in (0.0, 1.0)
    }  # fmt: skip
    assert np.array_equal(lists[1.0], rank(assistant, materials.sequences, materials.catalog, rows))
    assert not np.array_equal(lists[0.0], lists[1.0])


def test_what_co_occurs_is_what_the_naive_ranking_counts(folders, runs):
    _, _, materials = load_run(runs[0], folders[0])
    neighbours = CoOccurrence.fit(materials.sequences, materials.split)
    rows = materials.split.test[:23]
    batch = materials.sequences.batch(rows, neighbours.history.config.max_history)
    expected = neighbours.history.scores(materials.sequences, rows) @ neighbours.related
    assert_close(co_occurring(neighbours)(batch).double(), torch.from_numpy(expected.toarray()), rtol=1e-5, atol=1e-7)
    assert (padded_lists(expected, 3) >= 0).any()


def test_misfits_are_named(folders, runs):
    data, _, rclrec = folders
    llm, sasrec = runs
    cases = [
        (llm, D3, None, "assistant: found none, expected one with decoding d3"),
        (llm, BIGREC, sasrec, "assistant: found one with decoding bigrec"),
        (llm, D3, rclrec, "assistant: found a model that writes semantic ids, expected one that scores items"),
        (sasrec, D3, sasrec, "decoding.method: found d3 for a model that scores items"),
        (rclrec, BIGREC, None, "decoding.method: found bigrec for RCLRec, expected a language model"),
    ]
    for run, decoding, assistant, words in cases:
        with pytest.raises(InputError, match=words):
            evaluate_run(run, data, decoding=decoding, assistant=assistant, progress=False)
