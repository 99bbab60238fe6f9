#!/usr/bin/python3
"""Every class of end-to-end tests is registered with ctest: one that is not would pass by never running."""
import ast
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "e2e"


def main():
    registered = set()
    for name, rest in re.findall(r"(?m)^signet_e2e\(\s*(\w+)([^)]*)\)", (FOLDER / "CMakeLists.txt").read_text()):
        registered |= {f"{name}.{word}" for word in rest.split("CLASSES", 1)[-1].split()}
    found = set()
    for path in sorted(FOLDER.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(isinstance(part, ast.FunctionDef) and part.name.startswith("test") for part in node.body):
                found.add(f"{path.stem}.{node.name}")
    for name in sorted(found - registered):
        print(f"tests/e2e/CMakeLists.txt does not name {name}: it never runs")
    for name in sorted(registered - found):
        print(f"tests/e2e/CMakeLists.txt names {name}, which has no tests")
    return 1 if found != registered or not found else 0


if __name__ == "__main__":
    sys.exit(main())
