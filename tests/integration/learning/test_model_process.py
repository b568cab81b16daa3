import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from flops.errors import ModelCodeError, ModelProcessEndedError
from flops.learning.model_process.process import ModelProcess

MakeModel = Callable[..., ModelProcess]
PARAMETERS = [np.ones((2, 3), np.float32), np.array(2.0)]


def eventually(claim: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class TestCalls:
    def test_parameters_keep_their_types(self, make_model: MakeModel) -> None:
        weights, bias = make_model().get_parameters()

        assert (weights.dtype, weights.shape) == (np.float32, (2, 3))
        assert (bias.dtype, bias.shape) == (np.float64, ())

    def test_fit_starts_from_the_given_parameters(self, make_model: MakeModel) -> None:
        fitted, examples = make_model().fit(PARAMETERS)

        assert [parameter.tolist() for parameter in fitted] == [[[2, 2, 2], [2, 2, 2]], 3]
        assert examples == 10

    def test_evaluate(self, make_model: MakeModel) -> None:
        assert make_model().evaluate(PARAMETERS) == (0.25, 0.75, 5)

    def test_load_data_tells_the_structure_of_an_input(self, make_model: MakeModel) -> None:
        assert make_model().load_data() == {"shape": [4], "dtype": "float32"}

    def test_the_process_stays_warm(self, make_model: MakeModel) -> None:
        model = make_model("def evaluate_model(self):\n    return os.getpid(), 0, 1")

        assert model.evaluate(PARAMETERS) == model.evaluate(PARAMETERS)

    def test_a_loss_that_is_nan_is_a_result(self, make_model: MakeModel) -> None:
        model = make_model("def evaluate_model(self):\n    return np.float32('nan'), np.array([0.5]), np.int64(3)")

        loss, accuracy, examples = model.evaluate(PARAMETERS)

        assert np.isnan(loss)
        assert (accuracy, examples) == (0.5, 3)

    def test_a_single_array_is_given_back_as_one(self, make_model: MakeModel) -> None:
        model = make_model("""
            def get_model_parameters(self):
                return np.zeros(3)
            def set_model_parameters(self, parameters):
                assert parameters.shape == (3,), parameters
        """)

        fitted, _ = model.fit([np.ones(3)])

        assert len(fitted) == 1

    def test_prints_go_to_the_log(self, make_model: MakeModel, capfd: pytest.CaptureFixture[str]) -> None:
        model = make_model("""
            def fit_model(self):
                print("on stdout")
                print("on stderr", file=sys.stderr)
                os.write(1, b"on descriptor 1 \\xff\\n")
                subprocess.run(["echo", "from a child"])
                return 1
        """)

        model.fit(PARAMETERS)
        model.close()

        printed = capfd.readouterr().err
        assert [
            line for line in ("on stdout", "on stderr", "on descriptor 1 \ufffd", "from a child") if line not in printed
        ] == []

    def test_the_code_does_not_see_the_actors_secrets_or_packages(
        self, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("FLOPS_BROKER_PASSWORD_FILE", "/secret")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        model = make_model("""
            def evaluate_model(self):
                assert "FLOPS_BROKER_PASSWORD_FILE" not in os.environ
                assert os.environ.get("PYTHONPATH") is None
                import flops_utils
                assert "provided" in flops_utils.__file__
                assert os.getcwd().endswith("work")
                assert sys.stdin.read() == ""
                return 0, 0, 1
        """)

        model.evaluate(PARAMETERS)

    def test_parameters_that_cannot_be_sent(self, make_model: MakeModel) -> None:
        model = make_model()

        with pytest.raises(ModelCodeError, match="only numbers and booleans"):
            model.fit([np.array([None])])
        assert model.evaluate(PARAMETERS)[2] == 5


class TestCodeThatRaises:
    @pytest.mark.parametrize(
        ("body", "call", "reason"),
        [
            ("def fit_model(self):\n    raise ValueError('bad labels')", "fit_model", "ValueError: bad labels"),
            ("def fit_model(self):\n    sys.exit(3)", "fit_model", "SystemExit: 3"),
            ("def fit_model(self):\n    raise KeyboardInterrupt", "fit_model", "KeyboardInterrupt"),
            ("def fit_model(self):\n    pass", "fit_model", "has to be a whole number, not None"),
            ("def fit_model(self):\n    return 0", "fit_model", "at least 1, not 0"),
            ("def get_model_parameters(self):\n    return {}", "get_model_parameters", "a list of arrays is expected"),
            ("def set_model_parameters(self, p):\n    self.missing", "set_model_parameters", "AttributeError"),
            ("def __init__(self):\n    1 / 0", "ModelManager()", "ZeroDivisionError"),
            ("import nowhere", "import model_manager", "No module named 'nowhere'"),
            ("def fit_model(self):\n    class E(Exception):\n        __str__ = 1\n    raise E", "fit_model", "E: "),
        ],
    )  # fmt: skip
    def test_is_an_answer(self, make_model: MakeModel, body: str, call: str, reason: str) -> None:
        with pytest.raises(ModelCodeError, match=reason.replace("(", r"\(")) as raised:
            make_model(body).fit(PARAMETERS)

        assert raised.value.call == call
        assert not isinstance(raised.value, ModelProcessEndedError)

    @pytest.mark.parametrize(
        "result", ["None", "(1, 2)", "('a', 0, 1)", "(0, 0, -1)", "(0, 0, None)", "(0, [1, 2], 3)"]
    )
    def test_a_wrong_result_of_evaluate_is_named(self, make_model: MakeModel, result: str) -> None:
        with pytest.raises(ModelCodeError, match="evaluate_model"):
            make_model(f"def evaluate_model(self):\n    return {result}").evaluate(PARAMETERS)

    def test_the_traceback_shows_the_repository_and_nothing_of_flops(self, make_model: MakeModel) -> None:
        with pytest.raises(ModelCodeError) as raised:
            make_model("def fit_model(self):\n    raise ValueError('bad labels')").fit(PARAMETERS)

        assert 'File "model_manager.py", line' in raised.value.traceback
        assert "raise ValueError('bad labels')" in raised.value.traceback
        assert "session.py" not in raised.value.traceback

    def test_endless_messages_are_cut(self, make_model: MakeModel) -> None:
        with pytest.raises(ModelCodeError) as raised:
            make_model("def fit_model(self):\n    raise ValueError('x' * 10_000_000)").fit(PARAMETERS)

        assert len(raised.value.reason) < 3_000
        assert len(raised.value.traceback) < 20_000

    def test_the_process_goes_on(self, make_model: MakeModel) -> None:
        model = make_model("def fit_model(self):\n    raise ValueError")
        with pytest.raises(ModelCodeError):
            model.fit(PARAMETERS)

        assert model.evaluate(PARAMETERS) == (0.25, 0.75, 5)

    def test_code_that_could_not_be_loaded_is_loaded_again_by_the_next_call(
        self, make_model: MakeModel, tmp_path: Path
    ) -> None:
        model = make_model(f"if not os.path.exists({str(tmp_path / 'mended')!r}): raise ValueError('broken')")
        with pytest.raises(ModelCodeError, match="broken"):
            model.get_parameters()

        (tmp_path / "mended").touch()

        assert len(model.get_parameters()) == 2

    def test_a_repository_without_model_manager(self, tmp_path: Path) -> None:
        model = ModelProcess(Path(sys.executable), tmp_path, tmp_path / "model")

        with pytest.raises(ModelCodeError, match="No module named 'model_manager'"):
            model.get_parameters()
        model.close()

    def test_a_child_that_the_code_forked_does_not_answer(self, make_model: MakeModel) -> None:
        model = make_model("""
            def fit_model(self):
                if os.fork() == 0:
                    raise ValueError("in the child")
                os.wait()
                return 7
        """)

        assert [model.fit(PARAMETERS)[1] for _ in range(3)] == [7, 7, 7]

    def test_the_aggregator_has_no_data(self, make_model: MakeModel) -> None:
        model = make_model("""
            def set_model_data(self):
                from flops_utils.ml_repo_building_blocks import load_dataset
                load_dataset()
        """)

        with pytest.raises(ModelCodeError, match="the aggregator has none"):
            model.load_data()


class TestProcessesThatDie:
    @pytest.mark.parametrize(
        ("death", "reason"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL, as happens when the memory runs out"),
            ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
            ("os._exit(3)", "ended with exit code 3"),
            ("os.closerange(3, 100)", "ended with exit code 1"),
        ],
    )
    def test_say_how_with_the_end_of_their_output(self, make_model: MakeModel, death: str, reason: str) -> None:
        model = make_model(f"def fit_model(self):\n    print('last words')\n    {death}")

        with pytest.raises(ModelProcessEndedError, match=reason) as raised:
            model.fit(PARAMETERS)

        assert raised.value.call == "fit"
        assert "last words" in raised.value.traceback

    def test_are_started_again_with_their_data(self, make_model: MakeModel) -> None:
        model = make_model("""
            def fit_model(self):
                os._exit(1)
            def evaluate_model(self):
                return 0, self.loaded, 1
        """)
        model.load_data()
        for _ in range(2):
            with pytest.raises(ModelProcessEndedError):
                model.fit(PARAMETERS)

        assert model.evaluate(PARAMETERS) == (0, 1, 1)

    def test_are_noticed_although_a_child_holds_the_connection(self, make_model: MakeModel) -> None:
        model = make_model("""
            def fit_model(self):
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(5)
                os.kill(os.getpid(), signal.SIGKILL)
        """)

        with pytest.raises(ModelProcessEndedError, match="SIGKILL"):
            model.fit(PARAMETERS)

    def test_a_process_that_breaks_the_protocol_is_killed(self, make_model: MakeModel) -> None:
        model = make_model("""
            def fit_model(self):
                for descriptor in range(3, 1024):
                    try:
                        os.write(descriptor, b"GET / HTTP/1.1 " * 10)
                    except OSError:
                        pass
                return 1
        """)

        with pytest.raises(ModelProcessEndedError, match="has broken the protocol"):
            model.fit(PARAMETERS)

    def test_an_interpreter_that_does_not_exist(self, tmp_path: Path) -> None:
        model = ModelProcess(tmp_path / "nowhere", tmp_path, tmp_path / "model")

        with pytest.raises(ModelProcessEndedError, match="could not be started"):
            model.start()


class TestEnding:
    SLEEP_WITH_CHILDREN = """
        def fit_model(self):
            own_session = subprocess.Popen(["sleep", "600"], start_new_session=True)
            child = subprocess.Popen(["sleep", "600"])
            with open({path!r} + ".part", "w") as file:
                print(os.getpid(), own_session.pid, child.pid, file=file)
            os.rename({path!r} + ".part", {path!r})
            time.sleep(600)
    """

    def fit_in_background(
        self, make_model: MakeModel, tmp_path: Path, **options: float
    ) -> tuple[ModelProcess, threading.Thread, list[BaseException], list[int]]:
        path = tmp_path / "pids"
        model = make_model(self.SLEEP_WITH_CHILDREN.format(path=str(path)), **options)
        errors: list[BaseException] = []

        def fit() -> None:
            try:
                model.fit(PARAMETERS)
            except ModelProcessEndedError as error:
                errors.append(error)

        thread = threading.Thread(target=fit)
        thread.start()
        assert eventually(path.exists)
        return model, thread, errors, [int(pid) for pid in path.read_text().split()]

    @pytest.mark.parametrize(("ending", "reason"), [("cancel", "was cancelled"), ("close", "was closed")])
    def test_during_a_call_kills_all_children_and_lets_the_call_raise(
        self, make_model: MakeModel, tmp_path: Path, ending: str, reason: str
    ) -> None:
        model, thread, errors, pids = self.fit_in_background(make_model, tmp_path)

        getattr(model, ending)()

        thread.join(5)
        assert [reason in str(error) for error in errors] == [True]
        assert eventually(lambda: not any(map(is_running, pids)))

    def test_a_call_that_takes_too_long_is_ended(self, make_model: MakeModel, tmp_path: Path) -> None:
        _, thread, errors, pids = self.fit_in_background(make_model, tmp_path, call_timeout_s=2)

        thread.join(10)

        assert ["did not answer within 2 s" in str(error) for error in errors] == [True]
        assert eventually(lambda: not any(map(is_running, pids)))

    def test_after_cancel_the_next_call_starts_it_again(self, make_model: MakeModel) -> None:
        model = make_model()
        model.get_parameters()

        model.cancel()

        with pytest.raises(ModelProcessEndedError, match="was cancelled"):
            model.get_parameters()
        assert len(model.get_parameters()) == 2

    def test_close_is_final_and_idempotent(self, make_model: MakeModel) -> None:
        model = make_model()
        model.start()

        model.close()
        model.close()

        with pytest.raises(ModelProcessEndedError, match="was closed"):
            model.get_parameters()

    def test_close_lets_the_code_clean_up(self, make_model: MakeModel, tmp_path: Path) -> None:
        model = make_model(f"import atexit, pathlib\natexit.register(pathlib.Path({str(tmp_path / 'bye')!r}).touch)")
        model.get_parameters()

        model.close()

        assert (tmp_path / "bye").exists()

    def test_an_actor_that_is_killed_takes_its_model_along(self, make_model: MakeModel, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        actor = os.fork()
        if actor == 0:
            make_model(self.SLEEP_WITH_CHILDREN.format(path=str(pids))).fit(PARAMETERS)
        assert eventually(pids.exists)

        os.kill(actor, signal.SIGKILL)
        os.waitpid(actor, 0)

        model, escaped, child = map(int, pids.read_text().split())
        assert eventually(lambda: not is_running(model) and not is_running(child))
        os.kill(escaped, signal.SIGKILL)


class TestStartingEarly:
    def test_start_does_not_wait_for_the_code(self, make_model: MakeModel, tmp_path: Path) -> None:
        model = make_model(f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)")

        model.start()
        model.start()
        (tmp_path / "go").touch()

        assert len(model.get_parameters()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.10", "3.13"])
def test_other_pythons_with_other_numpys(
    make_model: MakeModel, make_environment: Callable[..., Path], version: str
) -> None:
    model = make_model("def fit_model(self):\n    raise ValueError('here')", make_environment(version, "numpy"))

    assert model.load_data() == {"shape": [4], "dtype": "float32"}
    assert [array.shape for array in model.get_parameters()] == [(2, 3), ()]
    assert model.evaluate(PARAMETERS) == (0.25, 0.75, 5)
    with pytest.raises(ModelCodeError, match="ValueError: here"):
        model.fit(PARAMETERS)
