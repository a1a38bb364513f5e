"""The Celery application and its measured settings; ids only go over it, the ledger decides what is true."""

import socket
from collections.abc import Collection
from typing import Any

from celery import Celery  # type: ignore[import-untyped]
from kombu.entity import Queue

from workers.tls import split_tls

SORT = "sort"
DETECT = "detect"
CLASSIFY = "classify"
QUEUES = (SORT, DETECT, CLASSIFY)

EMBEDDED = "memory://"  # of a process that sends messages to itself alone


def create_app(broker_url: str = EMBEDDED) -> Celery:
    """Return an application on this broker; `workers.tasks.add_tasks` gives it its tasks.

    Each task has the queue of its own name.  Nothing is kept of a task's result: what it did is in
    the ledger, and a message that is lost or comes twice changes nothing there.  Raises as `split_tls` does.
    """
    broker_url, tls = split_tls(broker_url)
    embedded = broker_url.startswith("memory:")
    app = Celery("archive", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the ledger's lease retries, and counts
        task_publish_retry=False,  # the feeder retries
        task_routes={name: {"queue": name} for name in QUEUES},
        task_queues=[_queue(name, broker_url) for name in QUEUES],
        worker_prefetch_multiplier=32 if embedded else 1,
        worker_enable_remote_control=True,  # without it Celery 5.7 hung after a restart of Redis
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url),
        broker_use_ssl=tls or False,
    )
    return app


def consumer(app: Celery, queues: Collection[str], threads: int, worker_id: str | None) -> Any:
    """Return Celery's worker, not started yet: it takes messages of these queues, for so many threads."""
    return app.WorkController(
        app=app,
        pool="threads",
        concurrency=threads,
        queues=",".join(queues),
        # two with one name on a broker would get each other's commands
        hostname=f"{worker_id or 'engine'}@{socket.gethostname()}",
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
    )


def _queue(name: str, broker_url: str) -> Queue:
    # of RabbitMQ: kept on its disk, and on several machines where it has them
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith("amqp") else None
    return Queue(name, routing_key=name, queue_arguments=arguments)  # type: ignore[no-untyped-call]


def _transport_options(broker_url: str) -> dict[str, Any]:
    if broker_url.startswith("memory:"):
        return {"polling_interval": 0.01}  # the default polls once a second: 8 tasks/s instead of thousands
    if broker_url.startswith("amqp"):
        return {"confirm_publish": True}
    return {"visibility_timeout": 3600, "socket_timeout": 30, "socket_keepalive": True}
