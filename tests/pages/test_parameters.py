import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthnb.config import DataMissing, ParameterError
from lthnb.pages import parameters

OWN = """profile: str = "auto"  # how much
seeds: int = 3
train: bool = True
device: str = "auto"
runs: str = ""
dataset: str = "auto"
data_root: str = ""
fraction: float = 0.01
rounds: int = None
epochs: int = None
"""


def run(injected="", history=()):
    namespace = {"In": ["", *history, OWN]}
    exec(OWN, namespace)
    if injected:
        exec(injected, namespace)
        namespace["In"].append(f"# Parameters\n{injected}\n")
    return parameters.check(namespace)


def test_defaults_pass_and_are_returned_by_name():
    page = run()

    assert (page.fraction, page.seeds, page.changes) == (0.01, 3, {})
    assert page.given == {}


def test_injected_values_replace_defaults():
    assert run("fraction = 500").fraction == 500
    assert run("rounds = 2").changes == {"rounds": 2}


@pytest.mark.parametrize(
    ("injected", "words"),
    [
        ("fracton = 0.01", "fracton is not a parameter of this page, got 0.01; did you mean 'fraction'"),
        ("width = 8", "width is not a parameter of this page, got 8; "),
        ("fraction = 'abc'", "fraction must be a share .* got 'abc'"),
        ("fraction = 0", "fraction must be a share .* got 0"),
        ("fraction = float('nan')", "fraction must be a share .* got nan"),
        ("fraction = -1", "fraction must be a share .* got -1"),
        ("fraction = 1.5", "fraction must be a share .* got 1.5"),
        ("fraction = True", "fraction must be a share .* got True"),
        ("fraction = None", "fraction must be a share .* got None"),
        ("rounds = 2.5", "rounds must be a whole number from 0 to 100, got 2.5"),
        ("dataset = 'glyps'", "did you mean 'glyphs'"),
        ("train = 'true'", "did you mean 'True'"),
        ("dataset = 'folder:'", "or folder:PATH, got 'folder:'$"),
        ("data_root = 'no/such'", "data_root must be a folder that is there, or empty, got 'no/such'$"),
        ("data_root = '~nobody-here/x'", "data_root must be a folder that is there, or empty, got '~nob"),
        ("epochs = 1", r"epochs must be above rewind_epoch \(1\), got 1"),
    ],
)
def test_a_wrong_parameter_is_one_sentence_with_name_value_and_what_is_allowed(injected, words):
    with pytest.raises(ParameterError, match=words) as caught:
        run(injected)

    assert len(str(caught.value).splitlines()) == 1
    assert caught.value._render_traceback_() == [f"ParameterError: {caught.value}"]


def test_a_cell_that_was_mended_and_run_again_is_forgotten():
    earlier = [OWN.replace("rounds: int = None", "rounds: int = 2"), OWN + "fracton: float = 0.2\n"]

    assert run(history=earlier).changes == {}


def test_all_shared_parameters_may_be_injected():
    shared = "profile = 'smoke'\nseeds = 1\ntrain = False\ndevice = 'cpu'\nruns = 'x'"

    assert run(shared).given == {"profile": "smoke", "seeds": 1, "train": False, "device": "cpu", "runs": "x"}


def test_a_missing_folder_is_told_before_anything_is_loaded():
    with pytest.raises(DataMissing, match="nowhere was found neither"):
        run("dataset = 'folder:nowhere'")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**9), st.floats(), st.text(max_size=8),
    st.sampled_from(["auto", "demo", "smoke", "paper", "cpu", "glyphs", "٣", "1e-2"]),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([1, 1.0, math.nextafter(1, 2), 5e-324, -0.0, 2, 500]),
)  # fmt: skip
NAMES = st.sampled_from("profile seeds train device runs dataset data_root fraction rounds epochs".split())
WILD = st.dictionaries(
    st.one_of(NAMES, st.sampled_from(["fracton", "seed", "width"])), VALUES, min_size=1, max_size=3
)
SOUND = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.sampled_from(["auto", "smoke", "demo", "paper"]),
        "seeds": st.integers(1, 1000),
        "train": st.booleans(),
        "runs": st.sampled_from(["", "here"]),
        "dataset": st.sampled_from(["auto", "glyphs", "digits", "cifar100", "isic"]),
        "fraction": st.one_of(st.floats(1e-6, 1), st.integers(2, 10**8)),
        "rounds": st.one_of(st.none(), st.integers(0, 100)),
        "epochs": st.one_of(st.none(), st.integers(3, 10_000)),
    },
)


def valid(injected):
    """Whether ``check`` takes the parameters; anything but an error that names one of them is a failure."""
    namespace = {"In": ["", OWN, "# Parameters\n" + "".join(f"{name} = ...\n" for name in injected)]}
    exec(OWN, namespace)
    namespace |= injected
    try:
        page = parameters.check(namespace)
    except ParameterError as error:
        assert any(name in str(error) for name in injected)
        return False
    except DataMissing:
        assert str(injected["dataset"]).startswith("folder:")
        return False
    assert page.fraction > 0
    assert page.seeds >= 1
    return True


def generated(number):
    """Try ``number`` generated parameter sets; return (sets, share that is valid)."""
    found = []

    @settings(max_examples=number, deadline=None, derandomize=True, database=None)
    @given(st.one_of(WILD, SOUND))
    def trial(injected):
        found.append(valid(injected))

    trial()
    return len(found), sum(found) / len(found)


def test_any_parameters_are_valid_or_an_error_that_names_one():
    number, share = generated(1000)

    assert number >= 900  # hypothesis leaves out what it has tried
    assert share >= 0.3


def test_a_book_build_never_trains(monkeypatch):
    monkeypatch.setenv("LTHNB_HOST", "book")

    assert run("train = True").train is False
    assert run().seeds == 6


SHIFTED = """profile: str = "auto"
seeds: int = 3
train: bool = True
device: str = "auto"
runs: str = ""
dataset: str = "auto"
data_root: str = ""
shift: str = ""
class_map: str = ""
"""


def shifted(injected):
    namespace = {"In": ["", SHIFTED]}
    exec(SHIFTED, namespace)
    exec(injected, namespace)
    namespace["In"].append(f"# Parameters\n{injected}\n")
    return parameters.check(namespace)


@pytest.mark.parametrize(
    ("injected", "words"),
    [
        ("shift = 'glyphs-shiftd'", "did you mean 'glyphs-shifted'"),
        ("shift = 'folder:no/such'", "no/such was found neither under the data root"),
        ("shift = 'cifar10.1'; train = False", "shift needs trained networks: pass -p train True with it$"),
        ("class_map = 'kitten=cat'", "class_map belongs to a shift: pass -p shift folder:PATH with it$"),
        ("shift = 'cifar10.1'; class_map = 'cat'", "class_map must be empty, or pairs such as kitten=cat"),
    ],
)
def test_a_shift_that_cannot_be_shown_is_told_at_once(injected, words):
    with pytest.raises((ParameterError, DataMissing), match=words):
        shifted(injected)


def test_a_shift_and_its_class_map_are_returned():
    page = shifted("shift = 'cifar10.1'; class_map = 'kitten=cat, fish='")

    assert (page.shift, page.class_map) == ("cifar10.1", "kitten=cat, fish=")
