"""The component documents hold AWSTOE's rules, and say what recipe and scripts think they say."""

import copy
import json
import os
import re
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

from template import HERE, Template

SCHEMA = json.loads((HERE / "schemas/component.json").read_text())
# CreateComponent takes a document of this size from S3.
DOCUMENT_BYTES_MAX = 64 * 1024
DOCUMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((HERE / "components").glob("*.yaml"))}


def parameters(document):
    return {name: what for item in document.get("parameters", []) for name, what in item.items()}


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def used(document):
    return {name for text in strings(document["phases"]) for name in re.findall(r"\{\{\s*(.*?)\s*\}\}", text)}


def wrong(document):
    """What AWSTOE would refuse, as texts. The schema cannot tell what is unique or declared."""
    found = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)
    ]
    if found:
        return found
    phases = [phase["name"] for phase in document["phases"]]
    if len(set(phases)) < len(phases):
        found.append(f"phases are not unique: {phases}")
    for phase in document["phases"]:
        steps = [step["name"] for step in phase["steps"]]
        if len(set(steps)) < len(steps):
            found.append(f"steps of {phase['name']} are not unique: {steps}")
    declared = [name for item in document.get("parameters", []) for name in item]
    if len(set(declared)) < len(declared):
        found.append(f"parameters are not unique: {declared}")
    found += [f"{name} is used and not declared" for name in sorted(used(document) - set(declared))]
    found += [f"{name} is declared and not used" for name in sorted(set(declared) - used(document))]
    return found


class Documents(unittest.TestCase):
    def test_hold_the_rules(self):
        self.assertEqual(set(DOCUMENTS), {"agent", "base", "runner", "tools", "windows"})
        for name, document in DOCUMENTS.items():
            with self.subTest(name):
                self.assertEqual(wrong(document), [])
                self.assertLess((HERE / f"components/{name}.yaml").stat().st_size, DOCUMENT_BYTES_MAX)

    def test_rules_that_are_broken_are_told(self):
        def step(document, **change):
            document["phases"][0]["steps"][-1] |= change

        breaches = {
            "another version": lambda it: it.update(schemaVersion=2.0),
            "an unknown key": lambda it: it.update(metadata={}),
            "no phase": lambda it: it.update(phases=[]),
            "an unknown phase": lambda it: it["phases"][0].update(name="prepare"),
            "two phases of a name": lambda it: it["phases"].append(it["phases"][0]),
            "two steps of a name": lambda it: it["phases"][0]["steps"].append(it["phases"][0]["steps"][-1]),
            "an unknown action": lambda it: step(it, action="RunShell"),
            "inputs of another action": lambda it: step(it, action="S3Download"),
            "an unknown input": lambda it: step(it, inputs={"commands": ["true"], "shell": "sh"}),
            "commands that are no list": lambda it: step(it, inputs={"commands": "true"}),
            "no time": lambda it: step(it, timeoutSeconds=0),
            "no attempt": lambda it: step(it, maxAttempts=0),
            "an unknown consequence": lambda it: step(it, onFailure="Retry"),
            "a parameter that is not there": lambda it: step(it, inputs={"commands": ["echo {{ Nowhere }}"]}),
            "a parameter of another type": lambda it: it["parameters"].append({"Number": {"type": "integer"}}),
            "a parameter that is not used": lambda it: it["parameters"].append({"Number": {"type": "string"}}),
            "a default that is no text": lambda it: it["parameters"].append({"Ssh2": {"type": "string", "default": False}}),
        }
        for what, breach in breaches.items():
            with self.subTest(what):
                document = copy.deepcopy(DOCUMENTS["base"])
                breach(document)
                self.assertNotEqual(wrong(document), [])

    def test_each_parameter_is_the_recipes(self):
        template = Template()
        given = {}
        for component in template.body["Resources"]["Recipe"]["Properties"]["Components"]:
            of_it = template.body["Resources"][component["ComponentArn"]["Ref"]]["Properties"]["Uri"]["Fn::Sub"]
            document = re.search(r"/components/(\w+)\.yaml$", of_it)[1]
            given[document] = {parameter["Name"] for parameter in component["Parameters"]}
        # In this order: the first fetches the scripts, the last deletes them.
        self.assertEqual(list(given), ["base", "tools", "runner", "agent"])
        for name, of_recipe in given.items():
            self.assertEqual(of_recipe, set(parameters(DOCUMENTS[name])), name)

    def test_scripts_get_what_they_ask_for(self):
        """Every script is run by a document, which sets just the variables that the script's head explains."""
        run = set()
        for name, document in DOCUMENTS.items():
            for text in strings(document["phases"]):
                for before, script in re.findall(r"(.*)bash /var/lib/muster-image/scripts/(\w+\.sh)", text):
                    head = (HERE / "scripts" / script).read_text().partition("\n. ")[0]
                    explained = {
                        variable
                        for line in re.findall(r"(?m)^#   ((?:[A-Z][A-Z0-9_]+,? ?)+)", head)
                        for variable in re.findall(r"[A-Z][A-Z0-9_]+", line)
                    }
                    if phase := re.match(r"AT=(build|boot) ", before):
                        before += f" AT='{phase[1]}'"
                    self.assertEqual(set(re.findall(r"(\w+)='", before)), explained - {"GITHUB_API"}, f"{name}, {script}")
                    run.add(script)
        self.assertEqual(run | {"lib.sh"}, {path.name for path in (HERE / "scripts").glob("*.sh")})

    def test_commands_are_clean(self):
        shellcheck = os.environ.get("MUSTER_TEST_SHELLCHECK") or self.fail("MUSTER_TEST_SHELLCHECK names no shellcheck")
        for name, document in DOCUMENTS.items():
            for phase in document["phases"]:
                for step in phase["steps"]:
                    if step["action"] != "ExecuteBash":
                        continue
                    text = "#!/bin/bash\n" + "\n".join(step["inputs"]["commands"])
                    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
                        file.write(re.sub(r"\{\{.*?\}\}", "x", text))
                        file.flush()
                        checked = subprocess.run([shellcheck, file.name], capture_output=True, text=True)
                    self.assertEqual(checked.stdout, "", f"{name} {step['name']}")


if __name__ == "__main__":
    unittest.main()
