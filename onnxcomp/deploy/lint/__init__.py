"""Will a target's runtime take an ONNX file, and run it in INT8? Rules as data, for files of any origin."""

from onnxcomp.deploy.lint.linter import RULES, lint
from onnxcomp.deploy.lint.report import Group, Report, Where
from onnxcomp.deploy.lint.rule import Finding, Rule

__all__ = ["RULES", "Finding", "Group", "Report", "Rule", "Where", "lint"]
