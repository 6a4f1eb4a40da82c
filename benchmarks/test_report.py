"""A report from its first measurement to the tables: runs are kept, gone on with, and put together."""

import itertools
import threading
from pathlib import Path

import pytest

from . import harness, neighbours, readme, report, session, tables
from .harness import Timing
from .peers import Run
from .results import ONE, OURS, Key, Measured, Merged, Results, Row
from .targets import Target

KEY = Key("inference", "lstm", "smoke-one", 2)


def measured(ours: float, other: float) -> Measured:
    times = {OURS: ours, ONE: 2 * ours, "other": other}
    return Measured({name: Timing(t, t, 1) for name, t in times.items()}, roof=ours / 2, fma=1e9)


def test_figures_are_medians_of_each_runs_own() -> None:
    row = Row(KEY, [measured(1.0, 4.0), measured(10.0, 20.0), measured(2.0, 6.0)])
    assert row.best == 2.0 and row.ratios == {"other": 3.0} and row.fastest == ("other", 3.0)
    assert row.over_one == 2.0 and row.of_roof == 0.5


def test_rows_that_were_disturbed_are_found_and_the_calmer_is_kept() -> None:
    calm, loud, other = measured(1.0, 2.0), measured(1.0, 2.5), measured(1.1, 2.0)
    runs = [Results(rows={KEY: row}) for row in (calm, loud, other)]
    assert [(run is runs[1], key) for run, key in Merged(runs).disturbed] == [(True, KEY)]
    assert loud.calmer(calm) is calm.calmer(loud) is calm
    assert loud.calmer(other) is other  # 1.1 * 2.2 * 2.0 against 1.0 * 2.0 * 2.5


def test_a_row_goes_on_until_its_best_has_been_seen_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = {3, 8}  # turns
    turns: list[str] = []

    def turn(self: harness._Racer, share: float) -> None:
        turns.append("turn")
        self.turns.append(1.0 if len(self.turns) in quiet else 2.0)
        self.samples += self.turns[-1:] * 3

    monkeypatch.setattr(harness._Racer, "turn", turn)
    timing = harness.race({"a": Run(int, dict)}, budget=1e-3)["a"]
    assert len(turns) == 9 and timing == Timing(1.0, 2.0, 27)
    quiet.clear()
    assert harness.race({"a": Run(int, dict)}, budget=1e-3)["a"].samples == 3 * harness.ROUNDS
    quiet.add(3)
    monkeypatch.setattr(harness, "_PATIENCE", 0.0)
    assert harness.race({"a": Run(int, dict)}, budget=1e-3)["a"].samples == 3 * harness.ROUNDS


def test_disturbed_rows_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []

    def race(runs: dict[str, Run], budget: float, threads: int) -> dict[str, Timing]:
        taken.append(1.0 if len(taken) in (0, 3) else 1.3)
        return {name: Timing(taken[-1], taken[-1], 1) for name in runs}

    monkeypatch.setattr(harness, "race", race)
    monkeypatch.setattr(session, "_roofs", lambda *args: {})
    args = [
        "--cells",
        "lstm",
        "--peers",
        "numpy",
        "--threads",
        "1",
        "--no-targets",
        "--quick",
        "--repeat",
        "3",
    ]
    args += ["--shapes", "step-1x40", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert report.main(args) == 0
    assert taken == [1.0, 1.3, 1.3, 1.0, 1.3]
    bests = [[s for *_, s in Results.load(tmp_path / f"run-{n}.json").times()] for n in (1, 2, 3)]
    assert [set(b) for b in bests] == [{1.0}, {1.0}, {1.3}]
    assert "1 disturbed rows of a run were measured again" in (tmp_path / "out" / "report.md").read_text()


def test_results_survive_their_file(tmp_path: Path) -> None:
    target = Target("Fast", "a figure", "≥", 1.0, "times", {"lstm": 2.0})
    results = Results(["CPU: any"], "config", {}, {KEY: measured(1.0, 2.0)}, {"a": [target]}, ["w"], ["s"])
    results.save(tmp_path / "run-1.json")
    assert Results.load(tmp_path / "run-1.json") == results


def test_a_target_names_what_misses_it() -> None:
    reached = {f"row {n}": n / 4 for n in range(1, 9)}
    target = Target("Fast", "rows", "≥", 1.0, "times", reached)
    assert not target.met
    assert target.reached_text == "3 of 8 rows miss it; worst: row 1 0.25, row 2 0.5, row 3 0.75"


def test_slow_calls_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_ONCE", 0.0)
    calls: list[int] = []
    slow = Run(lambda: calls.append(sum(range(100_000))), dict)
    assert harness.race({"slow": slow}, budget=1e-6)["slow"].samples == len(calls) == 1


def test_a_turn_waits_for_threads_that_still_compute() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    spinner = threading.Thread(target=spin)
    ends = threading.Timer(0.2, stop.set)
    harness._settle()
    spinner.start()
    ends.start()
    harness._settle()
    assert stop.is_set()
    spinner.join()


def test_a_row_waits_for_cores_to_be_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_LOOK", 0.0)
    ways = iter([1e-7, 5e-7, 5e-7, 1.5e-7, 0.9e-7])
    cores = neighbours.Neighbours(lambda: next(ways), lambda: 2.0)
    assert cores.wait()  # nothing to compare with
    assert cores.wait()  # two looks in vain
    assert next(ways) == 0.9e-7 and cores.nearest == 1e-7 and cores.far == 0


def test_a_row_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_PATIENCE", 0.02)
    monkeypatch.setattr(neighbours, "_LOOK", 0.001)
    ways = itertools.chain([1e-7], itertools.repeat(5e-7))
    cores = neighbours.Neighbours(lambda: next(ways), lambda: 2.0)
    assert cores.wait()
    assert not cores.wait()
    assert cores.far == 1 and cores.waited >= 0.02
    neighbours.Neighbours().wait()  # of this machine


def test_threads_of_one_core_are_not_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_LOOK", 0.0)
    speeds, ways = iter([1.0, 1.1, 1.9, 1.9, 1.2]), iter([1e-7, 1.1e-7])
    cores = neighbours.Neighbours(lambda: next(ways), lambda: next(speeds))
    cores.wait()  # until the third look
    cores.wait()
    assert not cores.are_two()
    assert cores.nearest == 1e-7 and cores.far == 0


@pytest.mark.parametrize(
    ("near", "two", "expected"),
    [
        ([True, True], [False, True], 2),
        ([True, False], [False], 2),  # then they never came to be two: there is nothing to wait for
        ([False], [], 1),
        ([True, True, True], [False, False, False], 3),
    ],
)
def test_a_row_whose_cores_were_one_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, near: list[bool], two: list[bool], expected: int
) -> None:
    waits, looks = iter(near), iter(two)

    class Cores(neighbours.Neighbours):
        def wait(self) -> bool:
            found = next(waits)
            self.far += not found
            return found

        def are_two(self) -> bool:
            return next(looks)

    races: list[int] = []

    def race(runs: object, budget: float, threads: int) -> dict[str, Timing]:
        races.append(threads)
        return {}

    monkeypatch.setattr(session, "_roofs", lambda *args: {})
    monkeypatch.setattr(session, "Neighbours", Cores)
    monkeypatch.setattr(harness, "race", race)
    keys = [Key("inference", "lstm", "smoke-one", threads) for threads in (1, 2)]
    monkeypatch.setattr(session, "_keys", lambda options: keys)
    options = session.Options(["lstm"], ["smoke-one"], [1, 2], [OURS], 0.01, quick=True, targets=False)
    run = Results()
    session.measure(run, options, None)
    assert races == [1] + [2] * expected
    assert [*waits] == [*looks] == []
    assert len(run.notes) == (not all(near) or not any(two))


def test_what_was_measured_on_far_cores_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Far(neighbours.Neighbours):
        def wait(self) -> bool:
            self.far += 1
            return False

    def measure_row(run: Results, key: Key, options: session.Options, cores: Far) -> None:
        if key.threads > 1:
            cores.wait()

    monkeypatch.setattr(session, "_roofs", lambda *args: {})
    monkeypatch.setattr(session, "Neighbours", Far)
    monkeypatch.setattr(session, "_measure_row", measure_row)
    run = Results()
    options = session.Options(["lstm"], ["smoke"], [1, 2], [], 0.01, quick=True, targets=False)
    session.measure(run, options, None)
    assert run.notes and all(", threads 2: " in note for note in run.notes)


def test_runs_are_resumed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, page = tmp_path / "data", tmp_path / "out", tmp_path / "page.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    common = ["--cells", "lstm", "--peers", "numpy", "--threads", "1", "--budget", "0.01", "--no-targets"]
    common += ["--data", str(data), "--out", str(out), "--quick"]
    assert report.main([*common, "--shapes", "step-1x40", "--repeat", "2"]) == 0
    first = (data / "run-1.json").read_text()
    again = ["--shapes", "step-1x40", "smoke-one", "--resume", "--readme", str(page)]
    assert report.main([*common, *again]) == 0
    kept = [Results.load(data / f"run-{n}.json") for n in (1, 2)]
    assert [len(run.rows) for run in kept] == [3, 1]
    assert first != (data / "run-1.json").read_text()
    assert "3/3" not in capsys.readouterr().err  # the step was there already
    text = (out / "report.md").read_text()
    assert "median of 2 runs" in text and "lstm smoke-one" in text
    table = page.read_text()
    assert table.startswith("before") and table.endswith("after\n") and "old" not in table
    assert "| (1, 40) | LSTM one step |" in table


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="has no lines"):
        readme.rewrite(page, Merged([Results()]))
    assert page.read_text() == "nothing\n"


def test_a_report_of_nothing() -> None:
    assert tables.markdown(Merged([Results()]), []).startswith("# Benchmarks")
