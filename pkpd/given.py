"""Python objects where a file or a name would do: agents, tables of patients, whole trials and questions.

What a caller gives is written as files of the usual form into a folder of this process, which is removed when the
process ends. So one reader checks both, and a run keeps copies of both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import tomlkit

from ranklsim.pkpd.agents import SHIPPED, Agent, agent_names, has_agent, load_agent, to_toml
from ranklsim.pkpd.arguments import Kind, Wrong, instance, several, text
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.reading import file_name, plain

AgentLike: TypeAlias = str | Agent | Mapping[str, Any]
"""What a public function takes as an agent: a name, an `Agent`, or the keys of an agent's file with its ``name``."""


def _agent(value: Any) -> str | Agent:
    if isinstance(value, Mapping):
        if not isinstance(value.get("name"), str):
            raise Wrong('has no name; give one, such as {"name": "abc-301", "like": "denosumab"}.')
        return Agent(**{str(key): each for key, each in value.items()})
    found: str | Agent = instance(Agent, or_else=text)(value)
    return found


AGENT: Kind = _agent
AGENTS: Kind = several(_agent, '["denosumab", Agent("abc-301", like="denosumab")]', none_empty=True)
"""Kinds of arguments (`pkpd.arguments`)."""


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ranklsim-")  # removed when the process ends


def place(files: Mapping[str, bytes]) -> Path:
    """A folder of this process with these files; the same files have the same folder.

    Parameters
    ----------
    files : mapping of str to bytes
        Name to content.
    """
    digest = blake2b(digest_size=12)
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    folder = Path(_root().name) / digest.hexdigest()
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=_root().name) as made:
            new = Path(made) / "new"
            new.mkdir()
            for name, content in files.items():
                (new / name).write_bytes(content)
            try:
                os.replace(new, folder)
            except OSError:  # another thread was faster
                if not folder.is_dir():
                    raise
    return folder


def with_agents(given: Iterable[str | Agent], folder: Path | None) -> tuple[list[str], Path]:
    """Names of agents, and a folder in which all are found: those that are given, and those of a user's folder.

    Parameters
    ----------
    given : iterable of str or Agent
    folder : Path or None
        Of the user's agent files; the working folder if None.

    Raises
    ------
    BadInput
        If an agent has the name of a shipped one, and is another.
    """
    beside, agents = Path.cwd() if folder is None else folder, list(given)
    own = {agent.name: agent for agent in agents if isinstance(agent, Agent) and not _ships(agent)}
    names = [agent.name if isinstance(agent, Agent) else agent for agent in agents]
    if not own:
        return names, beside
    files = {f"{name}.toml": to_toml(agent).encode() for name, agent in own.items()}
    for name in agent_names(beside):
        if name not in own and (beside / f"{name}.toml").is_file():
            try:
                files[f"{name}.toml"] = to_toml(load_agent(name, folder=beside)).encode()
            except BadInput:  # told if a trial names it
                files[f"{name}.toml"] = (beside / f"{name}.toml").read_bytes()
    return names, place(files)


def _ships(agent: Agent) -> bool:
    """Whether an agent is one that ships."""
    if not (SHIPPED / f"{agent.name}.toml").is_file():
        return False
    if has_agent(agent.name) and load_agent(agent.name) == agent:
        return True
    raise BadInput(f"agent '{agent.name}' has the name of an agent that ships, and is another; choose another name.")


def without_agents(data: Any, found: list[str | Agent]) -> Any:
    """What a caller gives in place of a file, with the name of each agent in the place of the agent.

    Parameters
    ----------
    data : object
        Mappings and lists; an `Agent` may stand anywhere, a mapping that describes one under the key ``agent``.
    found : list
        Takes the agents.

    Raises
    ------
    BadInput
        If a mapping describes no agent.
    """
    if isinstance(data, Agent):
        found.append(data)
        return data.name
    if isinstance(data, Mapping):
        changed = {}
        for key, value in data.items():
            if key == "agent" and isinstance(value, Mapping):
                try:
                    value = _agent(value)
                except Wrong as wrong:
                    raise BadInput(f"agent {wrong}") from None
            changed[key] = without_agents(value, found)
        return changed
    return [without_agents(each, found) for each in data] if isinstance(data, list | tuple) else data


def as_toml(data: Mapping[str, Any], where: str) -> str:
    """A mapping as the text of a TOML file.

    Parameters
    ----------
    data : mapping
    where : str
        What a message begins with.

    Raises
    ------
    BadInput
        If it holds what no file says.
    """
    return tomlkit.dumps(_ordered(plain(data, where)))


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    """Single values first, then lists of tables, then tables, as TOML needs them."""

    def rank(value: Any) -> int:
        return 2 if isinstance(value, dict) else 1 if _tables(value) else 0

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            return _ordered(value)
        return [inside(each) for each in value] if isinstance(value, list) else value

    return {key: inside(data[key]) for key in sorted(data, key=lambda key: rank(data[key]))}


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def population_files(value: pd.DataFrame | Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """Name and files of a population.

    Parameters
    ----------
    value : DataFrame or mapping
        One row a patient, columns as docs/populations.md names them; or the keys of a population's file with its
        ``name``, where ``table`` may be a data frame.

    Raises
    ------
    BadInput
        If a mapping has no name, or holds what no file says.
    """
    given: dict[str, Any] = {"name": "population", "table": value} if isinstance(value, pd.DataFrame) else dict(value)
    name, files = given.get("name"), {}
    if not isinstance(name, str) or not file_name(name):
        raise BadInput(
            'population: has no name of letters and digits; give one, such as {"name": "clinic", "table": patients}.'
        )
    if isinstance(given.get("table"), pd.DataFrame):
        frame, given["table"] = given["table"], f"{name}.csv"
        files[f"{name}.csv"] = frame.to_csv(index=False).encode()
        given.setdefault("like", "postmenopausal-osteoporosis")
    given.setdefault("title", name)
    return name, files | {f"{name}.toml": as_toml(given, f"population {name}").encode()}
