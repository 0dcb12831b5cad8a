"""A fault as its owner meets it: told in words by the command, and nothing is taken away that was there.

Each fault by itself is tested in tests/engine, in process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from commands.rendering import render
from tests.support.answers import METRICS
from tests.support.projects import CopyOf, Installed
from tests.support.twins import twins

pytestmark = pytest.mark.slow
RAW = "data/raw/simulated.parquet"
OUTPUTS = ("data/prepared", "data/holdout.json", "artifacts", "reports")


def outputs(project: Installed) -> dict[str, bytes]:
    files = [path for name in OUTPUTS for path in [project.folder / name, *(project.folder / name).rglob("*")]]
    # But for the note of what went wrong, which the report on a change reads.
    return {str(path): path.read_bytes() for path in files if path.is_file() and path.name != "failure.json"}


def test_broken_data_stops_the_loop_and_nothing_is_lost(trained: CopyOf) -> None:
    before = outputs(trained)
    code = (
        f"import pandas as pd; rows = pd.read_parquet({RAW!r}); rows.loc[3, 'plan'] = 'gold'; rows.to_parquet({RAW!r})"
    )
    trained.run("python", "-c", code)
    answer = trained.verb("run", code=None)
    assert "plan: 1 row break isin" in answer.stderr
    assert "What to do: " in answer.stderr
    assert "Traceback" not in answer.stderr
    assert outputs(trained) == before


# Runs inside the project: the model that there is must pass, and one of shuffled labels must not, by each metric that a
# project may be judged by, with what the template demands of it at first. python -c JUDGE NAME.yaml ...
JUDGE = """
import json, sys
from pathlib import Path
import pandas as pd
from twoloops import params, problem
from twoloops.errors import RedVerdictError
from twoloops.inner_loop.evaluate import evaluate
from twoloops.inner_loop.train import train

def missed(name):
    try:
        evaluate(params.load(Path(name)))
    except RedVerdictError:
        pass
    rules = json.loads(Path("reports/verdict.json").read_text())["rules"]
    return [rule["rule"] for rule in rules if not rule["passed"]]

good = {name: missed(name) for name in sys.argv[1:]}
path = "data/prepared/train.parquet"
rows = pd.read_parquet(path)
rows[problem.data.TARGET] = rows[problem.data.TARGET].sample(frac=1, random_state=1).to_numpy()
rows.to_parquet(path, index=False)
train(params.load())
print(json.dumps([good, {name: missed(name) for name in sys.argv[1:]}]))
"""


@pytest.mark.parametrize("trained", [*list(METRICS)[:1], *twins(list(METRICS)[1:])], indirect=True)
def test_each_metric_tells_a_good_model_from_one_that_learned_nothing(trained: CopyOf, tmp_path: Path) -> None:
    type_ = json.loads((trained.folder / "artifacts/model/signature.json").read_text(encoding="utf-8"))["task"]
    names = [f"{metric}.yaml" for metric in METRICS[type_]]
    for metric, name in zip(METRICS[type_], names, strict=True):
        render(tmp_path / metric, {"problem_type": type_, "primary_metric": metric})
        shutil.copy(tmp_path / metric / "params.yaml", trained.folder / name)
    good, shuffled = json.loads(trained.run("python", "-c", JUDGE, *names).stdout.splitlines()[-1])
    assert good == {name: [] for name in names}
    for name, missed in shuffled.items():
        assert "threshold" in missed, name
