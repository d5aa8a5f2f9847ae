"""The smallest asset that is a batch job."""

from pydantic import Field

from dagster_hpc import Command, HPCJobConfig, hpc_asset

GREETING = """
echo "Hello, $1, from $(hostname)."
for ((left = $2; left > 0; left--)); do
  echo "$left s to go"
  sleep 1
done
"""


class HelloConfig(HPCJobConfig):
    """What the launchpad offers beside profile and overrides."""

    who: str = Field(default="world", description="Whom the job greets.")
    seconds: int = Field(default=0, ge=0, description="How long the job stays: time to watch or terminate it.")


@hpc_asset(profile="small", group_name="hello", kinds={"bash"}, owners=["team:hpc-demo"])
def hello(config: HelloConfig) -> Command:
    """A greeting from a compute node: read it in the run's compute logs, and what it cost in the metadata below."""
    return Command.shell(GREETING, args=[config.who, str(config.seconds)])


@hpc_asset(profile="small", group_name="hello", kinds={"bash"}, owners=["team:hpc-demo"], detached=True)
def overnight(config: HelloConfig) -> Command:
    """A greeting that nobody waits for: its run ends at once. Turn the sensor `hpc_jobs` on, and it materializes."""
    return Command.shell(GREETING, args=[config.who, str(config.seconds)])
