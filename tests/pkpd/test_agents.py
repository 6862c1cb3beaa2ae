"""Agents: what ships, what a user's file may say, and how its faults are told."""

import math
import re
import tomllib
from dataclasses import replace

import pandas as pd
import pytest
from helpers import check_sentence

from ranklsim.cohorts.courses import simulate
from ranklsim.pkpd.agents import (
    FIELDS,
    STATUSES,
    Number,
    cautions,
    describe,
    list_agents,
    load_agent,
    new_agent,
    to_toml,
)
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.errors import BadInput, Caution
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH

SHIPPED = list_agents()
NUMBERS = [(agent, number) for agent in SHIPPED for number in agent.provenance]
ABC = 'label = "ABC-301"\nhypothetical = true\nlike = "denosumab"\n'


def write(folder, name, text):
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def faults(folder, name="abc-301"):
    with pytest.raises(BadInput) as caught:
        load_agent(name, folder=folder)
    return caught.value.messages


def test_fifteen_agents_ship_and_placebo_comes_first():
    assert [agent.name for agent in SHIPPED] == [
        "placebo", "alendronate", "blosozumab", "bone-targeted", "denosumab", "denosumab-biosimilar",
        "lymphocyte-sparing", "marrow-limited", "mrankl-selective", "mrankl-selective-noshed", "opg-fc", "romosozumab",
        "srankl-selective", "teriparatide", "zoledronate",
    ]  # fmt: skip


@pytest.mark.parametrize("agent", SHIPPED, ids=lambda agent: agent.name)
def test_a_shipped_agent_has_every_field_of_its_kind_once(agent):
    assert list(agent.values) == list(FIELDS[agent.kind]) == [number.field for number in agent.provenance]
    assert agent.description
    assert re.fullmatch(r"#[0-9A-F]{6}", agent.color)


@pytest.mark.parametrize("agent, number", NUMBERS, ids=lambda case: getattr(case, "name", getattr(case, "field", "")))
def test_a_shipped_number_lies_in_its_range_and_names_its_source(agent, number):
    assert number.value == agent.values[number.field]
    assert number.unit == FIELDS[agent.kind][number.field].unit
    assert number.status in STATUSES
    assert len(number.source) > 10
    assert re.fullmatch(r"(10\.\d{4,}/\S+)?", number.doi)
    if math.isinf(number.value):
        assert number.field in ("KD_mRANKL", "KD_sRANKL")
    else:
        assert number.low is not None
        assert number.high is not None
        assert number.low <= number.value <= number.high
        assert number.status != "assumed" or number.low < number.high or number.value in (0, 1)


def test_no_two_shipped_agents_share_a_colour_or_a_label():
    assert len({agent.color for agent in SHIPPED}) == len({agent.label for agent in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("agent", SHIPPED, ids=lambda agent: agent.name)
def test_the_usual_regimen_of_an_agent_is_a_regimen(agent):
    (regimen,) = parse_regimen(f"{agent.name} {agent.reference_regimen} x2")
    assert regimen.agent == agent.name
    assert regimen.every_days > 0


def test_selective_agents_are_denosumab_but_for_what_they_bind():
    denosumab = load_agent("denosumab").values
    for name, changed in {
        "mrankl-selective": {"KD_sRANKL": math.inf},
        "mrankl-selective-noshed": {"KD_sRANKL": math.inf, "block_shedding": 1.0},
        "srankl-selective": {"KD_mRANKL": math.inf},
    }.items():
        assert load_agent(name).values == denosumab | changed


def test_agents_with_a_reach_of_their_own_are_denosumab_but_for_where_they_go():
    denosumab = load_agent("denosumab").values
    for name, hardly in {
        "bone-targeted": {"reach_marrow", "reach_lymphocyte"},
        "marrow-limited": {"reach_osteocyte"},
        "lymphocyte-sparing": {"reach_lymphocyte"},
    }.items():
        own = load_agent(name).values
        assert {field for field in own if own[field] != denosumab[field]} == hardly
        assert all(own[field] <= denosumab[field] / 2 for field in hardly)


def test_an_agent_spares_the_source_that_it_hardly_reaches():
    mean = {}  # share of RANKL with drug over two years, by agent and source
    for name in ("denosumab", "bone-targeted", "marrow-limited", "lymphocyte-sparing"):
        course = simulate(agent=name, dose="60mg", every="6mo", doses=4, follow="6mo").set_index("month")
        mean[name] = course.loc[24.0, ["EXPOSURE_mRANKL_marrow", "EXPOSURE_mRANKL_lymphocyte"]] / (24 * DAYS_PER_MONTH)
        mean[name]["BMD_LS"] = course.loc[24.0, "BMD_LS_pct"]
    for name in ("bone-targeted", "lymphocyte-sparing"):
        assert mean[name]["EXPOSURE_mRANKL_lymphocyte"] < 0.3 * mean["denosumab"]["EXPOSURE_mRANKL_lymphocyte"]
        assert mean[name]["BMD_LS"] > 0.9 * mean["denosumab"]["BMD_LS"]
    assert (
        mean["marrow-limited"]["EXPOSURE_mRANKL_marrow"] > mean["denosumab"]["EXPOSURE_mRANKL_marrow"]
    )  # drug is left
    assert mean["marrow-limited"]["BMD_LS"] < 0.9 * mean["denosumab"]["BMD_LS"]  # osteocytes keep osteoclasts


def test_what_a_hypothetical_agent_takes_over_counts_as_assumed():
    agent = load_agent("mrankl-selective-noshed")
    assert agent.hypothetical
    assert {number.status for number in agent.provenance} == {"assumed"}
    sources = {number.field: number for number in agent.provenance}
    assert sources["CL"].source.startswith("taken over from denosumab: ")
    assert sources["CL"].doi == "10.2165/11598090-000000000-00000"
    assert not load_agent("denosumab").hypothetical


def test_provenance_makes_a_data_frame():
    frame = pd.DataFrame(load_agent("denosumab").provenance)
    assert list(frame.columns) == list(Number._fields)
    assert frame.set_index("field").loc["CL", "unit"] == "L/day"


@pytest.mark.parametrize("agent", SHIPPED, ids=lambda agent: agent.name)
def test_a_frozen_copy_loads_to_the_same_agent(agent, tmp_path):
    copy = load_agent(agent.name, folder=write(tmp_path, agent.name, to_toml(agent)))
    assert copy == agent
    assert copy.path == tmp_path / f"{agent.name}.toml"
    assert "like" not in tomllib.loads(to_toml(agent))
    assert to_toml(copy) == to_toml(agent)


def test_a_frozen_copy_keeps_awkward_text_and_numbers(tmp_path):
    awkward = 'a "b" \\ \t\n µ'
    denosumab = load_agent("denosumab")
    numbers = tuple(
        number._replace(value=number.value * 0.9 / 7, low=None, high=None, source=awkward)
        for number in denosumab.provenance
    )
    values = {number.field: number.value for number in numbers}
    odd = replace(denosumab, label=awkward, provenance=numbers, values=values)
    assert load_agent("denosumab", folder=write(tmp_path, "denosumab", to_toml(odd))) == odd


def test_a_file_next_to_the_trial_is_an_agent_without_code(tmp_path):
    write(tmp_path, "abc-301", ABC + 'KD_mRANKL = "50 pmol/L"\nCL = { value = "4 mL/h", low = 3, high = "0.12 L/day", '
          'status = "measured", source = "our phase 1 study", doi = "10.1000/1" }\n')  # fmt: skip
    agent = load_agent("abc-301", folder=tmp_path)
    assert agent.values == load_agent("denosumab").values | {"KD_mRANKL": 0.05, "CL": 0.096}
    assert (agent.kind, agent.route, agent.reference_regimen) == ("binder", "SC", "60 mg every 6 mo")
    rows = {number.field: number for number in agent.provenance}
    assert rows["CL"] == Number(
        "CL", 0.096, "L/day", 0.072, 0.12, "measured", "our phase 1 study", "10.1000/1", "abc-301"
    )
    assert rows["KD_mRANKL"].status == "assumed"
    assert "abc-301.toml" in rows["KD_mRANKL"].source
    assert agent.color not in {shipped.color for shipped in SHIPPED}
    assert agent in list_agents(tmp_path)


def test_an_agent_of_the_folder_goes_before_the_shipped_one_and_may_be_like_it(tmp_path):
    write(tmp_path, "denosumab", 'label = "Biosimilar"\nhypothetical = false\nlike = "denosumab"\nCL = "0.1 L/day"\n')
    agent = load_agent("denosumab", folder=tmp_path)
    assert agent.values == load_agent("denosumab").values | {"CL": 0.1}
    assert {number.status for number in agent.provenance} == set(STATUSES)


def test_trials_and_other_files_of_the_folder_are_not_agents(tmp_path):
    write(tmp_path, "exit", '[[arm]]\nname = "a"\n')
    write(tmp_path, "denosumab", 'kind = "x"\n[[arm]]\nname = "a"\n')
    write(tmp_path, "broken", "title = \n")
    assert list_agents(tmp_path) == SHIPPED


def test_a_broken_agent_file_of_the_folder_is_not_passed_over(tmp_path):
    write(tmp_path, "abc-301", ABC + "CL = 0.1 L/day\n")
    with pytest.raises(BadInput, match=r"^abc-301\.toml:4: .*quotes"):
        list_agents(tmp_path)
    with pytest.warns(Caution, match=r"^abc-301\.toml:4: .*quotes.* The agent 'abc-301' is left out\.$"):
        assert list_agents(tmp_path, leave_out=True) == SHIPPED


@pytest.mark.parametrize("name", ["denosumb", "Denosumab", "../denosumab", "DENOSUMAB"])
def test_an_unknown_agent_is_refused_with_the_closest_name(name):
    with pytest.raises(BadInput, match=r"^exit\.toml:18: ") as caught:
        load_agent(name, where="exit.toml:18")
    check_sentence(str(caught.value), f"'{name}'", "'denosumab'?", "`ranklsim agents`")


def test_an_agent_unlike_any_is_refused_without_a_guess():
    with pytest.raises(BadInput, match=r"'zzz'.*`ranklsim agents`") as caught:
        load_agent("zzz")
    assert "did you mean" not in str(caught.value)


def test_a_missing_KD_is_named_with_its_remedy(tmp_path):
    text = "\n".join(line for line in to_toml(load_agent("denosumab")).split("\n") if not line.startswith("KD_m"))
    (fault,) = faults(write(tmp_path, "abc-301", text.replace('"denosumab"', '"abc-301"', 1)))
    check_sentence(fault, "abc-301.toml: KD_mRANKL is missing", '"0.003 nmol/L"', '"none"')


@pytest.mark.parametrize(
    "line, parts",
    [
        ("F = 1.2", ["F is 1.2", "at most 1"]),
        ('CL = "0 L/day"', ["CL is 0 L/day", "above 0"]),
        ("CL = 0.1", ["CL: '0.1' has no unit", '"0.1 L/day"']),
        ('CL = "0.1 L"', ["CL: '0.1 L'", '"L/day"']),
        ('KD_mRANKL = "-1 nmol/L"', ["KD_mRANKL is -1 nmol/L", '"none"']),
        ('CL = "none"', ["CL: 'none'", "number and unit", '"0.094 L/day"']),
        ('CLL = "0.1 L/day"', ["unknown field 'CLL'", "did you mean 'CL'?"]),
        ('potency = "1 1/mg"', ["potency", '"bisphosphonate"', '"binder"']),
        ('kind = "anabolic"', ['kind is "anabolic"', "\"binder\" for 'denosumab'"]),
        ('route = "IM"', ["route", '"IM"', "'SC', 'IV', 'PO'"]),
        ('route = "IV"', ["F is 0.62", "IV", "write 1"]),
        ('route = "none"', ['route is "none"', '"binder"']),
        ('color = "red"', ["color is 'red'", '"#0072B2"']),
        ('name = "abc"', ["name is 'abc'", "abc-301.toml"]),
        (
            'CL = { value = "0.1 L/day", low = 0.2, high = 0.3, status = "fitted", source = "us" }',
            ["CL is 0.1 L/day", "0.2 to 0.3 L/day"],
        ),
        ('CL = { value = "0.1 L/day", low = 0.05, status = "fitted", source = "us" }', ["CL has no high"]),
        (
            'CL = { value = "0.1 L/day", status = "guess", source = "us" }',
            ["CL", "status", '"guess"', "'measured', 'fitted'"],
        ),
        ('CL = { value = "0.1 L/day", status = "fitted" }', ["CL", "`source` is missing", '"none: our assumption"']),
        ('CL = { status = "fitted", source = "us" }', ["CL", "`value` is missing", '"0.094 L/day"']),
        (
            'CL = { value = "0.1 L/day", status = "fitted", source = "us", hihg = 1 }',
            ["CL", "'hihg'", "did you mean 'high'?"],
        ),
        (
            'KD_sRANKL = { value = "none", low = 1, status = "fitted", source = "us", high = 2 }',
            ["KD_sRANKL", '"none"', "low"],
        ),
    ],
)
def test_a_fault_is_told_with_line_and_remedy(tmp_path, line, parts):
    fault = faults(write(tmp_path, "abc-301", ABC + line + "\n"))[0]
    assert fault.startswith("abc-301.toml:4: ")
    check_sentence(fault, *parts)


def test_the_ends_of_a_range_without_unit_are_told_as_they_were_written(tmp_path):
    line = 'CL = { value = "0.1", low = 20, high = 30, status = "fitted", source = "us" }\n'
    told = faults(write(tmp_path, "abc-301", ABC + line))[1:]
    for fault, end, number in zip(told, ("low", "high"), (20, 30), strict=True):
        check_sentence(fault, "abc-301.toml:4: CL", f"{end}: '{number}' has no unit", f'"{number} L/day"')


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    write(tmp_path, "abc-301", 'kind = "bisphosphonate"\nroute = "PO"\nF = 2\npotency = "1 mg"\n')
    assert [fault.split(";")[0] for fault in faults(tmp_path)] == [
        "abc-301.toml: `label` is missing",
        "abc-301.toml: `hypothetical` is missing",
        "abc-301.toml: f_bone is missing",
        "abc-301.toml: max_kill is missing",
        "abc-301.toml: t_surface is missing",
        "abc-301.toml: f_deep is missing",
        "abc-301.toml: t_deep is missing",
        "abc-301.toml:3: F is 2",
        'abc-301.toml:4: potency: \'1 mg\': "mg" cannot be turned into "1/mg"',
    ]


def test_like_must_name_an_agent_and_not_lead_in_a_circle(tmp_path):
    write(tmp_path, "abc-301", ABC.replace("denosumab", "denosumba"))
    (fault,) = faults(tmp_path)
    check_sentence(fault, "abc-301.toml:3: unknown agent 'denosumba'", "did you mean 'denosumab'?")
    write(tmp_path, "abc-301", ABC.replace("denosumab", "abc-302"))
    write(tmp_path, "abc-302", ABC.replace("denosumab", "abc-301"))
    (fault,) = faults(tmp_path)
    check_sentence(fault, "abc-302.toml:3: ", "'abc-301' -> 'abc-302' -> 'abc-301'")


@pytest.mark.parametrize("agent", SHIPPED, ids=lambda agent: agent.name)
def test_describing_an_agent_shows_every_number_with_status_and_source(agent):
    text = describe(agent)
    assert text.startswith(f"{agent.name}: {agent.label}\n")
    assert ("hypothetical" in text) == agent.hypothetical
    for number in agent.provenance:
        (row,) = [line.split() for line in text.split("\n") if line.split()[:1] == [number.field]]
        assert number.status in row
        assert number.source in text


@pytest.mark.parametrize("text", ["", 'label = "Z', "\x00\x01"])
def test_a_broken_file_of_the_agents_name_is_told_and_not_called_unknown(tmp_path, text):
    (tmp_path / "zzz.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        load_agent("zzz", folder=tmp_path)
    assert "unknown agent" not in str(fault.value)
    assert "zzz.toml" in str(fault.value)


OWN = 'label = "ABC-301"\nlike = "denosumab"\nhypothetical = true\nKD_sRANKL = "none"\n'


@pytest.mark.parametrize(
    "line",
    [
        'KD_mRANKL = { assay = "0.05 nM" }',
        'KD_mRANKL = { assay = "50 pM", like = "denosumab", source = "our SPR" }',
        'KD_mRANKL = { kon = "2e5 1/(M*s)", koff = "1e-5 1/s" }',
    ],
)
def test_a_laboratorys_constant_is_taken_by_the_ratio_that_denosumab_has(tmp_path, line):
    write(tmp_path, "abc-301", OWN + line)
    agent, other = load_agent("abc-301", folder=tmp_path), load_agent("denosumab")
    (own,) = [number for number in agent.provenance if number.field == "KD_mRANKL"]
    (reference,) = [number for number in other.provenance if number.field == "KD_mRANKL"]
    assert own.assay == pytest.approx(0.05)
    assert own.value / reference.value == pytest.approx(own.assay / reference.assay)
    # It follows denosumab's constant, as the vectors of the ensemble have it, unless it is given itself.
    assert agent.with_numbers({"denosumab.KD_mRANKL": 0.2}).values["KD_mRANKL"] == pytest.approx(0.2 * 0.05 / 0.003)
    both = {"denosumab.KD_mRANKL": 0.2, "abc-301.KD_mRANKL": 0.7}
    assert agent.with_numbers(both).values["KD_mRANKL"] == 0.7
    (tmp_path / "frozen").mkdir()
    write(tmp_path / "frozen", "abc-301", to_toml(agent))
    assert load_agent("abc-301", folder=tmp_path / "frozen") == agent
    changed = agent.with_numbers({"abc-301.KD_mRANKL": 0.7})
    write(tmp_path / "frozen", "abc-301", to_toml(changed))
    assert load_agent("abc-301", folder=tmp_path / "frozen").values == changed.values
    assert cautions(agent) == []


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('KD_mRANKL = { assay = "0.05 nM", koff = "1e-5 1/s" }', "both an assay value and rates"),
        ('KD_mRANKL = { kon = "2e5 1/(M*s)" }', "one rate; give both"),
        ('KD_mRANKL = { assay = "0.05 nM", like = "opg-fc" }', "opg-fc has no assay value of KD_mRANKL"),
        ('KD_mRANKL = { assay = "0.05 nM", like = "abc-301" }', "like the agent itself"),
        ('KD_mRANKL = { assay = "0.05 nM", low = "0.01 nM", high = "0.1 nM" }', "leave out low and high"),
        ('KD_mRANKL = { assay = "0.05 mg" }', "cannot be turned into"),
        (
            'KD_mRANKL = { value = "0.5 nM", assay = "0.05 nM", status = "assumed", source = "us" }',
            "both a value, the effective constant in tissue, and assay",
        ),
        ('KD_mRANKL = { assay = "0 nM" }', "more than 0"),
    ],
)
def test_a_laboratorys_constant_that_cannot_be_used_is_explained(tmp_path, line, part):
    write(tmp_path, "abc-301", OWN + line)
    (fault,) = faults(tmp_path)
    check_sentence(fault, "abc-301.toml:5", part)


def test_a_bare_constant_of_an_own_antibody_is_told_to_be_an_effective_one(tmp_path):
    write(tmp_path, "abc-301", OWN + 'KD_mRANKL = "0.05 nM"')
    (caution,) = cautions(load_agent("abc-301", folder=tmp_path))
    check_sentence(caution, "effective constant", 'assay = "0.05 nmol/L"')
    assert caution in describe(load_agent("abc-301", folder=tmp_path))


def test_a_new_agents_file_loads_and_each_of_its_comments_too(tmp_path):
    text = new_agent("abc-301")
    write(tmp_path, "abc-301", text)
    same = load_agent("abc-301", folder=tmp_path)
    assert same.values == load_agent("denosumab").values
    lines = [line for line in text.splitlines() if line.startswith("# ") and " = {" in line and "assay" not in line]
    assert len(lines) == len(same.values)
    write(tmp_path, "abc-301", "\n".join([*text.splitlines()[2:6], *(line[2:] for line in lines)]))
    assert load_agent("abc-301", folder=tmp_path).values == pytest.approx(same.values, rel=1e-4)


def test_the_numbers_of_an_own_agent_are_parameters(tmp_path):
    line = 'KD_mRANKL = { value = "0.2 nM", low = 0.1, high = 0.4, status = "assumed", source = "x" }'
    write(tmp_path, "abc-301", OWN + line)
    table = load_parameters(folder=tmp_path)
    row = table.row("abc-301.KD_mRANKL")
    assert (row["value"], row["low"], row["high"], row["unit"]) == (0.2, 0.1, 0.4, "nmol/L")
    changed = table.replace({"abc-301.KD_mRANKL": 0.3})
    assert changed.apply(load_agent("abc-301", folder=tmp_path)).values["KD_mRANKL"] == 0.3
    wrong = [("abc-301.KD_mRNKL", "'KD_mRANKL'"), ("abc-31.CL", "'abc-301'"), ("abc-301.KD_mRANKL", "0.1 to 0.4")]
    for symbol, part in wrong:
        with pytest.raises(BadInput, match=part):
            table.replace({symbol: 0.5})
    with pytest.raises(BadInput, match="unknown parameter"):
        load_parameters().row("abc-301.KD_mRANKL")


def test_an_agent_in_neither_its_folder_nor_shipped_is_found_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path, "abc-301", OWN)
    write(tmp_path, "zoledronate", OWN)
    with pytest.raises(BadInput, match="unknown agent 'abc-301'"):
        load_agent("abc-301", folder=tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert load_agent("abc-301", folder=tmp_path / "elsewhere").label == "ABC-301"
    assert load_agent("zoledronate", folder=tmp_path / "elsewhere") == load_agent("zoledronate")
