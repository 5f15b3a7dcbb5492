"""Reads image.yaml, or another template, for the tests: intrinsic functions resolved for given parameters, as CloudFormation would."""

import pathlib
import re

import yaml

HERE = pathlib.Path(__file__).parent
PSEUDO = {
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
REQUIRED = {
    "Fleet": "acme",
    "CodeBucket": "code",
    "ImagePrefix": "muster-image/0123456789abcdef",
    "ArchiveSha256": "0" * 64,
}
GONE = object()


class Loader(yaml.SafeLoader):
    """Tags become one-key mappings, as in the long form."""


def tag(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", tag)


class Template:
    def __init__(self, file="image.yaml", required=REQUIRED, **parameters):
        self.body = yaml.load((HERE / file).read_text(), Loader)
        declared = self.body["Parameters"]
        unknown = set(parameters) - set(declared)
        assert not unknown, f"{file} has no parameter {unknown}"
        self.values = {name: what.get("Default") for name, what in declared.items()} | required | parameters

    def refused(self):
        """What is wrong with the parameters by their patterns, values and the template's rules."""
        wrong = []
        for name, what in self.body["Parameters"].items():
            value = self.values[name]
            pattern, allowed = what.get("AllowedPattern"), what.get("AllowedValues")
            if pattern and not re.fullmatch(pattern, str(value)) or allowed and value not in allowed or value is None:
                wrong.append(name)
        for name, rule in self.body["Rules"].items():
            if self.resolve(rule["RuleCondition"]):
                wrong += [name for check in rule["Assertions"] if not self.resolve(check["Assert"])]
        return wrong

    def resources(self):
        """Logical id to (type, properties) of what exists under these parameters."""
        return {
            name: (what["Type"], self.resolve(what["Properties"]))
            for name, what in self.body["Resources"].items()
            if "Condition" not in what or self.condition(what["Condition"])
        }

    def condition(self, name):
        return self.resolve(self.body["Conditions"][name])

    def ref(self, name):
        if name == "AWS::NoValue":
            return GONE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.values:
            return self.values[name]
        return self.arn(name) if name in self.body["Resources"] else 1 / 0

    def arn(self, name):
        """Of the form that the service gives; others are only names here."""
        what = self.body["Resources"][name]
        kind = re.sub(r"(?<!^)(?=[A-Z])", "-", what["Type"].split("::")[-1]).lower()
        if what["Type"].startswith("AWS::ImageBuilder::"):
            of_it = self.resolve(what["Properties"]["Name"]).lower()
            version = {"component": "/1.0.0/1", "image-recipe": "/1.0.0"}.get(kind, "")
            return f"arn:aws:imagebuilder:eu-central-1:123456789012:{kind}/{of_it}{version}"
        return name

    def resolve(self, value):
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not GONE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, what),) = value.items()
            if name == "Ref":
                return self.ref(what)
            if name == "Condition" and isinstance(what, str):
                return self.condition(what)
            if name.startswith("Fn::"):
                return self.function(name[4:], what)
        resolved = {name: self.resolve(what) for name, what in value.items()}
        return {name: what for name, what in resolved.items() if what is not GONE}

    def function(self, name, what):
        if name == "If":
            return self.resolve(what[1 if self.condition(what[0]) else 2])
        if name == "GetAtt":
            role = self.body["Resources"][what[0]]["Type"] == "AWS::IAM::Role"
            return f"arn:aws:iam::123456789012:role/{what[0]}" if role else ".".join(what)
        if name == "Sub":
            text, more = (what, {}) if isinstance(what, str) else what
            more = {key: self.resolve(item) for key, item in more.items()}
            return re.sub(r"\$\{([A-Za-z0-9:]+)\}", lambda found: str(more.get(found[1]) or self.ref(found[1])), text)
        arguments = self.resolve(what)
        if name == "FindInMap":
            found = self.body["Mappings"]
            for key in arguments:
                found = found[key]
            return found
        return {
            "Equals": lambda a, b: a == b,
            "Not": lambda a: not a,
            "And": lambda *all_of: all(all_of),
            "Or": lambda *any_of: any(any_of),
            "Select": lambda index, items: items[int(index)],
            "Split": lambda by, text: text.split(by),
        }[name](*arguments)
