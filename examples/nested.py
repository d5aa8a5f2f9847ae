"""A function that is one job, and shares its cores among sub-tasks."""

from concurrent.futures import ProcessPoolExecutor

from cluster import hpc


def parallel_workflow(n):
    with ProcessPoolExecutor(n) as inner:
        futures = [inner.submit(sum, [i, i]) for i in range(n)]
        return [f.result() for f in futures]


if __name__ == "__main__":
    print(hpc.call(parallel_workflow, 4, profile="four"))
