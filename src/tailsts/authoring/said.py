"""What was said of a workload that there is no token of: what is missing, what cannot be, what is meant. Pure."""

import re

from tailsts.authoring.sketch import Field, Said, Service


def check_said(service: Service, given: Said) -> tuple[Said, list[str], list[str]]:
    """Return what is meant by what was given, what whoever gave it should know, and what is wrong with it."""
    said = {field.name: field.meant(given[field.name]) for field in service.fields}
    notes = [f"--{name} {given[name]} is taken for {value}" for name, value in said.items() if value != given[name]]
    missing = [field for field in service.fields if field.usual is None and not said[field.name]]
    wrong = [fault for field in service.fields if (fault := _wrong(field, said[field.name]))]
    faults = [*(f"--{field.name} is missing. {field.about}" for field in missing), *wrong]
    # A name that is none would make a command that fails.
    if service.lookup and not wrong and any(field.name.endswith("id") for field in missing):
        faults.append(f"the ids are said by: {service.lookup(said)}")
    return said, notes, faults


def _wrong(field: Field, value: str) -> str:
    if not value or re.fullmatch(field.form, value):
        return ""
    return f"--{field.name} {value!r} cannot be: it is like {field.example}"
