"""Train one run, or a whole study with its report. The loop is in introspect/cotrain.py.

    python train.py                        the headline study: anchor, arms reg and noreg
    python train.py anchor/reg --seed=3    one run of one arm
"""

import os
import sys
from pathlib import Path

from introspect.runs.cli import DIVERGED, DONE, Command, one_line, parse


def main(argv: list[str]) -> int:
    command = parse(argv)
    from introspect.runs.study import Setting, open_workspace  # here: --help needs no torch

    workspace = open_workspace(command)
    if command.begins:
        from introspect.runs.start import adopt

        configs = [config for _, config in command.configs()]
        adopt(Path(command.begins), command.task, configs, workspace.cache, workspace.device)
    work = train_one if command.arm else train_study
    return work(command, workspace, Setting(command.experiment, command.task))


def train_one(command: Command, workspace, setting) -> int:
    """One run of one arm, in this process, or in all those that torchrun started."""
    from introspect.parallel import check_parts, joined
    from introspect.report.text import show_run
    from introspect.runs.run import read_result
    from introspect.runs.study import make_runs, plan_jobs

    [job] = plan_jobs(workspace, setting, command.seeds, command.arms).values()
    title = f"{command.experiment}/{job.arm} on {command.task}, seed {job.config.seed}"
    with joined(workspace.device, os.environ) as (rank, size):
        check_parts(job.config.shares_of_batches(), size)
        failures = make_runs(workspace, [job], title, title)
    for failure in failures:
        print(f"diverged: {failure.error}; checkpoints before it are kept", file=sys.stderr)
    if failures:
        return DIVERGED
    if rank:
        return DONE
    print(show_run(read_result(job.out, job.config) | {"arm": job.arm}))
    print(f"in {job.out}: result.json, metrics.jsonl, examples.json")
    return DONE


def train_study(command: Command, workspace, setting) -> int:
    """Every arm over paired seeds, several runs at a time, and the report."""
    from introspect.lab.extras import check_declared
    from introspect.lab.publish import write_setting
    from introspect.report.text import show_study
    from introspect.runs.study import claim_view, perform_settings

    out = workspace.name_study(setting, command.seeds)
    check_declared([setting])  # before anything is written
    claim_view(out)
    made = perform_settings(workspace, [setting], command.seeds, setting.name)[setting]
    for text in made.failed:
        print(f"diverged: {text}", file=sys.stderr)
    if any(made.runs.values()):
        study, outcome = write_setting(out, setting, made, workspace.overrides)
        print(show_study(study))
        if outcome:
            print(outcome)
        print(f"in {out}: report.html, report.md, result.json; runs in {workspace.root / 'runs'}")
    return DIVERGED if made.failed else DONE


if __name__ == "__main__":
    one_line(main)
