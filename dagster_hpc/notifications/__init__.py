"""Words to people about jobs, by the channels that they read.

The ledger knows what has happened (`occasions`), a message says it (`message`), a channel sends it (`mail`, `webhook`), and
the ledger notes who has been told (`sending`).
"""

from dagster_hpc.notifications.mail import Mail
from dagster_hpc.notifications.sensor import build_hpc_notification_sensor
from dagster_hpc.notifications.webhook import Webhook

__all__ = ["Mail", "Webhook", "build_hpc_notification_sensor"]
