"""The page of all settings, with the defaults that the code has."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from flops.settings import MIB, LocalNode, Settings

PREFIX: Final = "FLOPS_"
MEANINGS: Final = {
    "home": "The folder of everything that FLOps keeps: data, images, models, inboxes, logs, credentials.",
    "broker_url": "The MQTT broker, as `mqtt://host[:port]` or `mqtts://host[:port]`; empty: a private one is started.",
    "broker_username": "The user name at the broker of `FLOPS_BROKER_URL`.",
    "broker_password_file": "A file that holds the password at that broker, and nothing else.",
    "broker_ca_file": "The certificates (PEM) that an `mqtts://` broker is checked against; empty: the system's.",
    "embedded_broker": "Which private broker is started, `mosquitto` or `amqtt`; empty: Mosquitto if it is installed.",
    "topic_prefix": "What every topic begins with, so that several installations can share a broker.",
    "store_url": "Where managers keep projects: `sqlite:///path/to/file` or "
    "`mongodb://[user:password@]host[:port][/database]`; empty: a file under `FLOPS_HOME`.",
    "orchestrator": "Where services run: `local`, as processes of this machine; `docker`, in its containers; `swarm`, "
    "on the machines of a Docker Swarm.",
    "docker_url": "The Docker Engine that runs them, or that of a manager of the swarm, as `unix:///path/to/socket`.",
    "docker_images": "What the names of FLOps' own images begin with, as in `flops/observer`; a registry may precede.",
    "docker_network": "A network of the engine for all containers, which is there; empty: FLOps makes one.",
    "advertised_host": "What others call this machine in the addresses of tracking and inference servers in "
    "containers; if that is no loopback address, they can be reached at all addresses of this machine.",
    "loopback_host": "What this machine itself is called where it is no loopback address, as in a container.",
    "registry_url": "The OCI registry of images, as `http(s)://host[:port][/namespace]`; empty: "
    "environments under `FLOPS_HOME`.",
    "registry_username": "The user name at that registry.",
    "registry_password_file": "A file that holds the password at that registry, and nothing else.",
    "registry_ca_file": "The certificates (PEM) that an `https://` registry is checked against; empty: the system's.",
    "image_platforms": "The platforms of images in a registry: `linux/amd64,linux/arm64`; empty: this machine's.",
    "build_directory": "Where builders keep environments for the next build; empty: under `FLOPS_HOME`.",
    "local_nodes": "The nodes of this machine: names separated by commas, each with `:capability+capability` or all.",
    "user": "Whose tracking server `flops tracking` shows, and who cancels where `USER` is not set.",
    "max_payload_bytes": "The largest message that is sent or taken; the broker's own limit has to be larger.",
    "chunk_bytes": "Model parameters are sent in pieces of this size.",
    "build_deadline_s": "How long building the actors' images may take before the project fails.",
    "deploy_deadline_s": "How long deploying may take before the project fails.",
    "round_deadline_s": "How long a round may take before it goes on without those who have not answered.",
    "learner_return_s": "How long a lost learner is waited for when too few are left.",
    "check_deadline_s": "How long checking the repository, the data and the images may take before the project fails.",
    "train_deadline_s": "How long all rounds together may take before the project fails; 0: for ever.",
    "package_deadline_s": "How long building the trained model's image may take before the project fails.",
    "serve_deadline_s": "How long the inference server may take to answer before the project fails.",
    "stop_deadline_s": "How long removing its services may take before a project ends and says what is left.",
    "retry_attempts": "How often the manager and the builders attempt what fails for a reason that may pass.",
    "retry_longest_s": "The longest wait between two attempts; it is random and grows up to this.",
    "managers": "How many managers `flops up` starts: when one dies, another takes its projects over.",
    "manager_lease_s": "How long a manager may give no sign of life before another one takes its projects over.",
    "service_lease_s": "How long a service that runs may be offline before it is taken for hung and started again.",
    "keep_events_days": "How long the events and the inbox of a project are kept after its end.",
    "log_level": "What services write to their logs: `DEBUG`, `INFO`, `WARNING` or `ERROR`.",
}


def variable_of(field: str) -> str:
    """The environment variable that a setting is read from."""
    return PREFIX + field.upper()


def settings_page(note: str) -> str:
    """The table of all settings."""
    defaults = Settings.from_environment({"HOME": "~"})
    rows = [
        f"| `{variable_of(field.name)}` | {_text(field.name, getattr(defaults, field.name))} | {MEANINGS[field.name]} |"
        for field in fields(Settings)
    ]
    return f"""{note}
# Settings

A setting is looked for in this order, and `flops config show` says where each value comes from:

1. the flag `flops --set SETTING=VALUE …`; next, the context that the flag `flops --context NAME …` names,
2. the environment variable,
3. the context that `FLOPS_CONTEXT` or the key `context` of a file names,
4. `flops.toml` in the current folder,
5. your own configuration, `~/.config/flops/flops.toml` (below `XDG_CONFIG_HOME` where that is set),
6. the default.

`flops --config FILE …` or `FLOPS_CONFIG` reads that file in place of both. In files a setting is named like its
variable without `FLOPS_`, in small letters; a key that is no setting is an error with its line:

```toml
user = "Ada"

[contexts.lab]
broker_url = "mqtts://broker.lab.example.org"
broker_username = "ada"
broker_password_file = "/home/ada/.config/flops/lab-password"
```

Whatever names another broker or registry names its credentials too: those of a weaker source are not sent to it. A
file in the current folder that belongs to somebody else is refused.

Settings are read once when a process starts. Services get the settings that `flops up` was called with, and read no
file: to change one, call `flops down`, then `flops up` with the new value.

| variable | default | meaning |
|---|---|---|
{chr(10).join(rows)}

Whatever pip, uv, git and proxies are configured by works for builds too. Besides, FLOps sets `FLOPS_SERVICE_FILE` and
`FLOPS_INSTANCE` for the services that it starts; they are not meant to be set by hand.
"""


def _text(name: str, value: Any) -> str:  # noqa: ANN401  a setting is of any type
    match value:
        case Path():
            return "`~/.flops`"
        case tuple():
            return ", ".join(f"`{_node(item)}`" for item in value)
        case "":
            return ""
        case int() if name.endswith("_bytes"):
            return f"{value} ({value // MIB} MiB)"
        case float():
            return f"{value:g}"
        case _:
            return f"`{value}`"


def _node(node: LocalNode) -> str:
    return f"{node.name}:{'+'.join(sorted(node.capabilities, reverse=True))}"
