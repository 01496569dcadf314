"""What a user may demand of a verdict, and when it is met."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.deciding.decision import OptionVerdict, decide_options
from analysis.selection.deciding.gate import Gate, check_gate, read_gate
from analysis.selection.record import MeasuredOption, Option
from retriever.errors import InputError

N = 200
A = np.full(N, 0.5)


def noise(seed: int, scale: float) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=N)
    return (values - values.mean()) / values.std(ddof=1) * scale


def option(legs: str, values: np.ndarray) -> MeasuredOption:
    keys = legs.split("+")
    return MeasuredOption(option=Option(weights=dict.fromkeys(keys, 1 / len(keys))), ndcg=values)


def verdict_on(*options: MeasuredOption) -> OptionVerdict:
    return decide_options([option("A", A), *options], rng=np.random.default_rng(0), n_resamples=2000)


DEPLOYED = verdict_on(option("A+B", A + 0.05 + noise(2, 0.1)))  # its standard error is 0.00707


def checked(gate: str, verdict: OptionVerdict = DEPLOYED) -> tuple[bool, float]:
    result = check_gate(read_gate(gate), verdict, rng=np.random.default_rng(1), n_resamples=20_000)
    assert result.to_json()["met"] is result.is_met
    assert result.gate == read_gate(gate)
    return result.is_met, result.lower_bound


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("gain>=0.01 at 95%", Gate(measure="gain", bound=0.01, is_strict=False, confidence=0.95)),
        ("ndcg>=0.4 at 90%", Gate(measure="ndcg", bound=0.4, is_strict=False, confidence=0.9)),
        ("gain>0", Gate(measure="gain", bound=0.0, is_strict=True, confidence=0.95)),
        (
            "  gain  >=  -.02  at  99.5 % ",
            Gate(measure="gain", bound=-0.02, is_strict=False, confidence=0.995),
        ),
        ("ndcg > 1.", Gate(measure="ndcg", bound=1.0, is_strict=True, confidence=0.95)),
    ],
)
def test_a_gate_is_read_as_a_user_states_it(text: str, gate: Gate) -> None:
    assert read_gate(text) == gate


@given(
    bound=st.integers(-1000, 1000).map(lambda i: i / 1000),
    percent=st.integers(1, 999).map(lambda i: i / 10),
    is_strict=st.booleans(),
)
def test_what_a_gate_prints_is_read_again(bound: float, percent: float, is_strict: bool) -> None:  # noqa: FBT001  # drawn
    gate = Gate(measure="gain", bound=bound, is_strict=is_strict, confidence=percent / 100)
    assert read_gate(str(gate)) == gate


@pytest.mark.parametrize(
    "text",
    ["", "gain", "gain=0.01", "gain<=0.01", "recall>=0.5", "gain>=much", "gain>=0.01 at 95", "gain>=0.01 95%",
     "gain>=0.01 at 95% or so", "gain>=0.01,ndcg>=0.4", "gain>=nan"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(InputError, match=r"as 'gain>=0\.01 at 95%', got ") as caught:
        read_gate(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gain>=5", "got the number 5 in"),
        ("ndcg>-1.5", "got the number -1.5 in"),
        ("gain>0 at 100%", "got 100% in 'gain>0 at 100%'. Name more than 0% and less than 100%"),
        ("gain>0 at 0%", "got 0% in"),
    ],
)
def test_a_number_out_of_range_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_gate(text)


def test_a_gain_is_gated_by_its_one_sided_lower_bound() -> None:
    # 0.05 - 1.653·0.00707 (Student's t with 199 degrees of freedom) = 0.0383
    assert checked("gain>=0.038 at 95%") == (True, pytest.approx(0.0383, abs=0.0004))
    assert checked("gain>=0.039 at 95%")[0] is False
    # 0.05 - 2.345·0.00707 = 0.0334
    assert checked("gain>=0.038 at 99%") == (False, pytest.approx(0.0334, abs=0.0008))


def test_the_more_options_were_looked_at_the_lower_the_bound() -> None:
    others = [option(f"A+X{i}", A - 0.05 + noise(5 + i, 0.1)) for i in range(9)]
    crowd = verdict_on(option("A+B", A + 0.05 + noise(2, 0.1)), *others)
    # the level is shared among ten: 0.05 - 2.601·0.00707 = 0.0316
    assert checked("gain>=0.031", crowd) == (True, pytest.approx(0.0316, abs=0.001))
    result = check_gate(read_gate("gain>=0.04"), crowd, rng=np.random.default_rng(1))
    assert result.sentence == (
        f"Gate gain>=0.04 at 95% not met: A+B (equal) gains {result.lower_bound:+.3f} over A at least "
        f"(one-sided lower bound at 95 % on 200 queries, corrected for 10 options looked at)."
    )


def test_a_gate_is_on_what_is_to_be_served_also_while_the_verdict_is_open() -> None:
    """The best guess of an open verdict is served, not the single model that the verdict falls back to."""
    guess = option("A+B", A + 0.005 + noise(2, 0.1))
    verdict = verdict_on(guess)
    assert (verdict.decision, verdict.serve.legs) == ("not enough evidence", ("A",))
    for gate, bound in (("gain>=0", 0.005 - 1.653 * 0.00707), ("ndcg>=0.5", 0.505 - 1.972 * 0.00707)):
        result = check_gate(read_gate(gate), verdict, rng=np.random.default_rng(1), option=guess.option)
        assert (result.is_met, result.lower_bound) == (False, pytest.approx(bound, abs=0.0008))
        assert f"not met: {guess.label} " in result.sentence


def test_a_gate_on_ndcg_is_on_what_is_served_and_counts_single_models() -> None:
    # 0.55 - 1.972·0.00707 (a level of 0.025 of each of two) = 0.5361
    assert checked("ndcg>=0.536") == (True, pytest.approx(0.5361, abs=0.0005))
    assert checked("ndcg>=0.537")[0] is False
    single = verdict_on(option("A+B", A - 0.1))
    assert checked("ndcg>=0.5", single) == (True, 0.5)
    result = check_gate(read_gate("ndcg>0.5 at 90%"), single, rng=np.random.default_rng(1))
    assert result.sentence == (
        "Gate ndcg>0.5 at 90% not met: A has NDCG@10 0.500 at least (one-sided lower bound at 90 % on 200 "
        "queries, corrected for 2 options looked at)."
    )


def test_the_best_single_model_gains_exactly_nothing_over_itself() -> None:
    rival = option("B", A - 0.001 + noise(3, 0.1))  # another draw of queries would have it for the best
    for single in (verdict_on(rival), verdict_on(option("A+B", A + 0.001 + noise(2, 0.1)))):
        assert checked("gain>0", single) == (False, 0.0)
        assert checked("gain>=0", single) == (True, 0.0)


def test_three_queries_prove_no_gain_however_large() -> None:
    three = decide_options(
        [option("A", np.zeros(3)), option("A+B", np.ones(3))], rng=np.random.default_rng(0), confidence=0.8
    )
    assert three.decision == "deploy"
    assert checked("gain>0 at 95%", three) == (False, 0.0)
    assert checked("gain>0 at 80%", three) == (True, 1.0)


def test_a_gate_tells_what_to_decide_by() -> None:
    assert read_gate("gain>=0.02 at 90%").minimum_gain == 0.02
    assert read_gate("gain>=-0.02").minimum_gain == 0.0
    assert read_gate("ndcg>=0.4").minimum_gain == 0.0
