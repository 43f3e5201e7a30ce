"""`summarymixing layers`: what it prints, plots and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Results, as_json

OURS = EncoderSource("ours", "summarymixing, 2 layers of 8, pre-trained", "/x/ours.pt", "aa")


def write(folder: Path, checkpoint: str, weights: list[float], **changes) -> Path:
    results = Results(
        task="probe_classification",
        head="mean_linear",
        encoder=OURS,
        checkpoint=checkpoint,
        config={},
        data=EvaluationData("/data", "test", {"clips": 3}),
        seed=1,
        metrics={},
        layer_weights=weights,
        versions={},
    )
    path = folder / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_json(replace(results, **changes)))
    return path


def layers(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["layers", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_side_by_side(capsys, tmp_path):
    write(tmp_path / "1", "/runs/slurp_probe1/checkpoint_best.pt", [0.2, 0.5, 0.3])
    write(tmp_path / "2", "/runs/librispeech_probe2/checkpoint_best.pt", [0.7, 0.2, 0.1])
    # another split of the same checkpoint is no column of its own
    write(tmp_path / "3", "/runs/librispeech_probe2/checkpoint_best.pt", [0.7, 0.2, 0.1])
    write(tmp_path / "4", "/elsewhere/checkpoint_best.pt", [0.25] * 4, encoder=replace(OURS, name="other", sha256="b"))
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "results.json").write_text('{"about": {}}')  # of `analyse`
    status, out, _ = layers(capsys, tmp_path)
    assert status == 0
    assert rows(out) == [
        ["ours", "(equal", "weights:", "0.333", "each)"],
        ["hidden", "state", "slurp", "librispeech"],
        ["probe", "1", "probe", "2"],
        ["-" * len(out.splitlines()[3])],
        ["0", "(input)", "0.200", "0.700*"],
        ["1", "0.500*", "0.200"],
        ["2", "0.300", "0.100"],
        ["-" * len(out.splitlines()[3])],
        ["centre", "of", "gravity", "1.10", "0.40"],
        [],
        ["other", "(equal", "weights:", "0.250", "each)"],
        ["hidden", "state", "classification"],
        ["mean_linear"],
        *rows(out)[13:14],
        ["0", "(input)", "0.250*"],
        *[[str(state), "0.250"] for state in (1, 2, 3)],
        *rows(out)[18:19],
        ["centre", "of", "gravity", "1.50"],
    ]


def test_columns_line_up(capsys, tmp_path):
    write(tmp_path / "1", "/runs/commonvoice_cy_probe1/checkpoint_best.pt", [0.2, 0.8])
    _, out, _ = layers(capsys, tmp_path)
    lines = out.splitlines()
    assert lines[1].index("_cy") + 3 == lines[5].index("*") + 1


def test_folds_are_averaged_and_seeds_are_not(capsys, tmp_path):
    for number, weights in enumerate(([0.2, 0.8], [0.6, 0.4])):
        write(tmp_path / f"f{number}", f"/runs/iemocap_probe1/fold{number}/checkpoint_best.pt", weights)
    write(tmp_path / "s1", "/seed1/slurp_probe1/checkpoint_best.pt", [0.9, 0.1])
    write(tmp_path / "s2", "/seed2/slurp_probe1/checkpoint_best.pt", [0.8, 0.2])
    _, out, _ = layers(capsys, tmp_path)
    assert rows(out)[1] == ["hidden", "state", "iemocap", "slurp", "slurp", "#2"]
    assert rows(out)[2] == ["probe", "1,", "2", "folds", "probe", "1", "probe", "1"]
    assert rows(out)[4] == ["0", "(input)", "0.400", "0.900*", "0.800*"]


def test_encoders_of_one_name_are_told_apart(capsys, tmp_path):
    write(tmp_path / "1", "/a/slurp_probe1/c.pt", [1.0])
    write(tmp_path / "2", "/b/slurp_probe1/c.pt", [1.0], encoder=replace(OURS, description="random weights"))
    write(tmp_path / "3", "/c/slurp_probe1/c.pt", [1.0], encoder=replace(OURS, sha256="0123456789ab"))
    _, out, _ = layers(capsys, tmp_path)
    titles = [line.split(" (equal")[0] for line in out.splitlines() if "(equal" in line]
    assert titles == [
        "ours, summarymixing, 2 layers of 8, pre-trained, aa",
        "ours, random weights",
        "ours, summarymixing, 2 layers of 8, pre-trained, 01234567",
    ]


def test_plot(capsys, tmp_path):
    for number in range(12):
        checkpoint = f"/runs/task{number}_probe1/checkpoint_best.pt"
        write(tmp_path / f"a{number}", checkpoint, [0.04] * 25)
        write(tmp_path / f"b{number}", f"/b{checkpoint}", [0.1] * 10, encoder=replace(OURS, name="b", sha256="b"))
    plot = tmp_path / "new" / "layers.png"
    assert layers(capsys, tmp_path, "--plot", plot)[0] == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_names_that_look_like_formulas(capsys, tmp_path):
    r"""matplotlib would set what stands between dollar signs, and knows no \frac{."""
    name = r"a$\frac{$ $$ \$b$_$"
    write(tmp_path, f"/runs/{name}_probe1/checkpoint_best.pt", [0.4, 0.6], encoder=replace(OURS, name=name))
    status, out, error = layers(capsys, tmp_path, "--plot", tmp_path / "layers.png")
    assert (status, error) == (0, "") and out.startswith(f"{name} (equal")


def test_more_than_a_plot_can_hold(capsys, tmp_path):
    write(tmp_path, "/runs/slurp_probe1/checkpoint_best.pt", [0.0001] * 10_000)
    status, _, error = layers(capsys, tmp_path, "--plot", tmp_path / "layers.png")
    assert status == 1 and "pixels is too large to draw" in error and not (tmp_path / "layers.png").exists()


def test_refusals(capsys, tmp_path):
    good = write(tmp_path / "good", "/runs/slurp_probe1/c.pt", [1.0])
    empty = write(tmp_path / "none", "/runs/slurp_probe1/c.pt", [])
    large = write(tmp_path / "large", "/runs/slurp_probe1/c.pt", [1e308, 1e308])
    nan = write(tmp_path / "nan", "/runs/slurp_probe1/c.pt", [float("nan"), 0.5])
    (tmp_path / "text.json").write_text("text")
    (tmp_path / "void").mkdir()
    (tmp_path / "void.png").mkdir()
    for arguments, message in (
        ([good, empty], f"{empty} holds no layer weights"),
        ([large], f"{large}: the layer weights are not finite numbers from 0 to 1"),
        ([nan], f"{nan}: the layer weights are not finite numbers"),
        ([tmp_path / "text.json"], "is not JSON"),
        ([tmp_path / "void"], "void holds no results.json"),
        ([tmp_path / "gone"], "gone is not there"),
        ([good, "--plot", "/proc/x/y.png"], "cannot be written"),
        ([good, "--plot", tmp_path / "void.png"], "void.png is a folder: no file can be written there"),
    ):
        status, _, error = layers(capsys, *arguments)
        assert status == 1 and message in error, error
        assert len(error.strip().splitlines()) == 1
