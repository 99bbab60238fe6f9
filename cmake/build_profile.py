#!/usr/bin/python3
"""./dev build --profile: builds the three programs from nothing, without ccache, and prints where the time went.

Files:   CPU seconds of each compilation, measured around the compiler.
Headers: how long clang's front end reads each header with all that it includes (-ftime-trace), over the ten most expensive
         files. GCC has no such report.

Usage: build_profile.py BUILD_FOLDER (emptied first; run it in the root of the repository)
"""
import collections
import json
import os
import pathlib
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

PROGRAMS = ["signet-operator", "signet-sidecar", "signet"]
TOP = 10


def launch(log, command):
    """The compiler launcher: runs the compiler and notes its CPU seconds."""
    code = subprocess.call(command)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{used.ru_utime + used.ru_stime:.2f} {output_of(command)}\n")
    return code


def build(folder):
    """Returns CPU seconds a compilation, those of the whole build, and the wall time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "compilations"
    launcher = f"{sys.executable};{pathlib.Path(__file__).resolve()};--launch;{log}"
    subprocess.run(["cmake", "--preset", "release", "-B", folder, f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}"],
                   check=True, stdout=subprocess.DEVNULL)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["ninja", "-C", folder, *PROGRAMS], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = [line.split(" ", 1) for line in log.read_text().splitlines()]
    return {output: float(seconds) for seconds, output in rows}, total, wall


def output_of(words):
    return words[words.index("-o") + 1] if "-o" in words else "?"


def clang_command(words):
    """The same compilation for clang, without code generation and without a precompiled header."""
    words = words[next(i for i, word in enumerate(words) if word.endswith("++")) + 1:]
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-c"):
            skip = word == "-o"
        elif word not in ("-Winvalid-pch", "-fpch-preprocess") and not word.startswith("-W"):
            kept.append(word)
    return ["clang++-14", *kept, "-w", "-O0", "-S", "-emit-llvm", "-Xclang", "-disable-llvm-passes", "-ftime-trace"]


def headers(folder, outputs):
    """Seconds by header, over the compilations that made `outputs`."""
    commands = [shlex.split(entry["command"]) for entry in json.loads((folder / "compile_commands.json").read_text())]
    commands = {output_of(words): words for words in commands}
    seconds = collections.Counter()
    for compiled in folder.rglob("*.gch"):
        compiled.unlink()  # clang would take GCC's for its own
    for output in outputs:
        if output not in commands:  # the precompiled header itself
            continue
        with tempfile.TemporaryDirectory() as trace:
            made = pathlib.Path(trace) / "unit.o"
            done = subprocess.run([*clang_command(commands[output]), "-o", made], cwd=folder, check=False, capture_output=True)
            if done.returncode != 0:
                print(f"(clang cannot compile {output}: its headers are left out)", file=sys.stderr)
                continue
            events = json.loads(made.with_suffix(".json").read_text())["traceEvents"]
        for event in events:
            if event.get("name") == "Source":
                seconds[event["args"]["detail"]] += event["dur"] / 1e6
    return seconds


def main():
    if sys.argv[1:2] == ["--launch"]:
        return launch(sys.argv[2], sys.argv[3:])
    folder = pathlib.Path(sys.argv[1]).resolve()
    if not shutil.which("clang++-14"):
        print("dev: clang++-14 is needed: ./dev setup test", file=sys.stderr)
        return 3
    files, total, wall = build(folder)
    print(f"{len(files)} compilations, {total:.0f} CPU seconds, {wall:.0f} s on {os.cpu_count()} cores\n")
    print("CPU s  file")
    top = sorted(files, key=files.get, reverse=True)[:TOP]
    for output in top:
        print(f"{files[output]:5.1f}  {output.replace('CMakeFiles/', '').replace('.dir', '')}")
    print("\n    s  header, with what it includes")
    root = f"{pathlib.Path.cwd()}/"
    for header, seconds in headers(folder, top).most_common(TOP):
        print(f"{seconds:5.1f}  {header.replace(root, '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
