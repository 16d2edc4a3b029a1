"""Train one run, or a whole study with its report. The loop is in introspect/cotrain.py.

    python train.py                        the headline study: anchor, arms reg and noreg
    python train.py anchor/reg --seed=3    one run of one arm
"""

import sys
import time

from introspect.fields import Refused
from introspect.files import claim_folder, read_json, read_lines, versions, write_json
from introspect.runs.cli import DIVERGED, DONE, Command, one_line, parse, resolve_device


def main(argv: list[str]) -> int:
    command = parse(argv)
    device = resolve_device(command.run.device)
    return train_one(command, device) if command.arm else train_study(command, device)


def train_one(command: Command, device: str) -> int:
    """One run of one arm, in this process."""
    from introspect.report.text import show_run
    from introspect.runs.pool import Job, perform_all

    out, seed = command.out, command.run.seed
    claim_folder(out, command.describe(device, command.arm, seed, out))
    job = Job(command.arm, command.config(command.arm, seed), out)
    results, failures = perform_all([job], command.cache, device, 1, command.experiment)
    for failure in failures:
        print(f"diverged: {failure.error}; {out} keeps the last checkpoint", file=sys.stderr)
    for result in results:
        print(show_run(result))
        print(f"in {out}: result.json, metrics.jsonl, examples.json")
    return DIVERGED if failures else DONE


def train_study(command: Command, device: str) -> int:
    """Every arm over paired seeds, several runs at a time, and the report."""
    from introspect.report.report import write_report
    from introspect.report.summary import summarize
    from introspect.report.text import show_study
    from introspect.runs.pool import Job, perform_all

    started, out, seed = time.monotonic(), command.out, command.run.seed
    claim_folder(out, command.describe(device, None, seed, out))
    jobs = []
    for arm, config in command.configs():
        folder = out / "runs" / f"{arm}-seed{config.seed}"
        claim_folder(folder, command.describe(device, arm, config.seed, folder))
        jobs.append(Job(arm, config, folder))
    wanted = [[job.arm, job.config.seed] for job in jobs]
    if (out / "result.json").exists():
        study = read_json(out / "result.json", {"runs", "seeds", "arms", "experiment"})
        if len(study["seeds"]) > len(command.seeds):
            raise Refused(
                f"--seeds={len(command.seeds)}: {out} holds a study of {len(study['seeds'])}; "
                "ask for as many or more, or give another --out_dir"
            )
        if [[run["arm"], run["seed"]] for run in study["runs"]] == wanted:
            write_report(out)  # a kill may have come before it, or matplotlib after
            print(show_study(study))
            print(f"already done, in {out}")
            return DONE

    results, failures = perform_all(jobs, command.cache, device, command.jobs, command.experiment)
    for failure in failures:
        print(f"diverged: {failure.error}; {failure.job.out}", file=sys.stderr)
    if results:
        curves = {(j.arm, j.config.seed): j.out / "metrics.jsonl" for j in jobs}
        study = {
            "experiment": command.experiment,
            "question": command.declared.question,
            "task": command.task,
            "explained": jobs[0].config.explained,
            "seeds": command.seeds,
            **summarize(results, {k: read_lines(p) for k, p in curves.items() if p.exists()}),
            "failed": [f.describe() for f in failures],
            "config": read_json(out / "config.json", {"config"})["config"],
            "seconds": round(time.monotonic() - started, 1),
            "versions": versions(device),
        }
        write_json(out / "result.json", study)
        write_report(out)
        print(show_study(study))
        print(f"in {out}: report.html, report.md, result.json, runs/")
    return DIVERGED if failures else DONE


if __name__ == "__main__":
    one_line(main)
