#!/usr/bin/env python3
"""Checks what a compose file refers to: files, stages, services, volumes and variables.

    compose-references.py docker-compose.yml ROOT

A schema cannot tell, and Docker does not always: it makes a folder of a mounted file that is
missing. Relative paths are relative to ROOT. Prints what is wrong, and ends with 1 if anything is.
"""

import pathlib
import re
import sys

from ruamel.yaml import YAML

# `$$`, which is a dollar; a variable; or a dollar that is neither.
DOLLAR = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<default>:-[^{}]*)?\}|\$")
STAGE = re.compile(r"^FROM\s.*\sAS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)


def undefined_variables(text):
    for number, line in enumerate(text.splitlines(), 1):
        for dollar in DOLLAR.finditer(line.partition("#")[0]):
            if dollar["name"] and not dollar["default"]:
                yield f"line {number}: {dollar['name']} has no default; write ${{NAME:-default}}"
            elif dollar[0] == "$":
                yield f"line {number}: a `$` that begins no ${{NAME:-default}}; write $$ for a dollar"


def wrong_mounts(service, volumes, root):
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if not source.startswith((".", "/")):
            if source not in volumes:
                yield f"volumes: there is no volume `{source}`"
        elif not (root / source).exists():
            yield f"volumes: {source} is not there"


def wrong_build(service, root):
    build = service.get("build")
    if build is None:
        return
    dockerfile = root / build["context"] / build.get("dockerfile", "Dockerfile")
    if not dockerfile.is_file():
        yield f"build: {dockerfile.name} is not there"
    elif build["target"] not in STAGE.findall(dockerfile.read_text()):
        yield f"build: {dockerfile.name} has no stage `{build['target']}`"


def wrong_references(compose, root):
    services = compose["services"]
    volumes = compose.get("volumes", {})
    for name, service in services.items():
        problems = [
            f"depends_on: there is no service `{other}`"
            for other in service.get("depends_on", {})
            if other not in services
        ]
        problems += wrong_mounts(service, volumes, root)
        problems += wrong_build(service, root)
        problems += [
            f"ports: {port} is published to the network; begin it with 127.0.0.1:"
            for port in service.get("ports", [])
            if not str(port).startswith("127.0.0.1:")
        ]
        yield from (f"services.{name}.{problem}" for problem in problems)


def main():
    path, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    text = path.read_text()
    problems = [*undefined_variables(text), *wrong_references(YAML(typ="safe").load(text), root)]
    for problem in problems:
        print(f"{path.name}: {problem}")
    sys.exit(1 if problems else 0)


main()
