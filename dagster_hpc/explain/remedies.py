"""What whoever asked for a job could change, by the reason for which it waits: a table for each system.

A reason has the scheduler's own word in it; the patterns look for that. All that fit are said, in their order. JOB
stands for the job's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SMALLER = (
    "Ask for less time, fewer nodes or less memory (walltime, num_nodes, memory_per_node): it fits into a gap "
    "earlier."
)
_DEPENDS = "It starts when the job that it depends on has ended: explain that one."
_BROKEN = (
    "The job before it did not end as required. Run that one again, then this; cancel this one: it waits in vain."
)

# system → (what stands in the reason, what could be changed)
REMEDIES: Mapping[str, Sequence[tuple[str, str]]] = {
    "slurm": (
        (r"\(Priority|\(Resources", _SMALLER),
        (
            r"\(Priority",
            "`sprio -j JOB` shows of what its priority is made, `sshare` what your account has used of its share.",
        ),
        (r"\(Dependency\b", _DEPENDS),
        (r"\(DependencyNeverSatisfied", _BROKEN),
        (r"\(JobHeldUser", "It was held with a command: let it go with `scontrol release JOB`, or ask who held it."),
        (
            r"\(JobHeldAdmin|\(JobHoldMaxRequeue|held\)",
            "Ask the site why it is held: only an administrator lets it go.",
        ),
        (
            r"\(BeginTime",
            "It was asked to begin later: see `directives` of the profile. After a requeue this passes by itself.",
        ),
        (
            r"\(PartitionDown|\(PartitionInactive",
            "Choose another partition (queue_cpu, queue_gpu), or wait: `sinfo` shows which are up.",
        ),
        (
            r"\(PartitionTimeLimit|WallDuration",
            "Shorten walltime, or choose a partition or qos that allows more: `sinfo -o '%P %l'`, `sacctmgr show "
            "qos`.",
        ),
        (
            r"\(PartitionNodeLimit|NodePerJob",
            "Ask for fewer nodes (num_nodes), or choose another partition: `scontrol show partition`.",
        ),
        (
            r"\(PartitionConfig|\(BadConstraints",
            "Ask for what a node of the partition has: `sinfo -o '%P %c %m %G %f'` shows cores, memory, GPUs and "
            "features.",
        ),
        (r"CpuPerJob|CPUPerJob", "Ask for fewer cores (mpiprocs, ompthreads, num_nodes), or choose another qos."),
        (r"\(MaxMemPerLimit", "Lower memory_per_node, or choose a partition whose nodes have more."),
        (
            r"\(InvalidAccount|\(AccountNotAllowed",
            "`sacctmgr show assoc user=$USER` lists your accounts: check project_cpu, project_gpu of the target.",
        ),
        (r"\(InvalidQOS|\(QOSNotAllowed", "`sacctmgr show qos` lists what exists: check qos of the profile."),
        (
            r"\(ReqNodeNotAvail",
            "`sinfo -R` says why nodes are out. A maintenance begins? Then a walltime that ends before it starts "
            "at once.",
        ),
        (r"\(Reservation\)", "`scontrol show reservation` says when it begins."),
        (
            r"\(Reservation(Deleted|Invalid)",
            "Take the reservation out of the profile, or name one that exists: `scontrol show reservation`.",
        ),
        (r"\(Licenses", "`scontrol show licenses` shows who has them."),
        (
            r"Minutes|RunMin|\(AssocGrpBilling",
            "The time of the account is used up, or spoken for by jobs that run. Ask for less time, charge "
            "another account (project_cpu, project_gpu), or ask the site for more: `sshare`, `sreport`.",
        ),
        (
            r"\((Assoc|QOS)?(Max|Grp)\w*(Jobs|Submit)",
            "It starts when another of these jobs ends. One array with max_running, or max_jobs of the target, "
            "keeps the queue short.",
        ),
        (
            r"\((?!\w*(?:PerJob|PerNode|Minutes|RunMin))(QOS|Assoc)?(Max|Grp)\w*(Cpu|CPU|Node|Mem|GRES|TRES)\w*\)",
            "It starts when jobs that count in this limit end, or at once if it asks for less than is left of it; "
            "another qos or account has another limit: `sacctmgr show qos`.",
        ),
        (r"\(JobArrayTaskLimit", "max_running of the array allows no more at once: raise it, or wait."),
        (r"\(MaxPoweredUpNodes|\(NvidiaImexChannels|\(MpiPortsBusy", "It passes by itself; the site can say when."),
    ),
    "pbs": (
        (
            r"Can Never Run",
            "Nothing in this queue can serve it: ask for less, or choose another queue: `qstat -Qf`, `pbsnodes "
            "-a`.",
        ),
        (r"depends on", _DEPENDS),
        (r"held by its owner", "It was held with a command: let it go with `qrls JOB`, or ask who held it."),
        (r"held by (an operator|the system)", "Ask the site why it is held."),
        (
            r"limit",
            "It starts when another of your jobs ends, or if it asks for less: `qstat -Qf` shows the queue's "
            "limits.",
        ),
        (r"Insufficient amount of (resource|queue resource)|Not enough|waits its turn|free nodes", _SMALLER),
        (
            r"dedicated|reservation|cross",
            "A walltime that ends before the reservation or the dedicated time begins can start at once.",
        ),
        (
            r"Queue not started|not started",
            "The queue is stopped: choose another (queue_cpu, queue_gpu), or wait for the site.",
        ),
    ),
    "pjm": (
        (
            r"IMPOSSIBLE SCHED|LIMIT OVER",
            "Ask for less, or choose another resource group: `pjacl` shows what each allows you.",
        ),
        (
            r"GATE CHECK|NO CURRENT DIR|FILE IO ERROR",
            "Set gfscache to every volume that the job reads or writes; then cancel it and submit anew.",
        ),
        (
            r"RSCGRP",
            "Choose another resource group (queue_cpu, queue_gpu): `pjstat --rsc` lists those that are open.",
        ),
        (r"HELD|held|hold", "It was held with a command: let it go with `pjrls JOB`, or ask who held it."),
        (r"waits|^$", _SMALLER),
    ),
    "sge": (
        (r"error state", "`qstat -j JOB` says what failed. When it is mended, `qmod -cj JOB` lets it run."),
        (r"depends on", _DEPENDS),
        (r"is held", "It was held with a command: let it go with `qrls JOB`, or ask who held it."),
        (r"only offers|slots|its turn", _SMALLER),
        (
            r"hard queue list|no access|not allowed",
            "Choose a queue in which you may run (queue_cpu, queue_gpu): `qstat -g c`.",
        ),
    ),
    "lsf": (
        (r"never", _BROKEN),
        (r"[Dd]ependency", _DEPENDS),
        (r"suspended", "It was held with a command: let it go with `bresume JOB`, or ask who held it."),
        (
            r"limit",
            "It starts when another of your jobs ends, or if it asks for less: `blimits`, `bqueues -l` show the "
            "limits.",
        ),
        (r"requirement|resource", "Ask for what the hosts have: `bhosts -l`, `lshosts` show it."),
        (r"waiting|slot|higher priority", _SMALLER),
    ),
    "flux": (
        (r"depend", _DEPENDS),
        (
            r"urgency|held",
            "It was held with a command: let it go with `flux job urgency JOB default`, or ask who held it.",
        ),
        (r"insufficient|its turn|resources", _SMALLER),
    ),
    "torque": (
        (r"depends on", _DEPENDS),
        (r"held|is held", "It was held with a command: let it go with `qrls JOB`, or ask who held it."),
        (
            r"waits|its turn",
            f"{_SMALLER} "
            "Where the site has Maui or Moab, `checkjob JOB` and `showstart JOB` know more.",
        ),
    ),
    "local": (
        (
            r"core|memory|behind|GPU",
            "Ask for fewer cores or less memory (mpiprocs, ompthreads, memory_per_node), or give the target more "
            "(cores, memory).",
        ),
        (r"depend|after", _DEPENDS),
    ),
}
